"""A WebSocket by hand: which bytes go into which segment is the test's to say."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable

from .clients import SECONDS

TEXT, BINARY, CLOSE = 1, 2, 8


def frame(payload: bytes | str, opcode: int = TEXT, fin: bool = True) -> bytes:
    """A client's frame, masked. RFC 6455 §5.2."""
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        head += bytes([0x80 | len(data)])
    elif len(data) < 65_536:
        head += b"\xfe" + len(data).to_bytes(2, "big")
    else:
        head += b"\xff" + len(data).to_bytes(8, "big")
    mask = os.urandom(4)
    long_mask = int.from_bytes(mask * (len(data) // 4 + 1), "big") >> (8 * (4 - len(data) % 4))
    masked = (int.from_bytes(data, "big") ^ long_mask).to_bytes(len(data), "big") if data else b""
    return head + mask + masked


def handshake(url: str, target: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {target} HTTP/1.1\r\nHost: {url}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


class RawWebSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def write_pieces(self, pieces: Iterable[bytes]) -> None:
        """Each in a segment of its own, as far as that can be had."""
        for piece in pieces:
            await self.write(piece)
            await asyncio.sleep(0.002)

    async def read_head(self) -> str:
        async with asyncio.timeout(SECONDS):
            return (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def receive(self) -> str:
        """The next text message; the server does not split any."""
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readexactly(2)
            assert head[0] == 0x80 | TEXT, head
            length = head[1]
            if length >= 126:
                length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
            return (await self._reader.readexactly(length)).decode()

    async def expect(self, prefix: str) -> str:
        """The next message that is no ping begins so."""
        while True:
            message = await self.receive()
            if message == "2":
                await self.write(frame("3"))
                continue
            assert message.startswith(prefix), message[:200]
            return message


@contextlib.asynccontextmanager
async def raw_websocket(url: str) -> AsyncIterator[RawWebSocket]:
    """A connection on which nothing was sent yet."""
    host, port = url.split(":")
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port), limit=4_000_000)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        yield RawWebSocket(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def session(url: str, path: str = "/socket.io/") -> AsyncIterator[RawWebSocket]:
    """A session that has joined the main namespace."""
    async with raw_websocket(url) as websocket:
        await websocket.write(handshake(url, f"{path}?EIO=4&transport=websocket"))
        assert " 101 " in await websocket.read_head()
        await websocket.expect("0{")
        await websocket.write(frame("40"))
        await websocket.expect("40{")
        yield websocket
