"""The answers of several servers to one request: who is waited for, and for how long."""

from __future__ import annotations

import asyncio

from duplexio.adapters.fan_in import FanIn
from duplexio.errors import AckTimeout

#: Long enough that only a fault makes a test wait for it.
LONG = 30.0


def fan_in(*nodes: str) -> FanIn:
    return FanIn(asyncio.get_running_loop(), nodes)


async def test_nobody_to_wait_for() -> None:
    answers = fan_in()
    assert await answers.wait(LONG)
    assert answers.complete
    assert answers.answers == []


async def test_all_answer() -> None:
    answers = fan_in("a", "b")
    here = answers.one_more()
    waiting = asyncio.ensure_future(answers.wait(LONG))
    answers.replied("a", 2, ["a1"], 0)
    answers.replied("b", 0, [], 0)
    await asyncio.sleep(0)
    here(None, ["here", "more"])
    await asyncio.sleep(0)
    assert not waiting.done()
    answers.replied("a", -1, ["a2"], 0)
    assert await waiting
    assert answers.complete
    assert answers.answers == ["a1", "here", "a2"]
    assert answers.expected == 3


async def test_answers_before_their_number() -> None:
    """Order is promised; a bus that breaks it costs nothing."""
    answers = fan_in("a")
    answers.replied("a", -1, [2], 0)
    answers.replied("a", 2, [1], 0)
    assert await answers.wait(LONG)
    assert answers.answers == [2, 1]


async def test_a_server_that_goes() -> None:
    answers = fan_in("a", "b", "c")
    answers.replied("a", 2, [1], 0)
    waiting = asyncio.ensure_future(answers.wait(LONG))
    await asyncio.sleep(0)
    answers.gave_up("a")
    answers.gave_up("b")
    answers.gave_up("b")
    await asyncio.sleep(0)
    assert not waiting.done()
    answers.replied("a", -1, ["too late"], 0)
    answers.replied("c", 1, [3], 0)
    assert await waiting
    assert not answers.complete
    assert answers.answers == [1, 3]
    assert answers.expected == 3


async def test_answers_that_do_not_come() -> None:
    answers = fan_in("a")
    here = answers.one_more()
    here(AckTimeout("e", 1.0), [])
    answers.replied("a", 3, [], 1)
    answers.replied("a", -1, [1, 2], 0)
    assert await answers.wait(LONG)
    assert not answers.complete
    assert answers.expected == 4


async def test_too_late() -> None:
    answers = fan_in("a", "b", "silent")
    answers.replied("a", 2, [1], 0)
    answers.replied("b", 0, [], 0)
    assert not await answers.wait(0.01)
    assert answers.answers == [1]
    assert (answers.expected, answers.silent) == (2, 1)
    answers.replied("a", -1, [2], 0)
    assert answers.answers == [1]


async def test_one_that_nobody_knew() -> None:
    answers = fan_in("a")
    answers.replied("new", 1, ["new"], 0)
    answers.replied("never counted", -1, ["?"], 0)
    answers.replied("a", 0, [], 0)
    assert await answers.wait(LONG)
    assert answers.answers == ["new"]


async def test_cancelled() -> None:
    answers = fan_in("a")
    waiting = asyncio.ensure_future(answers.wait(LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    answers.replied("a", 1, [1], 0)
    answers.gave_up("a")
    assert waiting.cancelled()
