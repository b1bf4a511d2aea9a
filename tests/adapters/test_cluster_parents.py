"""A parent of namespaces, whose children may be on another server only."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgpack
import pytest

from duplexio import ParentNamespace, Server, Socket
from duplexio.hub.targets import EVERYBODY, PLAIN
from duplexio.protocol.socket_packet import Packet
from duplexio.testing import MemoryCluster
from tests.hub.ends import Client, serving, until

LONG = 30.0


class Child(NamedTuple):
    client: Client
    socket: Socket

    def events(self) -> list[str]:
        """The packets that it got, without attachments."""
        return [packet for packet in self.client.packets if isinstance(packet, str) and packet.startswith(("42", "45"))]

    def names(self) -> list[str]:
        """Of the events it got."""
        return [json.loads(packet[packet.index("[") :])[0] for packet in self.events()]

    def has(self, *names: str) -> bool:
        return sorted(self.names()) == sorted(names)


class Stage(NamedTuple):
    first: Server
    second: Server
    parents: tuple[ParentNamespace, ParentNamespace]

    def join(self, io: Server, name: str) -> Child:
        client = Client(io)
        sid = client.join(name)["sid"]
        return Child(client, io._hub.namespaces[name].local_sockets[sid])


@contextlib.asynccontextmanager
async def two(**options: Any) -> AsyncIterator[Stage]:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus(), **options) as first, serving(adapter=cluster.bus(), **options) as second:
        # Another parent on one of the two: what belongs together is told by the pattern, not by the place.
        first.of(re.compile("^/elsewhere-"))
        yield Stage(first, second, (first.of(re.compile("^/room-")), second.of(re.compile("^/room-"))))


async def test_all_children_of_all_servers_hear_it_once() -> None:
    async with two() as stage:
        everywhere = [stage.join(stage.first, "/room-1"), stage.join(stage.second, "/room-1")]
        only_there = stage.join(stage.second, "/room-2")
        only_here = stage.join(stage.first, "/room-3")
        apart = stage.join(stage.first, "/elsewhere-1")
        stage.parents[0].emit("e", 1)
        stage.parents[1].emit("f", b"\x01")
        for child in (*everywhere, only_there, only_here):
            await until(functools.partial(child.has, "e", "f"))
        assert apart.names() == []


async def test_a_parser_that_writes_the_namespace_into_its_message() -> None:
    def packet(kind: int, **rest: Any) -> bytes:
        packed: bytes = msgpack.packb({"type": kind, "nsp": "/room-2", **rest})
        return packed

    async with two(parser="msgpack") as stage:
        client = Client(stage.second)
        client.send(packet(0))
        (joined,) = client.take()
        assert isinstance(joined, bytes)
        stage.parents[0].emit("e", b"\x01")
        await until(lambda: client.packets)
        assert [msgpack.unpackb(each) for each in client.take()] == [
            {"type": 2, "nsp": "/room-2", "data": ["e", b"\x01"]}
        ]


async def test_targets_and_flags() -> None:
    async with two() as stage:
        here, there = stage.join(stage.first, "/room-1"), stage.join(stage.second, "/room-2")
        parent = stage.parents[0]
        there.socket.join("front")
        parent.to("front").emit("front")
        parent.except_("front").emit("back")
        parent.local.emit("local")
        parent.volatile.emit("last")
        await until(lambda: "last" in there.names() and "last" in here.names())
        assert here.names() == ["back", "local", "last"]
        assert there.names() == ["front", "last"]


async def test_rooms_and_records() -> None:
    async with two() as stage:
        here, there = stage.join(stage.first, "/room-1"), stage.join(stage.second, "/room-2")
        parent = stage.parents[0]
        found = await parent.fetch_sockets()
        assert sorted(each.id for each in found) == sorted((here.socket.id, there.socket.id))
        (remote,) = [each for each in found if each.id == there.socket.id]
        remote.emit("you")
        await until(lambda: there.names() == ["you"])
        parent.sockets_join("all")
        await until(lambda: "all" in there.socket.rooms)
        assert "all" in here.socket.rooms
        parent.sockets_leave("all")
        await until(lambda: "all" not in there.socket.rooms)
        assert "all" not in here.socket.rooms
        assert [each.id for each in await parent.local.fetch_sockets()] == [here.socket.id]
        parent.disconnect_sockets()
        await until(lambda: not there.socket.connected)
        assert not here.socket.connected


async def test_all_of_them_acknowledge() -> None:
    async with two() as stage:
        here, there = stage.join(stage.first, "/room-1"), stage.join(stage.second, "/room-2")
        waiting = asyncio.ensure_future(stage.parents[0].emit_with_ack("who", timeout=LONG))
        for child, name in ((here, "/room-1"), (there, "/room-2")):
            await until(functools.partial(child.has, "who"))
            (packet,) = child.events()
            number = re.match(r"42/room-\d,(\d+)\[", packet)
            assert number is not None
            child.client.send(f'43{name},{number[1]}["{name}"]')
        assert sorted(await waiting) == ["/room-1", "/room-2"]


async def test_servers_hear_it_once() -> None:
    async with two() as stage:
        heard: list[int] = []

        @stage.second.on_server("count")
        def count(number: int) -> int:
            heard.append(number)
            return number

        for name in ("/room-1", "/room-2", "/room-3"):
            stage.join(stage.first, name)
        stage.parents[0].adapter.server_side_emit("count", (1,))
        assert await stage.parents[0].adapter.server_side_emit_with_ack("count", (2,), LONG) == [2]
        assert heard == [1, 2]


async def test_from_a_thread() -> None:
    async with two() as stage:
        there = stage.join(stage.second, "/room-2")
        await asyncio.to_thread(stage.parents[0].emit, "e")
        await until(lambda: there.names() == ["e"])


async def test_what_is_kept_for_who_may_come_back() -> None:
    """Each child has its own log."""
    async with two(connection_state_recovery=True) as stage:
        here, there = stage.join(stage.first, "/room-1"), stage.join(stage.second, "/room-2")
        stage.parents[0].emit("e")
        for child in (here, there):
            await until(functools.partial(child.has, "e"))
            (packet,) = child.events()
            log = child.socket.nsp.log
            assert log is not None
            assert json.loads(packet[packet.index("[") :]) == ["e", log.newest_offset()]


async def test_a_client_cannot_enter_what_is_called_like_a_parent() -> None:
    """What is meant for the parent would reach that alone. A parser's packets may name it; others end at the comma."""

    def packet(kind: int, nsp: str, **rest: Any) -> bytes:
        packed: bytes = msgpack.packb({"type": kind, "nsp": nsp, **rest})
        return packed

    cluster = MemoryCluster()
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(serving(adapter=cluster.bus(), parser="msgpack")) for _ in range(2)
        ]
        # Whose own name it finds, too.
        parents = [io.of(re.compile("room-")) for io in (first, second)]
        victim, rogue = Client(second), Client(second)
        victim.send(packet(0, "/room-1"))
        victim.take()
        rogue.send(packet(0, parents[1].name))
        (refused,) = rogue.take()
        assert isinstance(refused, bytes)
        assert msgpack.unpackb(refused)["type"] == 4
        parents[0].emit("e")
        await until(lambda: victim.packets)
        assert rogue.take() == []


