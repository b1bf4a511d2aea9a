/* A TCP connection, with TLS around it where the script says so. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct {
    int fd;
    void *tls;
} stream;

stream stream_dial(void);
/* Whether it can be used: the TCP connection stands and so does TLS. */
bool stream_ready(stream *self);
/* As `recv` and `send` answer: -1 with EAGAIN where it would wait. */
ssize_t stream_read(stream *self, void *data, size_t room);
ssize_t stream_write(stream *self, const void *data, size_t length);
void stream_drop(stream *self);

#endif
