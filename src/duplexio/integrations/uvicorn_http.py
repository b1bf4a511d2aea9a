"""`http=` under uvicorn: polling on our path is answered in the parser's callbacks, WebSockets there go to picows.

Everything else is uvicorn's own class, request by request on the same connection. Relies, beyond documented use, on the
constructor's keyword arguments, the parser callbacks, and on `scope`, `headers`, `url`, `cycle`, `pipeline` and
`on_response_complete` of the base class.
"""

from __future__ import annotations

import asyncio
import base64
import http
import urllib.parse
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from duplexio.engine.connection import Connection
from duplexio.engine.polling import PollingTransport
from duplexio.engine.websocket import WebSocketTransport
from duplexio.integrations.asgi import (
    ENDPOINT,
    AsgiEndpoint,
    announced_length,
    body_too_large,
    content_type_refused,
    hint_headers,
    wrong_method,
)
from duplexio.integrations.asgi_websocket import NOBODY
from duplexio.integrations.uvicorn_websocket import hand_over, switching_protocols
from duplexio.protocol.engine_handshake import Refusal, Request

__all__ = ["HttpProtocol", "endpoint_of"]

Headers = list[tuple[bytes, bytes]]

#: How long the head of a request may take. uvicorn has no such limit, and a connection costs the client nothing.
HEADER_TIMEOUT = 20.0
#: The bytes of a head. Node's limit is 16 KiB; cookies of a large site come close to it.
MAX_HEAD = 65_536

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}