class _Lines:
    """A parser whose messages are lines: what a packet is, its namespace, and its data behind the first space."""

    def encode(self, packet: Packet) -> str:
        return f"{packet.type}{packet.namespace} {json.dumps(packet.data)}"

    def decode(self, message: str | bytes) -> Packet:
        head, _, data = str(message).partition(" ")
        return Packet(int(head[0]), head[1:], None, json.loads(data))


async def test_a_parser_is_never_told_the_name_of_a_parent() -> None:
    """That is no namespace's: it may have more bytes than one, and what a parser parts its messages by."""
    cluster = MemoryCluster()
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(serving(adapter=cluster.bus(), parser=_Lines())) for _ in range(2)
        ]
        for pattern in "^/a room-|^/room-", f"^/hall-|{'x' * 1000}":
            name = pattern.rpartition("^")[2].partition("|")[0] + "1"
            parent, _ = [io.of(re.compile(pattern)) for io in (first, second)]
            client = Client(second)
            client.send(f"40{name} null")
            client.take()
            parent.emit("e", 1)
            await until(lambda client=client: client.packets)  # type: ignore[misc]
            assert client.take() == [f'42{name} ["e", 1]']


class _Rooms:
    def __init__(self, begin: str) -> None:
        self.begin = begin

    def __call__(self, name: str, auth: object) -> bool:
        return name.startswith(self.begin)


def _partly() -> Any:
    def begins(begin: str, name: str, auth: object) -> bool:
        return name.startswith(begin)

    return functools.partial(begins, "/room-")


@pytest.mark.parametrize("make", [lambda: _Rooms("/room-"), _partly], ids=["object", "partial"])
async def test_a_parent_is_known_by_what_its_function_is_and_not_by_where_that_is(make: Any) -> None:
    """Each server, in a process of its own, has another object of it."""
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus()) as first, serving(adapter=cluster.bus()) as second:
        here, there = make(), make()
        parent = first.of(here)
        second.of(there)
        client = Client(second)
        client.join("/room-1")
        parent.emit("e")
        await until(lambda: client.packets)
        assert client.take() == ['42/room-1,["e"]']


async def test_a_thread_may_emit_while_children_come_and_go() -> None:
    """Without other servers an event is looked at on that thread for the children there are."""
    async with serving() as io:
        parent = io.of(re.compile("^/room-"))
        for number in range(300):
            Client(io).join(f"/room-stays-{number}")
        client = Client(io)
        over = threading.Event()

        def look() -> None:
            # What `emit` does before it queues the event to the loop.
            while not over.is_set():
                parent.adapter.check("e", (), EVERYBODY, PLAIN)

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        looking = asyncio.ensure_future(asyncio.to_thread(look))
        try:
            for number in range(100):
                for packet in f"40/room-{number},", f"41/room-{number},":
                    client.send(packet)
                    await asyncio.sleep(0.001)
                if looking.done():
                    break
        finally:
            over.set()
            sys.setswitchinterval(before)
        await looking
