"""A client's life on its event loop: what it leaves there, other loops, and what it shows of itself."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import duplexio
from duplexio.errors import ConfigurationError, ConnectError
from tests.engine.loops import LOOPS
from tests.hosting.clients import Transport

from .peers import DUPLEXIO, NODE4, PeerPool
from .stage import SECONDS, Stage, dropped, left_behind, until
from .wire import Wire


@pytest.mark.parametrize("loop", LOOPS)
def test_one_loop_after_the_other(pool: PeerPool, transport: Transport, loop: str) -> None:
    """The same socket and its handlers, acknowledgements, deadlines and promises included."""
    stage = Stage(pool.get(NODE4), transport)
    socket = stage.socket(retries=1, with_credentials=True, force_new=True)
    came: list[Any] = []
    socket.on("response", came.append, inline=True)
    socket.on("item", lambda index: came.append(("thread", index)))

    async def use() -> None:
        async with asyncio.timeout(SECONDS), socket:
            await stage.settled(socket)
            assert await socket.emit_with_ack("echo", 1) == 1
            assert await socket.volatile.emit_with_ack("echo", 2) == 2
            waiting = asyncio.ensure_future(socket.receive("response"))
            await asyncio.sleep(0)
            socket.volatile.emit("request", "x")
            assert await waiting == "x"
            socket.volatile.emit("burst", 1)
            await until(lambda: came[-1:] == [("thread", 0)])
        assert left_behind() == []

    for _ in range(3):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(use())
    assert came == ["x", ("thread", 0)] * 3


@pytest.mark.parametrize("connected", [True, False])
def test_a_loop_that_ends_under_it(pool: PeerPool, transport: Transport, connected: bool) -> None:
    """Without a disconnect: the loop is not kept, and the next one begins with nothing of it."""
    stage = Stage(pool.get(DUPLEXIO), transport)
    socket = stage.socket(force_new=True)
    ends: list[str] = []
    socket.on("disconnect", lambda reason, _: ends.append(reason), inline=True)

    async def leave_it() -> None:
        socket.open()
        if connected:
            await socket.wait_connected(SECONDS)
            await stage.settled(socket)
            assert await socket.emit_with_ack("echo", 1) == 1
        await asyncio.sleep(0)

    async def use() -> str | None:
        async with asyncio.timeout(SECONDS), socket:
            assert await socket.emit_with_ack("echo", 2) == 2
            return socket.id

    asyncio.run(asyncio.wait_for(leave_it(), SECONDS))
    assert (socket.connected, socket.id) == (False, None)
    assert len(ends) == connected
    ids = {asyncio.run(use()) for _ in range(2)}
    assert len(ids) == 2
    # What was not closed would say so now.
    gc.collect()


async def test_two_loops_at_once(ours: Stage) -> None:
    async with ours.connected(force_new=True) as socket:
        errors: list[BaseException] = []

        async def connect(what: Callable[[], Any]) -> None:
            try:
                await what()
            except ConfigurationError as error:
                errors.append(error)

        def run() -> None:
            other = socket.io.socket("/other")
            asyncio.run(connect(other.connect))

        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert [type(error) for error in errors] == [ConfigurationError]
        assert "another event loop" in str(errors[0])
        assert await socket.emit_with_ack("echo", 1) == 1


def test_without_a_loop() -> None:
    socket = duplexio.connect("http://localhost:1")
    with pytest.raises(ConfigurationError, match=r"duplexio\.sync"):
        socket.open()


async def test_leaving_leaves_nothing(stage: Stage) -> None:
    """Whatever was under way."""
    for moment in range(4):
        async with asyncio.timeout(SECONDS), stage.socket(force_new=True) as socket:
            if moment:
                waiting = [
                    asyncio.ensure_future(socket.emit_with_ack("never")),
                    asyncio.ensure_future(socket.receive("never")),
                ]
                socket.timeout(SECONDS).emit("never", ack=lambda *_: None)
                await asyncio.sleep(0)
            if moment == 2:
                await dropped(socket)
            if moment == 3:
                socket.emit("drop")
                await until(lambda: not socket.connected)
        if moment:
            assert all(isinstance(end, Exception) for end in await asyncio.gather(*waiting, return_exceptions=True))
        assert left_behind() == []
        assert (socket.active, socket.io.engine, socket.io.reconnecting) == (False, None, False)


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.002, 0.004, 0.008])
async def test_cancelled_while_it_connects(stage: Stage, moment: float) -> None:
    """At whatever point: nothing stays, nothing is dialled, and it can be tried again."""
    async with Wire(stage.server.port) as wire:
        wire.delay("down", 0.003)
        behind = Stage(stage.server, stage.transport, wire.url())
        socket = behind.socket(force_new=True)
        connecting = asyncio.create_task(socket.connect())
        await asyncio.sleep(moment)
        connecting.cancel()
        await asyncio.wait([connecting])
        if not connecting.cancelled():
            # It was in before.
            socket.disconnect()
            await socket.io.close()
        assert (socket.active, socket.connected) == (False, False)
        opened = wire.opened
        await asyncio.sleep(0.06)
        assert wire.opened <= opened + 1
        async with asyncio.timeout(SECONDS), socket:
            assert await socket.emit_with_ack("echo", 1) == 1


async def test_cancelled_as_it_gets_in(over_websocket: Stage) -> None:
    """In the turn of the loop in which the server's answer has come."""
    socket = over_websocket.socket(force_new=True)
    connecting = asyncio.create_task(socket.connect())

    def cancel() -> None:
        connecting.cancel()

    socket.once("connect", cancel, inline=True)
    await asyncio.wait([connecting], timeout=SECONDS)
    assert connecting.cancelled()
    assert (socket.active, socket.connected) == (False, False)


