"""Which other servers are there, by what the bus tells and by when each was last heard of."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Nodes"]


class Nodes:
    """Time is an argument, in seconds of any steady clock.

    `came` and `went` are told of each change, `went` with the reason; after it has happened.
    """

    __slots__ = ("_came", "_checked", "_heard", "_interval", "_timeout", "_went")

    def __init__(
        self, interval: float, timeout: float, came: Callable[[str], None], went: Callable[[str, str], None]
    ) -> None:
        self._interval = interval
        self._timeout = timeout
        self._came = came
        self._went = went
        self._heard: dict[str, float] = {}
        self._checked: float | None = None

    @property
    def names(self) -> list[str]:
        """Those that are there."""
        return list(self._heard)

    def __len__(self) -> int:
        return len(self._heard)

    def heard(self, node: str, now: float) -> None:
        """Something came from this node, or the bus has seen it."""
        new = node not in self._heard
        self._heard[node] = now
        if new:
            self._came(node)

    def lost(self, node: str, reason: str) -> None:
        """It has gone; nothing where it was not there."""
        if self._heard.pop(node, None) is not None:
            self._went(node, reason)

    def check(self, now: float) -> None:
        """Drops who was not heard of for too long. To be called once in each interval."""
        checked, self._checked = self._checked, now
        if checked is not None and now - checked > 2 * self._interval:
            # This server stood still itself: what the others have said meanwhile is still to be read.
            return
        for node, heard in list(self._heard.items()):
            if heard < now - self._timeout:
                self.lost(node, f"not heard of for {self._timeout:g} s")
