"""From a thread: what may be called there, in which order it happens, and waiting for the loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from duplexio import Ack, ConfigurationError, EncodeError, ReservedEvent, Socket, from_thread
from duplexio.hub.threads import Threads

from .ends import Client, counts, joined, serving, until

Log = list[Any]
value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="outside")


async def in_thread(function: Callable[[], Any]) -> Any:
    """In a thread that is none of the server's, as a library's callback may be."""
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, function), 10)


# The pool.


async def test_a_function_runs_in_a_copy_of_the_context() -> None:
    threads = Threads(asyncio.get_running_loop(), 2)

    def function(a: int, *, b: int) -> tuple[str, int, int]:
        seen = value.get()
        value.set("within")
        return seen, a, b

    value.set("caller")
    assert await asyncio.wait_for(threads.run(function, [1], {"b": 2}), 5) == ("caller", 1, 2)
    assert value.get() == "caller"
    threads.close()
    threads.close()


async def test_who_waits_for_a_thread_is_called_in_order() -> None:
    threads = Threads(asyncio.get_running_loop(), 1)
    free = threading.Event()
    log: Log = []
    assert threads.free
    first = threads.run(free.wait, [10], {})
    assert not threads.free
    seconds: list[asyncio.Future[Any]] = []
    for number in range(3):

        def begin(number: int = number) -> None:
            log.append(number)
            seconds.append(threads.run(log.append, [f"ran {number}"], {}))

        threads.when_free(begin)
    assert threads.waiting == 3
    free.set()
    await asyncio.wait_for(first, 5)
    await until(lambda: len(seconds) == 3)
    await asyncio.wait_for(asyncio.gather(*seconds), 5)
    assert log == [0, "ran 0", 1, "ran 1", 2, "ran 2"]
    assert threads.waiting == 0
    threads.close()


async def test_what_a_function_raises_is_the_futures() -> None:
    threads = Threads(asyncio.get_running_loop(), 1)

    def failing() -> None:
        raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        await asyncio.wait_for(threads.run(failing, [], {}), 5)
    assert threads.free
    threads.close()


async def test_closing_without_ever_running() -> None:
    Threads(asyncio.get_running_loop(), 1).close()


# What happens where.


async def test_on_the_loop_it_is_true_on_return() -> None:
    async with serving() as io:
        _, socket = joined(io)
        socket.join("a")
        assert "a" in socket.rooms
        socket.leave("a")
        assert "a" not in socket.rooms
        socket.disconnect()
        assert not socket.connected


async def test_calls_from_a_thread_happen_in_their_order() -> None:
    log: Log = []
    async with serving() as io:
        io.on_room("join", lambda room, sid: log.append(f"join {room}"))
        io.on_room("leave", lambda room, sid: log.append(f"leave {room}"))
        client, socket = joined(io)
        log.clear()

        def work() -> None:
            for number in range(50):
                room = f"r{number}"
                socket.join(room)
                io.to(room).emit("e", number)
                socket.emit("own", number)
                socket.leave(room)
                io.to(room).emit("never", number)

        await in_thread(work)
        await until(lambda: len(client.packets) == 100)
        expected: Log = []
        for number in range(50):
            expected += [f'42["e",{number}]', f'42["own",{number}]']
        assert client.take() == expected
        assert log == [f"{what} r{number}" for number in range(50) for what in ("join", "leave")]


async def test_disconnect_from_a_thread_comes_behind_what_was_emitted() -> None:
    async with serving() as io:
        client, socket = joined(io)

        def work() -> None:
            socket.emit("last")
            socket.disconnect()
            socket.emit("never")

        await in_thread(work)
        await until(lambda: not socket.connected)
        await until(lambda: counts(io).get("emits_after_disconnect") == 1)
        assert client.take() == ['42["last"]', "41"]


async def test_modifiers_and_operators_from_a_thread() -> None:
    async with serving() as io:
        client, socket = joined(io)
        other, second = joined(io)

        def work() -> None:
            io.sockets_join("all")
            socket.to("all").emit("others")
            socket.broadcast.emit("broadcast")
            io.except_(socket.id).emit("except")
            io.volatile.emit("volatile")
            io.sockets_leave("all")
            io.in_("all").emit("nobody")
            io.of("/").send("message")
            io.to(second.id).disconnect_sockets()

        await in_thread(work)
        await until(lambda: not second.connected)
        assert other.take() == [
            '42["others"]',
            '42["broadcast"]',
            '42["except"]',
            '42["volatile"]',
            '42["message","message"]',
            "41",
        ]
        assert client.take() == ['42["volatile"]', '42["message","message"]']


async def test_what_cannot_be_sent_raises_in_the_thread() -> None:
    raised: Log = []

    def attempt(function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except Exception as error:
            raised.append(type(error))

    async with serving() as io:
        _, socket = joined(io)

        def work() -> None:
            attempt(socket.emit, "e", {1})
            attempt(io.emit, "e", {1})
            attempt(socket.emit, "disconnect")
            attempt(io.emit, "connect")
            attempt(socket.emit, 5)
            attempt(socket.join, 5)
            attempt(socket.leave, [None])

        await in_thread(work)
    assert raised == [EncodeError, EncodeError, ReservedEvent, ReservedEvent, TypeError, TypeError, TypeError]


async def test_a_mutable_argument_may_change_after_the_call() -> None:
    """What was emitted is what it was then."""
    async with serving() as io:
        client, socket = joined(io)

        def work() -> None:
            data = [1]
            socket.emit("own", data)
            io.emit("all", data)
            data.append(2)

        await in_thread(work)
        await until(lambda: len(client.packets) == 2)
        assert client.take() == ['42["own",[1]]', '42["all",[1]]']


async def test_an_ack_from_a_thread() -> None:
    async with serving() as io:

        @io.on("e")
        def handler(socket: Socket, ack: Ack) -> None:
            ack("from", "thread")

        client, _ = joined(io)
        client.emit("e", ack=1)
        assert await client.packet() == '431["from","thread"]'


async def test_an_emit_with_a_callback_from_a_thread() -> None:
    answers: Log = []
    async with serving() as io:
        client, socket = joined(io)
        await in_thread(lambda: socket.emit("e", ack=lambda *args: answers.append((args, threading.get_ident()))))
        packet = await client.packet()
        assert isinstance(packet, str)
        client.send("43" + packet[2 : packet.index("[")] + "[1,2]")
        assert answers == [((1, 2), threading.get_ident())]


async def test_a_call_from_a_thread_that_fails_on_the_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as io:

        def failing() -> None:
            raise RuntimeError("of the call")

        with caplog.at_level(logging.ERROR, "duplexio"):
            await in_thread(lambda: io._hub.call(failing))
            await until(lambda: counts(io).get("handler_errors"))
    assert "a call from another thread failed" in caplog.text


# from_thread.


async def test_from_thread_waits_for_a_coroutine() -> None:
    results: Log = []
    async with serving() as io:

        @io.on("buy")
        def buy(socket: Socket, item: str) -> Any:
            return from_thread(socket.emit_with_ack("confirm", item))

        @io.on("fail")
        def fail(socket: Socket) -> None:
            try:
                from_thread(failing())
            except ValueError as error:
                results.append(str(error))

        async def failing() -> None:
            raise ValueError("on the loop")

        client, _ = joined(io)
        client.emit("buy", "tea", ack=1)
        packet = await client.packet()
        assert isinstance(packet, str)
        assert packet.endswith('["confirm","tea"]')
        client.send("43" + packet[2 : packet.index("[")] + '["yes"]')
        assert await client.packet() == '431["yes"]'
        client.emit("fail")
        await until(lambda: results)
    assert results == ["on the loop"]


async def test_from_thread_of_a_plain_middleware() -> None:
    seen: Log = []
    async with serving() as io:

        @io.use
        def middleware(socket: Socket) -> None:
            seen.append(from_thread(asyncio.sleep(0, "from the loop")))

        client = Client(io)
        client.send("40")
        packet = await client.packet()
        assert isinstance(packet, str)
        assert packet.startswith("40{")
    assert seen == ["from the loop"]


async def test_from_thread_elsewhere_says_what_is_wrong() -> None:
    async def never() -> None:
        raise AssertionError

    def work() -> str:
        with pytest.raises(ConfigurationError, match="plain handler") as caught:
            from_thread(never())
        return str(caught.value)

    assert await in_thread(work)
    with pytest.raises(ConfigurationError):
        from_thread(never())
