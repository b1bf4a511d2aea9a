"""A loop whose clock jumps over the time in which nothing happens: hours of heartbeats in a moment, and no guessing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: How long, in real seconds, bytes that are on their way over loopback may take. Only then time is jumped over.
LOOPBACK = 0.003
#: In real seconds, for what has no deadline at all.
STUCK = 30.0


class JumpingSelector(selectors.DefaultSelector):
    def __init__(self, grace: float) -> None:
        super().__init__()
        self.skipped = 0.0
        self._grace = grace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(STUCK)
            if not ready:
                raise RuntimeError(f"nothing happened for {STUCK} s, and nothing is going to")
            return ready
        ready = super().select(min(timeout, self._grace))
        if not ready and timeout > 0:
            self.skipped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A real loop on real sockets. Not for threads: what they take is no time to it."""

    def __init__(self, grace: float) -> None:
        self._jumping = JumpingSelector(grace)
        super().__init__(self._jumping)

    def time(self) -> float:
        return super().time() + self._jumping.skipped


def run(main: Coroutine[Any, Any, T], sockets: bool = False) -> T:
    """Runs a test in jumping time. `sockets`: whether bytes travel between its two ends."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(LOOPBACK if sockets else 0.0)) as runner:
        return runner.run(main)
