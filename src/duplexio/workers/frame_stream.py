"""A stream of frames between two workers: what both ends of every kind of it have in common."""

from __future__ import annotations

import asyncio
from typing import cast

from duplexio.engine.server import EngineServer
from duplexio.workers.relay_message import Frames, Kind, RelayError, write_frames

__all__ = ["FrameStream"]


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
