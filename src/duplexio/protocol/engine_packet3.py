"""Engine.IO packets, protocol 3: how binary ones differ from protocol 4's.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md

A text packet is the same. A binary one has its type in front, as a byte; to a client that takes no binary it goes as
text: `b`, the type digit, base64.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import (
    MESSAGE,
    Binary,
    Message,
    Outgoing,
    check_type,
    from_base64,
    uncompressed,
)

__all__ = ["PROTOCOL", "as_binary", "decode_base64", "decode_binary", "encode_base64", "for_websocket"]

#: The version this module speaks, as clients write it in the query: `EIO=3`.
PROTOCOL = 3

_BINARY_MESSAGE = bytes((MESSAGE - ord("0"),))


def as_binary(data: bytes) -> bytes:
    """A binary message, its type in front."""
    return _BINARY_MESSAGE + data


def encode_base64(data: bytes) -> bytes:
    """A binary message as text."""
    return b"b4" + binascii.b2a_base64(data, newline=False)


def decode_binary(packet: bytes) -> bytes | Binary:
    """The packet in bytes that begin with their type. Raises EnginePacketError."""
    if not packet or packet[0] > 6:
        raise EnginePacketError(f"a binary packet begins with a byte from 0 to 6, this one is {shown(packet)}")
    return _typed(packet[0] + ord("0"), packet[1:])


def decode_base64(packet: bytes) -> bytes | Binary:
    """The packet in a text that begins with `b`. Raises EnginePacketError."""
    kind = check_type(packet[1:])
    return _typed(kind, from_base64(packet[2:]))


def _typed(kind: int, data: bytes) -> bytes | Binary:
    return Binary(data) if kind == MESSAGE else bytes((kind,)) + data


def for_websocket(message: Message, base64: bool) -> Sequence[Outgoing]:
    """The message as what a WebSocket of protocol 4 would send as the same bytes; made once for all receivers."""
    made = message.made
    if made is None:
        made = message.made = {}
    packets = made.get(base64)
    if packets is None:
        text = [message.text] if message.text else []
        if base64:
            packets = (*text, *map(encode_base64, message.attachments))
        else:
            packets = (Message(message.text, tuple(map(as_binary, message.attachments))),)
        if not message.compress:
            packets = tuple(map(uncompressed, packets))
        made[base64] = packets
    return packets
