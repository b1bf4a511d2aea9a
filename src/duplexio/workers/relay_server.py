"""Answering for other workers: the requests that they have got for sessions of this one.

Whatever comes here has been relayed once, and is answered here: it is never handed on, whoever may have the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from duplexio.engine.neighbour import Answer
from duplexio.engine.polling import PollingTransport
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import BAD_HANDSHAKE_METHOD, Refusal, Request
from duplexio.workers.frame_stream import FrameStream
from duplexio.workers.relay_message import (
    MAX_HEAD,
    Kind,
    RelayError,
    pack_answer,
    pack_refusal,
    unpack_request,
)
from duplexio.workers.relayed_request import decide

__all__ = ["AskedStream"]

#: Bytes of answers that wait for a neighbour: to a thousand requests, each a body of the usual limit. A message to all
#: may bring them in one turn of the loop, in which nobody can have read.
MAX_UNREAD = 1000 * 1024 * 1024
#: From so many on, half of which it has to read in so many seconds; else it is stuck.
HIGH_WATER, LOW_WATER = 64 * 1024 * 1024, 32 * 1024 * 1024
READ_TIMEOUT = 10.0
#: How long a client has to poll again whose request was lost with the worker that held it: a proxy asks another one at
#: once. A client without a proxy has lost its connection, and begins anew.
ASK_AGAIN_SECONDS = 5.0


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


class AskedStream(FrameStream):
    """What one neighbour asks."""

    def __init__(self, engine: EngineServer, early: bytes, ended: Callable[[AskedStream], None]) -> None:
        """`ended` is called when the stream has."""
        super().__init__(engine, engine.options.max_http_buffer_size + MAX_HEAD, early)
        self._told_ended = ended
        self._finished = False
        #: Its own limit keeps the neighbour from asking for more at once.
        self._most = engine.options.max_relayed_requests
        self._open: dict[int, RelayedExchange] = {}
        #: The answers to polls that have gone to the neighbour, and may not have left it yet.
        self._unwritten: dict[int, tuple[PollingTransport, bytes, bytes, bool]] = {}
        #: Runs while a great deal waits for the neighbour.
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.raw is not None
        self.raw.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def pause_writing(self) -> None:
        self._reading = self.engine.loop.call_later(READ_TIMEOUT, self._not_read)

    def resume_writing(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _not_read(self) -> None:
        unread = 0 if self.raw is None else self.raw.get_write_buffer_size()
        self.break_off(f"a neighbouring worker has not read {unread} bytes of answers for {READ_TIMEOUT:g} s")

    def finish(self) -> None:
        """Answers nothing more, and has the neighbour end the stream, when it has read what was sent.

        If it was ended here, whatever the neighbour writes before it reads would fail, and uvloop drops what is unread
        then.
        """
        self._finished = True
        if self.raw is not None and not self.raw.is_closing():
            self.raw.write_eof()

    def received(self, kind: Kind, number: int, payload: bytes) -> None:
        if self._finished:
            return
        if kind is Kind.ASK:
            self._ask(number, payload)
        elif kind is Kind.CANCEL:
            self._cancel(number)
        elif kind is Kind.RELEASE:
            self._release(number)
        elif kind is Kind.WRITTEN:
            self._unwritten.pop(number, None)
        else:
            raise RelayError(f"a frame of kind {kind.name} among requests")

    def ended(self) -> None:
        self.resume_writing()
        self._told_ended(self)
        waiting, self._open = self._open, {}
        for exchange in waiting.values():
            if exchange.transport is not None:
                exchange.transport.forget(exchange)
                self._give_time(exchange.transport)
        unwritten, self._unwritten = self._unwritten, {}
        for transport, body, content_type, compressible in unwritten.values():
            # A proxy that asks again would hide that packets are missing.
            transport.answer_again(body, content_type, compressible)
            self._give_time(transport)

    def _give_time(self, transport: PollingTransport) -> None:
        self.engine.wheel.call_later(ASK_AGAIN_SECONDS, partial(transport.end_forgotten, transport.forgotten))

    def _ask(self, number: int, payload: bytes) -> None:
        request, (body,) = unpack_request(payload, 1)
        if number in self._open or len(self._open) >= self._most:
            raise RelayError(f"a second request {number}, or over {self._most} that wait")
        if request.websocket:
            raise RelayError("a WebSocket handshake among requests")
        verdict = decide(self.engine, request)
        if not isinstance(verdict, Refusal) and request.method not in ("GET", "POST"):
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
        if exchange is not None and exchange.transport is not None:
            exchange.transport.lost(exchange)
        unwritten = self._unwritten.pop(number, None)
        if unwritten is not None:
            unwritten[0].answer_lost("the poll's connection closed prematurely")

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
        if request.method == "GET" and exchange.transport is not None and len(self._unwritten) < self._most:
            self._unwritten[exchange.number] = exchange.transport, body, content_type, compressible
        headers = self.engine.response_headers(request)
        self._write(
            Kind.ANSWER, exchange.number, pack_answer(Answer(status, headers, content_type, body, compressible))
        )

    def _write(self, kind: Kind, number: int, payload: bytes) -> None:
        if self._finished:
            return
        unread = 0 if self.raw is None else self.raw.get_write_buffer_size()
        if unread and unread + len(payload) > MAX_UNREAD:
            self.break_off(f"a neighbouring worker has not read {unread} bytes of answers")
        else:
            self.send(kind, number, payload)
