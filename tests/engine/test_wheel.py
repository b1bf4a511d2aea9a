"""The wheel: deadlines in jumping time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from duplexio.engine.wheel import Wheel

from .clock import run

RESOLUTION = 0.05
#: The loop's own clock calls a little early, and the wheel allows for it.
EARLY = 0.001


async def until(loop: asyncio.AbstractEventLoop, when: float) -> None:
    await asyncio.sleep(max(0.0, when - loop.time()))


def test_a_deadline_is_called_once_and_never_too_early() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        calls: list[float] = []
        when = loop.time() + 20.0
        wheel.call_at(when, lambda: calls.append(loop.time()))
        await until(loop, when + 5)
        assert len(calls) == 1
        assert when - EARLY <= calls[0] < when + 3 * RESOLUTION

    run(main())


def test_many_deadlines_each_at_its_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        start = loop.time()
        numbers = random.Random(7)
        called: dict[int, float] = {}
        planned: dict[int, float] = {}

        def note(number: int) -> Callable[[], None]:
            def called_back() -> None:
                called[number] = loop.time()

            return called_back

        for number in range(300):
            planned[number] = start + numbers.uniform(0.0, 30.0)
            wheel.call_at(planned[number], note(number))
        await until(loop, start + 31)
        assert called.keys() == planned.keys()
        for number, when in planned.items():
            assert when - EARLY <= called[number] < when + 3 * RESOLUTION

    run(main())


def test_cancelled_is_not_called_and_cancelling_again_is_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        calls: list[str] = []
        gone = wheel.call_later(1.0, lambda: calls.append("gone"))
        kept = wheel.call_later(1.0, lambda: calls.append("kept"))
        gone.cancel()
        gone.cancel()
        await asyncio.sleep(2)
        assert calls == ["kept"]
        kept.cancel()

    run(main())


def test_an_earlier_deadline_goes_before_a_later_one_that_was_there() -> None:
    async def main() -> None:
        wheel = Wheel(asyncio.get_running_loop(), RESOLUTION)
        calls: list[str] = []
        wheel.call_later(10, lambda: calls.append("late"))
        wheel.call_later(1, lambda: calls.append("early"))
        await asyncio.sleep(2)
        assert calls == ["early"]
        await asyncio.sleep(10)
        assert calls == ["early", "late"]

    run(main())


def test_a_callback_may_set_and_cancel_deadlines() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        calls: list[str] = []
        other = wheel.call_later(5.0, lambda: calls.append("cancelled"))

        def first() -> None:
            calls.append("first")
            other.cancel()
            wheel.call_later(0.0, lambda: calls.append("at once"))
            wheel.call_later(1.0, lambda: calls.append("later"))

        wheel.call_later(1.0, first)
        await asyncio.sleep(10)
        assert calls == ["first", "at once", "later"]

    run(main())


def test_a_callback_may_cancel_another_of_its_slot() -> None:
    async def main() -> None:
        wheel = Wheel(asyncio.get_running_loop(), 1.0)
        calls: list[int] = []

        def only_one() -> None:
            calls.append(1)
            for timer in timers:
                timer.cancel()

        timers = [wheel.call_later(2.0, only_one) for _ in range(5)]
        await asyncio.sleep(5)
        assert len(calls) == 1

    run(main())


def test_a_deadline_in_the_past_is_called_at_the_next_turn() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        calls: list[int] = []
        wheel.call_at(loop.time() - 100, lambda: calls.append(1))
        assert calls == []
        await asyncio.sleep(0.2)
        assert calls == [1]

    run(main())


def test_a_heartbeat_that_moves_itself() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop, RESOLUTION)
        beats: list[float] = []

        def beat() -> None:
            beats.append(loop.time())
            wheel.call_later(25.0, beat)

        start = loop.time()
        wheel.call_later(25.0, beat)
        await asyncio.sleep(101)
        assert [round(when - start) for when in beats] == [25, 50, 75, 100]

    run(main())


def test_one_callback_that_raises_stops_no_other() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reported: list[str] = []
        loop.set_exception_handler(lambda _, context: reported.append(str(context.get("exception"))))
        wheel = Wheel(loop, RESOLUTION)
        calls: list[str] = []

        def failing() -> None:
            raise RuntimeError("of one session")

        when = loop.time() + 1
        wheel.call_at(when, lambda: calls.append("same slot, before"))
        wheel.call_at(when, failing)
        wheel.call_at(when, lambda: calls.append("same slot, after"))
        wheel.call_at(when + 5, lambda: calls.append("later"))
        await asyncio.sleep(10)
        assert sorted(calls) == ["later", "same slot, after", "same slot, before"]
        assert reported == ["of one session"]

    run(main())


@pytest.mark.parametrize("waiting", [0, 3])
def test_close_drops_every_deadline(waiting: int) -> None:
    async def main() -> None:
        wheel = Wheel(asyncio.get_running_loop(), RESOLUTION)
        calls: list[int] = []
        timers = [wheel.call_later(1 + number, lambda: calls.append(1)) for number in range(waiting)]
        wheel.close()
        for timer in timers:
            timer.cancel()
        await asyncio.sleep(10)
        assert calls == []
        # It can be used again.
        wheel.call_later(1.0, lambda: calls.append(2))
        await asyncio.sleep(2)
        assert calls == [2]

    run(main())
