"""What clients send: frames of WebSocket with packets of Socket.IO in them, and the script's words for them."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgpack

__all__ = [
    "BINARY",
    "DEFLATED",
    "TEXT",
    "binary_event",
    "event",
    "expects",
    "frame",
    "hello",
    "msgpack_packet",
    "packet",
    "sends",
    "text",
]

TEXT, BINARY = 1, 2
#: With one of these, that the message is compressed.
DEFLATED = 0x40
#: Any key will do, except one that leaves bytes as they are.
KEY = bytes((0x37, 0xFA, 0x21, 0x3D))


def masked(data: bytes) -> bytes:
    key = int.from_bytes((KEY * (len(data) // 4 + 1))[: len(data)])
    return (int.from_bytes(data) ^ key).to_bytes(len(data))


def frame(opcode: int, data: bytes, *, deflated: bool = False) -> bytes:
    """A client's frame; `deflated` without a context, as permessage-deflate writes it."""
    if deflated:
        compressor = zlib.compressobj(wbits=-15)
        data = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    first, size = 0x80 | (DEFLATED if deflated else 0) | opcode, len(data)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8)
    return head + KEY + masked(data)


def text(content: str, *, deflated: bool = False) -> bytes:
    return frame(TEXT, content.encode(), deflated=deflated)


def packet(name: str, *arguments: Any, namespace: str = "/", ack: str = "") -> str:
    """An event, as Engine.IO's message."""
    where = "" if namespace == "/" else namespace + ","
    body = json.dumps([name, *arguments], separators=(",", ":"), ensure_ascii=False)
    return f"42{where}{ack}{body}"


def event(name: str, *arguments: Any, namespace: str = "/", ack: str = "", deflated: bool = False) -> bytes:
    return text(packet(name, *arguments, namespace=namespace, ack=ack), deflated=deflated)


def binary_event(name: str, attachment: bytes) -> bytes:
    return text(f'451-["{name}",{{"_placeholder":true,"num":0}}]') + frame(BINARY, attachment)


def msgpack_packet(**fields: Any) -> bytes:
    """A packet of `socket.io-msgpack-parser`."""
    return frame(BINARY, msgpack.packb(fields))


def shown(data: bytes) -> str:
    return data.hex() or "-"


def hello(*frames: bytes, answered: bytes = b"40") -> tuple[str, ...]:
    """What a client says when its session is open, and how each of the answers begins."""
    return *(f"hello {shown(data)}" for data in frames), f"hello-reply {shown(answered)}"


def sends(*messages: bytes) -> tuple[str, ...]:
    """What clients send, in turn."""
    return "messages", *(f"message {shown(data)}" for data in messages)


def expects(opcode: int, beginning: str = "", size: int = 0) -> str:
    """What counts as a unit; a size of 0 is any."""
    return f"reply {opcode} {shown(beginning.encode())} {size}"
