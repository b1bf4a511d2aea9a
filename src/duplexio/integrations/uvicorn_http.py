"""`http=` under uvicorn: polling on our path is answered in the parser's callbacks, WebSockets there go to picows.

Everything else is uvicorn's own class, request by request on the same connection. Relies, beyond documented use, on the
constructor's keyword arguments, the parser callbacks, and on `scope`, `headers`, `url`, `cycle`, `pipeline`,
`_start_asgi_task` and `on_response_complete` of the base class.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from duplexio.integrations.asgi import ENDPOINT, AsgiEndpoint
from duplexio.integrations.unread import Session, close_when_read
from duplexio.integrations.uvicorn_exchange import FastExchange
from duplexio.integrations.uvicorn_handshake import begin_websocket
from duplexio.integrations.uvicorn_request import make_request
from duplexio.protocol.websocket_handshake import STATUS_LINES

__all__ = ["HttpProtocol", "endpoint_of"]

Headers = list[tuple[bytes, bytes]]

#: Seconds that the head of a request may take. uvicorn has no such limit, and a connection costs the client nothing.
HEADER_TIMEOUT = 20.0
#: Seconds that a body may take which nobody waits for: that of a GET, or of a POST that was answered. As long as for a
#: head; that of a POST which brings packets has the time that its session's heartbeat leaves it.
BODY_TIMEOUT = 20.0
#: The bytes of a head. Node's limit is 16 KiB; cookies of a large site come close to it.
MAX_HEAD = 65_536


def endpoint_of(app: Any) -> AsgiEndpoint | None:
    """The endpoint of a root application, behind uvicorn's own middleware for proxies at the most."""
    while isinstance(app, ProxyHeadersMiddleware):
        app = app.app
    endpoint = getattr(app, ENDPOINT, None)
    return endpoint if isinstance(endpoint, AsgiEndpoint) else None


_written: tuple[Headers | None, bytes] = (None, b"")


