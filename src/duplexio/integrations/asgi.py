"""The endpoint as an ASGI 3 application, for any server and under any mount. https://asgi.readthedocs.io/en/latest/specs/main.html"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from duplexio.engine.connection import Connection
from duplexio.engine.neighbour import Answer, Bridge, Elsewhere, Gift, Neighbour
from duplexio.engine.polling import PollingTransport
from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY
from duplexio.engine.websocket_deflate import accept_websocket
from duplexio.integrations.asgi_websocket import AsgiWebSocket
from duplexio.integrations.client_files import FILES, ClientFiles
from duplexio.observe import shown
from duplexio.protocol import content_encoding
from duplexio.protocol.engine_handshake import (
    BAD_HANDSHAKE_METHOD,
    Refusal,
    Request,
)

__all__ = ["ENDPOINT", "GIVING", "HANDOVER", "AsgiEndpoint", "Receive", "Scope", "Send", "answer_health"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: The attribute by which a root application says that it is ours: requests for its path need no call of it.
ENDPOINT = "__duplexio_endpoint__"
#: The extension of a websocket scope by which our own uvicorn class offers its connection. Its value takes the
#: transport that is to own it and what to do then; what is sent to accept goes through the middlewares as ever. Two
#: None take it back.
HANDOVER = "duplexio.handover"
#: The extension by which it offers to give its connection to another worker: it takes a `Gift`; None takes it back.
#: What is sent to accept goes through the middlewares, and the other worker's answer has the headers that they leave.
GIVING = "duplexio.giving"


class AsgiEndpoint:
    """Routes a scope to the engine. `start` binds the server to the running loop; called at each request."""

    def __init__(self, engine: EngineServer, path: str, files: ClientFiles | None, start: Callable[[], None]) -> None:
        self.engine = engine
        self.path = path
        #: The path as it stands in a request, for a host that has not decoded it.
        self.raw_paths = frozenset((path.encode(), path.encode() + b"/"))
        self._files = files
        self._start = start
        self._surrounding: dict[int, Any] = {}
        self._warned = False

    def start(self) -> None:
        self._start()

    def owns(self, path: str) -> bool:
        """Whether a path, without any root path, is the endpoint's or one of its files'."""
        return path == self.path or path.startswith(self.path + "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._start()
        place = self._place(scope)
        if scope["type"] == "http":
            if place is None:
                await _answer(send, *self._not_here(scope))
            elif place:
                await self._serve_file(place, scope, send)
            else:
                await self._http(self._request(scope), receive, send)
        elif place == "":
            await self._websocket(self._request(scope, websocket=True), scope, receive, send)
        else:
            await receive()
            await _refuse_websocket(scope, send, 404, self._not_here(scope)[2], [])

    def _place(self, scope: Scope) -> str | None:
        """What of ours the path names: "" is the endpoint, else the name of a file; None: nothing."""
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        # A mount leaves the whole path, and says in root_path how much of it is its own; some frameworks cut it off.
        rest = path[len(root) :] if root and path.startswith(root) else path
        # uvicorn puts its --root-path in front even where the proxy has not cut it off.
        rest = rest[len(root) :] if root and rest.startswith(root + "/") else rest
        if rest.rstrip("/") == self.path or (root and rest in ("", "/")):
            return ""
        name = rest.rpartition("/")[2]
        folder = rest[: -len(name) - 1] if name else rest
        if name in FILES and self._files is not None and (folder == self.path or (root and folder == "")):
            return name
        return None

    def _not_here(self, scope: Scope) -> tuple[int, Headers, bytes]:
        here = f"{scope.get('root_path', '')}{self.path}/"
        if b"EIO=" in scope.get("query_string", b""):
            client = scope.get("client")
            hint = (
                f"a client asked at {shown(scope['path'])}; Socket.IO answers at {here}, which Server(path=...) changes"
            )
            self.engine.reporter.fault("wrong_path", client[0] if client else "", hint)
        text = f"Not found. Socket.IO answers at {here} here.\n"
        return 404, [(b"content-type", b"text/plain; charset=utf-8")], text.encode()

    def _request(self, scope: Scope, websocket: bool = False) -> Request:
        client = scope.get("client")
        return Request(
            "GET" if websocket else scope["method"],
            scope["path"],
            scope.get("query_string", b""),
            list(scope["headers"]),
            client[0] if client else "",
            scope.get("scheme") in ("https", "wss"),
            websocket,
            scope,
            self._surrounding_origins(scope),
        )

    def _surrounding_origins(self, scope: Scope) -> Any:
        """The origins that a CORSMiddleware around us admits; None where there is none, or ours were given."""
        app = scope.get("app")
        if app is None or self.engine.options.cors_allowed_origins is not None:
            return None
        key = id(app)
        if key not in self._surrounding:
            self._surrounding[key] = _cors_middleware_origins(app)
        return self._surrounding[key]

    async def _serve_file(self, name: str, scope: Scope, send: Send) -> None:
        assert self._files is not None
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        request = self._request(scope)
        match, accept = request.header(b"if-none-match"), request.header(b"accept-encoding")
        # Reading two hundred kilobytes, once per file: not worth a thread.
        status, headers, body = self._files.answer(name, scope["method"], match, accept)
        headers = [*headers, *self.engine.file_headers(request)]
        if self.engine.options.http_compression is not None:
            headers = content_encoding.varying(headers)
        await _answer(send, status, headers, body)

    # Polling.

    async def _http(self, request: Request, receive: Receive, send: Send) -> None:
        engine = self.engine
        if request.method == "OPTIONS":
            preflight = engine.preflight_headers(request)
            if preflight is not None:
                await _answer(send, 204, preflight, b"")
                return
        verdict = engine.check(request)
        if verdict is None:
            refusal = await engine.admit(request)
            if refusal is not None:
                await self._refuse(request, refusal, send)
                return
            sid = engine.new_sid()
            exchange = Exchange(send, engine.response_headers(request, sid), engine.loop, request)
            engine.open_polling(request, exchange, sid)
            await exchange.answered()
        elif isinstance(verdict, Refusal):
            if not isinstance(verdict, Elsewhere):
                await self._refuse(request, verdict, send)
            elif request.method in ("GET", "POST"):
                await self._relay(verdict, request, receive, send)
            else:
                await self._refuse(request, wrong_method(request), send)
        elif request.method == "GET":
            await self._poll(verdict, request, receive, send)
        elif request.method == "POST":
            await self._post(verdict, request, receive, send)
        else:
            await self._refuse(request, wrong_method(request), send)

    async def _refuse(self, request: Request, refusal: Refusal, send: Send) -> None:
        self.engine.refuse(request, refusal)
        headers = [(b"content-type", b"application/json"), *self.engine.response_headers(request)]
        await _answer(send, refusal.http_status, [*headers, *refusal_headers(refusal, self.engine)], refusal.body)

    async def _relay(self, verdict: Elsewhere, request: Request, receive: Receive, send: Send) -> None:
        """A request for a session that another worker has."""
        assert verdict.neighbour is not None
        exchange = Exchange(send, [], self.engine.loop, request)
        body = b""
        if request.method == "POST":
            limit = self.engine.options.max_http_buffer_size
            read = None if announced_length(request) > limit else await _read_body(receive, limit)
            if read is None:
                report_body_too_large(self.engine, request)
                exchange.respond(413, b"")
                await exchange.answered()
                return
            if not read[1]:
                return
            body = read[0]
        asker = _Asker(exchange)
        cancel = verdict.neighbour.ask(request, body, asker)
        if not exchange.done:
            gone = asyncio.ensure_future(_disconnected(receive))
            exchange.on_answer(gone.cancel)
            try:
                await asyncio.wait((gone,))
            finally:
                gone.cancel()
                if not exchange.done:
                    cancel()
            if not exchange.done:
                return
        if asker.refusal is not None:
            await self._refuse(request, asker.refusal, send)
        else:
            await exchange.answered()

    async def _poll(self, connection: Connection, request: Request, receive: Receive, send: Send) -> None:
        transport = connection.transport
        assert isinstance(transport, PollingTransport)
        exchange = Exchange(send, self.engine.response_headers(request), self.engine.loop, request)
        transport.poll(exchange)
        if not exchange.done:
            # A poll waits for packets, and for its client to go away.
            gone = asyncio.ensure_future(_disconnected(receive))
            exchange.on_answer(gone.cancel)
            try:
                await asyncio.wait((gone,))
            finally:
                gone.cancel()
            if not exchange.done:
                transport.lost(exchange)
                return
        await exchange.answered()

    async def _post(self, connection: Connection, request: Request, receive: Receive, send: Send) -> None:
        transport = connection.transport
        assert isinstance(transport, PollingTransport)
        exchange = Exchange(send, self.engine.response_headers(request), self.engine.loop, request)
        if not transport.begin_post(exchange, is_binary(request)):
            await exchange.answered()
            return
        if content_type_refused(request, transport):
            await exchange.answered()
            return
        limit = self.engine.options.max_http_buffer_size
        if announced_length(request) > limit:
            body_too_large(self.engine, request, transport)
            await exchange.answered()
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                transport.lost(exchange)
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                body_too_large(self.engine, request, transport)
                await exchange.answered()
                return
        transport.end_post(bytes(body))
        await exchange.answered()

    # WebSocket.

    async def _websocket(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self.engine
        await receive()
        verdict = engine.check(request)
        if verdict is None:
            verdict = await engine.admit(request)
        if isinstance(verdict, Elsewhere) and verdict.neighbour is not None:
            if await self._give(verdict.neighbour, request, scope, send):
                return
            bridge = await verdict.neighbour.bridge(request)
            if not isinstance(bridge, Refusal):
                await self._bridge(bridge, request, scope, receive, send)
                return
            verdict = bridge
        if isinstance(verdict, Refusal):
            engine.refuse(request, verdict)
            status = verdict.status or 400
            headers = [(b"content-type", b"text/html"), *refusal_headers(verdict, engine)]
            await _refuse_websocket(scope, send, status, verdict.text.encode(), headers)
            return
        sid = "" if verdict is not None else engine.new_sid()
        accept: dict[str, Any] = {"type": "websocket.accept", "headers": engine.response_headers(request, sid)}
        handover = (scope.get("extensions") or {}).get(HANDOVER)
        if handover is not None:
            fast, extensions = accept_websocket(request, engine.options, NOBODY)
            accept["headers"] += extensions
            handover(fast, lambda: engine.open_websocket(request, fast, sid, verdict))
            await _accept(send, accept, lambda: handover(None, None))
            return
        await send(accept)
        if engine.options.per_message_deflate is not None and not self._warned:
            self._warned = True
            engine.reporter.warning(
                "per_message_deflate is on, but another server has the WebSockets here, and decides about compression:"
                " it counts under `duplexio run`, `io.run` and `io.listen`"
            )
        transport = AsgiWebSocket(engine, send)
        engine.open_websocket(request, transport, sid, verdict)
        await transport.serve(receive)

    async def _give(self, neighbour: Neighbour, request: Request, scope: Scope, send: Send) -> bool:
        """Whether the connection is the session's worker's now, or what is around this server has decided otherwise."""
        giving = (scope.get("extensions") or {}).get(GIVING)
        if giving is None:
            return False
        gift = Gift(request, neighbour)
        giving(gift)
        accept = {"type": "websocket.accept", "headers": self.engine.response_headers(request)}
        await _accept(send, accept, lambda: giving(None))
        return not gift.refused

    async def _bridge(self, bridge: Bridge, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket whose session another worker has."""
        engine = self.engine
        accept: dict[str, Any] = {"type": "websocket.accept", "headers": bridge.headers}
        handover = (scope.get("extensions") or {}).get(HANDOVER)
        try:
            if handover is not None:
                fast, extensions = accept_websocket(request, engine.options, NOBODY)
                accept["headers"] = [*bridge.headers, *extensions]
                handover(fast, lambda: bridge.carry(fast))
                await _accept(send, accept, lambda: handover(None, None))
                return
            await send(accept)
            transport = AsgiWebSocket(engine, send)
            bridge.carry(transport)
            await transport.serve(receive)
        finally:
            bridge.cancel()


