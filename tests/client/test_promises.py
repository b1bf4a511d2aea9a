"""Events that are sent until the server has answered, one at a time and in order; and what was missed meanwhile."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import pytest

from duplexio.errors import AckTimeout, Disconnected, LimitExceeded

from .stage import SECONDS, Stage, dropped, until

#: How long each try waits. A busy machine's answer is to come within.
TRY = 0.15


async def test_one_at_a_time(ours: Stage) -> None:
    """The next one is sent when the one before it has its answer, or has been given up."""
    ledger = uuid.uuid4().hex
    told: list[Any] = []

    async with ours.connected(retries=2, ack_timeout=TRY, force_new=True) as socket:
        for number, tries in enumerate((2, 9, 1)):
            socket.emit("reluctant", number, ledger, tries, ack=lambda *args: told.append(args))
        await until(lambda: len(told) == 3)
        # The queue is a plain one for who wants it: a volatile event is not repeated, nor does it wait.
        assert await socket.volatile.emit_with_ack("echo", "aside") == "aside"
        assert await socket.emit_with_ack("recorded", ledger) == [0, 0, 1, 1, 1, 2]
    assert [told[0], told[2]] == [(None, 0), (None, 2)]
    assert isinstance(told[1][0], AckTimeout)


async def test_across_a_lost_connection(stage: Stage) -> None:
    """The one that was on its way is sent again; the others stay behind it."""
    ledger = uuid.uuid4().hex
    async with stage.connected(retries=5, ack_timeout=SECONDS) as socket:
        told: list[int] = []
        socket.on("connect", lambda: told.append(0), inline=True)
        waiting = [asyncio.ensure_future(socket.emit_with_ack("reluctant", n, ledger, 1 + (n == 0))) for n in range(4)]
        await asyncio.sleep(0.05)
        await dropped_by_another(socket)
        assert await asyncio.gather(*waiting) == [0, 1, 2, 3]
        assert told == [0]
        assert await socket.emit_with_ack("recorded", ledger) == [0, 0, 1, 2, 3]


async def dropped_by_another(socket: Any) -> None:
    """By an event that does not wait behind the promised ones."""
    lost = asyncio.get_running_loop().create_future()
    socket.once("disconnect", lambda *_: lost.set_result(None), inline=True)
    socket.volatile.emit("drop")
    await asyncio.wait_for(lost, SECONDS)
    await socket.wait_connected(SECONDS)


async def test_promised_before_there_is_a_connection(over_websocket: Stage) -> None:
    ledger = uuid.uuid4().hex
    socket = over_websocket.socket(retries=1, ack_timeout=SECONDS)
    waiting = [asyncio.ensure_future(socket.emit_with_ack("numbered", n, ledger)) for n in range(3)]
    socket.emit("numbered", 3, ledger)
    await asyncio.sleep(0)
    async with socket:
        assert await asyncio.gather(*waiting) == [0, 1, 2]
        assert sorted(await socket.emit_with_ack("recorded", ledger)) == [0, 1, 2, 3]


async def test_keys(ours: Stage) -> None:
    """The same for each try, another for each event."""
    ledger = uuid.uuid4().hex
    async with ours.connected(retries=3, ack_timeout=TRY, dedup_key=True, force_new=True) as socket:
        described = [await socket.emit_with_ack("describe", n) for n in range(3)]
        assert [each[0] for each in described] == [0, 1, 2]
        keys = [each[1] for each in described]
        assert len(set(keys)) == 3
        assert all(re.fullmatch(r"\S{8,}-\d+", key) for key in keys)
        sent: list[Any] = []
        socket.on_any_outgoing(lambda event, *args: sent.append(args[-1]))
        assert await socket.emit_with_ack("reluctant", 1, ledger, 2) == 1
        # Written down once, however often it went out.
        assert len(sent) == 1


async def test_a_full_queue(ours: Stage) -> None:
    socket = ours.socket(retries=1, max_retry_queue=2, force_new=True)
    socket.emit("echo")
    socket.emit("echo")
    with pytest.raises(LimitExceeded, match="max_retry_queue"):
        socket.emit("echo")
    with pytest.raises(LimitExceeded, match="max_retry_queue"):
        await socket.emit_with_ack("echo")
    async with socket:
        assert await socket.volatile.emit_with_ack("echo", 1) == 1


async def test_the_end_of_the_socket_is_that_of_its_promises(ours: Stage) -> None:
    async with ours.connected(retries=3, force_new=True) as socket:
        waiting = [asyncio.ensure_future(socket.emit_with_ack("never")) for _ in range(3)]
        await asyncio.sleep(0.01)
        socket.disconnect()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [Disconnected] * 3


# What was missed.


async def test_missed_events_come_once_and_without_their_offsets(recovering: Stage) -> None:
    """Each time that the connection is lost, and with arguments that end in a text."""
    came: list[Any] = []
    async with recovering.connected("/recover") as socket:
        socket.on("missed", lambda *args: came.append(args), inline=True)
        socket.on("response", lambda *args: came.append(args), inline=True)
        id = socket.id
        for text in "one", "twenty-one letters.abc", "AAAAAAAAAA":
            socket.emit("request", text)
        await until(lambda: len(came) == 3)
        for _ in range(3):
            lost = asyncio.get_running_loop().create_future()
            socket.once("disconnect", lambda reason, *_, lost=lost: lost.set_result(reason), inline=True)
            came.clear()
            socket.emit("miss", 4)
            await lost
            await until(lambda: len(came) == 4)
            await until(lambda: socket.connected)
            assert came == [(0,), (1,), (2,), (3,)]
            assert (socket.id, socket.recovered) == (id, True)
            await recovering.settled(socket)


async def test_a_text_of_a_volatile_event_is_not_an_offset(recovering: Stage) -> None:
    async with recovering.connected("/recover") as socket:
        with pytest.raises(TimeoutError):
            await socket.receive("response", 0.001)
        socket.emit("request", "first")
        assert await socket.receive("response") == "first"
        # What wants an answer has none either, wherever a text stands.
        asked: list[Any] = []

        @socket.on("question", inline=True)
        def answer(*args: Any) -> None:
            asked.append(args)

        await socket.emit_with_ack("ask", "question", "a text that stays", "another")
        assert asked == [("a text that stays", "another")]


async def test_rooms_are_there_again(recovering: Stage) -> None:
    room = uuid.uuid4().hex
    async with recovering.connected("/recover") as socket, recovering.connected("/recover", force_new=True) as other:
        with pytest.raises(TimeoutError):
            await socket.receive("news", 0.001)
        await socket.emit_with_ack("join", room)
        socket.emit("request")
        await dropped(socket)
        assert socket.recovered
        await other.emit_with_ack("tell", room, "news", {"n": 1})
        assert await socket.receive("news", SECONDS) == {"n": 1}


async def test_nothing_is_restored_of_a_socket_that_left(recovering: Stage) -> None:
    async with recovering.connected("/recover") as socket:
        id = socket.id
    async with socket:
        assert socket.id != id
        assert socket.recovered is False
