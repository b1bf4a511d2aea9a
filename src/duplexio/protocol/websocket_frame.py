"""Unmasked WebSocket frames, as a server sends them. RFC 6455 §5.2."""

from __future__ import annotations

__all__ = ["binary", "close", "close_with", "compressed", "pong", "text"]

# FIN and the opcode; a length below 126 is the second byte itself. Ready headers spare two objects a frame.
_TEXT = [bytes((0x81, length)) for length in range(126)]
_BINARY = [bytes((0x82, length)) for length in range(126)]


def text(payload: bytes) -> bytes:
    """One text frame."""
    length = len(payload)
    return (_TEXT[length] if length < 126 else _long_header(0x81, length)) + payload


def binary(payload: bytes) -> bytes:
    """One binary frame."""
    length = len(payload)
    return (_BINARY[length] if length < 126 else _long_header(0x82, length)) + payload


def compressed(opcode: int, data: bytes) -> bytes:
    """A data frame with RSV1, by which permessage-deflate says that it is compressed. RFC 7692 §6."""
    length = len(data)
    return (bytes((0xC0 | opcode, length)) if length < 126 else _long_header(0xC0 | opcode, length)) + data


def pong(payload: bytes) -> bytes:
    """A pong with the payload of the ping it answers: at most 125 bytes, as control frames are. §5.5.3."""
    return bytes((0x8A, len(payload))) + payload


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame. `reason` is cut to what a control frame holds: 123 bytes after the code. §5.5.1."""
    return close_with(code.to_bytes(2, "big") + reason[:123])


def close_with(payload: bytes) -> bytes:
    """A close frame with a code and reason as they came, or with neither."""
    return bytes((0x88, len(payload))) + payload


def _long_header(first: int, length: int) -> bytes:
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")