def wrong_method(request: Request) -> Refusal:
    """A session's requests are GET and POST."""
    return Refusal(
        BAD_HANDSHAKE_METHOD, "bad_handshake_method", f"{request.method} for a session; GET and POST are its methods"
    )


def is_binary(request: Request) -> bool:
    """Whether its body is announced as bytes."""
    return request.header(b"content-type") == b"application/octet-stream"


def content_type_refused(request: Request, transport: PollingTransport) -> bool:
    """Binary bodies were protocol 3's."""
    return is_binary(request) and transport.refuse_binary()


def announced_length(request: Request) -> int:
    """How many bytes of body the head announces; 0 where it does not say."""
    length = request.header(b"content-length")
    if length is None or not length.isdigit():
        return 0
    # Python refuses to read thousands of digits; 18 are more than any body has.
    return int(length) if len(length) <= 18 else sys.maxsize


def body_too_large(engine: EngineServer, request: Request, transport: PollingTransport) -> None:
    """413, with nothing in it; the session lives, and the client says `transport error`."""
    report_body_too_large(engine, request)
    transport.refuse_post(413)


def report_body_too_large(engine: EngineServer, request: Request) -> None:
    limit = engine.options.max_http_buffer_size
    engine.reporter.fault(
        "message_too_big",
        request.address,
        f"a body of over {limit} bytes; max_http_buffer_size=... changes it",
    )


