"""The order in which the handlers of one socket start, where they cannot all start at once.

A socket has a lane from the first time that something has to wait: a handler in a thread, an ordered one, or one too
many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from duplexio.hub.acks import Ack
from duplexio.hub.dispatch import Handler

if TYPE_CHECKING:
    from duplexio.hub.receiver import Receiver

__all__ = ["Lane"]

Job = tuple[Handler, list[Any], "int | Ack | None"]


class Lane:
    """Starts handlers in the order of their events: each after every earlier one has started."""

    __slots__ = ("_advancing", "_asked_for_thread", "_paused", "_queue", "_running", "_socket", "_threaded")

    def __init__(self, socket: Receiver, running: int) -> None:
        self._socket = socket
        self._queue: deque[Job] = deque()
        self._running = running
        self._threaded = False
        self._asked_for_thread = False
        self._paused = False
        self._advancing = False

    @property
    def paused(self) -> bool:
        """Whether the connection is not read for it."""
        return self._paused

    def submit(self, handler: Handler, args: list[Any], ack: int | Ack | None) -> None:
        """The handler starts now or later, but in its turn."""
        self._queue.append((handler, args, ack))
        self.advance()

    def advance(self) -> None:
        """Starts what can start, and lets the connection be read or not."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._queue and self._can_start(self._queue[0][0]):
                self._start(*self._queue.popleft())
        finally:
            self._advancing = False
        self._throttle()

    @property
    def _busy(self) -> int:
        """How many run without waiting for the client: its answers could not come where it is not read for them."""
        return self._running - self._socket._awaited

    def _can_start(self, handler: Handler) -> bool:
        hub = self._socket._hub
        if self._busy >= hub.options.max_handlers_in_flight or (handler.ordered and self._running):
            return False
        if handler.kind != "thread":
            return True
        if self._threaded:
            return False
        if not hub.threads.free:
            if not self._asked_for_thread:
                self._asked_for_thread = True
                hub.threads.when_free(self._thread_is_free)
            return False
        return True

    def _thread_is_free(self) -> None:
        self._asked_for_thread = False
        self.advance()

    def _start(self, handler: Handler, args: list[Any], ack: int | Ack | None) -> None:
        if not self._socket._may_start(handler, args):
            return
        future = handler.launch(self._socket, args, ack)
        if future is not None:
            if handler.kind == "thread":
                self._threaded = True
            self._running += 1
            self._socket._keep(future)
            future.add_done_callback(self._threaded_ended if handler.kind == "thread" else self.ended)

    def _threaded_ended(self, future: asyncio.Future[Any]) -> None:
        self._threaded = False
        self.ended(future)

    def ended(self, _: asyncio.Future[Any]) -> None:
        """A handler of the socket ended."""
        self._running -= 1
        self.advance()

    def _throttle(self) -> None:
        hub = self._socket._hub
        options = hub.options
        crowded = (
            self._busy >= options.max_handlers_in_flight
            or len(self._queue) >= options.max_ordered_queue
            or (bool(self._queue) and hub.threads.waiting >= options.max_thread_queue)
        )
        if crowded != self._paused:
            self._paused = crowded
            if crowded:
                self._socket._pause_reading()
            else:
                self._socket._resume_reading()
