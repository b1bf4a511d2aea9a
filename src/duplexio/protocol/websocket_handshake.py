"""The answer to a WebSocket handshake, as bytes. RFC 6455 §4.2."""

from __future__ import annotations

import binascii
import hashlib
import http

from duplexio.protocol.engine_handshake import Request

__all__ = ["STATUS_LINES", "refusing", "switching_protocols", "websocket_key"]

Headers = list[tuple[bytes, bytes]]

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}
#: RFC 6455 §1.3.
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def websocket_key(request: Request) -> bytes | None:
    """The key of a handshake that can be answered; None where it is none. §4.2.1"""
    key = request.header(b"sec-websocket-key")
    if request.method != "GET" or key is None or request.header(b"sec-websocket-version") != b"13":
        return None
    try:
        return key if len(binascii.a2b_base64(key, strict_mode=True)) == 16 else None
    except ValueError:
        return None


def switching_protocols(key: bytes, headers: Headers) -> bytes:
    """The handshake is accepted. §4.2.2"""
    digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
    parts = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        binascii.b2a_base64(digest, newline=False),
    ]
    for name, value in headers:
        parts += (b"\r\n", name, b": ", value)
    return b"".join((*parts, b"\r\n\r\n"))


def refusing(status: int, body: bytes, headers: Headers) -> bytes:
    """It is not, and the connection ends."""
    parts = [STATUS_LINES[status], b"connection: close\r\ncontent-length: %d\r\n" % len(body)]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return b"".join((*parts, b"\r\n", body))
