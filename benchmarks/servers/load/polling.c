#define _GNU_SOURCE
#include "generator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE 120.0
#define SEPARATOR '\x1e'
#define FIRST_ROOM 2048u
/* Microseconds, in front of what is measured: a balancer is told by its processes whose a session is, and a client of
   the same machine is faster than that. */
#define SETTLING 20000

typedef struct poller poller;

/* A keep-alive connection, for requests one after the other. */
typedef struct {
    watched watched;
    poller *poller;
    int fd;
    bool standing, asking;
    char *in;
    size_t used, room;
    /* What could not be sent before the connection stood. */
    char *waiting;
    size_t waiting_length;
} requests;

/* A client. It posts on one connection while a poll waits on the other. */
struct poller {
    requests get, post;
    char sid[96];
    bool connected, pong_due;
    int in_flight;
    uint64_t sent_at;
    /* Of those that move to WebSocket. */
    connection *websocket;
    bool moves, probed, moved, ended;
    uint64_t begun;
};

/* What each POST carries: packets that are echoed. */
static char *payload, *payload_after_pong;
static int payload_packets, connected_count, ended_count;
static bool answering;

static void requests_ready(watched *watched, uint32_t events);
static void moved_on(poller *self);

static void open_requests(requests *self, poller *owner) {
    self->watched.ready = requests_ready;
    self->poller = owner;
    self->fd = dial();
    self->room = FIRST_ROOM;
    self->in = malloc(self->room + 1);
    watch(self->fd, &self->watched, true, false);
}

/* The memory of what was read goes; an event for the connection may have been fetched already. */
static void close_requests(requests *self) {
    if (!self->in)
        return;
    hang_up(self->fd);
    free(self->in);
    self->in = NULL;
    self->used = 0;
    self->standing = false;
}