async def test_cancelled_while_it_connects_again(over_websocket: Stage) -> None:
    """Whoever only waits ends the waiting; leaving ends the attempts."""
    async with Wire(over_websocket.server.port) as wire:
        behind = Stage(over_websocket.server, "websocket", wire.url())
        async with behind.connected(force_new=True) as socket:
            wire.refuse()
            wire.cut_all()
            await until(lambda: socket.io.reconnecting)
            for wait in socket.connect, socket.wait_connected:
                waiting = asyncio.ensure_future(wait())
                await asyncio.sleep(0.01)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert socket.active
        opened = wire.opened
        await wire.accept()
        await asyncio.sleep(0.15)
        assert wire.opened == opened


async def test_a_connect_that_fails_leaves_nothing(stage: Stage) -> None:
    for url, kind in (f"{stage.url}/refused", duplexio.ConnectRefused), ("http://127.0.0.1:9", ConnectError):
        with pytest.raises(kind):
            async with duplexio.connect(url, **stage.options(force_new=True)):
                raise AssertionError("it was let in")
        assert left_behind() == []


async def test_it_is_forgotten(ours: Stage) -> None:
    """With its manager, once nobody has it any more."""
    async with ours.connected(query={"of": "a forgotten one"}) as socket:
        socket.on("response", lambda: None, inline=True)
        known = weakref.ref(socket), weakref.ref(socket.io)
    del socket
    await asyncio.sleep(0)
    gc.collect()
    assert [each() for each in known] == [None, None]


async def test_no_secrets_are_shown(ours: Stage) -> None:
    port = ours.server.port
    url = f"http://anna:sesame@127.0.0.1:{port}/auth?token=secret"
    socket = duplexio.connect(
        url,
        transports=["websocket"],
        auth={"token": "secret"},
        extra_headers={"Authorization": "Bearer sesame"},
        query={"key": "sesame"},
    )
    async with asyncio.timeout(SECONDS), socket:
        engine = socket.io.engine
        assert engine is not None
        shown = f"{socket!r} {socket.io!r} {socket} {socket.io} {socket.volatile!r} {engine!r} {socket.io.settings!r}"
        assert engine.id not in shown
    shown += repr(socket)
    assert f"127.0.0.1:{port}" in shown
    assert "sesame" not in shown
    assert "secret" not in shown