#: Seconds after which a client may ask again where this worker has too much to hand on.
RETRY_AFTER = 1


def refusal_headers(refusal: Refusal, engine: EngineServer) -> Headers:
    """What a refusal says besides its body."""
    headers = engine.hint_headers(refusal)
    if refusal.cause == "relay_overload":
        headers.append((b"retry-after", b"%d" % RETRY_AFTER))
    return headers


def _cors_middleware_origins(app: Any) -> Any:
    for middleware in getattr(app, "user_middleware", ()):
        if getattr(middleware.cls, "__name__", "") == "CORSMiddleware":
            options = middleware.kwargs
            pattern = options.get("allow_origin_regex")
            origins = tuple(options.get("allow_origins", ()))
            if "*" in origins:
                return "*"
            if pattern is not None:
                return lambda origin: origin in origins or re.fullmatch(pattern, origin) is not None
            return origins
    return None


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    if status not in (204, 304) and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_health(state: dict[str, Any], send: Send) -> None:
    """200 while all is well; 503, so that a balancer looks elsewhere."""
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await _answer(send, 200 if state["status"] == "ok" else 503, headers, json.dumps(state).encode())


async def _accept(send: Send, accept: dict[str, Any], take_back: Callable[[], object]) -> None:
    """Accepts a WebSocket whose connection was offered to somebody. Where what is around this server raises instead, it
    may accept by itself, to close with a code: that is none of ours."""
    try:
        await send(accept)
    except BaseException:
        take_back()
        raise


