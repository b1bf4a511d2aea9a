"""A WebSocket whose client speaks protocol 3: one of protocol 4, with its binary packets changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from duplexio.engine.transport import Sink, Transport
from duplexio.errors import EnginePacketError
from duplexio.protocol.engine_packet import Binary, Message, Outgoing
from duplexio.protocol.engine_packet3 import decode_base64, decode_binary, for_websocket
from duplexio.types import CloseReason

__all__ = ["WebSocket3"]

Decoder = Callable[[bytes], bytes | Binary]


class WebSocket3:
    """A `Transport` to its session, and a `Sink` to the transport that carries it."""

    __slots__ = ("_base64", "_carrier", "sink")

    name = "websocket"

    def __init__(self, carrier: Transport, base64: bool) -> None:
        """`base64`: the client takes no binary frames."""
        self.sink: Sink = carrier.sink
        self._carrier = carrier
        self._base64 = base64
        carrier.sink = self

    # What the session calls.

    @property
    def writable(self) -> bool:
        return self._carrier.writable

    @property
    def congested(self) -> bool:
        return self._carrier.congested

    @property
    def direct(self) -> bool:
        return self._carrier.direct

    @direct.setter
    def direct(self, value: bool) -> None:
        self._carrier.direct = value

    def write(self, packets: Iterable[Outgoing]) -> None:
        written: list[Outgoing] = []
        for packet in packets:
            if isinstance(packet, bytes):
                written.append(packet)
            else:
                written += for_websocket(packet, self._base64)
        self._carrier.write(written)

    def write_one(self, packet: bytes) -> None:
        self._carrier.write_one(packet)

    def write_shared(self, message: Message) -> None:
        self._carrier.write(for_websocket(message, self._base64))

    def close(self) -> None:
        self._carrier.close()

    def fail(self, code: int, text: str) -> None:
        self._carrier.fail(code, text)

    def pause_reading(self) -> None:
        self._carrier.pause_reading()

    def resume_reading(self) -> None:
        self._carrier.resume_reading()

    # What the carrier reports.

    @property
    def outbox(self) -> list[Outgoing]:
        return self.sink.outbox

    def receive(self, packet: bytes) -> None:
        if packet.startswith(b"b"):
            self._receive_decoded(decode_base64, packet)
        else:
            self.sink.receive(packet)

    def receive_binary(self, data: bytes) -> None:
        self._receive_decoded(decode_binary, data)

    def _receive_decoded(self, decode: Decoder, data: bytes) -> None:
        try:
            packet = decode(data)
        except EnginePacketError as error:
            self.close()
            self.sink.transport_closed(self, "parse error", str(error))
            return
        if isinstance(packet, Binary):
            self.sink.receive_binary(bytes(packet))
        else:
            self.sink.receive(packet)

    def transport_ready(self) -> None:
        self.sink.transport_ready()

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        self.sink.transport_closed(self, reason, details, cause)
