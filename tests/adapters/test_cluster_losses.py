"""Servers that stand still, die, or are alone: nobody waits for them longer than must be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from duplexio import AckTimeout, ConfigurationError, Server
from duplexio.adapters.unix import UnixBus
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, counts, joined, serving, until

#: Nobody waits so long but by a fault.
LONG = 100.0


@contextlib.asynccontextmanager
async def three(**options: Any) -> AsyncIterator[tuple[MemoryCluster, list[MemoryBus], list[Server]]]:
    cluster = MemoryCluster()
    buses = [cluster.bus() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(adapter=bus, **options)) for bus in buses]
        yield cluster, buses, servers


def answer_all(client: Client, value: str) -> int:
    """Answers every question that has come; how many there were."""
    questions = [packet for packet in client.take() if isinstance(packet, str) and packet.startswith("42")]
    for packet in questions:
        number = packet[2:].partition("[")[0]
        client.send(f'43{number}["{value}"]')
    return len(questions)


async def test_one_that_is_killed_while_it_is_waited_for() -> None:
    async with three() as (cluster, buses, (first, second, third)):
        clients = [joined(io)[0] for io in (first, second, third)]
        waits = [
            asyncio.ensure_future(first.emit_with_ack("q", timeout=LONG)),
            asyncio.ensure_future(first.fetch_sockets()),
            asyncio.ensure_future(first.server_side_emit_with_ack("s", timeout=LONG)),
        ]
        second.on_server("s", lambda: "second")
        third.on_server("s", lambda: "third")
        buses[2].reading = False
        for client in clients[:2]:
            await until(lambda client=client: client.packets)  # type: ignore[misc]
            assert answer_all(client, "yes") == 1
        await asyncio.sleep(0.05)
        assert not any(wait.done() for wait in waits)
        cluster.kill(buses[2])
        answers, sockets, servers = await asyncio.wait_for(asyncio.gather(*waits), 10)
        # Nobody knows whether the third had anybody to ask: nothing of it is missing.
        assert answers == ["yes", "yes"]
        assert len(sockets) == 2
        assert servers == ["second"]


async def test_one_that_is_killed_when_it_had_said_how_many_it_asks() -> None:
    async with three() as (cluster, buses, (first, second, third)):
        clients = [joined(io)[0] for io in (first, second, third)]
        waiting = asyncio.ensure_future(first.emit_with_ack("q", timeout=LONG))
        for client in clients:
            await until(lambda client=client: client.packets)  # type: ignore[misc]
        answer_all(clients[0], "yes")
        answer_all(clients[1], "yes")
        await asyncio.sleep(0.05)
        assert not waiting.done()
        cluster.kill(buses[2])
        with pytest.raises(AckTimeout) as raised:
            await asyncio.wait_for(waiting, 10)
        assert raised.value.responses == ["yes", "yes"]
        assert raised.value.expected == 3


async def test_one_that_stands_still_is_given_up_by_its_heartbeat() -> None:
    async with three(heartbeat_interval=0.05, heartbeat_timeout=0.4) as (_, buses, (first, second, third)):
        joined(first)
        joined(second)
        await until(lambda: first.health()["bus"]["servers"] == 2)
        # It neither reads nor beats.
        buses[2].reading = False
        timer = third._cluster._beat_timer  # type: ignore[union-attr]
        assert timer is not None
        timer.cancel()
        found = await asyncio.wait_for(first.fetch_sockets(), 10)
        assert len(found) == 2
        assert first.health()["bus"]["servers"] == 1
        assert counts(first).get("fetches_incomplete", 0) == 0
        # It comes back by itself when it speaks again.
        buses[2].reading = True
        third.server_side_emit("hello")
        await until(lambda: first.health()["bus"]["servers"] == 2)


async def test_never_longer_than_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    async with three() as (_, buses, (first, second, _third)):
        here, there = joined(first)[0], joined(second)[0]
        buses[2].reading = False
        found = await first.to([]).timeout(0.1).fetch_sockets()
        assert len(found) == 2
        assert counts(first)["fetches_incomplete"] == 1
        assert "not every server has answered within 0.1 s" in caplog.text
        waiting = asyncio.ensure_future(first.emit_with_ack("q", timeout=0.3))
        await until(lambda: here.packets and there.packets)
        assert answer_all(here, "a") == answer_all(there, "b") == 1
        with pytest.raises(AckTimeout) as raised:
            await waiting
        assert sorted(raised.value.responses) == ["a", "b"]
        assert raised.value.expected == 3
        second.on_server("s", lambda: 1)
        with pytest.raises(AckTimeout, match="1 of 2"):
            await first.server_side_emit_with_ack("s", timeout=0.1)


async def test_cancelled_waits_leave_nothing() -> None:
    async with three() as (_, buses, (first, _second, _third)):
        buses[2].reading = False
        waits = [
            asyncio.ensure_future(first.fetch_sockets()),
            asyncio.ensure_future(first.emit_with_ack("e", timeout=LONG)),
            asyncio.ensure_future(first.server_side_emit_with_ack("e", timeout=LONG)),
        ]
        await asyncio.sleep(0.02)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert not first._cluster._requests  # type: ignore[union-attr]


async def test_closing_ends_waits() -> None:
    async with three() as (_, buses, (first, _second, _third)):
        buses[1].reading = buses[2].reading = False
        waiting = asyncio.ensure_future(first.fetch_sockets())
        await asyncio.sleep(0.02)
        await first.close()
        assert await asyncio.wait_for(waiting, 10) == []


async def test_alone_it_is_as_without_a_bus() -> None:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus()) as io:
        client, socket = joined(io)
        io.emit("e")
        assert client.take() == ['42["e"]']
        assert [remote.id for remote in await io.fetch_sockets()] == [socket.id]
        assert await io.server_side_emit_with_ack("e") == []
        io.sockets_join("room")
        assert "room" in socket.rooms
        health = io.health()
        assert (health["status"], health["connections"]) == ("ok", 1)
        assert health["bus"] == {"status": "ok", "servers": 0, "queued": 0, "dropped": 0, "problem": ""}
    assert io.health()["bus"]["status"] == "down"


async def test_health_tells_of_what_was_dropped() -> None:
    async with three(max_bus_queue=10_000) as (_, buses, (first, second, third)):
        joined(second)
        buses[1].reading = False
        for _ in range(20):
            first.emit("e", "x" * 1000)
        await asyncio.sleep(0.02)
        health = first.health()
        assert health["status"] == "degraded"
        assert health["bus"]["dropped"] > 0
        assert health["bus"]["problem"]
        assert third.health()["status"] == "ok"


async def test_health_before_the_start_and_where_that_fails(tmp_path: Path) -> None:
    """Who is asked for its health before anything else is not to be taken for dead."""
    (tmp_path / "run").write_text("no directory")
    io = Server(adapter=UnixBus(tmp_path / "run"), handle_signals=False)
    assert io.health()["status"] == "ok"
    assert io.health()["bus"]["status"] == "down"
    with pytest.raises(ConfigurationError, match="not a directory"):
        async with io.lifespan(None):
            pass
    assert io.health()["status"] in ("closing", "degraded")


async def test_closed_and_opened_again() -> None:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus()) as first:
        io = Server(adapter=cluster.bus(), handle_signals=False, drain_seconds=0.0)
        for _ in range(2):
            async with await io.listen(log_level="warning", lifespan="on"):
                await until(lambda: first.health()["bus"]["servers"] == 1)
            await until(lambda: first.health()["bus"]["servers"] == 0)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (
            "redis://:secret@127.0.0.1:6379",
            "such as UnixBus .* not an object of type str, which has no start, meet, publish",
        ),
        (UnixBus, r"expected a bus, this is its class: UnixBus\(\.\.\.\)"),
        (Server(), "not an object of type Server, which has no start, meet, publish, drain$"),
    ],
)
def test_what_is_no_bus(adapter: Any, said: str) -> None:
    """At once, and not in the worker that starts."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        Server(adapter=adapter)
    assert "secret" not in str(caught.value)


