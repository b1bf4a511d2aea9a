"""`receive` and `events`, and waiting for the connection to come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from duplexio.errors import Disconnected

from .stage import SECONDS, Stage, dropped, until


async def test_values(stage: Stage) -> None:
    async with stage.connected() as socket:
        for args, value in ((), None), ((1,), 1), ((None,), None), ((1, "two"), (1, "two")), (([1],), [1]):
            waiting = asyncio.ensure_future(socket.receive("response"))
            await asyncio.sleep(0)
            socket.emit("request", *args)
            assert await waiting == value
            assert await socket.emit_with_ack("echo", *args) == value


async def test_kept_in_order_from_the_first_call_on(stage: Stage) -> None:
    async with stage.connected() as socket:
        with pytest.raises(TimeoutError):
            await socket.receive("item", 0.001)
        socket.emit("burst", 50)
        socket.emit("request", "between")
        assert await socket.receive("response", SECONDS) == "between"
        assert [await socket.receive("item") for _ in range(50)] == list(range(50))


async def test_all_events(stage: Stage) -> None:
    async with stage.connected() as socket:
        came: list[Any] = []
        handled: list[Any] = []
        socket.on("item", handled.append, inline=True)

        async def iterate() -> None:
            async for event, args in socket.events():
                came.append((event, args))

        reading = asyncio.create_task(iterate())
        await asyncio.sleep(0)
        socket.emit("burst", 3)
        socket.emit("echo", 1, b"2")
        await until(lambda: len(came) == 4)
        # The loss of the connection does not end it; the end of the socket does.
        await dropped(socket)
        socket.emit("request")
        await until(lambda: len(came) == 5)
        socket.emit("kick")
        await asyncio.wait_for(reading, SECONDS)
        assert came == [("item", (0,)), ("item", (1,)), ("item", (2,)), ("echo", (1, b"2")), ("response", ())]
        assert handled == [0, 1, 2]


async def test_the_end_is_told(over_websocket: Stage) -> None:
    """To those that wait, and to those that come later; what had come before is there still."""
    async with over_websocket.connected() as socket:
        waiting = asyncio.ensure_future(socket.receive("never"))
        await asyncio.sleep(0)
        socket.emit("request", "last words")
        socket.emit("kick")
        with pytest.raises(Disconnected) as caught:
            await waiting
        assert caught.value.reason == "io server disconnect"
        assert await socket.receive("response") == "last words"
        with pytest.raises(Disconnected):
            await socket.receive("response")
        assert [each async for each in socket.events()] == []
        # It is another life after that.
        await socket.connect()
        waiting = asyncio.ensure_future(socket.receive("response"))
        await asyncio.sleep(0)
        socket.emit("request", "again")
        assert await waiting == "again"
    with pytest.raises(Disconnected, match="io client disconnect"):
        await socket.receive("response")


async def test_cancelling_loses_nothing(over_websocket: Stage) -> None:
    async with over_websocket.connected() as socket:
        got: list[int] = []
        with pytest.raises(TimeoutError):
            await socket.receive("item", 0.001)
        socket.emit("burst", 300)
        while len(got) < 300:
            waiting = asyncio.create_task(socket.receive("item"))
            for _ in range(len(got) % 4):
                await asyncio.sleep(0)
            waiting.cancel()
            try:
                got.append(await waiting)
            except asyncio.CancelledError:
                got.append(await socket.receive("item"))
        assert got == list(range(300))


async def test_the_oldest_go(ours: Stage) -> None:
    async with ours.connected(max_inbox=5, force_new=True) as socket:
        with pytest.raises(TimeoutError):
            await socket.receive("item", 0.001)
        socket.emit("burst", 12)
        await socket.emit_with_ack("echo")
        assert [await socket.receive("item") for _ in range(5)] == [7, 8, 9, 10, 11]
        assert socket.io.counts["inbox_dropped"] == 7


async def test_what_comes_with_the_answer_to_connect_is_not_lost(recovering: Stage) -> None:
    """Missed events stand in front of it; nobody can have asked for them yet."""
    async with recovering.connected("/recover") as socket:
        assert await socket.emit_with_ack("join", "all") is None
        with pytest.raises(TimeoutError):
            await socket.receive("missed", 0.001)
        # Something whose offset is known.
        socket.emit("request", "x")
        assert await socket.receive("response") == "x"
        socket.emit("miss", 3)
        assert [await socket.receive("missed", SECONDS) for _ in range(3)] == [0, 1, 2]


async def test_waiting_for_the_connection(over_websocket: Stage) -> None:
    socket = over_websocket.socket()
    with pytest.raises(Disconnected):
        await socket.wait_connected()
    async with socket:
        await socket.wait_connected(0.001)
        waiting = asyncio.ensure_future(socket.wait_disconnected())
        cancelled = asyncio.ensure_future(socket.wait_disconnected())
        await asyncio.sleep(0)
        cancelled.cancel()
        await dropped(socket)
        assert not waiting.done()
    assert await waiting == "io client disconnect"


async def test_drain(stage: Stage) -> None:
    async with stage.connected() as socket:
        await socket.drain()
        for _ in range(40):
            socket.emit("never", "x" * 50_000)
            await asyncio.wait_for(socket.drain(), SECONDS)
        assert await socket.emit_with_ack("echo", 1) == 1
    await socket.drain()
