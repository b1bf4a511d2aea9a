"""Events that come, and their handlers."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from typing import Any

import pytest

from duplexio import Ack, EventError
from duplexio.errors import ConfigurationError, ReservedEvent

from .stage import Stage, dropped, until

NESTED = {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}


async def test_binary_both_ways(stage: Stage) -> None:
    async with stage.connected() as socket:
        waiting = asyncio.ensure_future(socket.receive("binary"))
        await asyncio.sleep(0)
        assert await socket.emit_with_ack("binary") == (NESTED, b"last")
        assert await waiting == (NESTED, b"last")
        assert await socket.emit_with_ack("echo", NESTED, b"x") == (NESTED, b"x")
        assert await socket.emit_with_ack("describe", bytearray(b"\x01"), [memoryview(b"\x02")]) == [
            "hex:01",
            ["hex:02"],
        ]


async def test_order_and_size(stage: Stage) -> None:
    async with stage.connected() as socket:
        came: list[Any] = []
        socket.on("item", lambda index, *more: came.append((index, *more)), inline=True)
        socket.emit("burst", 300, True)
        await until(lambda: len(came) == 300)
        assert came == [(index, bytes([index % 256])) if index % 3 == 1 else (index,) for index in range(300)]
        ledger = uuid.uuid4().hex
        for index in range(300):
            socket.emit("numbered", index, ledger)
        assert await socket.emit_with_ack("recorded", ledger) == list(range(300))
        assert await socket.emit_with_ack("large", 100_000) == "ä" * 100_000
        assert await socket.emit_with_ack("echo", "z" * 300_000) == "z" * 300_000


async def test_what_a_server_asks(stage: Stage) -> None:
    """What a handler returns is the acknowledgement."""
    async with stage.connected() as socket:

        @socket.on("async")
        async def wait(x: int, y: int) -> tuple[int, bytes]:
            await asyncio.sleep(0)
            return x + y, b"1"

        @socket.on("thread")
        def compute(x: int) -> dict[str, Any]:
            return {"x": x, "thread": threading.current_thread() is not threading.main_thread()}

        @socket.on("inline", inline=True)
        def at_once() -> None:
            return None

        @socket.on("by hand")
        async def by_hand(x: int, ack: Ack) -> None:
            assert ack.wanted
            ack(x, "twice")
            ack("not sent")

        @socket.on("refuses")
        async def refuse(x: int) -> None:
            raise EventError({"wrong": x})

        asked = [("async", 1, 2), ("thread", 3), ("inline",), ("by hand", 4), ("refuses", 5)]
        answers = [await socket.emit_with_ack("ask", *each) for each in asked]
        assert answers[0] == [3, "hex:31"]
        assert answers[1] == [{"x": 3, "thread": True}]
        assert answers[2] in ([], [None])
        assert answers[3:] == [[4, "twice"], [{"wrong": 5}]]


async def test_a_handler_that_fails(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Is logged, and ends nothing."""
    async with stage.connected() as socket:

        @socket.on("response")
        async def fail(number: int) -> None:
            if number == 1:
                raise ZeroDivisionError("that was one")
            done.append(number)

        done: list[int] = []
        id = socket.id
        socket.emit("request", 1)
        socket.emit("request", 2)
        await until(lambda: done == [2])
        assert (socket.connected, socket.id) == (True, id)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "'response'" in record.message
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_registered_and_removed(ours: Stage) -> None:
    async with ours.connected() as socket:
        came: list[str] = []

        def handler(name: str) -> Any:
            async def note(*_: Any) -> None:
                came.append(name)

            return note

        one, two, first_only = handler("one"), handler("two"), handler("once")
        assert socket.on("response", one) is one
        socket.on("response", two)
        socket.once("response", first_only)
        assert socket.listeners("response") == [one, two, first_only]

        async def told() -> list[str]:
            came.clear()
            socket.emit("request")
            await socket.emit_with_ack("echo")
            return list(came)

        assert await told() == ["one", "two", "once"]
        assert await told() == ["one", "two"]
        socket.off("response", one)
        assert await told() == ["two"]
        socket.off("response")
        assert await told() == []
        socket.on("response", one)
        socket.off()
        assert socket.listeners("response") == []
        with pytest.raises(ConfigurationError):
            socket.on("newListener", one)
        for event in "connect", "disconnect", "connect_error":
            with pytest.raises(ReservedEvent):
                socket.emit(event)
        with pytest.raises(TypeError):
            socket.emit(5)  # type: ignore[arg-type]


