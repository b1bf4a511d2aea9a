"""Answering for other workers: the requests that they have got for sessions of this one.

Whatever comes here has been relayed once, and is answered here: it is never handed on, whoever may have the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from duplexio.engine.neighbour import Answer
from duplexio.engine.polling import PollingTransport
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import BAD_HANDSHAKE_METHOD, BAD_REQUEST, Refusal, Request
from duplexio.workers.relay_message import (
    MAX_HEAD,
    Frames,
    Kind,
    RelayError,
    pack_answer,
    pack_refusal,
    unpack_request,
    write_frames,
)

__all__ = ["AskedStream"]

#: Requests of one neighbour that wait here. It lets no more of its own out, see `relay_client.MAX_RELAYED`.
MAX_WAITING = 1000
#: Bytes of answers that a neighbour has not read: it is stuck, and its clients have given up.
MAX_UNREAD = 64 * 1024 * 1024


class RelayedExchange:
    """A request that came by a neighbour. See `engine.polling.Exchange`."""

    __slots__ = ("_request", "_stream", "number", "transport")

    def __init__(self, stream: AskedStream, number: int, request: Request) -> None:
        self._stream = stream
        self._request = request
        self.number = number
        self.transport: PollingTransport | None = None

    def respond(self, status: int, body: bytes, content_type: bytes = b"", compressible: bool = False) -> None:
        self._stream.respond(self, self._request, status, body, content_type, compressible)


class AskedStream(asyncio.Protocol):
    """What one neighbour asks."""

    def __init__(self, engine: EngineServer, early: bytes, lost: Callable[[AskedStream], None]) -> None:
        """`early`: what came with the greeting; `lost` is called when the stream has ended."""
        self._engine = engine
        self._early = early
        self._lost = lost
        self._frames = Frames(engine.options.max_http_buffer_size + MAX_HEAD)
        self._open: dict[int, RelayedExchange] = {}
        self._raw: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        early, self._early = self._early, b""
        self.data_received(early)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._frames.feed(data):
                if kind is Kind.ASK:
                    self._ask(number, payload)
                elif kind is Kind.CANCEL:
                    self._cancel(number)
                elif kind is Kind.RELEASE:
                    self._release(number)
                else:
                    raise RelayError(f"a frame of kind {kind.name} among requests")
        except RelayError as error:
            self._engine.reporter.count("relay_errors")
            self._engine.reporter.error(f"a neighbouring worker sent what is not understood: {error}")
            self._raw.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        waiting, self._open = self._open, {}
        for exchange in waiting.values():
            _tell_lost(exchange)

    def close(self) -> None:
        """Behind what was answered."""
        self._raw.close()

    def _ask(self, number: int, payload: bytes) -> None:
        request, (body,) = unpack_request(payload, 1)
        if number in self._open or len(self._open) >= MAX_WAITING:
            raise RelayError(f"a second request {number}, or over {MAX_WAITING} that wait")
        engine = self._engine
        session = engine.connections.get(request.query.get("sid", ""))
        if session is not None:
            # Where something around the server admits origins, the same is around it in every worker.
            request.surrounding_origins = session.request.surrounding_origins
        verdict = engine.check(request)
        if verdict is None:
            verdict = Refusal(BAD_REQUEST, "relay_without_sid", "a relayed request without a session id")
        elif not isinstance(verdict, Refusal) and request.method not in ("GET", "POST"):
            verdict = Refusal(BAD_HANDSHAKE_METHOD, "bad_handshake_method", f"{request.method} for a session")
        if isinstance(verdict, Refusal):
            self._write(Kind.REFUSE, number, pack_refusal(verdict))
            return
        transport = verdict.transport
        assert isinstance(transport, PollingTransport)
        exchange = self._open[number] = RelayedExchange(self, number, request)
        exchange.transport = transport
        if request.method == "GET":
            transport.poll(exchange)
            return
        binary = request.header(b"content-type") == b"application/octet-stream"
        if transport.begin_post(exchange, binary) and not (binary and transport.refuse_binary()):
            transport.end_post(body)

    def _cancel(self, number: int) -> None:
        exchange = self._open.pop(number, None)
        if exchange is not None:
            _tell_lost(exchange)

    def _release(self, number: int) -> None:
        """A noop, and the client polls again, wherever it gets to."""
        exchange = self._open.get(number)
        if exchange is not None and exchange.transport is not None:
            exchange.transport.release(exchange)

    def respond(
        self,
        exchange: RelayedExchange,
        request: Request,
        status: int,
        body: bytes,
        content_type: bytes,
        compressible: bool,
    ) -> None:
        if self._open.pop(exchange.number, None) is None:
            return
        headers = self._engine.response_headers(request)
        self._write(
            Kind.ANSWER, exchange.number, pack_answer(Answer(status, headers, content_type, body, compressible))
        )

    def _write(self, kind: Kind, number: int, payload: bytes) -> None:
        raw = self._raw
        if raw.is_closing():
            return
        unread = raw.get_write_buffer_size()
        if unread and unread + len(payload) > MAX_UNREAD:
            self._engine.reporter.count("relay_errors")
            self._engine.reporter.error(f"a neighbouring worker has not read {unread} bytes of answers; cut off")
            raw.abort()
            return
        for frame in write_frames(kind, number, payload):
            raw.write(frame)


def _tell_lost(exchange: RelayedExchange) -> None:
    if exchange.transport is not None:
        exchange.transport.lost(exchange)
