"""The worker that holds a WebSocket whose session another one has: it carries the frames there, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from duplexio.engine.server import EngineServer
from duplexio.engine.transport import Transport
from duplexio.protocol.engine_handshake import Refusal
from duplexio.protocol.engine_packet import Message, Outgoing, uncompressed
from duplexio.types import CloseReason
from duplexio.workers.frame_stream import FrameStream
from duplexio.workers.relay_client import MAX_ANSWER, busy, gone
from duplexio.workers.relay_message import (
    Kind,
    RelayError,
    headers_of,
    pack,
    unpack,
    unpack_refusal,
)

__all__ = ["HIGH_WATER", "LOW_WATER", "WebSocketBridge", "unanswered"]

Headers = list[tuple[bytes, bytes]]

#: Bytes that may wait at either end for who does not read, before the other end is not read either: a WebSocket's own.
HIGH_WATER, LOW_WATER = 65_536, 16_384
#: Seconds that the WebSocket's peer has to read what was sent before the end.
CLOSE_GRACE = 2.0


class WebSocketBridge(FrameStream):
    """A stream to the session's worker, which was greeted, and the sink of what carries the WebSocket here.

    See `engine.neighbour.Bridge` and `engine.transport.Sink`.
    """

    def __init__(self, engine: EngineServer, ended: Callable[[WebSocketBridge], None]) -> None:
        super().__init__(engine, MAX_ANSWER, b"")
        self.headers: Headers = []
        #: Packets that the WebSocket has not taken yet.
        self.outbox: list[Outgoing] = []
        self.verdict: asyncio.Future[Refusal | None] = engine.loop.create_future()
        self._waiting = 0
        self._told_ended = ended
        self._transport: Transport | None = None
        #: The session's worker has ended the WebSocket: what it has sent goes out before.
        self._last: tuple[Kind, bytes] | None = None

    def begin(self, request: bytes) -> None:
        """Asks, with a packed request; `verdict` is the answer: None, or why not."""
        self.send(Kind.OPEN, 0, request)

    # The host of the WebSocket.

    def carry(self, transport: Transport) -> None:
        self._transport = transport
        transport.sink = self
        if self.raw is None or self.raw.is_closing():
            # Its worker has ended in between.
            transport.close()
            return
        self.transport_ready()

    def cancel(self) -> None:
        if self._transport is None:
            self.finish()

    def shut_down(self) -> None:
        """This worker ends, and the WebSocket with it."""
        if self._transport is not None:
            self._transport.close()
        self._tell_lost("server shutting down", "the worker that held the connection has ended", "")

    # The WebSocket: see `engine.transport.Sink`.

    def receive(self, packet: bytes) -> None:
        self.send(Kind.TEXT, 0, packet)

    def receive_binary(self, data: bytes) -> None:
        self.send(Kind.BINARY, 0, data)

    def transport_ready(self) -> None:
        transport, outbox = self._transport, self.outbox
        if transport is None or not transport.writable:
            return
        if outbox:
            self.outbox, self._waiting = [], 0
            transport.write(outbox)
        if self._last is not None:
            self._finish(*self._last)
        elif self.raw is not None and not self.raw.is_closing():
            self.raw.resume_reading()

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        self._tell_lost(reason, details, cause)

    def _tell_lost(self, reason: str, details: str, cause: str) -> None:
        words = [word.encode("utf-8", "surrogateescape") for word in (reason, details, cause)]
        self.send(Kind.LOST, 0, pack(words))
        self.finish()

    # The stream.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.raw is not None
        self.raw.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def received(self, kind: Kind, number: int, payload: bytes) -> None:
        if not self.verdict.done():
            if kind is Kind.ACCEPT:
                self.headers = headers_of(unpack(payload))
                self.verdict.set_result(None)
            elif kind is Kind.REFUSE:
                self.verdict.set_result(unpack_refusal(payload))
            else:
                raise RelayError(f"a frame of kind {kind.name} as the answer to a handshake")
        elif kind in (Kind.CLOSE, Kind.FAIL):
            self._last = kind, payload
            self.transport_ready()
            if self._last is not None:
                # It still writes what came before.
                self.engine.loop.call_later(CLOSE_GRACE, self._finish_late)
        else:
            self._waiting += len(payload)
            self.outbox.append(_PACKETS[_carried(kind)](payload))
            self.transport_ready()
            if self._waiting > HIGH_WATER and self.raw is not None and not self.raw.is_closing():
                self.raw.pause_reading()

    def _finish_late(self) -> None:
        if self._last is not None and self._transport is not None:
            self._finish(*self._last)

    def _finish(self, kind: Kind, payload: bytes) -> None:
        assert self._transport is not None
        self._last = None
        if kind is Kind.FAIL:
            code, text = _code_of(payload)
            self._transport.fail(code, text)
        else:
            self._transport.close()
        self.finish()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def ended(self) -> None:
        self._told_ended(self)
        if not self.verdict.done():
            self.verdict.set_result(gone())
        elif self._transport is not None and self._last is None:
            self._transport.close()


def _carried(kind: Kind) -> Kind:
    if kind not in _PACKETS:
        raise RelayError(f"a frame of kind {kind.name} on a WebSocket")
    return kind


def _bytes(payload: bytes) -> Outgoing:
    return Message(b"", (payload,))


def _text(payload: bytes) -> Outgoing:
    return payload


_PACKETS: dict[Kind, Callable[[bytes], Outgoing]] = {
    Kind.TEXT: _text,
    Kind.BINARY: _bytes,
    Kind.PLAIN_TEXT: uncompressed,
    Kind.PLAIN_BINARY: lambda payload: uncompressed(_bytes(payload)),
}


def _code_of(payload: bytes) -> tuple[int, str]:
    """A close code, and its text. Raises RelayError."""
    if len(payload) < 2:
        raise RelayError("a close without a code")
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")


def unanswered(seconds: float) -> Refusal:
    """The session's worker has not answered the handshake in time."""
    return busy(f"the session's worker has not answered a WebSocket handshake in {seconds:g} s")