def endpoint_of(app: Any) -> AsgiEndpoint | None:
    """The endpoint of a root application, behind uvicorn's own middleware for proxies at the most."""
    while isinstance(app, ProxyHeadersMiddleware):
        app = app.app
    endpoint = getattr(app, ENDPOINT, None)
    return endpoint if isinstance(endpoint, AsgiEndpoint) else None


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
        self._ours: FastExchange | None = None
        self._pending: FastExchange | None = None
        self._read = 0
        self._in_head = False
        #: Whether the head that is read began in this very read.
        self._begun = False
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._leftover = b""
        #: Of a request whose head is here and whose end is not: whether this read had body, and what came since.
        self._unfinished = self._body_came = False
        self._behind_body = 0

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def _await_head(self) -> None:
        """A head is not complete yet: so much time it has. One that comes in one piece never needs the timer."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADER_TIMEOUT, self._head_too_late)

    def _head_too_late(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _head_arrived(self) -> None:
        self._in_head = False
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.lost()

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
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._read = len(data)
        try:
            self.parser.feed_data(data)
            if self._in_head:
                self._count_head()
            elif self._unfinished:
                self._count_trailers()
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
        except httptools.HttpParserUpgrade as upgrade:
            # What came with the handshake belongs to the WebSocket; uvicorn's own class drops it.
            self._leftover = data[upgrade.args[0] :]
            if not self._should_upgrade():
                self._unsupported_upgrade_warning()
            elif self._is_ours():
                self._upgrade()
            else:
                self.handle_websocket_upgrade()

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
        self._ours = None
        self._in_head = self._begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the body it is a trailer, which may be discarded. RFC 9110 §6.5.1.
        if self._in_head:
            super().on_header(name, value)

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
            self._ours = FastExchange(self, self._request("GET", websocket=False), False)
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
        self._endpoint.start()
        method = self.parser.get_method().decode("ascii")
        exchange = FastExchange(self, self._request(method, websocket=False), self.parser.should_keep_alive())
        self._ours = self._pending = exchange
        exchange.begin(self._endpoint)

    def on_body(self, body: bytes) -> None:
        self._body_came = True
        if self._ours is None:
            super().on_body(body)
        elif not self._ours.done:
            self._ours.add(body)

    def on_message_complete(self) -> None:
        self._unfinished = False
        if self._ours is None:
            super().on_message_complete()
        elif not self._ours.done:
            self._ours.complete()

    def _request(self, method: str, websocket: bool) -> Request:
        path, _, query = self.url.partition(b"?")
        address = self.client[0] if self.client else ""
        request = Request(
            method, path.decode("latin-1"), query, self.headers, address, self.scheme == "https", websocket
        )
        if self.config.proxy_headers and (request.header(b"x-forwarded-for") or request.header(b"x-forwarded-proto")):
            self._resolve_proxy(request)
        # The scope of interest is the handshake's: later requests of a session are spared it.
        if not request.query.get("sid"):
            request.scope = self._scope(request)
        return request

    def _scope(self, request: Request) -> dict[str, Any]:
        websocket, secure = request.websocket, request.secure
        return {
            "type": "websocket" if websocket else "http",
            "path": self.root_path + urllib.parse.unquote(request.path),
            "query_string": request.query_string,
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "scheme": ("wss" if secure else "ws") if websocket else "https" if secure else "http",
            "root_path": self.root_path,
            "state": self.app_state.copy(),
        }

    def _resolve_proxy(self, request: Request) -> None:
        """Address and scheme as uvicorn's middleware makes them of the forwarding headers."""
        scope: Any = {"type": "http", "headers": self.headers, "client": self.client, "scheme": self.scheme}

        async def keep(scope: Any, receive: Any, send: Any) -> None: ...

        nothing: Any = None
        asking: Any = ProxyHeadersMiddleware(keep, trusted_hosts=self.config.forwarded_allow_ips)(
            scope, nothing, nothing
        )
        try:
            asking.send(None)
        except StopIteration:
            pass
        if scope["client"]:
            # Whom the same-origin check may trust is who is at the other end, not whom it speaks for.
            request.peer, request.address = request.address, scope["client"][0]
        request.secure = scope["scheme"] in ("https", "wss")

    def answer(self, exchange: FastExchange, head: bytes, body: bytes) -> None:
        """Writes the answer to a request of ours."""
        if exchange is self._pending:
            self._pending = None
        if self.transport is None or self.transport.is_closing():
            return
        parts = [head]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        if not exchange.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        self.transport.write(b"".join(parts))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()
        if self.flow.write_paused:
            self.flow.pause_reading()

    # Upgrades.

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        if self._leftover and not self.transport.is_closing():
            self.transport.get_protocol().data_received(self._leftover)  # type: ignore[attr-defined]

    def _upgrade(self) -> None:
        endpoint = self._endpoint
        assert endpoint is not None
        endpoint.start()
        request = self._request(self.parser.get_method().decode("ascii"), websocket=True)
        key = _websocket_key(request)
        if key is None:
            self._report("bad_websocket_handshake", "no Sec-WebSocket-Key of 16 bytes, or no Sec-WebSocket-Version: 13")
            self._refuse_upgrade(400, b"Not a WebSocket handshake of version 13.", [(b"sec-websocket-version", b"13")])
            return
        verdict = endpoint.engine.check(request)
        if verdict is not None or endpoint.engine.admits_at_once:
            self._decide_upgrade(endpoint, request, key, verdict)
        else:
            self.transport.pause_reading()
            task = self.loop.create_task(self._ask_upgrade(endpoint, request, key))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _ask_upgrade(self, endpoint: AsgiEndpoint, request: Request, key: bytes) -> None:
        refusal = await endpoint.engine.admit(request)
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._decide_upgrade(endpoint, request, key, refusal)

    def _decide_upgrade(
        self, endpoint: AsgiEndpoint, request: Request, key: bytes, verdict: Refusal | Connection | None
    ) -> None:
        engine = endpoint.engine
        if isinstance(verdict, Refusal):
            engine.refuse(request, verdict)
            headers = [(b"content-type", b"text/html"), *hint_headers(verdict, engine)]
            self._refuse_upgrade(verdict.status or 400, verdict.text.encode(), headers)
            return
        sid = "" if verdict is not None else engine.new_sid()
        raw = self.transport
        raw.write(switching_protocols(key, engine.response_headers(request, sid)))
        transport = WebSocketTransport(NOBODY, engine.options.max_http_buffer_size)
        hand_over(
            raw,
            transport,
            self.server_state,
            lambda: engine.open_websocket(request, transport, sid, verdict),
            self._leftover,
        )
        self.connections.discard(self)
        self.server_state.total_requests += 1
        self.parser = self.cycle = self.scope = self.headers = self.flow = cast(Any, None)

    def _report(self, cause: str, text: str) -> None:
        if self._endpoint is not None:
            self._endpoint.engine.reporter.fault(cause, self.client[0] if self.client else "", text)

    def _refuse_upgrade(self, status: int, body: bytes, headers: Headers) -> None:
        parts = [_STATUS_LINES[status], b"connection: close\r\ncontent-length: %d\r\n" % len(body)]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*parts, b"\r\n", body)))
        self.transport.close()


