#define _GNU_SOURCE
#include "generator.h"
#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* Seconds that any step may take over what the script gave it. */
#define PATIENCE 120.0
/* Bytes that messages are repeated to, so that many of them leave in one write. */
#define REPEATED (4u << 20)
#define MOST_REPEATED 512u
#define FIRST_ROOM 2048u
#define MOST_HELLOS 32
/* A frame whose length has one byte. */
#define MOST_SMALL (6u + 125u)
/* The bit of a frame's first byte that says so; it is counted to the opcode. */
#define DEFLATED 0x40

enum state { DIALLING, ASKED, OPENING, READY, GONE };

struct connection {
    watched watched;
    stream stream;
    enum state state;
    bool writing;
    int hellos_answered;
    uint8_t *in;
    size_t used, room;
    /* Messages that are to be sent; the next one, and how much of it has gone. */
    uint32_t pending, next;
    size_t gone;
    /* Those that replies of the read that goes on call for. */
    uint32_t answers;
    /* Small frames that have to wait until a message has gone whole. */
    uint8_t due[2 * MOST_SMALL];
    size_t due_length;
    /* When those in flight were sent, the oldest first; made for those that echo. */
    uint64_t *sent_at;
    uint32_t oldest, newest;
    uint64_t begun;
    on_frame *taker;
    void *owner;
    char query[192];
};

static bytes hellos[MOST_HELLOS], hello_beginning, reply_beginning;
static int hello_count, reply_opcode = 1;
static size_t reply_length;

/* The messages in turn, and again, in one piece; where each begins. */
static uint8_t *ring;
static size_t ring_size, *begins;
static uint32_t ring_count, message_count;

static connection **clients;
static int client_count, ready_count, window;
static bool answering, timing_opens;
static uint64_t broadcast_at;

static on_frame opening, open_frame;

void say_hello_with(bytes frame) {
    if (hello_count == MOST_HELLOS)
        fail("more than %d hellos", MOST_HELLOS);
    hellos[hello_count++] = frame;
}

void expect_hello(bytes beginning) { hello_beginning = beginning; }

void expect_reply(int opcode, bytes beginning, size_t length) {
    reply_opcode = opcode;
    reply_beginning = beginning;
    reply_length = length;
}

void forget_messages(void) { message_count = ring_count = 0, ring_size = 0; }

static void append(const uint8_t *data, size_t length) {
    ring = realloc(ring, ring_size + length);
    begins = realloc(begins, sizeof *begins * (ring_count + 2));
    memcpy(ring + ring_size, data, length);
    begins[ring_count++] = ring_size;
    begins[ring_count] = ring_size += length;
}

void send_message(bytes frames) {
    append(frames.data, frames.length);
    message_count = ring_count;
}

static void repeat_messages(void) {
    if (!message_count)
        fail("no message");
    while (ring_count < message_count + MOST_REPEATED && ring_size < REPEATED) {
        uint32_t again = ring_count % message_count;
        size_t length = begins[again + 1] - begins[again];
        uint8_t *copy = malloc(length);
        memcpy(copy, ring + begins[again], length);
        append(copy, length);
        free(copy);
    }
}

static bool begins_with(const uint8_t *data, size_t length, bytes beginning) {
    return length >= beginning.length && !memcmp(data, beginning.data, beginning.length);
}

bool is_reply(int opcode, const uint8_t *data, size_t length) {
    if (opcode != reply_opcode || !begins_with(data, length, reply_beginning))
        return false;
    wrong_replies += reply_length && length != reply_length;
    return true;
}

static void want_writing(connection *self, bool writing) {
    if (self->writing != writing)
        watch(self->stream.fd, &self->watched, self->writing = writing, true);
}

/* Small things between messages: what does not fit in a socket's buffer then is a server that does not read. */
static void send_whole(connection *self, const void *data, size_t length) {
    if (stream_write(&self->stream, data, length) != (ssize_t)length)
        fail("a server does not read");
}

static void send_small(connection *self, int opcode, const uint8_t *data, size_t length) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t frame[MOST_SMALL] = {0x80 | (uint8_t)opcode, 0x80 | (uint8_t)length};
    memcpy(frame + 2, mask, 4);
    for (size_t i = 0; i < length; i++)
        frame[6 + i] = data[i] ^ mask[i & 3];
    if (!self->gone)
        send_whole(self, frame, 6 + length);
    else if (self->due_length + 6 + length > sizeof self->due)
        fail("a server does not read, and asks for answers");
    else {
        memcpy(self->due + self->due_length, frame, 6 + length);
        self->due_length += 6 + length;
    }
}

void send_text(connection *self, const char *text) { send_small(self, 1, (const uint8_t *)text, strlen(text)); }

