"""What is emitted while there is no connection, and how one is opened again."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Literal

import pytest

import duplexio
from duplexio.hub.backoff import Backoff
from duplexio.hub.manager import ManagerEvent
from duplexio.observe import Counts

from .peers import DUPLEXIO, PEERS, Peer, PeerPool, running
from .stage import dropped, until
from .wire import Wire

SOON: dict[str, Any] = {"reconnection_delay": 0.02, "reconnection_delay_max": 0.05, "force_new": True}


async def test_events_wait_in_order_for_the_first_connection(pool: PeerPool) -> None:
    came: list[Any] = []
    socket = duplexio.connect(pool.get(DUPLEXIO).url, **SOON)
    socket.on("response", came.append, inline=True)
    for number in range(50):
        socket.emit("request", number)
    assert came == []
    async with asyncio.timeout(10), socket:
        assert await socket.emit_with_ack("echo", "last") == "last"
    assert came == list(range(50))


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", [2, 3, 4]), ("drop_newest", [0, 1, 2])])
async def test_their_number_is_bounded(
    pool: PeerPool, policy: Literal["drop_oldest", "drop_newest"], kept: list[int]
) -> None:
    came: list[Any] = []
    socket = duplexio.connect(pool.get(DUPLEXIO).url, max_send_buffer=3, send_buffer_policy=policy, **SOON)
    socket.on("response", came.append, inline=True)
    for number in range(5):
        socket.emit("request", number)
    async with asyncio.timeout(10), socket:
        assert await socket.emit_with_ack("echo", "last") == "last"
    assert came == kept
    counts = socket.io.counts
    assert isinstance(counts, Counts)
    assert counts["fault.send_buffer_dropped"] == 2


async def test_so_are_their_bytes(pool: PeerPool) -> None:
    came: list[Any] = []
    socket = duplexio.connect(pool.get(DUPLEXIO).url, max_send_buffer_bytes=1000, **SOON)
    socket.on("response", lambda text: came.append(text[0]), inline=True)
    for letter in "abcde":
        socket.emit("request", letter * 300)
    async with asyncio.timeout(10), socket:
        assert await socket.emit_with_ack("echo", "last") == "last"
    assert came == ["c", "d", "e"]


async def test_who_waits_for_the_answer_of_a_dropped_one_is_told(pool: PeerPool) -> None:
    socket = duplexio.connect(pool.get(DUPLEXIO).url, max_send_buffer=1, **SOON)
    waiting = asyncio.create_task(socket.emit_with_ack("echo", 1))
    await asyncio.sleep(0)
    socket.emit("request", 2)
    with pytest.raises(duplexio.LimitExceeded, match="max_send_buffer"):
        await waiting


async def test_an_answer_is_waited_for_across_the_first_connection(pool: PeerPool) -> None:
    socket = duplexio.connect(pool.get(DUPLEXIO).url, **SOON)
    waiting = asyncio.create_task(socket.emit_with_ack("echo", 1))
    await asyncio.sleep(0)
    async with asyncio.timeout(10), socket:
        assert await waiting == 1


async def test_the_events_of_a_manager(pool: PeerPool) -> None:
    told: list[Any] = []

    def note(event: str, *args: Any) -> None:
        told.append((event, len(args)))

    server = pool.get(DUPLEXIO)
    async with Wire(server.port) as wire:
        socket = duplexio.connect(wire.url(), transports=["websocket"], **SOON)
        manager = socket.io
        events: tuple[ManagerEvent, ...] = (
            "open",
            "close",
            "error",
            "reconnect_attempt",
            "reconnect",
            "reconnect_error",
        )
        for event in events:
            manager.on(event, partial(note, event))

        async def later(*args: Any) -> None:
            await asyncio.sleep(0)
            told.append(("async", *args))

        manager.once("reconnect", later)
        async with asyncio.timeout(20), socket:
            assert told == [("open", 0)]
            wire.refuse()
            wire.cut_all()
            await until(lambda: ("reconnect_error", 1) in told)
            await wire.accept()
            await socket.wait_connected()
            await asyncio.sleep(0)
            assert not manager.reconnecting
    names = [event for event, *_ in told]
    assert names[:3] == ["open", "close", "reconnect_attempt"]
    assert names.count("async") == names.count("reconnect") == 1
    assert names.count("error") == names.count("reconnect_error") >= 1
    with pytest.raises(duplexio.ConfigurationError, match="has no event"):
        manager.on("reconnected", print)  # type: ignore[call-overload]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("peer", PEERS, ids=str)
async def test_reconnect_is_told_in_front_of_connect(pool: PeerPool, peer: Peer, transport: str) -> None:
    """Servers of protocol 3 let a client in with the packet that opens the session."""
    told: list[str] = []
    async with Wire(pool.get(peer).port) as wire:
        options: Any = {"transports": [transport], "eio": peer.eio, **SOON}
        async with asyncio.timeout(20), duplexio.connect(wire.url(), **options) as socket:
            socket.on("connect", lambda: told.append("connect"), inline=True)
            socket.io.on("reconnect", lambda _: told.append("reconnect"))
            while socket.connected:
                # Between two polls there is nothing to cut.
                wire.cut_all()
                await asyncio.sleep(0.01)
            await until(lambda: "connect" in told)
    assert told == ["reconnect", "connect"]


async def test_attempts_come_to_an_end(pool: PeerPool) -> None:
    attempts: list[int] = []
    errors: list[Any] = []
    over = asyncio.Event()
    with running(DUPLEXIO) as server:
        socket = duplexio.connect(server.url, reconnection_attempts=3, **SOON)
        socket.io.on("reconnect_attempt", attempts.append)
        socket.io.on("reconnect_failed", over.set)
        socket.on("connect_error", errors.append, inline=True)
        await socket.connect()
        waiting = asyncio.create_task(socket.wait_disconnected())
        server.kill()
        await asyncio.wait_for(over.wait(), 20)
    assert attempts == [1, 2, 3]
    assert all(isinstance(error, duplexio.ConnectError) for error in errors)
    assert len(errors) == 3
    await waiting
    assert not socket.active
    with pytest.raises(duplexio.ConnectError):
        await socket.wait_connected()
    await socket.io.close()


async def test_without_reconnection_the_end_is_the_end(pool: PeerPool) -> None:
    socket = duplexio.connect(pool.get(DUPLEXIO).url, reconnection=False, force_new=True)
    async with asyncio.timeout(10), socket:
        socket.emit("drop")
        assert await socket.wait_disconnected() in ("transport close", "transport error")
        assert not socket.active


async def test_a_first_connection_is_tried_again_where_that_is_wanted(pool: PeerPool) -> None:
    server = pool.get(DUPLEXIO)
    async with Wire(server.port) as wire:
        wire.refuse()
        with pytest.raises(duplexio.ConnectError, match="nobody listens"):
            await duplexio.connect(wire.url(), **SOON).connect()
        socket = duplexio.connect(wire.url(), retry=True, **SOON)
        connecting = asyncio.create_task(socket.connect())
        await asyncio.sleep(0.1)
        assert not connecting.done()
        await wire.accept()
        await asyncio.wait_for(connecting, 10)
        await socket.io.close()


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.1])
async def test_cancelling_ends_the_attempts_at_once(pool: PeerPool, moment: float) -> None:
    server = pool.get(DUPLEXIO)
    async with Wire(server.port) as wire:
        wire.refuse()
        socket = duplexio.connect(wire.url(), retry=True, **SOON)
        connecting = asyncio.create_task(socket.connect())
        await asyncio.sleep(moment)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await socket.io.close()
        await wire.accept()
        opened = wire.opened
        await asyncio.sleep(0.15)
        assert wire.opened == opened


async def test_auth_is_asked_anew(pool: PeerPool) -> None:
    """A token that has expired meanwhile is another one at the next connection."""
    tokens = iter(["secret", "secret", "old"])
    refused: list[Any] = []

    async def auth() -> dict[str, str]:
        await asyncio.sleep(0)
        return {"token": next(tokens)}

    socket = duplexio.connect(pool.get(DUPLEXIO).url + "/auth", auth=auth, **SOON)
    socket.on("connect_error", refused.append, inline=True)
    async with asyncio.timeout(10), socket:
        await dropped(socket)
        with pytest.raises(duplexio.ConnectRefused) as refusal:
            await dropped(socket)
        assert refusal.value.data == {"code": "token", "given": "old"}
    assert [error.message for error in refused] == ["not authorized"]


def test_waits_grow_and_differ() -> None:
    exact = Backoff(1.0, 5.0, 0.0)
    assert [exact.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    exact.reset()
    assert exact.next() == 1.0
    waits = [Backoff(1.0, 5.0, 0.5).next() for _ in range(200)]
    assert all(0.5 <= wait <= 1.5 for wait in waits)
    assert len(set(waits)) > 100
    long = Backoff(1.0, 5.0, 0.5)
    assert all(wait <= 5.0 for wait in (long.next() for _ in range(2000)))


async def test_a_session_that_ends_before_anybody_is_in_is_told(pool: PeerPool) -> None:
    """By a server that writes packets in another way, such as this."""
    server = pool.get(DUPLEXIO, "--parser", "msgpack")
    for parser in ("json", "msgpack"):
        url = (server if parser == "json" else pool.get(DUPLEXIO)).url
        with pytest.raises(duplexio.ConnectError, match="ended before the namespace / was joined") as caught:
            await asyncio.wait_for(duplexio.connect(url, parser=parser, **SOON).connect(), 10)
        assert "parser=..." in caught.value.hint
