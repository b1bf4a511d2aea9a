"""How long to wait before the next attempt: longer each time, and never the same for all clients of a server."""

from __future__ import annotations

import random

__all__ = ["Backoff"]

#: Attempts after which the wait has long reached its maximum; 2**1024 is more than a float holds.
MAX_DOUBLINGS = 64


class Backoff:
    """Exponential, with jitter. Seconds throughout; `jitter` is a share from 0 to 1."""

    __slots__ = ("_jitter", "_longest", "_random", "_shortest", "attempts")

    def __init__(self, shortest: float, longest: float, jitter: float) -> None:
        self.attempts = 0
        self._shortest = shortest
        self._longest = longest
        self._jitter = jitter
        self._random = random.Random()

    def next(self) -> float:
        """The next wait, which is one attempt more."""
        wait: float = min(self._shortest * 2 ** min(self.attempts, MAX_DOUBLINGS), self._longest)
        self.attempts += 1
        jittered = wait * (1 + self._random.uniform(-self._jitter, self._jitter))
        if jittered > self._longest:
            # Cut off there, half of all clients would wait for the very same time.
            jittered = 2 * self._longest - jittered
        return jittered

    def reset(self) -> None:
        """It worked."""
        self.attempts = 0
