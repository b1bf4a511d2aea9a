"""Events that wait for whoever asks for them: `receive` and `events` of a client's socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from duplexio.errors import DuplexioError, raised_again

__all__ = ["Inbox"]

Item = tuple[str, tuple[Any, ...]]
#: With its place among those that came.
Numbered = tuple[int, Item]


class Inbox:
    """Bounded: the oldest go, and are counted. `get` ends with the error that `close` was given."""

    __slots__ = ("_came", "_dropped", "_ended", "_items", "_limit", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, dropped: Callable[[], object]) -> None:
        self._loop = loop
        self._limit = limit
        self._dropped = dropped
        self._came = 0
        self._items: deque[Numbered] = deque()
        self._waiting: list[tuple[str | None, asyncio.Future[Numbered]]] = []
        self._ended: DuplexioError | None = None

    def put(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An event came."""
        self._came += 1
        self._place((self._came, (event, arguments)))

    def _place(self, numbered: Numbered) -> None:
        """To whoever waits for it, or where it belongs among the others: last, unless it was given back."""
        number, (event, _) = numbered
        for index, (wanted, future) in enumerate(self._waiting):
            if wanted in (None, event) and not future.done():
                del self._waiting[index]
                future.set_result(numbered)
                return
        place = len(self._items)
        while place and self._items[place - 1][0] > number:
            place -= 1
        self._items.insert(place, numbered)
        if len(self._items) > self._limit:
            self._items.popleft()
            self._dropped()

    def names(self) -> list[str]:
        """Of the events that are here."""
        return [event for _, (event, _) in self._items]

    async def get(self, event: str | None = None) -> Item:
        """The oldest event of that name, or of any; waits for it where there is none.

        Cancelling it loses nothing. Raises what the inbox was closed with, once it is empty of such events.
        """
        for index, (_, item) in enumerate(self._items):
            if event in (None, item[0]):
                del self._items[index]
                return item
        if self._ended is not None:
            raise raised_again(self._ended)
        future: asyncio.Future[Numbered] = self._loop.create_future()
        waiting = (event, future)
        self._waiting.append(waiting)
        try:
            return (await future)[1]
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif future.done() and not future.cancelled() and future.exception() is None:
                # It was handed over in the moment of the cancellation.
                self._place(future.result())
            raise

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """To another event loop. Nobody waits on the last one any more."""
        self._loop = loop
        self._waiting = []

    def open(self) -> None:
        """Events will come again."""
        self._ended = None

    def close(self, error: DuplexioError) -> None:
        """No event will come any more: whoever waits is told now."""
        self._ended = error
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)