async def _refuse_websocket(scope: Scope, send: Send, status: int, body: bytes, headers: Headers) -> None:
    """With the protocol's status and text where the server can; else its own 403."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close"})


async def _read_body(receive: Receive, limit: int) -> tuple[bytes, bool] | None:
    """The body, and whether all of it has come; None where it is over the limit."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"", False
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body), True


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Asker:
    """See `engine.neighbour.Asker`."""

    __slots__ = ("_exchange", "refusal")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        #: In the place of an answer.
        self.refusal: Refusal | None = None

    def answered(self, answer: Answer) -> None:
        self._exchange.add_headers(answer.headers)
        self._exchange.respond(answer.status, answer.body, answer.content_type, answer.compressible)

    def unanswered(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self._exchange.respond(refusal.http_status, b"")


class Exchange:
    """See `engine.polling.Exchange`. The answer may be given by anybody; it is sent by the task of its request."""

    __slots__ = ("_future", "_headers", "_on_answer", "_request", "_send")

    def __init__(self, send: Send, headers: Headers, loop: asyncio.AbstractEventLoop, request: Request) -> None:
        self._send = send
        self._headers = headers
        self._request = request
        self._future: asyncio.Future[tuple[int, bytes, bytes, bool]] = loop.create_future()
        self._on_answer: Callable[[], object] | None = None

    @property
    def done(self) -> bool:
        return self._future.done()

    def on_answer(self, callback: Callable[[], object]) -> None:
        self._on_answer = callback

    def add_headers(self, headers: Headers) -> None:
        """What the answer carries besides."""
        self._headers = [*self._headers, *headers]

    def respond(self, status: int, body: bytes, content_type: bytes = b"", compressible: bool = False) -> None:
        if not self._future.done():
            self._future.set_result((status, body, content_type, compressible))
            if self._on_answer is not None:
                self._on_answer()

    async def answered(self) -> None:
        """Waits for the answer, and sends it."""
        status, body, content_type, compressible = await self._future
        headers = [(b"content-type", content_type)] if content_type else []
        if compressible:
            body = await self._compressed(body)
        try:
            await _answer(self._send, status, [*headers, (b"cache-control", b"no-store"), *self._headers], body)
        except (OSError, RuntimeError):
            # The client has just gone. ASGI's word for that is OSError; uvicorn lets that of uvloop through.
            pass

    async def _compressed(self, body: bytes) -> bytes:
        """The body as the client accepts it; the headers say how."""
        self._headers = content_encoding.varying(self._headers)
        coding = content_encoding.choose(self._request.header(b"accept-encoding"))
        if not coding:
            return body
        pieces: list[bytes] = []
        for piece in content_encoding.in_pieces(body, coding):
            pieces.append(piece)
            if len(body) > content_encoding.PIECE:
                await asyncio.sleep(0)
        self._headers.append((b"content-encoding", coding))
        return b"".join(pieces)
