"""What a client under measurement is to do, and its clock. Of the standard library alone: every virtualenv has it."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any, Literal, TypedDict

__all__ = ["Measured", "Meter", "Plan", "plan", "report"]

#: The clock is looked at once in so many events: it costs as much as a small step of what is measured.
LOOK_EVERY = 32


class Plan(TypedDict):
    """One measurement."""

    url: str
    transport: Literal["polling", "websocket"]
    #: Events in flight.
    window: int
    #: `echo`: the server emits what it got. `ack`: it acknowledges with it.
    event: str
    payload: Any
    #: So many bytes in place of the payload, where it is not 0.
    binary: int
    #: Seconds.
    warm_up: float
    seconds: float
    #: Events after which it ends in any case.
    most: int


class Measured(TypedDict):
    """What came out: events, and seconds of CPU and of the clock that they took."""

    count: int
    cpu: float
    wall: float
    versions: dict[str, str]


class Meter:
    """Counts events. `tick` says when it is over; the warm-up is left out of what it took."""

    def __init__(self, plan: Plan) -> None:
        self.count = 0
        self.over = False
        self._plan = plan
        self._look_at = LOOK_EVERY
        self._warm = False
        self._begun = self._wall = time.perf_counter()
        self._cpu = 0.0
        self._first = 0
        self.measured: tuple[int, float, float] | None = None

    def tick(self) -> bool:
        """An event has come. Whether it was the last."""
        self.count += 1
        if self.count >= self._look_at:
            self._look()
        return self.over

    def _look(self) -> None:
        self._look_at += LOOK_EVERY
        now = time.perf_counter()
        if self.over:
            return
        if not self._warm:
            if now - self._begun >= self._plan["warm_up"]:
                self._warm = True
                self._first, self._wall, self._cpu = self.count, now, _cpu()
        elif now - self._wall >= self._plan["seconds"] or self.count - self._first >= self._plan["most"]:
            self.measured = self.count - self._first, _cpu() - self._cpu, now - self._wall
            self.over = True


def _cpu() -> float:
    """Seconds that all threads of this process have used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def plan() -> tuple[Plan, Any]:
    """The measurement that this process was started for, and the payload of its events."""
    given: Plan = json.loads(sys.argv[1])
    return given, bytes(range(given["binary"])) if given["binary"] else given["payload"]


def report(meter: Meter, versions: dict[str, str]) -> None:
    """To whoever started this process."""
    assert meter.measured is not None
    count, cpu, wall = meter.measured
    measured: Measured = {"count": count, "cpu": cpu, "wall": wall, "versions": versions}
    print(json.dumps(measured))