async def test_given_later() -> None:
    cluster = MemoryCluster()
    io = Server(handle_signals=False, drain_seconds=0.0)
    chat = io.of("/chat")
    created: list[str] = []
    chat.on_room("create", created.append)
    io.adapter(cluster.bus())
    with pytest.raises(ConfigurationError, match="one adapter"):
        io.adapter(cluster.bus())
    async with serving(adapter=cluster.bus()) as other, io.lifespan(None):
        _, socket = joined(io, "/chat")
        assert created == [socket.id]
        assert [remote.id for remote in await other.of("/chat").fetch_sockets()] == [socket.id]
    async with serving() as running:
        with pytest.raises(ConfigurationError, match="runs"):
            running.adapter(cluster.bus())


def test_heartbeats_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="heartbeat_timeout=1"):
        Server(adapter=MemoryCluster().bus(), heartbeat_interval=2.0, heartbeat_timeout=1.0)


async def test_what_another_server_may_not_know() -> None:
    async with three() as (_, _buses, (first, second, _third)):
        _, socket = joined(second)
        socket.data = {"when": {1: 2}, "who": object()}
        (remote,) = await first.fetch_sockets()
        assert remote.data is None
        assert counts(second)["fault.data_not_shared"] == 1
        socket.data = {1: (2, b"x")}
        (remote,) = await first.fetch_sockets()
        assert remote.data == {"1": [2, b"x"]}


