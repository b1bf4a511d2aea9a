/* A load generator for Socket.IO servers: one thread on epoll, so that it is never what is waited for.
 *
 * It reads a script on standard input, one command a line, and prints what each measured command found as a line of
 * JSON. What its clients send comes ready-made in the script: it knows Engine.IO's handshake, heartbeat and upgrade and
 * the frames around messages, and of what is inside no more than how a reply begins. See `script.c` for the commands.
 */
#ifndef GENERATOR_H
#define GENERATOR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What epoll hands back. */
typedef struct watched {
    void (*ready)(struct watched *self, uint32_t events);
} watched;

typedef struct {
    uint8_t *data;
    size_t length;
} bytes;

/* What the script has set. */
typedef struct {
    struct sockaddr_in server;
    char host[64];
    char path[256];
    char header[1024];
    /* Loopback addresses that connections come from, in turn: a port range is too small for tens of thousands. */
    int sources;
    bool tls;
    /* Looks for work without sleeping: a server that wakes a sleeping peer pays for it. */
    bool busy;
} settings;

extern settings given;

/* loop.c: sockets and their events. */
uint64_t now(void);
_Noreturn void fail(const char *form, ...) __attribute__((format(printf, 1, 2)));
void watch(int fd, watched *self, bool writing, bool known);
void turn(int milliseconds);
int dial(void);
void hang_up(int fd);

/* measure.c: units of work, what they took, and the line that says so. */
typedef struct {
    uint64_t at, units, turns, empty_turns;
    double server_cpu, own_cpu, machine_cpu, server_memory;
} moment;

extern uint64_t units, turns, empty_turns, wrong_replies;
void measure_process(int pid);
void latency(uint64_t nanoseconds);
void forget_latencies(void);
moment look(void);
void report(const char *step, const moment *before, const moment *after, uint64_t count);

/* websocket.c: clients on WebSocket. */
typedef struct connection connection;
typedef void on_frame(connection *self, int opcode, const uint8_t *data, size_t length);

void say_hello_with(bytes frame);
void expect_hello(bytes beginning);
void send_message(bytes frames);
void forget_messages(void);
void expect_reply(int opcode, bytes beginning, size_t length);

void step_connect(int count, int at_once);
void step_close(void);
void step_idle(double seconds);
void step_echo(int active, int window, double warm_up, double seconds);
void step_broadcast(int warm_up, int count, int receivers);

connection *open_websocket(const char *query, on_frame *taker, void *owner);
void *owner_of(connection *self);
void send_text(connection *self, const char *text);
void send_next_message(connection *self);
bool is_reply(int opcode, const uint8_t *data, size_t length);
void drop(connection *self);

/* polling.c: clients on HTTP long-polling, and those that move on to WebSocket. */
void step_poll(int count, const char *packet, int packets, double warm_up, double seconds);
void step_storm(int warm_up, int count, int at_once);

#endif