async def test_handlers_come_back_with_the_connection(stage: Stage) -> None:
    async with stage.connected() as socket:
        came: list[Any] = []
        socket.on("response", came.append, inline=True)
        for number in range(3):
            socket.emit("request", number)
            await until(lambda: came == list(range(number + 1)))  # noqa: B023 - it is called here
            await dropped(socket)


async def test_listeners_of_any_event(over_websocket: Stage) -> None:
    async with over_websocket.connected() as socket:
        told: list[Any] = []

        def noting(name: str) -> Any:
            return lambda event, *args: told.append((name, event, *args))

        second, first, out, before = (noting(name) for name in ("second", "first", "out", "before"))
        socket.on_any(second)
        socket.prepend_any(first)
        socket.on_any_outgoing(out)
        socket.prepend_any_outgoing(before)
        assert socket.listeners_any() == [first, second]
        assert socket.listeners_any_outgoing() == [before, out]
        socket.emit("request", 1)
        await until(lambda: len(told) == 4)
        assert told == [
            ("before", "request", 1),
            ("out", "request", 1),
            ("first", "response", 1),
            ("second", "response", 1),
        ]
        told.clear()
        socket.off_any(first)
        socket.off_any_outgoing(out)
        socket.emit("request", 2)
        await until(lambda: len(told) == 2)
        assert told == [("before", "request", 2), ("second", "response", 2)]
        socket.off_any()
        socket.off_any_outgoing()
        assert (socket.listeners_any(), socket.listeners_any_outgoing()) == ([], [])
        told.clear()
        await socket.emit_with_ack("echo", 3)
        assert told == []


async def test_ordered(ours: Stage) -> None:
    """Each handler after the one before has ended; without it, the short ones end first."""
    ended: list[int] = []
    for ordered, expected in (True, [0, 1, 2]), (False, [2, 1, 0]):
        async with ours.connected(force_new=True, ordered=ordered) as socket:
            ended.clear()

            @socket.on("item")
            async def handle(index: int) -> None:
                await asyncio.sleep(0.04 * (2 - index))
                ended.append(index)

            socket.emit("burst", 3)
            await until(lambda: len(ended) == 3)
            assert ended == expected


async def test_plain_handlers_run_in_threads_and_in_order(ours: Stage) -> None:
    came: list[tuple[int, bool]] = []
    main = threading.get_ident()
    async with ours.connected() as socket:

        @socket.on("item")
        def handle(index: int) -> None:
            came.append((index, threading.get_ident() != main))

        socket.emit("burst", 50)
        await until(lambda: len(came) == 50)
        assert came == [(index, True) for index in range(50)]
        # Again after the socket was away: its threads were ended.
        socket.disconnect()
        await socket.io.close()
        await socket.connect()
        came.clear()
        socket.emit("burst", 1)
        await until(lambda: came == [(0, True)])


async def test_emitting_from_other_threads(stage: Stage) -> None:
    ledger = uuid.uuid4().hex
    async with stage.connected() as socket:

        def emit_all() -> None:
            changing = [0]
            for index in range(50):
                changing[0] = index
                # What is changed after the call is not sent.
                socket.emit("numbered", changing, ledger)
            with pytest.raises(TypeError):
                socket.emit("numbered", object())

        await asyncio.to_thread(emit_all)
        assert await socket.emit_with_ack("recorded", ledger) == [[index] for index in range(50)]


async def test_an_answer_of_an_old_session_goes_to_no_other(stage: Stage) -> None:
    """Ids of acknowledgements begin anew with each session: an answer to the first would be taken for the second's."""
    async with stage.connected() as socket:
        release = asyncio.Event()
        first = True

        @socket.on("question")
        async def answer() -> str:
            nonlocal first
            if first:
                first = False
                await release.wait()
                return "of the old session"
            await release.wait()
            # Behind the other one's answer.
            await asyncio.sleep(0.01)
            return "of the new session"

        socket.emit("ask", "question")
        await until(lambda: not first)
        await dropped(socket)
        asking = asyncio.ensure_future(socket.emit_with_ack("ask", "question"))
        await asyncio.sleep(0.02)
        release.set()
        assert await asking == ["of the new session"]


async def test_cancelled_with_its_socket(ours: Stage) -> None:
    async with ours.connected(cancel_on_disconnect=True, force_new=True) as socket:
        ends: list[str] = []

        @socket.on("response")
        async def wait() -> None:
            ends.append("began")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        socket.emit("request")
        await until(lambda: ends)
    await until(lambda: ends == ["began", "cancelled"])