async def test_data_with_half_a_character_is_left_out_and_its_socket_is_not() -> None:
    async with three() as (_, _buses, (first, second, _third)):
        _, socket = joined(second)
        socket.data["name"] = "half: \ud800"
        (found,) = await asyncio.wait_for(first.fetch_sockets(), 20)
        assert found.id == socket.id
        assert found.data is None
        assert counts(second)["fault.data_not_shared"] == 1


async def test_a_handshake_that_is_shared() -> None:
    async with three(share_handshake=True) as (_, _buses, (first, second, _third)):
        client = Client(second, cookie="a=1")
        client.join(auth={"token": "t"})
        (remote,) = await first.fetch_sockets()
        assert remote.handshake.auth == {"token": "t"}
        assert remote.handshake.headers["cookie"] == "a=1"


async def test_from_another_thread() -> None:
    async with three() as (_, _buses, (first, second, _third)):
        there, socket = joined(second)
        await asyncio.to_thread(first.sockets_join, "room")
        await asyncio.to_thread(first.to("room").emit, "e", 1)
        await until(lambda: '42["e",1]' in there.packets)
        assert "room" in socket.rooms
        await asyncio.to_thread(first.disconnect_sockets)
        await until(lambda: not socket.connected)


@pytest.mark.parametrize("children", [0, 1, 3])
async def test_servers_hear_a_parent_once(children: int) -> None:
    """However many namespaces it stands for: what listens is the server."""
    async with three() as (_, _buses, (first, second, third)):
        heard: list[tuple[Server, object]] = []
        for io in second, third:
            io.on_server("e", lambda value, io=io: heard.append((io, value)))
            io.on_server("q", lambda value: value)
        parent = first.of(re.compile("^/room-"))
        for number in range(children):
            first.of(f"/room-{number}")
        assert len(parent.children) == children
        parent.server_side_emit("e", 1)
        await until(lambda: len(heard) >= 2)
        assert await parent.server_side_emit_with_ack("q", 2, timeout=LONG) == [2, 2]
        assert sorted(heard, key=lambda one: one[0] is third) == [(second, 1), (third, 1)]


async def test_an_answer_that_cannot_travel_is_missing_at_once() -> None:
    """A number that MessagePack has no form for, which only a codec of the user's reads."""
    async with three(loads=json.loads) as (_, _buses, (first, second, _third)):
        there, _ = joined(second)
        waiting = asyncio.ensure_future(first.emit_with_ack("q", timeout=LONG))
        await until(lambda: there.packets)
        (packet,) = there.take()
        there.send(f"43{str(packet)[2:].partition('[')[0]}[{2**70}]")
        with pytest.raises(AckTimeout) as raised:
            await asyncio.wait_for(waiting, 10)
        assert raised.value.responses == []
        assert raised.value.expected == 1
        assert counts(second)["handler_errors"] == 1
