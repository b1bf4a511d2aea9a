"""A server of Engine.IO that does wrong in its first session, and right in the next ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence

from .answering import Answering, frame, http, open_packet, switching

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
JOINED = b'40{"sid":"mine"}'


class Hostile(Answering):
    """Over WebSocket, `attack` has the connection once the client is in; over polling, `bodies` answer its polls.

    The sessions that come after it are good ones: they let the client in, echo what it emits, and stay.

    Attributes:
        sessions: how many were opened.
        heard: what the client of the first session sent after it was in.
    """

    def __init__(
        self, attack: Attack | None = None, bodies: Sequence[bytes] = (), opened: bytes = b"", joins: bool = True
    ) -> None:
        super().__init__(self._serve)
        self.sessions = 0
        self.heard: list[bytes] = []
        self._attack = attack
        self._bodies = list(bodies)
        self._opened = opened or open_packet()
        self._joins = joins
        self._good = asyncio.Queue[bytes]()
        self._numbers = itertools.count(1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"transport=websocket" in head:
                await self._serve_websocket(head, reader, writer)
                return
            await self._serve_request(head, reader, writer)

    # WebSocket.

    async def _serve_websocket(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        first = self.sessions == 1
        writer.write(switching(head) + frame(self._opened if first else open_packet()))
        if self._joins or not first:
            await read_frame(reader)
            writer.write(frame(JOINED))
        if first and self._attack is not None:
            listening = asyncio.create_task(self._listen(reader))
            try:
                await self._attack(reader, writer)
                await listening
            finally:
                listening.cancel()
            return
        while packet := await read_frame(reader):
            writer.write(frame(answer_to(packet)))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            self.heard.append(await read_frame(reader))

    # Polling.

    async def _serve_request(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"POST"):
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length"))
            body = await reader.readexactly(length)
            if b"sid=good" in head:
                self._good.put_nowait(JOINED if body.startswith(b"40") else answer_to(body))
            else:
                self.heard.append(body)
            writer.write(http(200, b"ok"))
        elif b"sid=" not in head:
            self.sessions += 1
            body = self._opened if self.sessions == 1 else open_packet(sid=f"good{next(self._numbers)}")
            writer.write(http(200, body + (b"\x1e" + JOINED if self.sessions == 1 and self._joins else b"")))
        elif b"sid=good" in head:
            writer.write(http(200, await self._good.get()))
        elif self._bodies:
            writer.write(http(200, self._bodies.pop(0)))
        else:
            await reader.read()


def answer_to(packet: bytes) -> bytes:
    """`42<id>["echo", x]` is acknowledged with x; a noop for all else."""
    number, bracket, rest = packet.removeprefix(b"42").partition(b"[")
    if not bracket or not number.isdigit():
        return b"6"
    return b"43" + number + b"[" + rest.partition(b",")[2]


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """What a client sent, unmasked; empty where it ends the connection."""
    head = await reader.readexactly(2)
    size = head[1] & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4)
    data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(size)))
    return b"" if head[0] & 0x0F == 8 else data
