#define _GNU_SOURCE
#include "stream.h"

#include "generator.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL *tls_over(int fd) {
    static SSL_CTX *context;
    if (!context) {
        /* The server is this machine's own: whose certificate it shows does not matter. */
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    SSL_set_connect_state(tls);
    return tls;
}

/* Read and written to when the connection has something: nothing is lost by taking every wait for one of reading. */
static ssize_t tls_result(SSL *tls, int result) {
    int reason = SSL_get_error(tls, result);
    if (result > 0)
        return result;
    if (reason == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    ERR_clear_error();
    return -1;
}
#endif

stream stream_dial(void) {
    stream self = {.fd = dial(), .tls = NULL};
    if (given.tls) {
#ifdef WITH_TLS
        self.tls = tls_over(self.fd);
#else
        fail("built without TLS");
#endif
    }
    return self;
}

bool stream_ready(stream *self) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        fail("connect: %s", strerror(error));
#ifdef WITH_TLS
    if (self->tls) {
        ssize_t result = tls_result(self->tls, SSL_do_handshake(self->tls));
        if (result < 0 && errno != EAGAIN)
            fail("TLS: the handshake failed");
        return result > 0;
    }
#endif
    return true;
}

ssize_t stream_read(stream *self, void *data, size_t room) {
#ifdef WITH_TLS
    if (self->tls)
        return tls_result(self->tls, SSL_read(self->tls, data, (int)room));
#endif
    return recv(self->fd, data, room, 0);
}

ssize_t stream_write(stream *self, const void *data, size_t length) {
#ifdef WITH_TLS
    if (self->tls)
        return tls_result(self->tls, SSL_write(self->tls, data, (int)length));
#endif
    return send(self->fd, data, length, MSG_NOSIGNAL);
}

void stream_drop(stream *self) {
#ifdef WITH_TLS
    if (self->tls)
        SSL_free(self->tls);
#endif
    hang_up(self->fd);
}
