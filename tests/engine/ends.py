"""The two neighbours of a session, in memory: an owner above that keeps what it is told, a transport below that keeps
what it is given. Both follow the contracts of the engine and decide nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY, Sink
from duplexio.observe import Counts, Reporter
from duplexio.options import Options
from duplexio.protocol.engine_handshake import Request
from duplexio.protocol.engine_packet import Message, Outgoing

logger = logging.getLogger("duplexio")


class Keeper:
    """See `engine.connection.Owner`."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.binaries: list[bytes] = []
        self.closings: list[tuple[str, str]] = []

    def receive(self, packet: bytes) -> None:
        self.texts.append(packet)

    def receive_binary(self, data: bytes) -> None:
        self.binaries.append(data)

    def opened(self) -> None: ...

    def closed(self, reason: Any, details: str) -> None:
        self.closings.append((reason, details))


class Line:
    """See `engine.transport.Transport`. What a WebSocket would have written is in `sent`, one entry for each write."""

    direct = False

    def __init__(self, name: str = "websocket") -> None:
        self.name = name
        self.sink: Sink = NOBODY
        self.writable = True
        self.full = False
        self.sent: list[list[Outgoing]] = []
        self.endings: list[str] = []
        self.reading = True

    @property
    def congested(self) -> bool:
        return self.full or not self.writable

    @property
    def packets(self) -> list[Outgoing]:
        return [packet for packets in self.sent for packet in packets]

    def write(self, packets: Iterable[Outgoing]) -> None:
        self.sent.append(list(packets))

    def write_one(self, packet: bytes) -> None:
        self.sent.append([packet])

    def write_shared(self, message: Message) -> None:
        self.sent.append([message])

    def close(self) -> None:
        self.endings.append("closed")

    def fail(self, code: int, text: str) -> None:
        self.endings.append(f"{code} {text}")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Answer:
    """See `engine.polling.Exchange`."""

    def __init__(self) -> None:
        self.given: list[tuple[int, bytes, bytes]] = []
        self.compressible = False

    def respond(self, status: int, body: bytes, content_type: bytes = b"", compressible: bool = False) -> None:
        self.given.append((status, body, content_type))
        self.compressible = compressible

    @property
    def body(self) -> bytes | None:
        """What it was answered with; None while it is open."""
        return self.given[0][1] if self.given else None

    @property
    def status(self) -> int | None:
        return self.given[0][0] if self.given else None


def engine(**options: Any) -> EngineServer:
    """A started engine whose sessions belong to Keepers. Counts are in `engine.reporter`'s observer: see `counts`."""
    server = EngineServer(Options(options), Reporter(Counts(), logger), lambda connection: Keeper())
    server.start()
    return server


def counts(server: EngineServer) -> dict[str, int]:
    """All of an engine's counters."""
    observer = server.reporter._observer
    assert isinstance(observer, Counts)
    return dict(observer.snapshot())


def request(target: str = "/socket.io/?EIO=4&transport=polling", method: str = "GET", **headers: str) -> Request:
    path, _, query = target.partition("?")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method, path, query.encode(), raw, "192.0.2.1", False)


def session(server: EngineServer, line: Line | None = None) -> tuple[Connection, Line, Keeper]:
    """An open session over a line, its handshake sent."""
    line = Line() if line is None else line

    def bound(connection: Connection) -> Line:
        line.sink = connection
        return line

    connection = server.open(request(), bound, server.new_sid())
    assert isinstance(connection.owner, Keeper)
    return connection, line, connection.owner


def polling(server: EngineServer) -> tuple[Connection, Answer]:
    """A session over real polling, whose first poll was answered with the handshake."""
    first = Answer()
    sid = server.new_sid()
    server.open_polling(request(), first, sid)
    assert first.body is not None
    return server.connections[sid], first


async def turns(count: int = 3) -> None:
    """A few turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)