class FastExchange:
    """A request to our endpoint, from its head to its answer. See `engine.polling.Exchange`."""

    __slots__ = ("_body", "_connection", "_endpoint", "_headers", "_protocol", "done", "keep_alive", "request")

    def __init__(self, protocol: HttpProtocol, request: Request, keep_alive: bool) -> None:
        self._protocol = protocol
        self._endpoint: AsgiEndpoint
        self._connection: Connection | None = None
        self._headers: Headers | None = None
        self._body: bytes | bytearray = b""
        self.request = request
        self.keep_alive = keep_alive
        self.done = False

    def begin(self, endpoint: AsgiEndpoint) -> None:
        """The head is here. What can be refused is refused before a byte of the body is kept."""
        self._endpoint = endpoint
        engine, request = endpoint.engine, self.request
        if request.method == "OPTIONS":
            preflight = engine.preflight_headers(request)
            if preflight is not None:
                self._headers = preflight
                self.respond(204, b"")
                return
        verdict = engine.check(request)
        if isinstance(verdict, Refusal):
            self._refuse(verdict)
            return
        self._connection = verdict
        if verdict is None or request.method == "GET":
            return
        if request.method != "POST":
            self._refuse(wrong_method(request))
            return
        transport = verdict.transport
        assert isinstance(transport, PollingTransport)
        if not transport.begin_post(self) or content_type_refused(engine, request, transport):
            return
        if announced_length(request) > engine.options.max_http_buffer_size:
            self._too_large()
        elif self._protocol.expect_100_continue:
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def add(self, data: bytes) -> None:
        """A piece of the body."""
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        if len(self._body) > self._endpoint.engine.options.max_http_buffer_size:
            if self.request.method == "POST" and self._connection is not None:
                self._too_large()
            else:
                self.keep_alive = False
                self.respond(413, b"")

    def _too_large(self) -> None:
        # The rest of the body would only be read to be thrown away.
        self.keep_alive = False
        self._body = b""
        assert self._connection is not None
        transport = self._connection.transport
        if not isinstance(transport, PollingTransport):
            # It was upgraded between the head and the end of the body.
            self.respond(400, b"")
            return
        body_too_large(self._endpoint.engine, self.request, transport)

    def complete(self) -> None:
        """All of the request is here."""
        engine, connection = self._endpoint.engine, self._connection
        if connection is None:
            if engine.admits_at_once:
                self._open()
            else:
                task = self._protocol.loop.create_task(self._admit())
                self._protocol.tasks.add(task)
                task.add_done_callback(self._protocol.tasks.discard)
            return
        transport = connection.transport
        if not isinstance(transport, PollingTransport):
            # It was upgraded between the head and the end of the body.
            self.respond(400, b"")
        elif self.request.method == "GET":
            transport.poll(self)
        else:
            body, self._body = bytes(self._body), b""
            transport.end_post(body)

    async def _admit(self) -> None:
        refusal = await self._endpoint.engine.admit(self.request)
        if refusal is not None:
            self._refuse(refusal)
        elif not self.done:
            self._open()

    def _open(self) -> None:
        engine = self._endpoint.engine
        sid = engine.new_sid()
        self._headers = engine.response_headers(self.request, sid)
        engine.open_polling(self.request, self, sid)

    def _refuse(self, refusal: Refusal) -> None:
        engine = self._endpoint.engine
        engine.refuse(self.request, refusal)
        self._headers = [*engine.response_headers(self.request), *hint_headers(refusal, engine)]
        self.respond(refusal.http_status, refusal.body, b"application/json")

    def respond(self, status: int, body: bytes, content_type: bytes = b"") -> None:
        if self.done:
            return
        self.done = True
        headers = self._endpoint.engine.response_headers(self.request) if self._headers is None else self._headers
        parts = [_STATUS_LINES[status], b"cache-control: no-store\r\n"]
        if status != 204:
            parts.append(b"content-length: %d\r\n" % len(body))
        if self.request.method == "HEAD":
            body = b""
        if content_type:
            parts += (b"content-type: ", content_type, b"\r\n")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        self._protocol.answer(self, b"".join(parts), body)

    def lost(self) -> None:
        """The connection went away first."""
        if not self.done:
            self.done = True
            connection = self._connection
            if connection is not None and isinstance(connection.transport, PollingTransport):
                connection.transport.lost(self)


def _websocket_key(request: Request) -> bytes | None:
    """The key of a handshake that can be answered: RFC 6455 §4.2.1."""
    key = request.header(b"sec-websocket-key")
    if request.method != "GET" or key is None or request.header(b"sec-websocket-version") != b"13":
        return None
    try:
        return key if len(base64.b64decode(key, validate=True)) == 16 else None
    except ValueError:
        return None
