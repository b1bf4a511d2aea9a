"""`dedup`: an event that is sent again is processed once, and answered each time."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from duplexio import Ack, ConfigurationError, EventError, Server, Socket
from duplexio.hub.dedup import MAX_WAITING, Dedup
from duplexio.observe import Counts

from .hub.ends import joined, serving


def by_id(socket: Socket, data: dict[str, Any]) -> Hashable:
    return data.get("id")


def counts(io: Server) -> Mapping[str, int]:
    assert isinstance(io.counts, Counts)
    return io.counts.snapshot()


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


async def test_one_that_fails_behind_its_window_takes_no_other_with_it() -> None:
    dedup = Dedup(by_id, 10.0, "pay", 1, 1)
    event = ["pay", {"id": "a"}]
    async with serving() as io:
        _, socket = joined(io)
        first = dedup.admit(socket, event, None, 0.0)
        second = dedup.admit(socket, event, None, 11.0)
        assert isinstance(first, Ack)
        assert isinstance(second, Ack)
        first.fail()
        assert dedup.admit(socket, event, None, 12.0) is False
        second.fail()
        assert isinstance(dedup.admit(socket, event, None, 13.0), Ack)


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


async def test_the_key_function_gets_what_its_handler_gets() -> None:
    """How many arguments a client sends is its own affair."""
    io = Server(handle_signals=False)
    keys: list[tuple[Any, ...]] = []

    def key(socket: Socket, first: str | None, second: object) -> Hashable:
        keys.append((first, second))
        return first

    @io.on("pay", dedup=key)
    async def pay(socket: Socket, first: Any, second: Any) -> str:
        return "paid"

    async with await io.listen() as listening, client(listening.port) as websocket:
        for number, arguments in enumerate(("", ',"a"', ',"b",1', ',"c",1,2')):
            await websocket.send(f'42{number}["pay"{arguments}]')
            assert await websocket.recv() == f'43{number}["paid"]'
    assert keys == [(None, None), ("a", None), ("b", 1), ("c", 1)]


async def test_a_key_that_cannot_be_hashed_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    io = Server(handle_signals=False)
    errors: list[BaseException] = []
    handled: list[Any] = []

    @io.on_error
    def note(error: BaseException, socket: Socket, event: str) -> None:
        errors.append(error)

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: Any) -> str:
        handled.append(data)
        return "paid"

    async with await io.listen() as listening, client(listening.port) as websocket:
        await websocket.send('421["pay",{"id":["a"]}]')
        await websocket.send('422["pay",{"id":{"b":1}}]')
        await websocket.send('423["pay",{"id":"c"}]')
        assert await websocket.recv() == '433["paid"]'
        assert counts(io)["handler_errors"] == 2
    assert handled == [{"id": "c"}]
    assert [type(error) for error in errors] == [TypeError, TypeError]
    (record,) = [record for record in caplog.records if record.name == "duplexio"]
    assert record.levelname == "ERROR"
    assert record.exc_info is None
    for part in ("'pay'", "by_id", "['a']", "str(...)"):
        assert part in record.getMessage()


async def test_so_many_repeats_wait_and_no_more() -> None:
    io = Server(handle_signals=False)
    gate = asyncio.Event()

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: dict[str, Any]) -> str:
        await gate.wait()
        return "paid"

    @io.on("fence", inline=True)
    def fence(socket: Socket) -> None: ...

    async with await io.listen() as listening, client(listening.port) as websocket:
        for number in range(MAX_WAITING + 5):
            await websocket.send(f'42{number}["pay",{{"id":"a"}}]')
        await websocket.send('429999["fence"]')
        assert await websocket.recv() == "439999[]"
        assert counts(io)["duplicates"] == MAX_WAITING + 4
        assert counts(io)["duplicates_dropped"] == 5
        gate.set()
        answers = [await websocket.recv() for _ in range(MAX_WAITING)]
        assert answers == [f'43{number}["paid"]' for number in range(MAX_WAITING)]
        # One that comes later is answered as ever.
        await websocket.send('427777["pay",{"id":"a"}]')
        assert await websocket.recv() == '437777["paid"]'


async def test_one_whose_handler_was_cancelled_is_forgotten() -> None:
    io = Server(handle_signals=False, cancel_on_disconnect=True)
    cancelled = asyncio.Event()
    tries = 0

    @io.on("pay", dedup=by_id)
    async def pay(socket: Socket, data: dict[str, Any]) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return "paid"

    async with await io.listen() as listening:
        async with client(listening.port) as first:
            await first.send('421["pay",{"id":"a"}]')
        async with asyncio.timeout(5):
            await cancelled.wait()
        async with client(listening.port) as second:
            await second.send('421["pay",{"id":"a"}]')
            assert await second.recv() == '431["paid"]'
    assert tries == 2


async def test_what_cannot_be_is_refused_at_registration() -> None:
    io = Server()

    async def waits(socket: Socket, data: Any) -> str:
        return "key"

    async def handler(socket: Socket, data: Any) -> None: ...

    with pytest.raises(TypeError, match="plain def"):
        io.on("pay", handler, dedup=waits)  # type: ignore[arg-type]
    for wrong in (lambda: "", lambda data: "", lambda socket, data, more: "", lambda socket, data, *, more: ""):
        with pytest.raises(ConfigurationError, match="key function of dedup"):
            io.on("pay", handler, dedup=wrong)
    for right in (lambda *_: "", lambda socket, data, more=1: "", max):
        io.on("pay", handler, dedup=right)
    with pytest.raises(ConfigurationError, match="window"):
        io.on("pay", handler, dedup=by_id, window=0)
    with pytest.raises(TypeError, match="no option"):
        io.on("pay", handler, dedupe=by_id)  # type: ignore[call-overload]


@pytest.mark.parametrize("key", [lambda socket, text: text, lambda socket, text: (1, (text,))])
async def test_long_keys_are_told_apart_and_not_kept(key: Any) -> None:
    """A client fills its messages as it likes, and a hundred thousand keys are remembered."""
    handled: list[int] = []
    async with serving() as io:

        @io.on("pay", dedup=key, inline=True)
        def pay(socket: Socket, text: str) -> None:
            handled.append(len(text))

        client, _ = joined(io)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(2):
                for number in range(20):
                    client.send(f'421["pay","{"x" * 500_000}{number}"]')
                    assert client.take() == ["431[]"]
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(handled) == 20
    assert after - before < 2_000_000
