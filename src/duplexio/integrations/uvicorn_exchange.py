"""A request to our endpoint under uvicorn's HTTP class: answered with no scope, task or call of an application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from duplexio.engine.connection import Connection
from duplexio.engine.neighbour import Answer, Elsewhere, Neighbour
from duplexio.engine.polling import PollingTransport
from duplexio.engine.server import EngineServer
from duplexio.integrations.asgi import (
    AsgiEndpoint,
    announced_length,
    body_too_large,
    content_type_refused,
    is_binary,
    refusal_headers,
    report_body_too_large,
    wrong_method,
)
from duplexio.integrations.unread import Session
from duplexio.protocol import content_encoding
from duplexio.protocol.engine_handshake import Refusal, Request
from duplexio.protocol.websocket_handshake import STATUS_LINES

if TYPE_CHECKING:
    from duplexio.integrations.uvicorn_http import HttpProtocol

__all__ = ["FastExchange"]

Headers = list[tuple[bytes, bytes]]


class _Elsewhere:
    """The session of a request, where another worker has it."""

    __slots__ = ("_patience", "_time", "begun", "cancel", "neighbour")

    def __init__(self, neighbour: Neighbour, engine: EngineServer) -> None:
        self.neighbour = neighbour
        self._time = engine.loop.time
        self._patience = engine.options.ping_interval + engine.options.ping_timeout
        #: When the head was here, and then when it was answered.
        self.begun = self._time()
        #: Tells that worker that the client has gone.
        self.cancel: Callable[[], None] | None = None

    def still_open(self) -> bool:
        """See `unread.Session`. This worker does not hear of its end: as long as the one that has it would wait for a
        client which neither sends nor reads."""
        return self._time() - self.begun < self._patience


class FastExchange:
    """A request to our endpoint, from its head to its answer. See `engine.polling.Exchange`."""

    __slots__ = (
        "_body",
        "_connection",
        "_elsewhere",
        "_endpoint",
        "_headers",
        "_protocol",
        "done",
        "keep_alive",
        "request",
    )

    def __init__(self, protocol: HttpProtocol, request: Request, keep_alive: bool) -> None:
        self._protocol = protocol
        self._endpoint: AsgiEndpoint
        self._connection: Connection | None = None
        #: Where another worker has the session.
        self._elsewhere: _Elsewhere | None = None
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
            if not isinstance(verdict, Elsewhere):
                self._refuse(verdict)
            elif request.method in ("GET", "POST"):
                self._begin_elsewhere(verdict)
            else:
                self._refuse(wrong_method(request))
            return
        self._connection = verdict
        if verdict is None or request.method == "GET":
            return
        if request.method != "POST":
            self._refuse(wrong_method(request))
            return
        transport = verdict.transport
        assert isinstance(transport, PollingTransport)
        binary = is_binary(request)
        if not transport.begin_post(self, binary) or (binary and content_type_refused(request, transport)):
            return
        if announced_length(request) > engine.options.max_http_buffer_size:
            self._too_large()
        elif self._protocol.expect_100_continue:
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _begin_elsewhere(self, verdict: Elsewhere) -> None:
        engine = self._endpoint.engine
        assert verdict.neighbour is not None
        self._elsewhere = _Elsewhere(verdict.neighbour, engine)
        # A worker that ends sends its clients away, so that they get to one that does not.
        self.keep_alive = self.keep_alive and not engine.closing
        if self.request.method == "POST":
            if announced_length(self.request) > engine.options.max_http_buffer_size:
                self._refuse_body()
            elif self._protocol.expect_100_continue:
                self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_body(self) -> None:
        """Of a session that another worker has."""
        self.keep_alive = False
        self._body = b""
        report_body_too_large(self._endpoint.engine, self.request)
        self.respond(413, b"")

    def answered(self, answer: Answer) -> None:
        """See `engine.neighbour.Asker`."""
        assert self._elsewhere is not None
        self._elsewhere.begun = self._protocol.loop.time()
        self._headers = answer.headers
        # One that is about to end has asked for the answer, if it was a poll.
        self.keep_alive = self.keep_alive and not self._endpoint.engine.closing
        self.respond(answer.status, answer.body, answer.content_type, answer.compressible)

    def unanswered(self, refusal: Refusal) -> None:
        """See `engine.neighbour.Asker`."""
        if not self.done:
            self._refuse(refusal)

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
            elif self.request.method == "POST" and self._elsewhere is not None:
                self._refuse_body()
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
            if self._elsewhere is not None:
                body, self._body = bytes(self._body), b""
                self._elsewhere.cancel = self._elsewhere.neighbour.ask(self.request, body, self)
            elif engine.admits_at_once:
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
        if engine.closing:
            self.keep_alive = False
        engine.refuse(self.request, refusal)
        self._headers = [*engine.response_headers(self.request), *refusal_headers(refusal, engine)]
        self.respond(refusal.http_status, refusal.body, b"application/json")

    def respond(self, status: int, body: bytes, content_type: bytes = b"", compressible: bool = False) -> None:
        if self.done:
            return
        self.done = True
        headers = self._endpoint.engine.response_headers(self.request) if self._headers is None else self._headers
        if compressible:
            headers = content_encoding.varying(headers)
            coding = content_encoding.choose(self.request.header(b"accept-encoding"))
            if coding:
                headers.append((b"content-encoding", coding))
                pieces = content_encoding.in_pieces(body, coding)
                if len(body) > content_encoding.PIECE:
                    self._compress(pieces, [], (status, content_type, headers))
                    return
                body = b"".join(pieces)
        self._answer(status, body, content_type, headers)

    def _compress(self, pieces: Iterator[bytes], done: list[bytes], rest: tuple[int, bytes, Headers]) -> None:
        """Compresses as much as may be done in one turn of the loop, and answers behind the last piece."""
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            return
        piece = next(pieces, None)
        if piece is not None:
            done.append(piece)
            self._protocol.loop.call_soon(self._compress, pieces, done, rest)
            return
        status, content_type, headers = rest
        self._answer(status, b"".join(done), content_type, headers)

    def _answer(self, status: int, body: bytes, content_type: bytes, headers: Headers) -> None:
        parts = [STATUS_LINES[status], b"cache-control: no-store\r\n"]
        if status != 204:
            parts.append(b"content-length: %d\r\n" % len(body))
        if self.request.method == "HEAD":
            body = b""
        if content_type:
            parts += (b"content-type: ", content_type, b"\r\n")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        self._protocol.answer(self, parts, body)

    @property
    def session(self) -> Session | None:
        """Whose request it is, if it was one's when it came."""
        return self._connection if self._elsewhere is None else self._elsewhere

    @property
    def wanted(self) -> bool:
        """Whether a session waits for the rest of the body."""
        session = self.session
        return not self.done and self.request.method == "POST" and session is not None and session.still_open()

    def lost(self) -> None:
        """The connection went away first."""
        if not self.done:
            self.done = True
            if self._elsewhere is not None and self._elsewhere.cancel is not None:
                self._elsewhere.cancel()
            connection = self._connection
            if connection is not None and isinstance(connection.transport, PollingTransport):
                connection.transport.lost(self)
