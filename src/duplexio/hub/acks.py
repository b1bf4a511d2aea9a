"""Acknowledgements: those a handler gives, and those this side waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from math import inf
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
    """The acknowledgements that one socket owes us, by id.

    Nearly all come long before they are late. So there is one timer for all of them, set for the first deadline; it
    looks for who is late, and is set again for the first deadline that is left. An acknowledgement that comes touches
    no timer.
    """

    __slots__ = ("_limit", "_owner", "_pending", "_timer", "_timer_due", "_wheel")

    def __init__(self, wheel: Wheel, limit: int, owner: str = "Server") -> None:
        self._wheel = wheel
        self._limit = limit
        self._owner = owner
        #: Whom to tell, the deadline on the wheel's clock, the event's name and the timeout, for the error.
        self._pending: dict[int, tuple[Answered, float, str, float]] = {}
        self._timer: Timer | None = None
        self._timer_due = inf

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._pending)

    def expect(self, number: int, event: str, answered: Answered, timeout: float | None) -> None:
        """Waits for the acknowledgement `number`. `timeout` in seconds; None: until the socket ends.

        Raises LimitExceeded where too many are awaited already.
        """
        if len(self._pending) >= self._limit:
            raise LimitExceeded("max_pending_acks", self._limit, self._owner)
        if timeout is None:
            timeout = inf
        due = self._wheel.time() + timeout
        self._pending[number] = (answered, due, event, timeout)
        if due < self._timer_due:
            self._set_timer(due)

    def resolve(self, number: int, arguments: list[Any]) -> bool:
        """The acknowledgement came; False: nobody waits for it."""
        found = self._pending.pop(number, None)
        if found is None:
            return False
        found[0](None, arguments)
        return True

    def fail(self, number: int, error: DuplexioError) -> None:
        """There will be no answer."""
        found = self._pending.pop(number, None)
        if found is not None:
            found[0](error, [])

    def forget(self, number: int) -> None:
        """Nobody waits any more."""
        self._pending.pop(number, None)

    def close(self, reason: str, keep: Container[int] = (), details: str = "") -> None:
        """The socket ended: whoever waits is told now, but for those in `keep`."""
        for number in [number for number in self._pending if number not in keep]:
            self.fail(number, Disconnected(reason, details))
        if not self._pending:
            self._drop_timer()

    def _set_timer(self, due: float) -> None:
        self._drop_timer()
        self._timer_due = due
        self._timer = self._wheel.call_at(due, self._time_is_over)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = inf

    def _time_is_over(self) -> None:
        # The wheel may be called a little early; the deadline that the timer was set for is over all the same.
        now = max(self._wheel.time(), self._timer_due)
        late = [(number, event, timeout) for number, (_, due, event, timeout) in self._pending.items() if due <= now]
        self._timer, self._timer_due = None, inf
        first = min((due for _, due, _, _ in self._pending.values() if due > now), default=inf)
        if first < inf:
            self._set_timer(first)
        for number, event, timeout in late:
            # One that is told may have ended the wait for another: that one is told no more.
            self.fail(number, AckTimeout(event, timeout))


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
