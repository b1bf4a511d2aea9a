"""A client of exact bytes: HTTP/1.1 and WebSocket over a plain socket, with nothing in between that would mend them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "Answer", "Frame", "WebSocket", "Wire", "frame"]

#: Every wait of a test ends by then.
SECONDS = 5.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one header of that name; None where there is none. Several are a fault of the server's."""
        values = [value for known, value in self.headers if known == name]
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def brief(self) -> tuple[int, str | None, bytes]:
        """Status, content type and body: what the protocol settles of an answer."""
        return self.status, self.header("content-type"), self.body


class Wire:
    """A TCP connection. Nothing is read before a test asks for it, so a client can stop reading."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, port: int, receive_buffer: int | None = None) -> Wire:
        """`receive_buffer`: how many bytes the kernel takes for a client that does not read."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = cls(sock)
        async with asyncio.timeout(SECONDS):
            await wire._loop.sock_connect(sock, ("127.0.0.1", port))
        return wire

    async def write(self, data: bytes, within: float = SECONDS) -> None:
        async with asyncio.timeout(within):
            await self._loop.sock_sendall(self._sock, data)

    async def _fill(self) -> bool:
        """Reads some more; False at the end."""
        async with asyncio.timeout(SECONDS):
            try:
                data = await self._loop.sock_recv(self._sock, 65_536)
            except ConnectionResetError:
                return False
        self._buffer += data
        return bool(data)

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._fill():
                raise EOFError(f"the connection ended with {bytes(self._buffer)!r}, {size} bytes were expected")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def until(self, separator: bytes) -> bytes:
        while (end := self._buffer.find(separator)) < 0:
            if not await self._fill():
                raise EOFError(f"the connection ended with {bytes(self._buffer)!r}, {separator!r} was expected")
        return await self.exactly(end + len(separator))

    async def rest(self) -> bytes:
        """All that comes up to the end of the connection."""
        while await self._fill():
            pass
        return await self.exactly(len(self._buffer))

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        """Closes with a reset, as a process does that was killed with bytes unread."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def end_writing(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    # HTTP.

    async def answer(self, to_head: bool = False) -> Answer:
        """The next response; the one to HEAD has no body."""
        head = await self.until(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        version, status, *_ = status_line.split(" ")
        assert version == "HTTP/1.1"
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, f"not a header: {line!r}"
            headers.append((name.lower(), value.strip()))
        found = Answer(int(status), tuple(headers), b"")
        if to_head or found.status in (101, 204, 304) or found.status == 100:
            return found
        length = found.header("content-length")
        assert length is not None, f"an answer of no stated length: {head!r}"
        return Answer(found.status, found.headers, await self.exactly(int(length)))

    async def request(
        self, method: str, target: str, body: bytes | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        """Sends a request, and reads its response: it may be there before all of the request is read."""
        with contextlib.suppress(ConnectionError):
            await self.write(request_bytes(method, target, body, headers))
        return await self.answer(to_head=method == "HEAD")


def request_bytes(
    method: str, target: str, body: bytes | None = None, headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A request as a browser would write it; a `host` among the headers replaces the usual one."""
    given = list(headers)
    if not any(name.lower() == "host" for name, _ in given):
        given.insert(0, ("Host", "duplexio.test"))
    if body is not None:
        given.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


@dataclass(frozen=True)
class Frame:
    """A frame as the server sent it."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int | None:
        """A close frame's code; None where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """A frame as a client sends it, broken in the ways asked for. RFC 6455 §5.2."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes((first, mask_bit | len(payload)))
    elif len(payload) < 65_536:
        head = bytes((first, mask_bit | 126)) + len(payload).to_bytes(2, "big")
    else:
        head = bytes((first, mask_bit | 127)) + len(payload).to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


class WebSocket:
    """A WebSocket over a wire whose handshake was accepted."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    @classmethod
    async def open(cls, wire: Wire, target: str, headers: Iterable[tuple[str, str]] = ()) -> WebSocket:
        key = base64.b64encode(os.urandom(16))
        answer = await handshake(wire, target, headers, key)
        assert answer.status == 101, answer
        expected = base64.b64encode(hashlib.sha1(key + _ACCEPT_GUID).digest()).decode()
        assert answer.header("sec-websocket-accept") == expected
        assert answer.header("sec-websocket-extensions") is None
        return cls(wire)

    async def send(self, packet: bytes) -> None:
        await self.wire.write(frame(TEXT, packet))

    async def send_binary(self, data: bytes) -> None:
        await self.wire.write(frame(BINARY, data))

    async def frame(self) -> Frame:
        """The next frame. The server may not mask it, nor use bits that were not agreed on."""
        first, second = await self.wire.exactly(2)
        assert not first & 0x70
        assert not second & 0x80
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.wire.exactly(2 if size == 126 else 8), "big")
        return Frame(first & 15, await self.wire.exactly(size), bool(first & 0x80))

    async def read(self) -> bytes:
        """The next packet, which is a text frame."""
        found = await self.frame()
        assert found.opcode == TEXT, found
        assert found.fin
        return found.payload

    async def closing(self) -> Frame:
        """The close frame, whatever comes before it; then the server ends the connection."""
        while (found := await self.frame()).opcode != CLOSE:
            pass
        return found


async def handshake(
    wire: Wire, target: str, headers: Iterable[tuple[str, str]] = (), key: bytes = b"AAAAAAAAAAAAAAAAAAAAAA=="
) -> Answer:
    """The answer to a WebSocket handshake; headers given replace the usual ones, and "" leaves one out."""
    usual = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    sent = [(name, value) for name, value in {**usual, **dict(headers)}.items() if value]
    return await wire.request("GET", target, headers=sent)