def _lines_of(headers: Headers) -> bytes:
    """The headers that all answers have, as they go out. uvicorn makes a list of them a second, for the date."""
    global _written
    known, lines = _written
    if known is not headers:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        _written = headers, lines
    return lines


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own class, request by request, except for requests to our endpoint where it is the root application."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._endpoint = endpoint_of(self.app)
        #: Whether it is bound to this loop, as far as this connection has seen to it.
        self._started = False
        self._ours: FastExchange | None = None
        #: Whose answer was written last.
        self._session: Session | None = None
        self._pending: FastExchange | None = None
        self._read = 0
        self._in_head = False
        #: Whether the head that is read began in this very read.
        self._begun = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        #: Whether nothing is asked, since when, and what looks whether that has been too long. It outlives the requests
        #: that come in between: uvicorn's own timer is made and cancelled for each.
        self._rests = False
        self._rests_since = 0.0
        self._rest_timer: asyncio.TimerHandle | None = None
        self._leftover = b""
        #: Of a request whose head is here and whose end is not: whether this read had body, and what came since.
        self._unfinished = self._body_came = False
        self._behind_body = 0

    # The connection.

    def take_over(self, transport: asyncio.Transport, data: bytes, due: float) -> None:
        """A connection, and the first that came on it; its head has to be whole at `due`, by the loop's clock."""
        self.connection_made(transport)
        transport.set_protocol(self)
        self._head_timer = self.loop.call_at(due, self._head_too_late)
        self.data_received(data)

    def _await_head(self) -> None:
        """A head is not complete yet: so much time it has. One that comes in one piece never needs the timer."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_TIMEOUT, self._head_too_late)

    def _head_too_late(self) -> None:
        self._head_timer = None
        close_when_read(self.transport, self._session)

    def _head_arrived(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_end(self) -> None:
        """Of a request of ours the head is here, and not its end."""
        if self._body_timer is None and self._ours is not None:
            self._body_timer = self.loop.call_later(BODY_TIMEOUT, self._body_too_late)

    def _body_too_late(self) -> None:
        self._body_timer = None
        if self._ours is not None and self._ours.wanted:
            self._await_end()
        else:
            close_when_read(self.transport, self._session)

    def _end_arrived(self) -> None:
        self._unfinished = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    @property
    def _idle(self) -> bool:
        """Whether nothing is asked, and no timer waits for it: there were line ends in front of a request, which RFC
        9112 §2.2 allows, or the rest of a body whose answer is out."""
        asked = self._pending is not None or not (self.cycle is None or self.cycle.response_complete)
        return not self._rests and not asked

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._end_arrived()
        self._stop_resting()
        super().connection_lost(exc)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.lost()

    def on_response_complete(self) -> None:
        """The base class's, with another timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._rests = True
        self._rests_since = self.loop.time()
        if self._rest_timer is None:
            self._rest_timer = self.loop.call_later(self.timeout_keep_alive, self._rested)

    def _rested(self) -> None:
        self._rest_timer = None
        if self._rests:
            left = self._rests_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._rest_timer = self.loop.call_later(left, self._rested)
            else:
                self.timeout_keep_alive_handler()

    def _stop_resting(self) -> None:
        self._rests = False
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.is_closing():
            close_when_read(self.transport, self._session)

    def pause_writing(self) -> None:
        # A client that asks and does not read its answers is not heard, either.
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def _count_head(self) -> None:
        """A head is still not complete behind what was read."""
        if self._begun:
            # It began behind other requests, perhaps: only what is known to be of it counts.
            self._begun = False
            self._head_size = self._size_of_head()
        else:
            self._head_size += self._read
        if self._head_size > MAX_HEAD:
            self._refuse_head()
        else:
            self._await_head()

    def _count_trailers(self) -> None:
        """A chunked body may be followed by fields: nobody here reads them, and the parser would keep them."""
        self._behind_body = 0 if self._body_came else self._behind_body + self._read
        self._body_came = False
        if self._behind_body > MAX_HEAD:
            self._report("head_too_large", f"fields of over {MAX_HEAD} bytes behind a body")
            self.transport.close()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse_head(self) -> None:
        self._report("head_too_large", f"a request head of over {MAX_HEAD} bytes")
        self.send_400_response("Request head too large.")

    def shutdown(self) -> None:
        if self._pending is not None:
            self._pending.keep_alive = False
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        self._rests = False
        self._read = len(data)
        try:
            self.parser.feed_data(data)
            if self._in_head:
                self._count_head()
            elif self._unfinished:
                self._count_trailers()
                self._await_end()
            elif self._idle:
                self._await_head()
        except httptools.HttpParserCallbackError as error:
            self._callback_failed(error)
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
        except httptools.HttpParserUpgrade as upgrade:
            # What came with the handshake belongs to the WebSocket; uvicorn's own class drops it.
            self._leftover = data[upgrade.args[0] :]
            if not self._should_upgrade():
                self._unsupported_upgrade_warning()
            elif self._endpoint is not None and self._is_ours():
                self._upgrade(self._endpoint)
            else:
                self.handle_websocket_upgrade()

    def _callback_failed(self, error: Exception) -> None:
        """Code of ours raised, or of the user's that it called: no fault of the request's."""
        cause = error.__context__ or error
        if self._endpoint is None:
            self.logger.error("a request could not be handled", exc_info=cause)
        else:
            self._endpoint.engine.reporter.failure("a request could not be handled", cause)
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINES[500] + b"connection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    # Requests.

    def _is_ours(self) -> bool:
        endpoint = self._endpoint
        if endpoint is None:
            return False
        return self.url.partition(b"?")[0] in endpoint.raw_paths

    def on_message_begin(self) -> None:
        # The base class makes a scope here, which a request of ours does not need.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._rests = False
        self._ours = None
        self._in_head = self._begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the body it is a trailer, which may be discarded. RFC 9110 §6.5.1.
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def _make_scope(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)

    def on_headers_complete(self) -> None:
        # One that came in one small piece, as nearly all do, needs no counting.
        self._unfinished, self._behind_body = True, 0
        in_pieces = self._head_timer is not None
        self._head_arrived()
        if (in_pieces or self._read > MAX_HEAD) and self._size_of_head() > MAX_HEAD:
            self._refuse_head()
        if self.transport.is_closing():
            self._ours = FastExchange(self, make_request(self, "GET", self.url, self.headers, websocket=False), False)
            self._ours.done = True
            return
        if self._pending is not None:
            # Pipelining behind a poll: its answer is the connection's last, and the client asks again. RFC 9112 §9.3.2.
            self._pending.keep_alive = False
            self._ours = FastExchange(self, self._pending.request, False)
            self._ours.done = True
            return
        waiting = self.cycle is not None and not self.cycle.response_complete
        if not self._is_ours() or waiting or (self.parser.should_upgrade() and self._should_upgrade()):
            self._make_scope()
            super().on_headers_complete()
            return
        assert self._endpoint is not None
        if not self._started:
            self._started = True
            self._endpoint.start()
        method = self.parser.get_method().decode("ascii")
        request = make_request(self, method, self.url, self.headers, websocket=False)
        exchange = FastExchange(self, request, self.parser.should_keep_alive())
        self._ours = self._pending = exchange
        exchange.begin(self._endpoint)

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        if self._ours is None:
            super().on_body(body)
        elif not self._ours.done:
            self._ours.add(body)

    def on_message_complete(self) -> None:
        self._end_arrived()
        if self._ours is None:
            super().on_message_complete()
        elif not self._ours.done:
            self._ours.complete()

    def answer(self, exchange: FastExchange, parts: list[bytes], body: bytes) -> None:
        """Writes the answer to a request of ours; `parts`: of its head, all that are the request's own."""
        if exchange is self._pending:
            self._pending = None
        if self.transport is None or self.transport.is_closing():
            return
        parts.append(_lines_of(self.server_state.default_headers))
        if not exchange.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        self.transport.write(b"".join(parts))
        self._session = exchange.session
        if not exchange.keep_alive:
            close_when_read(self.transport, self._session)
        self.on_response_complete()
        if self.flow.write_paused:
            self.flow.pause_reading()

    # Upgrades.

    def handle_websocket_upgrade(self) -> None:
        self._stop_resting()
        super().handle_websocket_upgrade()
        if self._leftover and not self.transport.is_closing():
            self.transport.get_protocol().data_received(self._leftover)  # type: ignore[attr-defined]

    def _upgrade(self, endpoint: AsgiEndpoint) -> None:
        endpoint.start()
        method = self.parser.get_method().decode("ascii")
        request = make_request(self, method, self.url, self.headers, websocket=True)
        begin_websocket(self, endpoint, request, self._leftover)

    def upgraded(self) -> None:
        """The connection is another's now."""
        self._stop_resting()
        self.parser = self.cycle = self.scope = self.headers = self.flow = cast(Any, None)

    def _report(self, cause: str, text: str) -> None:
        if self._endpoint is not None:
            self._endpoint.engine.reporter.fault(cause, self.client[0] if self.client else "", text)
