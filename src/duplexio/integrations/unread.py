"""Closing an HTTP connection whose peer may never read the last answers: the loop's transport keeps them for ever."""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["CLOSE_GRACE", "Session", "close_when_read"]

#: Seconds that a peer has to read what was written, where no session waits for it: as on WebSocket.
CLOSE_GRACE = 2.0


class Session(Protocol):
    """Whose answers are read."""

    def still_open(self) -> bool:
        """Whether its client may still be there."""


def close_when_read(transport: asyncio.Transport, session: Session | None) -> None:
    """Closes it behind what was written. What is not read then is dropped, but only after the end of the `session`
    whose answers these are: while that lives, its heartbeat says how slow a reader may be."""
    transport.close()
    if transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(CLOSE_GRACE, _look, transport, session)


def _look(transport: asyncio.Transport, session: Session | None) -> None:
    if not transport.get_write_buffer_size():
        return
    if session is None:
        transport.abort()
        return
    # The time of grace begins with the end.
    left = session if session.still_open() else None
    asyncio.get_running_loop().call_later(CLOSE_GRACE, _look, transport, left)
