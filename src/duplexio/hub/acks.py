"""Acknowledgements: those a handler gives, and those this side waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from duplexio.engine.wheel import Timer, Wheel
from duplexio.errors import AckTimeout, Disconnected, DuplexioError, LimitExceeded

__all__ = ["Ack", "Collector", "PendingAcks"]

#: Told once: the error that ended the wait, or None and the acknowledgement's arguments.
Answered = Callable[[DuplexioError | None, list[Any]], None]


class Ack:
    """What a handler with an `ack: Ack` parameter answers with: `ack(*arguments)`, once, whenever it likes.

    Attributes:
        wanted: whether the client asked for an acknowledgement; calling does nothing where it did not.
    """

    __slots__ = ("_answered", "_failed", "_id", "_send")

    def __init__(
        self,
        send: Callable[[int, list[Any]], None],
        number: int | None,
        failed: Callable[[], object] | None = None,
    ) -> None:
        self._send = send
        self._id = number
        self._failed = failed
        self._answered = False

    @property
    def wanted(self) -> bool:
        """Whether the client asked for an acknowledgement."""
        return self._id is not None

    @property
    def answered(self) -> bool:
        """Whether it was given."""
        return self._answered

    def fail(self) -> None:
        """The handler raised: there will be no answer."""
        if self._failed is not None:
            self._failed()

    def __call__(self, *arguments: Any) -> None:
        """Answers. May be called from any thread. Raises EncodeError."""
        if self._id is not None and not self._answered:
            self._send(self._id, list(arguments))
            self._answered = True


class PendingAcks:
    """The acknowledgements that one socket owes us, by id."""

    __slots__ = ("_limit", "_pending", "_wheel")

    def __init__(self, wheel: Wheel, limit: int) -> None:
        self._wheel = wheel
        self._limit = limit
        self._pending: dict[int, tuple[Answered, Timer | None]] = {}

    def expect(self, number: int, event: str, answered: Answered, timeout: float | None) -> None:
        """Waits for the acknowledgement `number`. `timeout` in seconds; None: until the socket ends.

        Raises LimitExceeded where too many are awaited already.
        """
        if len(self._pending) >= self._limit:
            raise LimitExceeded("max_pending_acks", self._limit)
        timer = None
        if timeout is not None:
            timer = self._wheel.call_later(timeout, lambda: self._finish(number, AckTimeout(event, timeout), []))
        self._pending[number] = (answered, timer)

    def resolve(self, number: int, arguments: list[Any]) -> bool:
        """The acknowledgement came; False: nobody waits for it."""
        return self._finish(number, None, arguments)

    def forget(self, number: int) -> None:
        """Nobody waits any more."""
        _, timer = self._pending.pop(number, (None, None))
        if timer is not None:
            timer.cancel()

    def close(self, reason: str) -> None:
        """The socket ended: whoever waits is told now."""
        for number in list(self._pending):
            self._finish(number, Disconnected(reason), [])

    def _finish(self, number: int, error: DuplexioError | None, arguments: list[Any]) -> bool:
        found = self._pending.pop(number, None)
        if found is None:
            return False
        answered, timer = found
        if timer is not None:
            timer.cancel()
        answered(error, arguments)
        return True


class Collector:
    """The acknowledgements of a broadcast: done when all have come, or cannot any more."""

    __slots__ = ("_complete", "_event", "_expected", "_future", "_missing", "_responses", "_timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, event: str, timeout: float) -> None:
        self._future: asyncio.Future[list[Any]] = loop.create_future()
        self._event = event
        self._timeout = timeout
        self._expected = 0
        self._missing = 0
        self._complete = False
        self._responses: list[Any] = []

    def one_more(self) -> Answered:
        """Another receiver; what it gives is to be called with its answer."""
        self._expected += 1
        self._missing += 1
        return self._answered

    def _answered(self, error: DuplexioError | None, arguments: list[Any]) -> None:
        self._missing -= 1
        if error is None:
            self._responses.append(arguments[0] if arguments else None)
        if self._complete and not self._missing and not self._future.done():
            self._conclude()

    def _conclude(self) -> None:
        if len(self._responses) == self._expected:
            self._future.set_result(self._responses)
        else:
            self._future.set_exception(AckTimeout(self._event, self._timeout, self._responses, self._expected))

    async def result(self) -> list[Any]:
        """The first argument of each answer, in order of arrival. Raises AckTimeout with those that came."""
        if not self._expected:
            return []
        # Not before: the first receivers may be gone while the last are still to be asked.
        self._complete = True
        if not self._missing:
            self._conclude()
        return await self._future
