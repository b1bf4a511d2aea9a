"""Events that are sent: acknowledged, timed out, buffered while there is no connection, or dropped."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from typing import Any

import pytest

from duplexio.errors import AckTimeout, Disconnected, EncodeError, LimitExceeded

from .stage import SECONDS, Stage, until


def counted(socket: Any, name: str) -> int:
    return int(socket.io.counts[name])


async def test_acknowledged(stage: Stage) -> None:
    async with stage.connected() as socket:
        assert await socket.emit_with_ack("ack nothing") is None
        assert await socket.emit_with_ack("ack") == (1, "two", [3], {"four": 4}, None)
        answers = [socket.emit_with_ack("later", 0.02 - index / 1000, index) for index in range(15)]
        assert await asyncio.gather(*answers) == list(range(15))


async def test_called_back(stage: Stage) -> None:
    """The error comes first where a timeout was given, as in JavaScript."""
    async with stage.connected() as socket:
        told: list[Any] = []

        async def told_later(*args: Any) -> None:
            await asyncio.sleep(0)
            told.append(("async", *args))

        socket.emit("echo", 1, b"2", ack=lambda *args: told.append(("plain", *args)))
        socket.emit("echo", 3, ack=told_later)
        socket.timeout(SECONDS).emit("echo", 4, ack=lambda *args: told.append(("timed", *args)))
        await until(lambda: len(told) == 3)
        assert sorted(told, key=str) == [("async", 3), ("plain", 1, b"2"), ("timed", None, 4)]
        told.clear()
        socket.timeout(0.02).emit("never", ack=lambda error, *args: told.append((error, args)))
        await until(lambda: told)
        ((error, args),) = told
        assert isinstance(error, AckTimeout)
        assert (error.event, error.timeout, args) == ("never", 0.02, ())


async def test_not_acknowledged(stage: Stage) -> None:
    async with stage.connected() as socket:
        for waiting in (
            socket.emit_with_ack("never", timeout=0.02),
            socket.timeout(0.02).emit_with_ack("never"),
        ):
            with pytest.raises(AckTimeout) as caught:
                await waiting
            assert pickle.loads(pickle.dumps(caught.value)).event == "never"
        # An answer that comes too late is nobody's.
        with pytest.raises(AckTimeout):
            await socket.emit_with_ack("later", 0.04, "late", timeout=0.01)
        assert await socket.emit_with_ack("later", 0.06, "in time") == "in time"
        assert counted(socket, "unknown_acks") == 1


async def test_cancelled(ours: Stage) -> None:
    async with ours.connected(max_pending_acks=1, force_new=True) as socket:
        for _ in range(3):
            waiting = asyncio.ensure_future(socket.emit_with_ack("never"))
            await asyncio.sleep(0)
            with pytest.raises(LimitExceeded, match="max_pending_acks"):
                await socket.emit_with_ack("never")
            waiting.cancel()
            await asyncio.wait([waiting])
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_lost_while_waiting(stage: Stage) -> None:
    async with stage.connected() as socket:
        called: list[Any] = []
        socket.timeout(SECONDS).emit("never", ack=lambda *args: called.append(args))
        waiting = asyncio.ensure_future(socket.emit_with_ack("never"))
        await asyncio.sleep(0)
        socket.emit("drop")
        with pytest.raises(Disconnected) as caught:
            await waiting
        assert caught.value.reason in ("transport close", "transport error")
        assert isinstance(called[0][0], Disconnected)
        assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason
        await socket.wait_connected(SECONDS)
        waiting = asyncio.ensure_future(socket.emit_with_ack("never"))
        await asyncio.sleep(0)
        socket.disconnect()
        with pytest.raises(Disconnected, match="io client disconnect"):
            await waiting


async def test_what_cannot_be_sent(ours: Stage) -> None:
    async with ours.connected(max_pending_acks=1, force_new=True) as socket:
        with pytest.raises(EncodeError):
            socket.emit("echo", object())
        with pytest.raises(EncodeError):
            socket.volatile.emit("echo", {1, 2})
        for _ in range(2):
            with pytest.raises(EncodeError):
                await socket.emit_with_ack("echo", object())
            with pytest.raises(EncodeError):
                await socket.volatile.emit_with_ack("echo", object())
            with pytest.raises(EncodeError):
                socket.emit("echo", object(), ack=print)
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_sent_when_the_connection_is_there(stage: Stage) -> None:
    """In order; acknowledgements, too."""
    ledger = uuid.uuid4().hex
    socket = stage.socket()
    for index in range(20):
        socket.emit("numbered", index, ledger)
    answer = asyncio.ensure_future(socket.emit_with_ack("echo", b"early"))
    await asyncio.sleep(0)
    async with socket:
        socket.emit("numbered", 20, ledger)
        assert await answer == b"early"
        assert await socket.emit_with_ack("recorded", ledger) == list(range(21))
        await stage.settled(socket)
        # The same while the connection is lost.
        lost = asyncio.get_running_loop().create_future()
        socket.once("disconnect", lambda *_: lost.set_result(None), inline=True)
        socket.emit("drop")
        await lost
        for index in range(21, 40):
            socket.emit("numbered", index, ledger)
        answer = asyncio.ensure_future(socket.emit_with_ack("numbered", 40, ledger))
        assert await asyncio.wait_for(answer, SECONDS) == 40
        assert await socket.emit_with_ack("recorded", ledger) == list(range(41))


async def test_a_wait_that_was_cancelled_sends_nothing(ours: Stage) -> None:
    ledger = uuid.uuid4().hex
    socket = ours.socket(force_new=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.emit_with_ack("numbered", 1, ledger), 0.01)
    with pytest.raises(AckTimeout):
        await socket.emit_with_ack("numbered", 2, ledger, timeout=0.01)
    socket.emit("numbered", 3, ledger)
    async with socket:
        assert (await socket.emit_with_ack("recorded", ledger))[-1] == 3
        assert 1 not in await socket.emit_with_ack("recorded", ledger)


async def test_what_is_buffered_ends_with_the_socket(ours: Stage) -> None:
    ledger = uuid.uuid4().hex
    async with ours.connected(force_new=True) as socket:
        socket.emit("drop")
        await until(lambda: not socket.connected)
        socket.emit("numbered", 1, ledger)
        waiting = asyncio.ensure_future(socket.emit_with_ack("numbered", 2, ledger))
        await asyncio.sleep(0)
        socket.disconnect()
        with pytest.raises(Disconnected):
            await waiting
        await socket.connect()
        assert await socket.emit_with_ack("recorded", ledger) == []


async def test_volatile(stage: Stage) -> None:
    """Delivered where there is a connection, dropped where there is none."""
    ledger = uuid.uuid4().hex
    socket = stage.socket()
    socket.volatile.emit("numbered", 0, ledger)
    dropped = counted(socket, "volatile_dropped")
    assert dropped >= 1
    async with socket:
        await stage.settled(socket)
        await asyncio.sleep(0.02)
        socket.volatile.emit("numbered", 1, ledger)
        assert await socket.emit_with_ack("recorded", ledger) == [1]
        came: list[int] = []
        socket.on("item", came.append, inline=True)
        socket.emit("volatile", 1)
        await until(lambda: came)
        socket.disconnect()
        socket.volatile.emit("numbered", 2, ledger)
        with pytest.raises(Disconnected):
            await socket.volatile.timeout(0.01).emit_with_ack("echo", 1)
    assert counted(socket, "volatile_dropped") == dropped + 1


async def test_send_and_modifiers(stage: Stage) -> None:
    async with stage.connected() as socket:
        told: list[Any] = []
        socket.on_any_outgoing(lambda event, *args: told.append((event, *args)))
        socket.send("a", 1)
        socket.compress(False).send("b")
        assert told == [("message", "a", 1), ("message", "b")]
        assert await socket.compress(False).emit_with_ack("echo", "x" * 2000) == "x" * 2000
        assert await socket.compress(True).timeout(SECONDS).emit_with_ack("echo", b"y") == b"y"
        assert await socket.compress(False).volatile.compress(True).emit_with_ack("echo", 1) == 1