static void flush(connection *self) {
    while (self->pending) {
        uint32_t last = self->next + self->pending < ring_count ? self->next + self->pending : ring_count;
        size_t from = begins[self->next] + self->gone;
        ssize_t sent = stream_write(&self->stream, ring + from, begins[last] - from);
        if (sent < 0 && errno == EAGAIN) {
            want_writing(self, true);
            return;
        }
        if (sent < 0)
            fail("send: %s", strerror(errno));
        for (from += (size_t)sent; self->next < last && begins[self->next + 1] <= from; self->next++)
            self->pending--;
        self->gone = from - begins[self->next];
        if (!self->gone)
            self->next %= message_count;
        if (self->due_length && !self->gone) {
            send_whole(self, self->due, self->due_length);
            self->due_length = 0;
        }
    }
    want_writing(self, false);
}

static void send_messages(connection *self, uint32_t count) {
    if (self->sent_at)
        for (uint64_t time = now(), i = 0; i < count; i++)
            self->sent_at[self->newest++ % (uint32_t)window] = time;
    self->pending += count;
    flush(self);
}

void send_next_message(connection *self) {
    repeat_messages();
    send_messages(self, 1);
}

static void ask(connection *self) {
    char request[2048];
    int length = snprintf(request, sizeof request,
                          "GET %s?EIO=4&transport=websocket%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                          "Sec-WebSocket-Version: 13\r\n%s\r\n",
                          given.path, self->query, given.host, given.header);
    self->state = ASKED;
    send_whole(self, request, (size_t)length);
    want_writing(self, false);
}

/* The session's packet first, then an answer to each hello. */
static void opening(connection *self, int opcode, const uint8_t *data, size_t length) {
    if (self->hellos_answered++ == 0) {
        for (int i = 0; i < hello_count; i++)
            send_whole(self, hellos[i].data, hellos[i].length);
    } else if (!begins_with(data, length, hello_beginning))
        fail("not what a hello is answered with: %.*s", (int)(length < 80 ? length : 80), (const char *)data);
    if (self->hellos_answered <= hello_count)
        return;
    self->taker = open_frame;
    self->state = READY;
    ready_count++;
    if (timing_opens)
        latency(now() - self->begun);
    (void)opcode;
}

static void open_frame(connection *self, int opcode, const uint8_t *data, size_t length) {
    if (is_reply(opcode, data, length)) {
        units++;
        if (self->sent_at && self->oldest != self->newest)
            latency(now() - self->sent_at[self->oldest++ % (uint32_t)window]);
        else if (broadcast_at)
            latency(now() - broadcast_at);
        self->answers += answering;
    } else if (opcode == 1 && length == 1 && *data == '2') {
        send_text(self, "3");
        units += reply_opcode == 0;
    }
}

/* How long the frame is and where its payload begins; 0 while its head has not all come. */
static size_t head_of(const uint8_t *at, size_t left, uint64_t *length) {
    if (left < 2)
        return 0;
    size_t size = 2, wide = (at[1] & 127) == 127 ? 8 : (at[1] & 127) == 126 ? 2 : 0;
    if (left < size + wide)
        return 0;
    *length = wide ? 0 : at[1] & 127;
    for (size_t i = 0; i < wide; i++)
        *length = *length << 8 | at[2 + i];
    return size + wide;
}

static size_t take_frames(connection *self, size_t from) {
    while (self->state != GONE) {
        uint64_t length = 0;
        const uint8_t *at = self->in + from;
        size_t left = self->used - from, head = head_of(at, left, &length);
        if (!head)
            break;
        if (left < head + length) {
            if (self->room < head + length + from) {
                self->room = head + (size_t)length + from + FIRST_ROOM;
                self->in = realloc(self->in, self->room + 1);
            }
            break;
        }
        if (!(at[0] & 0x80))
            fail("a fragmented message");
        if ((at[0] & 15) == 8)
            fail("closed by the server");
        from += head + length;
        /* Servers may ping on WebSocket, too, and hang up on who does not answer. */
        if ((at[0] & 15) == 9)
            send_small(self, 10, at + head, (size_t)length);
        else
            self->taker(self, at[0] & (15 | DEFLATED), at + head, (size_t)length);
    }
    return from;
}

static size_t take_answer(connection *self) {
    self->in[self->used] = 0;
    char *end = strstr((char *)self->in, "\r\n\r\n");
    if (!end)
        return 0;
    if (strncmp((char *)self->in, "HTTP/1.1 101", 12))
        fail("no WebSocket: %.200s", (char *)self->in);
    self->state = OPENING;
    if (self->owner)
        self->taker(self, 0, NULL, 0);
    return (size_t)(end + 4 - (char *)self->in);
}

