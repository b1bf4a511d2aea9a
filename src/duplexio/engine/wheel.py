"""All of a server's deadlines on one timer of the loop.

Sessions have deadlines by the thousand that are nearly always moved before they come. Each turn of the wheel is a
slot of `resolution` seconds; a deadline goes into its slot in constant time, leaves it in constant time, and the loop
is asked for one timer at the first slot that holds something.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

__all__ = ["Timer", "Wheel"]


class Timer:
    """A deadline on the wheel."""

    __slots__ = ("_slot", "callback")

    def __init__(self, slot: dict[Timer, None], callback: Callable[[], object]) -> None:
        self._slot = slot
        self.callback = callback

    def cancel(self) -> None:
        """It will not be called; cancelling one that was is nothing."""
        self._slot.pop(self, None)


class Wheel:
    """`resolution`: how much too late a deadline may be called, in seconds; never too early."""

    __slots__ = ("_handle", "_loop", "_order", "_resolution", "_slots", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop, resolution: float) -> None:
        self._loop = loop
        #: The loop's clock, which deadlines are read on.
        self.time = loop.time
        self._resolution = resolution
        self._slots: dict[int, dict[Timer, None]] = {}
        self._order: list[int] = []
        self._handle: asyncio.TimerHandle | None = None

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back `delay` seconds from now."""
        return self.call_at(self.time() + delay, callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call back when the loop's clock shows `when`."""
        number = int(when / self._resolution) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._order, number)
            if self._order[0] == number:
                self._arm()
        timer = Timer(slot, callback)
        slot[timer] = None
        return timer

    def close(self) -> None:
        """Drops every deadline."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(self._order[0] * self._resolution, self._turn)

    def _turn(self) -> None:
        self._handle = None
        # The loop's own clock has a resolution, too, and may call a little early.
        now = self._loop.time() + 0.001
        while self._order and self._order[0] * self._resolution <= now:
            slot = self._slots.pop(heapq.heappop(self._order))
            # A copy: asking a dict for its first key, again and again, takes longer the more were taken out before.
            for timer in list(slot):
                if timer not in slot:
                    # Cancelled by one before it.
                    continue
                del slot[timer]
                try:
                    timer.callback()
                except Exception as error:
                    self._loop.call_exception_handler({"message": "a deadline's callback raised", "exception": error})
        if self._order and self._handle is None:
            self._arm()
