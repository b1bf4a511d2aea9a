"""The worker that has a session whose WebSocket another one holds: a transport that is a stream to that worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import get_args

from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY, Sink
from duplexio.protocol.engine_handshake import Refusal
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.types import CloseReason
from duplexio.workers.bridge import HIGH_WATER, LOW_WATER
from duplexio.workers.frame_stream import FrameStream
from duplexio.workers.relay_message import MAX_HEAD, Kind, RelayError, pack, pack_refusal, unpack, unpack_request
from duplexio.workers.relayed_request import decide

__all__ = ["BridgedWebSocket"]

#: Seconds that the other worker has to read what was written before the end.
CLOSE_GRACE = 2.0
#: What a worker may say of how its WebSocket ended.
_REASONS: dict[str, CloseReason] = {reason: reason for reason in get_args(CloseReason)}
#: Counters are a fixed set: of what another process names, these are in it.
_CAUSES = frozenset(("", "message_too_big"))


class BridgedWebSocket(FrameStream):
    """See `engine.transport.Transport`."""

    name = "websocket"
    #: Never: the other worker decides what goes out together.
    direct = False

    def __init__(self, engine: EngineServer, early: bytes, ended: Callable[[BridgedWebSocket], None]) -> None:
        super().__init__(engine, engine.options.max_http_buffer_size + MAX_HEAD, early)
        self.sink: Sink = NOBODY
        self.writable = True
        self._opened = False
        self._closed = False
        self._told_ended = ended

    # What the session calls.

    @property
    def congested(self) -> bool:
        return not self.writable or (self.raw is not None and self.raw.get_write_buffer_size() > LOW_WATER)

    def write(self, packets: Iterable[Outgoing]) -> None:
        for packet in packets:
            if isinstance(packet, bytes):
                self.send(Kind.TEXT, 0, packet)
                continue
            if packet.text:
                self.send(Kind.TEXT if packet.compress else Kind.PLAIN_TEXT, 0, packet.text)
            for data in packet.attachments:
                self.send(Kind.BINARY if packet.compress else Kind.PLAIN_BINARY, 0, data)

    def write_one(self, packet: bytes) -> None:
        self.send(Kind.TEXT, 0, packet)

    def write_shared(self, message: Message) -> None:
        self.write((message,))

    def close(self) -> None:
        self._end(Kind.CLOSE, b"")

    def fail(self, code: int, text: str) -> None:
        self._end(Kind.FAIL, code.to_bytes(2, "big") + text.encode())

    def _end(self, kind: Kind, payload: bytes) -> None:
        self.writable = False
        if not self._closed:
            self._closed = True
            self.send(kind, 0, payload)
            self.finish()
            self.engine.loop.call_later(CLOSE_GRACE, self._abort)

    def _abort(self) -> None:
        if self.raw is not None:
            self.raw.abort()

    def pause_reading(self) -> None:
        if self.raw is not None and not self.raw.is_closing():
            self.raw.pause_reading()

    def resume_reading(self) -> None:
        if self.raw is not None and not self.raw.is_closing():
            self.raw.resume_reading()

    # The stream.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.raw is not None
        self.raw.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def received(self, kind: Kind, number: int, payload: bytes) -> None:
        if not self._opened:
            if kind is not Kind.OPEN:
                raise RelayError(f"a frame of kind {kind.name} in front of the handshake")
            self._open(payload)
        elif self._closed:
            # Nothing is heard behind a close.
            return
        elif kind is Kind.TEXT:
            self.sink.receive(payload)
        elif kind is Kind.BINARY:
            self.sink.receive_binary(payload)
        elif kind is Kind.LOST:
            self._lost(payload)
        else:
            raise RelayError(f"a frame of kind {kind.name} from a WebSocket")

    def _open(self, payload: bytes) -> None:
        request, _ = unpack_request(payload, 0)
        engine = self.engine
        if not request.websocket:
            raise RelayError("no WebSocket handshake")
        verdict = decide(engine, request)
        self._opened = True
        if isinstance(verdict, Refusal):
            self._closed = True
            self.send(Kind.REFUSE, 0, pack_refusal(verdict))
            self.finish()
            return
        self.send(Kind.ACCEPT, 0, pack([word for header in engine.response_headers(request) for word in header]))
        engine.open_websocket(request, self, "", verdict)

    def _lost(self, payload: bytes) -> None:
        words = [word.decode("utf-8", "replace") for word in unpack(payload)]
        if len(words) != 3 or words[0] not in _REASONS or words[2] not in _CAUSES:
            raise RelayError("no reason for the end of a WebSocket")
        reason = _REASONS[words[0]]
        if reason == "server shutting down":
            self._end_with_holder(words[1])
        else:
            self._end_with(reason, words[1], words[2])
        self.finish()

    def _end_with_holder(self, details: str) -> None:
        """Where all workers end at once, it is the same end, whoever is the first."""
        self._end_with("server shutting down" if self.engine.closing else "transport close", details)

    def _end_with(self, reason: CloseReason, details: str, cause: str = "") -> None:
        self.writable = False
        self._closed = True
        sink, self.sink = self.sink, NOBODY
        sink.transport_closed(self, reason, details, cause)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        if not self._closed:
            self.writable = True
            self.sink.transport_ready()

    def ended(self) -> None:
        self._told_ended(self)
        if self.sink is not NOBODY:
            self._end_with_holder("the worker that held the connection has ended")