static void send_request(requests *self, const char *data, size_t length) {
    self->asking = true;
    if (!self->in)
        open_requests(self, self->poller);
    if (!self->standing) {
        self->waiting = memcpy(malloc(length), data, length);
        self->waiting_length = length;
    } else if (send(self->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        fail("a server does not read");
}

static void poll_again(poller *self) {
    char request[1024];
    int length = snprintf(request, sizeof request, "GET %s?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: %s\r\n\r\n",
                          given.path, *self->sid ? "&sid=" : "", self->sid, given.host);
    send_request(&self->get, request, (size_t)length);
}

static void post(poller *self, const char *body) {
    size_t size = strlen(body);
    char *request = malloc(size + 1024);
    int length = snprintf(request, size + 1024,
                          "POST %s?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: %s\r\n"
                          "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n%s",
                          given.path, self->sid, given.host, size, body);
    send_request(&self->post, request, (size_t)length);
    free(request);
}

static void post_again(poller *self) {
    if (!self->connected || self->post.asking || self->in_flight || !answering)
        return;
    self->in_flight = payload_packets;
    self->sent_at = now();
    post(self, self->pong_due ? payload_after_pong : payload);
    self->pong_due = false;
}

/* The first packet of a session, and the start of what follows from it. */
static void opened(poller *self, char *packet, size_t length) {
    static const char before[] = "\"sid\":\"";
    char *sid = memmem(packet, length, before, sizeof before - 1), *end = NULL;
    if (sid) {
        sid += sizeof before - 1;
        end = memchr(sid, '"', (size_t)(packet + length - sid));
    }
    if (!end || (size_t)(end - sid) >= sizeof self->sid)
        fail("no session id");
    memcpy(self->sid, sid, (size_t)(end - sid));
    if (!self->moves)
        usleep(SETTLING);
    post(self, "40");
}

static void probe(connection *websocket, int opcode, const uint8_t *data, size_t length) {
    poller *self = owner_of(websocket);
    if (opcode == 0)
        send_text(websocket, "2probe");
    else if (length == 6 && !memcmp(data, "3probe", 6)) {
        self->probed = true;
        moved_on(self);
    } else if (opcode == 1 && length == 1 && *data == '2')
        send_text(websocket, "3");
    else if (length >= 2 && !memcmp(data, "40", 2)) {
        self->connected = true;
        send_next_message(websocket);
    } else if (is_reply(opcode, data, length) && !self->ended) {
        self->ended = true;
        ended_count++;
        units++;
        latency(now() - self->begun);
    }
}

/* As the JavaScript client does: the WebSocket is used when the probe is answered and no poll waits any more. */
static void moved_on(poller *self) {
    if (!self->probed || self->moved || self->get.asking || self->post.asking)
        return;
    self->moved = true;
    send_text(self->websocket, "5");
    if (self->connected)
        send_next_message(self->websocket);
}

static void on_packet(poller *self, char *packet, size_t length) {
    if (*packet == '0')
        opened(self, packet, length);
    else if (length >= 2 && packet[0] == '4' && packet[1] == '0') {
        self->connected = true;
        connected_count++;
    } else if (length >= 2 && packet[0] == '4' && packet[1] == '2') {
        units++;
        latency(now() - self->sent_at);
        self->in_flight--;
    } else if (length == 1 && *packet == '2')
        self->pong_due = true;
}

static void on_poll(poller *self, char *body, size_t length) {
    bool first = !*self->sid;
    for (char *packet = body, *end = body + length; packet < end;) {
        char *stop = memchr(packet, SEPARATOR, (size_t)(end - packet));
        if (!stop)
            stop = end;
        on_packet(self, packet, (size_t)(stop - packet));
        packet = stop + 1;
    }
    if (first && self->moves) {
        char query[160];
        snprintf(query, sizeof query, "&sid=%s", self->sid);
        self->websocket = open_websocket(query, probe, self);
    }
    if (self->probed)
        moved_on(self);
    else
        poll_again(self);
    post_again(self);
}

static void on_answer(requests *self, int status, char *body, size_t length) {
    self->asking = false;
    if (status != 200)
        fail("answered %d: %.*s", status, (int)(length < 200 ? length : 200), body);
    if (self == &self->poller->get)
        on_poll(self->poller, body, length);
    else if (self->poller->probed)
        moved_on(self->poller);
    else
        post_again(self->poller);
}

/* Where a chunk of a body ends, and with it what the next begins at; NULL while it has not all come. */
static char *chunk(char *from, char *end, char **data, size_t *size) {
    char *line = memmem(from, (size_t)(end - from), "\r\n", 2);
    if (!line)
        return NULL;
    *size = strtoul(from, NULL, 16);
    *data = line + 2;
    return (size_t)(end - *data) < *size + 2 ? NULL : *data + *size + 2;
}

/* Puts a body that came in chunks together, in its own place. Where it ended; NULL while it has not all come. */
static char *join_chunks(char *body, char *end, size_t *length) {
    char *data, *from = body;
    size_t size = 1;
    while (size)
        if (!(from = chunk(from, end, &data, &size)))
            return NULL;
    *length = 0;
    /* What is written lies before what is still to be read. */
    for (from = body, size = 1; size;) {
        from = chunk(from, end, &data, &size);
        memmove(body + *length, data, size);
        *length += size;
    }
    return from;
}

/* Takes an answer that has come whole. How many bytes it had. */
static size_t take_answer(requests *self) {
    self->in[self->used] = 0;
    char *end = strstr(self->in, "\r\n\r\n");
    if (!end)
        return 0;
    char *body = end + 4, *after, *named = strcasestr(self->in, "\r\ncontent-length:");
    size_t length = 0;
    if (named && named < end) {
        length = strtoul(named + 17, NULL, 10);
        after = body + length;
        if (after > self->in + self->used)
            return 0;
    } else {
        after = join_chunks(body, self->in + self->used, &length);
        if (!after)
            return 0;
    }
    size_t size = (size_t)(after - self->in);
    on_answer(self, atoi(self->in + 9), body, length);
    return size;
}

static void take(requests *self) {
    for (;;) {
        if (self->used == self->room) {
            self->room *= 2;
            self->in = realloc(self->in, self->room + 1);
        }
        ssize_t got = recv(self->fd, self->in + self->used, self->room - self->used, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        /* Servers close what has been idle for some seconds, and clients then connect anew. */
        if (got <= 0 && !self->asking) {
            close_requests(self);
            return;
        }
        if (got <= 0)
            fail("the server has closed a connection with a request on it");
        self->used += (size_t)got;
        for (size_t size; (size = take_answer(self));)
            memmove(self->in, self->in + size, self->used -= size);
    }
}

static void requests_ready(watched *watched, uint32_t events) {
    requests *self = (requests *)watched;
    if (!self->in)
        return;
    if (!self->standing && events & EPOLLOUT) {
        self->standing = true;
        watch(self->fd, &self->watched, false, true);
        if (self->waiting) {
            send_request(self, self->waiting, self->waiting_length);
            free(self->waiting);
            self->waiting = NULL;
        }
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        take(self);
}

static poller *open_poller(bool moves) {
    poller *self = calloc(1, sizeof *self);
    self->moves = moves;
    self->begun = now();
    open_requests(&self->get, self);
    open_requests(&self->post, self);
    poll_again(self);
    return self;
}

static uint64_t until(double seconds) { return now() + (uint64_t)(seconds * 1e9); }

static void run(double seconds) {
    for (uint64_t end = until(seconds); now() < end;)
        turn(20);
}

void step_poll(int count, const char *packet, int packets, double warm_up, double seconds) {
    size_t size = (strlen(packet) + 1) * (size_t)packets;
    payload = calloc(size + 1, 1);
    for (int i = 0; i < packets; i++)
        sprintf(payload + strlen(payload), "%s%s", i ? "\x1e" : "", packet);
    payload_after_pong = malloc(size + 3);
    sprintf(payload_after_pong, "3\x1e%s", payload);
    payload_packets = packets;

    poller **pollers = malloc(sizeof *pollers * (size_t)count);
    for (int i = 0; i < count; i++)
        pollers[i] = open_poller(false);
    uint64_t limit = until(PATIENCE);
    while (connected_count < count) {
        turn(20);
        if (now() > limit)
            fail("%d of %d clients on polling stand", connected_count, count);
    }
    answering = true;
    for (int i = 0; i < count; i++)
        post_again(pollers[i]);
    run(warm_up);
    forget_latencies();
    moment before = look();
    run(seconds);
    moment after = look();
    if (after.units == before.units)
        fail("no replies");
    report("poll", &before, &after, after.units - before.units);
}

static void end(poller *self) {
    drop(self->websocket);
    close_requests(&self->get);
    close_requests(&self->post);
}

static void storm(int count, int at_once) {
    poller **pollers = malloc(sizeof *pollers * (size_t)count);
    uint64_t limit = until(PATIENCE);
    ended_count = 0;
    for (int begun = 0; ended_count < count;) {
        while (begun < count && begun - ended_count < at_once)
            pollers[begun++] = open_poller(true);
        turn(100);
        if (now() > limit)
            fail("%d of %d clients have moved to WebSocket", ended_count, count);
    }
    for (int i = 0; i < count; i++)
        end(pollers[i]);
    free(pollers);
}

void step_storm(int warm_up, int count, int at_once) {
    storm(warm_up, at_once);
    run(0.5);
    forget_latencies();
    moment before = look();
    storm(count, at_once);
    moment after = look();
    report("storm", &before, &after, (uint64_t)count);
}
