"""What a client's socket keeps for whoever asks for events rather than handles them: `receive` and `events`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from duplexio.errors import Disconnected
from duplexio.hub.inbox import Inbox

if TYPE_CHECKING:
    from duplexio.hub.client_socket import ClientSocket

__all__ = ["Receiving"]

#: Turns of the loop that events are kept for whoever has just connected and is about to ask for them: a task that waits
#: for `connect` needs one or two, with a timeout around it one more.
KEPT_TURNS = 4
#: Names that are remembered for a message; a program has a few dozen events.
MAX_MISSED = 100


class Receiving:
    """Of one socket. It keeps nothing before somebody has asked, but for a moment after each connect.

    Attributes:
        inbox: what it keeps; None where it keeps nothing.
    """

    __slots__ = ("_claimed", "_missed", "_socket", "inbox")

    def __init__(self, socket: ClientSocket) -> None:
        self.inbox: Inbox | None = None
        self._socket = socket
        #: Whether somebody has asked.
        self._claimed = False
        #: Names of events that came when nothing was kept, and nobody handled: the first ones.
        self._missed: set[str] = set()

    def passed_by(self, event: str) -> None:
        """An event that is not kept came; where nobody handles it either, that is worth a word."""
        if not self._socket._heard(event):
            if len(self._missed) < MAX_MISSED:
                self._missed.add(event)
            self._socket._unheard(event)

    def late(self, event: str, timeout: float | None) -> TimeoutError:
        """What to raise where none came in time."""
        hint = "; one came before the first `receive`, when none was kept" if event in self._missed else ""
        return TimeoutError(f"no event {event!r} came within {timeout:g} s{hint}")

    def put(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An event came."""
        if self.inbox is not None:
            self.inbox.put(event, arguments)

    def keep(self) -> None:
        """Events are kept from the first one on: whoever is going to ask for them may be late."""
        self._claimed = True

    def connected(self) -> None:
        """Whoever waited for it may ask."""
        if self.inbox is None:
            self._make_inbox()
            if not self._claimed:
                self._socket._loop.call_soon(self._drop_unclaimed, KEPT_TURNS)

    def claim(self) -> Inbox:
        """Somebody asks."""
        self._claimed = True
        return self._make_inbox() if self.inbox is None else self.inbox

    def open(self) -> None:
        """Events will come again."""
        if self.inbox is not None:
            self.inbox.open()

    def close(self, error: Disconnected) -> None:
        """None will."""
        if self.inbox is not None:
            self.inbox.close(error)

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """To another event loop; events that nobody received come along."""
        if self.inbox is not None:
            self.inbox.move(loop)

    def _make_inbox(self) -> Inbox:
        socket = self._socket
        count = socket._hub.reporter.count
        self.inbox = Inbox(socket._loop, socket.io.settings.max_inbox, lambda: count("inbox_dropped"))
        socket._update()
        return self.inbox

    def _drop_unclaimed(self, turns: int) -> None:
        if self._claimed:
            return
        if turns:
            self._socket._loop.call_soon(self._drop_unclaimed, turns - 1)
            return
        kept, self.inbox = self.inbox, None
        self._socket._update()
        for event in [] if kept is None else kept.names():
            self.passed_by(event)
