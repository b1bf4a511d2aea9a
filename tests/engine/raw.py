"""Clients that send exactly the bytes a test gives them: HTTP requests and WebSocket frames on bare sockets.

Every wait is bounded: by `limit` seconds of the loop's clock.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

LIMIT = 10.0

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

Headers = Iterable[tuple[str, str]]


class Response(NamedTuple):
    status: int
    #: By name in lower case.
    headers: dict[str, str]
    body: bytes


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


class Refused(Exception):
    """A WebSocket handshake was answered with something else than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response


class Wire:
    """A connection on which bytes are written and read, and nothing else is known."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: float) -> None:
        self.reader = reader
        self.writer = writer
        self.limit = limit

    @classmethod
    async def dial(cls, port: int, limit: float = LIMIT) -> Wire:
        async with asyncio.timeout(limit):
            return cls(*await asyncio.open_connection("127.0.0.1", port), limit)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> Response:
        """Status and headers of an answer; its body is not read."""
        async with asyncio.timeout(self.limit):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return Response(int(lines[0].split(" ")[1]), {name.lower(): value for name, value in headers.items()}, b"")

    async def response(self, method: str = "GET") -> Response:
        """A whole answer."""
        head = await self.head()
        length = 0 if method == "HEAD" or head.status in (101, 204, 304) else int(head.headers["content-length"])
        return head._replace(body=await self.exactly(length))

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(self.limit):
            return await self.reader.readexactly(count)

    async def at_end(self) -> bytes:
        """What still comes until the other side ends the connection."""
        async with asyncio.timeout(self.limit):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(self.limit):
                await self.writer.wait_closed()
        except ConnectionError:
            pass

    def abort(self) -> None:
        """Goes away without a word."""
        self.writer.transport.abort()


def request_bytes(method: str, target: str, body: bytes = b"", headers: Headers = ()) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body or method == "POST":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Exchange:
    """A request on a connection of its own, sent but perhaps not yet answered."""

    def __init__(self, wire: Wire, method: str) -> None:
        self._wire = wire
        self._method = method

    @classmethod
    async def begin(
        cls, port: int, method: str, target: str, body: bytes = b"", headers: Headers = (), limit: float = LIMIT
    ) -> Exchange:
        wire = await Wire.dial(port, limit)
        wire.write(request_bytes(method, target, body, [*headers, ("connection", "close")]))
        return cls(wire, method)

    async def response(self) -> Response:
        """Its answer; the connection is closed then."""
        try:
            return await self._wire.response(self._method)
        finally:
            await self._wire.close()

    async def abandon(self) -> None:
        """The client goes away before the answer."""
        self._wire.abort()
        await self._wire.close()


async def http(
    port: int, method: str, target: str, body: bytes = b"", headers: Headers = (), limit: float = LIMIT
) -> Response:
    """One request and its answer."""
    exchange = await Exchange.begin(port, method, target, body, headers, limit)
    return await exchange.response()


def frame_bytes(opcode: int, payload: bytes, fin: bool = True, rsv: int = 0, mask: bytes | None = None) -> bytes:
    """A frame as a client sends it. RFC 6455 §5.2."""
    mask = os.urandom(4) if mask is None else mask
    head = bytearray((fin << 7 | rsv << 4 | opcode,))
    if len(payload) < 126:
        head.append(0x80 | len(payload))
    elif len(payload) < 65_536:
        head += bytes((0x80 | 126,)) + len(payload).to_bytes(2, "big")
    else:
        head += bytes((0x80 | 127,)) + len(payload).to_bytes(8, "big")
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return bytes(head) + mask + masked


def handshake_bytes(target: str = WEBSOCKET, headers: Headers = ()) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
    return request_bytes("GET", target, headers=[*upgrade, ("sec-websocket-key", key), *headers])


class RawWebSocket:
    """A WebSocket whose frames are sent and seen one by one; nothing is answered by itself."""

    def __init__(self, wire: Wire, response: Response) -> None:
        self.wire = wire
        self.response = response

    @classmethod
    async def connect(
        cls, port: int, target: str = WEBSOCKET, headers: Headers = (), limit: float = LIMIT
    ) -> RawWebSocket:
        """Raises Refused."""
        wire = await Wire.dial(port, limit)
        wire.write(handshake_bytes(target, headers))
        head = await wire.head()
        if head.status != 101:
            refused = head._replace(body=await wire.exactly(int(head.headers["content-length"])))
            await wire.close()
            raise Refused(refused)
        return cls(wire, head)

    async def __aenter__(self) -> RawWebSocket:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def send(self, opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> None:
        self.wire.write(frame_bytes(opcode, payload, fin, rsv))

    def text(self, *packets: str | bytes) -> None:
        """Each in a frame of its own; all in one write."""
        encoded = [packet.encode() if isinstance(packet, str) else packet for packet in packets]
        self.wire.write(b"".join(frame_bytes(TEXT, packet) for packet in encoded))

    def binary(self, *messages: bytes) -> None:
        self.wire.write(b"".join(frame_bytes(BINARY, message) for message in messages))

    async def receive(self) -> Frame:
        """The next frame. Raises asyncio.IncompleteReadError at the end of the connection."""
        first, second = await self.wire.exactly(2)
        length = second & 0x7F
        assert not second & 0x80, "a server must not mask"
        if length == 126:
            length = int.from_bytes(await self.wire.exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.wire.exactly(8), "big")
        return Frame(first & 0x0F, await self.wire.exactly(length), bool(first & 0x80), first >> 4 & 0x07)

    async def packet(self) -> str:
        """The next text message. Fails for anything else."""
        frame = await self.receive()
        assert (frame.opcode, frame.fin, frame.rsv) == (TEXT, True, 0), frame
        return frame.payload.decode()

    async def attachment(self) -> bytes:
        """The next binary message. Fails for anything else."""
        frame = await self.receive()
        assert (frame.opcode, frame.fin, frame.rsv) == (BINARY, True, 0), frame
        return frame.payload

    async def ended(self) -> int | None:
        """Waits for the server's CLOSE and the end of the connection; the code, or None where it gave none."""
        frame = await self.receive()
        assert frame.opcode == CLOSE, frame
        assert await self.wire.at_end() == b""
        return int.from_bytes(frame.payload[:2], "big") if frame.payload else None

    async def close(self) -> None:
        await self.wire.close()

    # Socket.IO, as far as many tests need it.

    async def opened(self) -> dict[str, Any]:
        """The handshake, the first packet of a session."""
        packet = await self.packet()
        assert packet[0] == "0", packet
        handshake: dict[str, Any] = json.loads(packet[1:])
        return handshake

    async def join(self, namespace: str = "/", auth: object = None) -> dict[str, Any]:
        """Joins a namespace; the CONNECT reply."""
        prefix = "" if namespace == "/" else namespace + ","
        self.text(f"40{prefix}" + ("" if auth is None else json.dumps(auth)))
        packet = await self.packet()
        assert packet.startswith("40" + prefix), packet
        reply: dict[str, Any] = json.loads(packet[2 + len(prefix) :])
        return reply

    async def event(self) -> list[Any]:
        """The next event of the main namespace, without attachments; its name and arguments."""
        packet = await self.packet()
        assert packet[:3] == "42[", packet
        arguments: list[Any] = json.loads(packet[2:])
        return arguments


async def joined(port: int, namespace: str = "/", auth: object = None, limit: float = LIMIT) -> RawWebSocket:
    """A client in a namespace, over WebSocket. Its `reply` is what the server said."""
    websocket = await RawWebSocket.connect(port, limit=limit)
    await websocket.opened()
    await websocket.join(namespace, auth)
    return websocket
