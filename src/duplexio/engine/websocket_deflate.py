"""A WebSocket with permessage-deflate (RFC 7692): a class of its own, so that the others pay nothing for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from duplexio.engine.transport import Sink
from duplexio.engine.websocket import TEXT, WebSocketTransport
from duplexio.options import Options
from duplexio.protocol.engine_handshake import Request
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.protocol.permessage_deflate import CorruptData, Deflate, TooLarge, negotiate

__all__ = ["DeflatingWebSocket", "accept_websocket"]

Headers = list[tuple[bytes, bytes]]

#: The opcodes that begin a message: text and binary.
_BEGIN = frozenset((1, 2))


def accept_websocket(request: Request, options: Options, sink: Sink) -> tuple[WebSocketTransport, Headers]:
    """The transport for a handshake that is let in, and what the answer to it says of compression."""
    chosen = options.per_message_deflate
    if chosen is not None:
        offered = request.headers.get("sec-websocket-extensions")
        agreed = None if offered is None else negotiate(offered, chosen)
        if agreed is not None:
            answer, agreement = agreed
            transport = DeflatingWebSocket(sink, options.max_http_buffer_size, Deflate(agreement, chosen))
            return transport, [(b"sec-websocket-extensions", answer)]
    return WebSocketTransport(sink, options.max_http_buffer_size), []


class DeflatingWebSocket(WebSocketTransport):
    """See `Transport`. What is not compressed goes the way of its base class."""

    __slots__ = ("_compressed", "_deflate", "_threshold")

    def __init__(self, sink: Sink, max_size: int, deflate: Deflate) -> None:
        super().__init__(sink, max_size)
        self._deflate = deflate
        self._threshold = deflate.threshold
        #: Whether the message that is received is compressed; its first frame says so.
        self._compressed = False

    # Receiving.

    def _bad_bits(self, kind: int, frame: Any) -> bool:
        # RFC 7692 §6.1: RSV1 is for the first frame of a message, and no control frame is compressed.
        return bool(frame.rsv2 or frame.rsv3 or (frame.rsv1 and kind not in _BEGIN))

    def _data_frame(self, kind: int, frame: Any) -> None:
        if kind in _BEGIN and self._fragments is None:
            self._compressed = bool(frame.rsv1)
        super()._data_frame(kind, frame)

    def _deliver(self, kind: int, data: bytes) -> None:
        if self._compressed:
            self._compressed = False
            try:
                data = self._deflate.decompress(data, self._max_size)
            except TooLarge:
                self._violation(1009, "")
                return
            except CorruptData as error:
                # RFC 6455 §7.4.1: data that are not what the message's type promises.
                self._violation(1007, f"corrupt compressed data: {error}")
                return
        super()._deliver(kind, data)

    # Sending.

    def write(self, packets: Iterable[Outgoing]) -> None:
        deflate = self._deflate
        self._write_raw(b"".join([deflate.text(p) if isinstance(p, bytes) else p.deflated(deflate) for p in packets]))

    def write_one(self, packet: bytes) -> None:
        if len(packet) < self._threshold:
            self._send(TEXT, packet)
        else:
            self._write_raw(self._deflate.text(packet))

    def write_shared(self, message: Message) -> None:
        self._write_raw(message.deflated(self._deflate))
