"""What is too large for a message between servers: who sends it hears of it, and nobody gets it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from duplexio import LimitExceeded, MessageTooLarge, Server
from duplexio.protocol.socket_packet import CONNECT, Packet
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, counts, joined, serving, until

LIMIT = 20_000
LARGE = "x" * LIMIT
#: More than fits between them, in names alone.
ROOMS = [f"room-{number}" for number in range(LIMIT // 5)]


class Watched:
    """A server, how many others there are, and what it has sent to them."""

    def __init__(self, io: Server, others: list[Server], bus: MemoryBus) -> None:
        self.io = io
        self.others = others
        self.sent: list[bytes] = []
        publish = bus.publish

        def noting(channel: str, message: bytes, to: str = "") -> bool:
            self.sent.append(message)
            return publish(channel, message, to)

        bus.publish = noting  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def first_of(count: int, **options: Any) -> AsyncIterator[Watched]:
    cluster = MemoryCluster()
    buses = [cluster.bus() for _ in range(count)]
    options = {"max_bus_message": LIMIT, "heartbeat_interval": 100.0, "heartbeat_timeout": 500.0, **options}
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(adapter=bus, **options)) for bus in buses]
        for _ in range(10):
            await asyncio.sleep(0)
        yield Watched(servers[0], servers[1:], buses[0])


def in_vain(call: Callable[..., object], *args: Any) -> MessageTooLarge:
    with pytest.raises(MessageTooLarge) as raised:
        call(*args)
    return raised.value


async def awaited_in_vain(waiting: Awaitable[object]) -> None:
    with pytest.raises(MessageTooLarge):
        await waiting


pytestmark = pytest.mark.parametrize("count", [1, 2], ids=["alone", "with another"])


async def test_what_it_says(count: int) -> None:
    async with first_of(count) as watched:
        joined(watched.io)
        error = in_vain(watched.io.emit, "e", LARGE)
        assert (error.limit, error.allowed, error.owner) == ("max_bus_message", LIMIT, "Server")
        assert LIMIT < error.size < LIMIT + 200
        assert isinstance(error, LimitExceeded)
        for part in (str(error.size), "20000 (max_bus_message)", ".local", "Server(max_bus_message=...)"):
            assert part in str(error)


async def test_nobody_gets_it(count: int) -> None:
    async with first_of(count) as watched:
        io = watched.io
        ends = [joined(server) for server in (io, *watched.others)]
        socket = ends[0][1]
        joined(io)[1].join("room")
        socket.join("room")
        (remote, *_) = await io.in_("room").fetch_sockets()
        watched.sent.clear()
        for emit in (
            io.emit,
            io.sockets.emit,
            io.to("room").emit,
            io.except_("nobody").emit,
            io.volatile.emit,
            io.compress(False).emit,
            socket.broadcast.emit,
            socket.to("room").emit,
            remote.emit,
            io.server_side_emit,
        ):
            in_vain(emit, "e", LARGE)
            in_vain(emit, "e", b"x" * LIMIT)
        in_vain(io.send, LARGE)
        in_vain(io.to(["room", *ROOMS]).emit, "e")
        in_vain(io.sockets_join, ROOMS)
        in_vain(io.sockets_leave, ROOMS)
        in_vain(io.in_(["room", *ROOMS]).disconnect_sockets)
        await awaited_in_vain(io.emit_with_ack("e", LARGE))
        await awaited_in_vain(remote.emit_with_ack("e", LARGE))
        await awaited_in_vain(io.server_side_emit_with_ack("e", LARGE))
        await awaited_in_vain(io.in_(ROOMS).fetch_sockets())
        assert watched.sent == []
        assert socket.rooms == {socket.id, "room"}
        assert socket.connected
        assert [client.take() for client, _ in ends] == [[] for _ in ends]
        assert counts(io).get("fault.bus_oversized", 0) == 0


async def test_what_is_for_this_server_is_not_concerned(count: int) -> None:
    async with first_of(count) as watched:
        client, socket = joined(watched.io)
        watched.sent.clear()
        watched.io.local.emit("e", LARGE)
        watched.io.local.to(socket.id).emit("e", LARGE)
        socket.emit("e", LARGE)
        asking = asyncio.ensure_future(watched.io.local.emit_with_ack("q", LARGE))
        await asyncio.sleep(0)
        *_, question = client.packets
        client.send(f"43{str(question)[2:].partition('[')[0]}[1]")
        assert await asking == [1]
        assert len(client.take()) == 4
        assert watched.sent == []


@pytest.mark.parametrize("parser", ["json", "msgpack"])
@pytest.mark.parametrize("value", ["x", "é", b"x"], ids=["text", "long characters", "bytes"])
async def test_the_limit_is_where_it_says(count: int, value: Any, parser: str) -> None:
    """With an envelope of some bytes; just below it everything arrives, and nothing is dropped behind the caller."""
    async with first_of(count, parser=parser) as watched:
        clients = [Client(server) for server in (watched.io, *watched.others)]
        made = watched.io._hub.parser
        for client in clients:
            client.send("40" if made is None else made.encode(Packet(CONNECT, "/", None, None)))
            assert client.take()
        width = len(value.encode()) if isinstance(value, str) else 1
        watched.io.emit("e", value * ((LIMIT - 150) // width))
        for _ in range(10):
            await asyncio.sleep(0)
        assert all(client.take() for client in clients)
        in_vain(watched.io.emit, "e", value * (LIMIT // width))
        assert counts(watched.io).get("fault.bus_oversized", 0) == 0


async def test_at_every_size_about_the_limit(count: int) -> None:
    """Either it is sent to everybody, or its sender hears of it: there is nothing between."""
    async with first_of(count) as watched:
        clients = [joined(server)[0] for server in (watched.io, *watched.others)]
        outcomes = []
        for size in range(LIMIT - 120, LIMIT + 20):
            try:
                watched.io.emit("e", "x" * size)
                outcomes.append(True)
            except MessageTooLarge:
                outcomes.append(False)
            for _ in range(5):
                await asyncio.sleep(0)
            assert [bool(client.take()) for client in clients] == [outcomes[-1]] * len(clients)
        assert outcomes == sorted(outcomes, reverse=True)
        assert set(outcomes) == {True, False}


async def test_it_is_not_kept_for_those_who_come_back(count: int) -> None:
    async with first_of(count, connection_state_recovery=True) as watched:
        client, _ = joined(watched.io)
        log, here = watched.io.of("/").log, watched.io._cluster
        assert log is not None
        assert here is not None
        in_vain(watched.io.emit, "e", LARGE)
        assert log.number == 0
        watched.io.emit("e")
        assert log.number == 1
        assert here.seen[here.bus.node] == 1, "the others would wait for one that never comes"
        assert len(client.take()) == 1


async def test_from_another_thread_it_is_raised_there(count: int) -> None:
    async with first_of(count) as watched:
        client, _ = joined(watched.io)
        watched.sent.clear()
        await awaited_in_vain(asyncio.to_thread(watched.io.emit, "e", LARGE))
        await awaited_in_vain(asyncio.to_thread(watched.io.server_side_emit, "e", LARGE))
        await asyncio.to_thread(watched.io.local.emit, "e", LARGE)
        await asyncio.to_thread(watched.io.emit, "small")
        await until(lambda: len(client.packets) == 2)
        assert len(watched.sent) == count - 1
        assert counts(watched.io).get("handler_errors", 0) == 0


async def test_of_a_parent_all_children_get_it_or_none(count: int) -> None:
    """It is one message for all of them, however long the name of each."""
    async with first_of(count) as watched:
        parent = watched.io.of(re.compile("^/room-"))
        names = ["/room-1", "/room-" + "long" * 50, "/room-2"]
        clients = []
        for name in names:
            client = Client(watched.io)
            client.join(name)
            clients.append(client)
        sent = 0
        for size in range(LIMIT - 400, LIMIT + 20, 7):
            try:
                parent.emit("e", "x" * size)
                sent += 1
            except MessageTooLarge:
                assert [len(client.take()) for client in clients] == [0, 0, 0]
            else:
                assert [len(client.take()) for client in clients] == [1, 1, 1]
        assert sent > 10
        await awaited_in_vain(parent.emit_with_ack("e", "x" * LIMIT))
        assert [len(client.take()) for client in clients] == [0, 0, 0]


async def test_nobody_to_get_it(count: int) -> None:
    """Alone and without a receiver nothing is encoded: neither its size is known, nor whether it can be sent."""
    async with first_of(count) as watched:
        if count == 1:
            watched.io.emit("e", LARGE)
        else:
            in_vain(watched.io.emit, "e", LARGE)
