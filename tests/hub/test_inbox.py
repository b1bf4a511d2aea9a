"""Events that wait for whoever asks: none is lost, none comes twice, and the order stays."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexio.errors import Disconnected
from duplexio.hub.inbox import Inbox

NAMES = st.sampled_from("abc")
#: put an event; ask for one of a name, or of any; cancel the oldest that waits; let the loop turn.
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES),
    st.tuples(st.just("get"), st.none() | NAMES),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("turn"), st.none()),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(1, 5))
def test_each_event_is_received_once_or_dropped_or_there(steps: list[tuple[str, Any]], limit: int) -> None:
    async def run() -> None:
        dropped: list[None] = []
        inbox = Inbox(asyncio.get_running_loop(), limit, lambda: dropped.append(None))
        put: list[int] = []
        waiting: deque[asyncio.Task[tuple[str, tuple[Any, ...]]]] = deque()
        every: list[asyncio.Task[tuple[str, tuple[Any, ...]]]] = []
        for action, name in steps:
            if action == "put":
                inbox.put(name, (len(put),))
                put.append(len(put))
            elif action == "get":
                task = asyncio.create_task(inbox.get(name))
                waiting.append(task)
                every.append(task)
            elif action == "cancel" and waiting:
                waiting.popleft().cancel()
            elif action == "turn":
                await asyncio.sleep(0)
        for task in every:
            task.cancel()
        got = [end[1][0] for end in await asyncio.gather(*every, return_exceptions=True) if isinstance(end, tuple)]
        inbox.close(Disconnected("transport close"))
        left = []
        try:
            while True:
                left.append((await inbox.get())[1][0])
        except Disconnected:
            pass
        assert len(set(got + left)) == len(got + left)
        assert len(got) + len(left) + len(dropped) == len(put)
        # What a cancelled wait gives back stands where it stood.
        assert len(left) <= limit
        assert left == sorted(left)

    asyncio.run(run())


async def test_what_is_given_back_goes_to_whoever_waits() -> None:
    inbox = Inbox(asyncio.get_running_loop(), 10, lambda: None)
    first, second = (asyncio.create_task(inbox.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    inbox.put("a", (1,))
    first.cancel()
    async with asyncio.timeout(10):
        assert await second == ("a", (1,))
    assert first.cancelled()


async def test_several_that_are_given_back_keep_their_order() -> None:
    inbox = Inbox(asyncio.get_running_loop(), 10, lambda: None)
    asking = [asyncio.create_task(inbox.get(name)) for name in ("a", "a", "b")]
    await asyncio.sleep(0)
    for number, name in enumerate("caab"):
        inbox.put(name, (number,))
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    assert [(await inbox.get())[1][0] for _ in range(4)] == [0, 1, 2, 3]


async def test_in_order_of_the_asking() -> None:
    inbox = Inbox(asyncio.get_running_loop(), 10, lambda: None)
    asking = [asyncio.create_task(inbox.get(name)) for name in ("a", None, "b", "a")]
    await asyncio.sleep(0)
    for number, name in enumerate("babab"):
        inbox.put(name, (number,))
    got = [item[1][0] for item in await asyncio.gather(*asking)]
    # The first asked for an "a", the second for anything.
    assert got == [1, 0, 2, 3]
    assert await inbox.get() == ("b", (4,))


async def test_the_end_and_another_beginning() -> None:
    inbox = Inbox(asyncio.get_running_loop(), 10, lambda: None)
    waiting = asyncio.create_task(inbox.get("b"))
    await asyncio.sleep(0)
    inbox.put("a", ())
    inbox.close(Disconnected("transport close"))
    with pytest.raises(Disconnected):
        await waiting
    assert await inbox.get() == ("a", ())
    with pytest.raises(Disconnected):
        await inbox.get()
    inbox.open()
    waiting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put("c", (1,))
    assert await waiting == ("c", (1,))
