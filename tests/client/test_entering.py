"""Who asks to be let in, leaves, and asks again, before the server has answered: one CONNECT at a time.

Of a second one, this library's server makes an end of the connection, and Node's lets the client in twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import duplexio
from duplexio import ClientSocket
from duplexio.errors import ConnectRefused, ConnectTimeout

from .answering import Answering
from .peers import DUPLEXIO_EIO3, NODE2, NODE4_EIO3, Peer, PeerPool
from .stage import SECONDS, Stage, until

SLOW = 0.3


@contextlib.asynccontextmanager
async def beside_main(stage: Stage, **more: Any) -> AsyncIterator[tuple[ClientSocket, ClientSocket]]:
    """The socket of `/slow`, and the main one, whose connection it shares and keeps."""
    async with stage.connected(query={"of": "entering"}, **more) as main, main.io:
        session = main.io.engine
        yield main.io.socket("/slow"), main
        assert main.io.engine is session
        assert await main.emit_with_ack("echo", 1) == 1


async def test_cancelled_while_the_server_decides(stage: Stage) -> None:
    async with beside_main(stage) as (slow, main):
        slow.auth = {"wait": str(SLOW)}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow.connect(), SLOW / 3)
        slow.auth = None
        await slow.connect()
        assert await slow.emit_with_ack("echo", 1) == 1
        assert await main.emit_with_ack("members", "/slow") == 1


async def test_refused_when_nobody_waits_any_more(stage: Stage) -> None:
    async with beside_main(stage) as (slow, _):
        slow.auth = {"wait": str(SLOW), "refuse": "1"}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow.connect(), SLOW / 3)
        slow.auth = None
        await slow.connect()
        slow.disconnect()
        slow.auth = {"refuse": "1"}
        with pytest.raises(ConnectRefused, match="after all not"):
            await slow.connect()


async def test_let_in_when_nobody_waits_any_more(stage: Stage) -> None:
    async with beside_main(stage) as (slow, main):
        slow.auth = {"wait": str(SLOW)}
        slow.open()
        await asyncio.sleep(SLOW / 3)
        slow.disconnect()
        await asyncio.sleep(SLOW)
        assert not slow.connected
        async with asyncio.timeout(SECONDS):
            while await main.emit_with_ack("members", "/slow") != 0:  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.02)


async def test_an_auth_function_that_is_overtaken(stage: Stage) -> None:
    async with beside_main(stage) as (slow, main):
        asked = 0

        async def auth() -> dict[str, str]:
            nonlocal asked
            asked += 1
            if asked == 1:
                await asyncio.sleep(SLOW)
                return {"refuse": "1"}
            return {}

        slow.auth = auth
        slow.open()
        await asyncio.sleep(SLOW / 3)
        slow.disconnect()
        await slow.connect()
        await asyncio.sleep(SLOW)
        assert (asked, slow.connected) == (2, True)
        assert await main.emit_with_ack("members", "/slow") == 1


async def test_a_server_that_takes_longer_than_the_client_waits(stage: Stage) -> None:
    async with beside_main(stage, timeout=SLOW / 2, retry=True) as (slow, main):
        slow.auth = {"wait": str(SLOW * 2)}
        told: list[Exception] = []
        slow.on("connect_error", told.append, inline=True)
        await asyncio.wait_for(slow.connect(), SECONDS)
        assert told
        assert all(isinstance(error, ConnectTimeout) for error in told)
        assert await main.emit_with_ack("members", "/slow") == 1


@pytest.mark.parametrize("peer", [NODE2, NODE4_EIO3, DUPLEXIO_EIO3], ids=str)
async def test_the_main_namespace_of_protocol_4(pool: PeerPool, peer: Peer) -> None:
    """The server lets everybody in without being asked: also who comes later; and asked, where they have left."""
    stage = Stage(pool.get(peer), "websocket")
    async with stage.connected("/other", force_new=True, timeout=1.0) as other:
        await other.emit_with_ack("echo", 1)
        main = other.io.socket("/")
        session = other.io.engine
        async with main:
            assert main.id is not None
            assert await main.emit_with_ack("echo", 2) == 2
        if peer is NODE2:
            # It never says that it did.
            with pytest.raises(ConnectTimeout) as caught:
                await main.connect()
            assert "twice over one connection" in str(caught.value)
        else:
            async with main:
                assert await main.emit_with_ack("echo", 3) == 3
        assert other.connected
        assert other.io.engine is session


async def test_plain_handlers_of_connect_come_before_those_of_events(ours: Stage) -> None:
    """One at a time, in order, as all plain handlers."""
    seen: list[str] = []
    socket = ours.socket(force_new=True)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    @socket.on("connect")
    def connected() -> None:
        import time

        time.sleep(SLOW / 3)
        seen.append("connect")

    @socket.on("response")
    def response(*args: Any) -> None:
        seen.append("response")
        loop.call_soon_threadsafe(done.set)

    async with asyncio.timeout(SECONDS), socket:
        socket.emit("request", 1)
        await done.wait()
    assert seen == ["connect", "response"]


async def test_a_manager_that_is_told_to_end_while_it_opens() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Answering(never) as silent, asyncio.timeout(SECONDS):
        manager = duplexio.Manager(silent.url)
        two = [asyncio.create_task(manager.connect()) for _ in range(2)]
        await until(lambda: manager._dialled is not None)
        two[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await two[0]
        assert not two[1].done()
        manager.disconnect()
        with pytest.raises(duplexio.Disconnected):
            await two[1]
        await manager.close()


async def test_a_manager_opens_right_behind_an_end(over_websocket: Stage) -> None:
    async with asyncio.timeout(SECONDS), over_websocket.manager() as manager:
        await manager.connect()
        first = manager.engine
        manager.disconnect()
        await manager.connect()
        assert manager.engine is not None
        assert manager.engine is not first
