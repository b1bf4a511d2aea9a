"""Events that are sent until the server has answered: one at a time, in order. At least once, not exactly."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duplexio.engine.wheel import Wheel
from duplexio.errors import Disconnected, DuplexioError, LimitExceeded
from duplexio.hub.acks import Answered, PendingAcks
from duplexio.protocol.engine_packet import Outgoing

__all__ = ["RetryQueue"]


@dataclass(eq=False, slots=True)
class _Entry:
    event: str
    packet: Outgoing
    number: int
    timeout: float
    answered: Answered | None
    tries: int = 0


class RetryQueue:
    """Of one socket. `retries`: how often an event is sent again after the first time."""

    __slots__ = ("_entries", "_limit", "_pending", "_retries", "_send")

    def __init__(self, retries: int, limit: int, wheel: Wheel, send: Callable[[Outgoing], bool]) -> None:
        """`send` gives False where there is no connection."""
        self._retries = retries
        self._limit = limit
        self._send = send
        self._entries: deque[_Entry] = deque()
        # The first one's, while it is on its way.
        self._pending = PendingAcks(wheel, 1)

    def __len__(self) -> int:
        return len(self._entries)

    def check(self) -> None:
        """Raises LimitExceeded where no more can wait."""
        if len(self._entries) >= self._limit:
            raise LimitExceeded("max_retry_queue", self._limit, "connect")

    def add(self, event: str, packet: Outgoing, number: int, timeout: float, answered: Answered | None) -> None:
        """`answered` is told once: the answer, or the error of the last try."""
        self.check()
        self._entries.append(_Entry(event, packet, number, timeout, answered))
        self.drain()

    def drain(self) -> None:
        """Sends the first one, unless it is on its way."""
        if self._pending or not self._entries:
            return
        entry = self._entries[0]
        if not self._send(entry.packet):
            return
        entry.tries += 1
        self._pending.expect(
            entry.number, entry.event, lambda error, arguments: self._answered(entry, error, arguments), entry.timeout
        )

    def resolve(self, number: int, arguments: list[Any]) -> bool:
        """An acknowledgement came; False: it is not of one of these."""
        return self._pending.resolve(number, arguments)

    def connection_lost(self, reason: str) -> None:
        """The one on its way gets no answer any more: a try that failed."""
        self._pending.close(reason)

    def _answered(self, entry: _Entry, error: DuplexioError | None, arguments: list[Any]) -> None:
        if error is None or entry.tries > self._retries:
            self._entries.popleft()
            if entry.answered is not None:
                entry.answered(error, arguments)
        if not isinstance(error, Disconnected):
            self.drain()

    def close(self, error: DuplexioError) -> None:
        """The socket will not come back: whoever waits is told."""
        entries, self._entries = self._entries, deque()
        for number in [entry.number for entry in entries]:
            self._pending.forget(number)
        for entry in entries:
            if entry.answered is not None:
                entry.answered(error, [])
