"""Masked WebSocket frames, as a client sends them. RFC 6455 §5.3."""

from __future__ import annotations

import os
from struct import Struct


def masked_with_whole_numbers(data: bytes, key: bytes) -> bytes:
    """`data`, each byte of it combined with the key's next one; the widest words that Python has."""
    length = len(data)
    stream = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(length, "little")


try:
    # Twenty times as fast; missing where websockets was built without a compiler.
    from websockets.speedups import apply_mask as _mask
except ImportError:
    _mask = masked_with_whole_numbers  # type: ignore[assignment]

__all__ = ["binary", "close", "close_with", "masked_with_whole_numbers", "pong", "text"]

#: So many keys are drawn by one call of the system.
_DRAWN = 256
_page = Struct("4s" * _DRAWN)
_keys: list[bytes] = []

# Every event that a client sends is a frame: ready headers, as in `websocket_frame`.
_TEXT = [bytes((0x81, 0x80 | length)) for length in range(126)]
_BINARY = [bytes((0x82, 0x80 | length)) for length in range(126)]
#: Of control frames, which are few.
_NONE: list[bytes] = []


def text(payload: bytes) -> bytes:
    """One text frame."""
    return _masked(_TEXT, 0x81, payload)


def binary(payload: bytes) -> bytes:
    """One binary frame."""
    return _masked(_BINARY, 0x82, payload)


def pong(payload: bytes) -> bytes:
    """A pong with the payload of the ping it answers: at most 125 bytes, as control frames are. §5.5.3."""
    return _masked(_NONE, 0x8A, payload)


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame. `reason` is cut to what a control frame holds: 123 bytes after the code. §5.5.1."""
    return close_with(code.to_bytes(2, "big") + reason[:123])


def close_with(payload: bytes) -> bytes:
    """A close frame with a code and reason as they came, or with neither."""
    return _masked(_NONE, 0x88, payload)


def _draw_key() -> bytes:
    """Four bytes that nobody can foresee. §10.3 says what they are for."""
    drawn: tuple[bytes, ...] = _page.unpack(os.urandom(_page.size))
    _keys.extend(drawn[1:])
    return drawn[0]


def _masked(headers: list[bytes], first: int, payload: bytes) -> bytes:
    length = len(payload)
    try:
        # Not asked first whether there are some: another thread may take the last one in between.
        key = _keys.pop()
    except IndexError:
        key = _draw_key()
    return (headers[length] if length < len(headers) else _header(first, length)) + key + _mask(payload, key)


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, 0x80 | length))
    if length < 65_536:
        return bytes((first, 0xFE)) + length.to_bytes(2, "big")
    return bytes((first, 0xFF)) + length.to_bytes(8, "big")
