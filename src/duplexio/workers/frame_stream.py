"""A stream of frames between two workers: what both ends of every kind of it have in common."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from duplexio.engine.server import EngineServer
from duplexio.workers.relay_message import Frames, Kind, RelayError, write_frames

__all__ = ["FrameStream", "open_stream"]


async def open_stream(connection: socket.socket, protocol: asyncio.Protocol) -> None:
    """Gives a connection to the running loop, which closes it in the end, also where this is cancelled. Raises OSError.

    Dialled or accepted, it is given as an accepted one. What a loop does with it is the same, but uvloop (0.23) takes a
    dialled one from its socket object only a turn after `connection_made`. Where that closes it, or what it writes
    fails since the other worker has died, the object keeps a descriptor that was closed, and when it is collected it
    closes whatever has that number by then: a client's connection, or one that libuv is about to watch, for which it
    ends the process.
    """
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
    except OSError:
        connection.close()
        raise


class FrameStream(asyncio.Protocol):
    """One end. Subclasses say what a frame means, and what the end of the stream does."""

    def __init__(self, engine: EngineServer, max_message: int, early: bytes) -> None:
        """`early`: what was read before the loop had made its transport."""
        self.engine = engine
        self.raw: asyncio.Transport | None = None
        self._frames = Frames(max_message)
        self._early = early

    def received(self, kind: Kind, number: int, payload: bytes) -> None:
        """A message is complete. May raise RelayError: the stream ends then."""
        raise NotImplementedError

    def ended(self) -> None:
        """The stream has; called once."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = cast(asyncio.Transport, transport)
        early, self._early = self._early, b""
        self.data_received(early)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._frames.feed(data):
                self.received(kind, number, payload)
        except RelayError as error:
            self.break_off(f"a neighbouring worker sent what is not understood: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended()

    def break_off(self, text: str) -> None:
        """Ends it at once: said in the log, and counted. Nothing where it ends already."""
        if self.raw is not None and self.raw.is_closing():
            return
        self.engine.reporter.count("relay_errors")
        self.engine.reporter.error(text)
        if self.raw is not None:
            self.raw.abort()

    def send(self, kind: Kind, number: int, payload: bytes) -> None:
        raw = self.raw
        if raw is not None and not raw.is_closing():
            for frame in write_frames(kind, number, payload):
                raw.write(frame)

    def finish(self) -> None:
        """Ends it behind what was sent."""
        if self.raw is not None:
            self.raw.close()
