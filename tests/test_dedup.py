"""`dedup`: an event that is sent again is processed once, and answered each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from duplexio import ConfigurationError, EventError, Server, Socket


def by_id(socket: Socket, data: dict[str, Any]) -> Hashable:
    return data.get("id")


@asynccontextmanager
async def client(port: int) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket") as websocket:
        await websocket.recv()
        await websocket.send("40")
        await websocket.recv()
        yield websocket


async def test_a_repeat_is_answered_without_being_handled_again() -> None:
    io = Server(handle_signals=False)
    handled: list[Any] = []

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: dict[str, Any]) -> int:
        handled.append(data)
        return len(handled)

    async with await io.listen() as listening:
        async with client(listening.port) as first:
            await first.send('421["pay",{"id":"a"}]')
            assert await first.recv() == "431[1]"
            await first.send('422["pay",{"id":"b"}]')
            assert await first.recv() == "432[2]"
        # The client that tries again is another socket.
        async with client(listening.port) as second:
            await second.send('427["pay",{"id":"a"}]')
            assert await second.recv() == "437[1]"
            await second.send('428["pay",{"without":"a key"}]')
            assert await second.recv() == "438[3]"
    assert handled == [{"id": "a"}, {"id": "b"}, {"without": "a key"}]


async def test_a_repeat_while_the_first_is_still_handled_waits_for_its_answer() -> None:
    io = Server(handle_signals=False)
    gate = asyncio.Event()
    handled = 0

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: dict[str, Any]) -> str:
        nonlocal handled
        handled += 1
        await gate.wait()
        return "paid"

    async with await io.listen() as listening, client(listening.port) as websocket:
        await websocket.send('421["pay",{"id":"a"}]')
        await websocket.send('422["pay",{"id":"a"}]')
        await websocket.send('42["pay",{"id":"a"}]')
        await asyncio.sleep(0.05)
        gate.set()
        assert {await websocket.recv(), await websocket.recv()} == {'431["paid"]', '432["paid"]'}
    assert handled == 1


async def test_a_failed_one_is_forgotten_and_a_refused_one_is_not() -> None:
    io = Server(handle_signals=False)
    tries = 0

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: dict[str, Any]) -> str:
        nonlocal tries
        tries += 1
        if data["id"] == "refused":
            raise EventError("no")
        if tries == 1:
            raise OSError("the database is away")
        return "paid"

    async with await io.listen() as listening, client(listening.port) as websocket:
        await websocket.send('421["pay",{"id":"a"}]')
        await websocket.send('422["pay",{"id":"a"}]')
        assert await websocket.recv() == '432["paid"]'
        await websocket.send('423["pay",{"id":"refused"}]')
        await websocket.send('424["pay",{"id":"refused"}]')
        assert [await websocket.recv(), await websocket.recv()] == ['433["no"]', '434["no"]']
    assert tries == 3


async def test_the_window_ends() -> None:
    io = Server(handle_signals=False)
    handled = 0

    @io.on("pay", dedup=by_id, window=0.05)
    async def pay(socket: Socket, data: dict[str, Any]) -> int:
        nonlocal handled
        handled += 1
        return handled

    async with await io.listen() as listening, client(listening.port) as websocket:
        await websocket.send('421["pay",{"id":"a"}]')
        assert await websocket.recv() == "431[1]"
        await asyncio.sleep(0.1)
        await websocket.send('422["pay",{"id":"a"}]')
        assert await websocket.recv() == "432[2]"


async def test_a_key_function_that_raises_costs_only_its_event() -> None:
    io = Server(handle_signals=False)
    errors: list[BaseException] = []

    @io.on_error
    def note(error: BaseException, socket: Socket, event: str) -> None:
        errors.append(error)

    @io.on("pay", dedup=lambda socket, data: data["id"])
    async def pay(socket: Socket, data: Any) -> str:
        return "paid"

    async with await io.listen() as listening, client(listening.port) as websocket:
        await websocket.send('421["pay",{}]')
        await websocket.send('422["pay",{"id":1}]')
        assert await websocket.recv() == '432["paid"]'
    assert [type(error) for error in errors] == [KeyError]


async def test_what_cannot_be_is_refused_at_registration() -> None:
    io = Server()

    async def waits(socket: Socket, data: Any) -> str:
        return "key"

    async def handler(socket: Socket, data: Any) -> None: ...

    with pytest.raises(TypeError, match="plain def"):
        io.on("pay", handler, dedup=waits)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="window"):
        io.on("pay", handler, dedup=by_id, window=0)
    with pytest.raises(TypeError, match="no option"):
        io.on("pay", handler, dedupe=by_id)  # type: ignore[call-overload]