static void take(connection *self) {
    for (;;) {
        if (self->used == self->room) {
            self->room *= 2;
            self->in = realloc(self->in, self->room + 1);
        }
        size_t room = self->room - self->used;
        ssize_t got = stream_read(&self->stream, self->in + self->used, room);
        if (got < 0 && errno == EAGAIN)
            break;
        if (got <= 0)
            fail("the server has gone");
        self->used += (size_t)got;
        size_t from = self->state == ASKED ? take_answer(self) : 0;
        if (self->state >= OPENING)
            from = take_frames(self, from);
        if (self->state == GONE)
            return;
        memmove(self->in, self->in + from, self->used -= from);
        /* TLS has more than a read gives, and says nothing of it to epoll. */
        if ((size_t)got < room && !self->stream.tls)
            break;
    }
    uint32_t answers = self->answers;
    self->answers = 0;
    if (answers)
        send_messages(self, answers);
}

static void websocket_ready(watched *watched, uint32_t events) {
    connection *self = (connection *)watched;
    if (self->state == GONE)
        return;
    if (self->state == DIALLING) {
        if (stream_ready(&self->stream))
            ask(self);
        else if (self->stream.tls)
            want_writing(self, false);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        take(self);
    if (events & EPOLLOUT && self->state == READY)
        flush(self);
}

connection *open_websocket(const char *query, on_frame *taker, void *owner) {
    connection *self = calloc(1, sizeof *self);
    self->watched.ready = websocket_ready;
    self->begun = now();
    self->stream = stream_dial();
    self->room = FIRST_ROOM;
    self->in = malloc(self->room + 1);
    self->taker = taker;
    self->owner = owner;
    snprintf(self->query, sizeof self->query, "%s", query);
    watch(self->stream.fd, &self->watched, self->writing = true, false);
    return self;
}

void *owner_of(connection *self) { return self->owner; }

/* The memory stays: an event for it may have been fetched already. */
void drop(connection *self) {
    stream_drop(&self->stream);
    free(self->in);
    free(self->sent_at);
    self->in = NULL, self->sent_at = NULL;
    self->state = GONE;
}

static uint64_t until(double seconds) { return now() + (uint64_t)(seconds * 1e9); }

void step_connect(int count, int at_once) {
    int wanted = client_count + count;
    clients = realloc(clients, sizeof *clients * (size_t)wanted);
    forget_latencies();
    timing_opens = true;
    moment before = look();
    uint64_t limit = until(PATIENCE);
    while (ready_count < wanted) {
        while (client_count < wanted && client_count - ready_count < at_once)
            clients[client_count++] = open_websocket("", opening, NULL);
        turn(100);
        if (now() > limit)
            fail("%d of %d connections stand", ready_count, wanted);
    }
    moment after = look();
    timing_opens = false;
    report("connect", &before, &after, (uint64_t)count);
}

void step_close(void) {
    for (int i = 0; i < client_count; i++)
        drop(clients[i]);
    client_count = ready_count = 0;
}

void step_idle(double seconds) {
    int wanted = reply_opcode;
    bool busy = given.busy;
    /* What is counted are heartbeats, and the generator has nothing to be early for. */
    reply_opcode = 0, given.busy = false;
    forget_latencies();
    moment before = look();
    for (uint64_t end = until(seconds); now() < end;)
        turn(20);
    moment after = look();
    reply_opcode = wanted, given.busy = busy;
    report("idle", &before, &after, after.units - before.units);
}

static void run(double seconds) {
    for (uint64_t end = until(seconds); now() < end;)
        turn(20);
}

void step_echo(int active, int in_flight, double warm_up, double seconds) {
    repeat_messages();
    window = in_flight;
    answering = true;
    for (int i = 0; i < active; i++) {
        clients[i]->sent_at = calloc((size_t)window, sizeof(uint64_t));
        send_messages(clients[i], (uint32_t)window);
    }
    run(warm_up);
    forget_latencies();
    moment before = look();
    run(seconds);
    moment after = look();
    report("echo", &before, &after, after.units - before.units);
    if (after.units == before.units)
        fail("no replies");
    /* What is in flight comes back before anything else is measured. */
    answering = false;
    uint64_t limit = until(PATIENCE);
    for (int i = 0; i < active; i++) {
        while (clients[i]->oldest != clients[i]->newest && now() < limit)
            turn(20);
        free(clients[i]->sent_at);
        clients[i]->sent_at = NULL;
    }
}

static void broadcast(int count, int receivers) {
    uint64_t limit = until(PATIENCE);
    for (int i = 0; i < count; i++) {
        uint64_t wanted = units + (uint64_t)receivers;
        broadcast_at = now();
        send_messages(clients[0], 1);
        while (units < wanted) {
            turn(20);
            if (now() > limit)
                fail("a broadcast lacks %llu of %d deliveries", (unsigned long long)(wanted - units), receivers);
        }
        if (units != wanted)
            fail("a broadcast has more than %d deliveries", receivers);
    }
    broadcast_at = 0;
}

void step_broadcast(int warm_up, int count, int receivers) {
    repeat_messages();
    broadcast(warm_up, receivers);
    forget_latencies();
    moment before = look();
    broadcast(count, receivers);
    moment after = look();
    report("broadcast", &before, &after, after.units - before.units);
}
