"""Clients that come back to another server than the one they left: the same socket, and every event once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from duplexio import ConnectRefused, Server, Socket
from duplexio.adapters.unix import UnixBus
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, counts, serving, until


@contextlib.asynccontextmanager
async def three(**options: Any) -> AsyncIterator[tuple[MemoryCluster, list[MemoryBus], list[Server]]]:
    cluster = MemoryCluster()
    buses = [cluster.bus() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        given = {"connection_state_recovery": True, **options}
        servers = [await stack.enter_async_context(serving(adapter=bus, **given)) for bus in buses]
        await turns()
        yield cluster, buses, servers


async def turns() -> None:
    """What was sent has arrived."""
    for _ in range(10):
        await asyncio.sleep(0)


async def overtaken(bus: MemoryBus, count: int) -> None:
    """The newest of so many messages that a bus has not read yet is read before all others.

    As it may be where a bus has several connections.
    """
    inbox = bus._inbox
    await until(lambda: len(inbox) >= count)
    newest = inbox.pop()
    kept = list(inbox)
    inbox.clear()
    inbox.append(newest)
    bus.reading = True
    await turns()
    inbox.extend(kept)


class Reader:
    """A client that goes from server to server, as the JavaScript client does: with its `pid` and newest offset."""

    def __init__(self) -> None:
        self.client: Client
        self.sid = ""
        self.pid = ""
        self.offset: str | None = None
        self.events: list[list[Any]] = []
        self.recovered = 0

    async def connect(self, io: Server, at_most: int | None = None) -> bool:
        """Whether the session went on. `at_most`: so many events reach it before the connection breaks."""
        self.client = Client(io)
        auth = {"pid": self.pid} if self.pid else {}
        if self.pid and self.offset is not None:
            auth["offset"] = self.offset
        self.client.send("40" + json.dumps(auth))
        await until(lambda: any(str(packet).startswith("40") for packet in self.client.packets))
        packets = self.client.take()
        reply = next(packet for packet in packets if str(packet).startswith("40"))
        told = json.loads(str(reply)[2:])
        recovered = bool(told["pid"] == self.pid)
        assert not recovered or told["sid"] == self.sid
        self.sid, self.pid = told["sid"], told["pid"]
        if not recovered:
            self.offset = None
        self.recovered += recovered
        self._take(packets if at_most is None else packets[:at_most])
        return recovered

    def _take(self, packets: list[Any]) -> None:
        for packet in packets:
            if isinstance(packet, str) and packet.startswith(("42", "45")):
                *event, offset = json.loads(packet[packet.index("[") :])
                self.events.append(event)
                self.offset = offset

    def read(self) -> None:
        self._take(self.client.take())

    async def drop(self) -> None:
        self.read()
        self.client.drop()
        await turns()

    def socket(self, io: Server) -> Socket:
        return io.sockets.sockets[self.sid]


async def test_it_goes_on_elsewhere() -> None:
    async with three() as (_, _buses, (first, second, third)):
        reader = Reader()
        assert not await reader.connect(first)
        reader.socket(first).join("room")
        reader.socket(first).data["name"] = "Anna"
        first.emit("e", "before")
        await turns()
        await reader.drop()
        for io in first, second, third:
            io.to("room").emit("e", 1, {"a": b"\x01"})
            io.to("elsewhere").emit("e", "not for it")
            io.volatile.emit("e", "lost")
            await turns()
        third.to(reader.sid).emit("e", "to its id")
        await turns()
        assert await reader.connect(second)
        missed = ["e", 1, {"a": {"_placeholder": True, "num": 0}}]
        assert reader.events == [["e", "before"], missed, missed, missed, ["e", "to its id"]]
        socket = reader.socket(second)
        assert socket.recovered
        assert socket.rooms == {reader.sid, "room"}
        assert socket.data == {"name": "Anna"}
        assert [len(io.sockets.sockets) for io in (first, second, third)] == [0, 1, 0]
        first.to("room").emit("e", "after")
        await turns()
        reader.read()
        assert reader.events[5:] == [["e", "after"]]


async def test_from_server_to_server_without_a_word() -> None:
    """With an offset of the first, or none at all, until there is one of the server it has come to."""
    async with three() as (_, _buses, servers):
        for speaks in True, False:
            reader = Reader()
            await reader.connect(servers[0])
            if speaks:
                servers[0].emit("e", 0)
                await turns()
            for number in range(1, 9):
                await reader.drop()
                assert await reader.connect(servers[number % 3])
                if number % 3 == 0:
                    await reader.drop()
                    assert await reader.connect(servers[number % 3]), "to the same one again"
            assert reader.events == ([["e", 0]] if speaks else [])
            servers[1].emit("e", "end")
            await turns()
            await reader.drop()
            assert reader.events[-1] == ["e", "end"]


async def test_breaking_off_in_the_middle_of_what_was_missed() -> None:
    async with three() as (_, _buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        for number in range(10):
            first.emit("e", number)
        await turns()
        assert await reader.connect(second, at_most=3)
        assert len(reader.events) == 3
        reader.client.drop()
        await turns()
        third.emit("e", 10)
        await turns()
        assert await reader.connect(second, at_most=4)
        reader.client.drop()
        assert await reader.connect(third)
        assert reader.events == [["e", number] for number in range(11)]


async def test_what_only_the_new_server_has_got() -> None:
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        third.emit("e", 0)
        await turns()
        await reader.drop()
        third.emit("e", 1)
        await turns()
        buses[0].reading = False
        third.emit("e", 2)
        second.emit("e", 3)
        await turns()
        connecting = asyncio.ensure_future(reader.connect(second))
        await overtaken(buses[0], 3)
        assert await connecting
        assert reader.events[:2] == [["e", 0], ["e", 1]]
        # Between two servers there is no order.
        assert sorted(reader.events[2:]) == [["e", 2], ["e", 3]]


async def test_what_one_that_was_killed_has_told_some_only() -> None:
    """It is told once, though not every server knows of it that the client moves to."""
    async with three() as (cluster, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        buses[1].reading = False
        third.emit("e", 1)
        await turns()
        cluster.kill(buses[2])
        buses[1].reading = True
        await turns()
        for io in second, first, second, first:
            await reader.drop()
            assert await reader.connect(io)
            io.emit("e", len(reader.events) + 1)
            await turns()
            reader.read()
        assert [event[1] for event in reader.events] == [1, 2, 3, 4, 5]


async def test_what_is_on_its_way_to_the_old_server_and_older_than_the_new_one() -> None:
    """Neither of the two has it: who may have missed it begins anew."""
    async with three() as (cluster, buses, (first, second, third)):
        reader, other = Reader(), Reader()
        for one in reader, other:
            await one.connect(first)
        buses[0].reading = False
        third.emit("e", 1)
        await turns()
        inbox = buses[0]._inbox
        on_its_way = list(inbox)
        inbox.clear()
        buses[0].reading = True
        async with serving(adapter=cluster.bus(), connection_state_recovery=True) as young:
            await turns()
            await reader.drop()
            assert not await reader.connect(young)
            inbox.extend(on_its_way)
            second.emit("e", 2)
            await turns()
            await other.drop()
            assert await other.connect(young)
            reader.read()
        assert [event[1] for event in other.events] == [1, 2]
        assert [event[1] for event in reader.events] == [2]


async def test_what_only_the_old_server_has_got() -> None:
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        buses[1].reading = False
        third.emit("e", 1)
        await turns()
        connecting = asyncio.ensure_future(reader.connect(second))
        await turns()
        # The answer overtakes what the third has sent.
        inbox = buses[1]._inbox
        late = inbox.popleft()
        buses[1].reading = True
        await turns()
        assert not connecting.done()
        inbox.append(late)
        buses[1].reading = True
        assert await connecting
        await turns()
        reader.read()
        assert reader.events == [["e", 1]]


async def test_nothing_older_than_a_server_is_sent_by_it() -> None:
    """What was sent before it came was never missed by its clients, though others have it in their logs."""
    async with three() as (cluster, _buses, (first, second, _third)):
        for number in range(5):
            first.emit("e", number)
        await turns()
        async with serving(adapter=cluster.bus(), connection_state_recovery=True) as young:
            await turns()
            reader = Reader()
            await reader.connect(young)
            await reader.drop()
            first.emit("e", "new")
            await turns()
            assert await reader.connect(second)
            assert reader.events == [["e", "new"]]


async def test_still_connected_there() -> None:
    """The client noticed the break before its server did."""
    async with three() as (_, _buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        stale = reader.client
        first.emit("e", "unread")
        await turns()
        assert await reader.connect(second)
        assert stale.closed
        assert reader.events == [["e", "unread"]]


async def test_a_session_that_nobody_has() -> None:
    async with three() as (cluster, buses, (first, second, third)):
        reader = Reader()
        reader.pid = "x" * 20
        assert not await reader.connect(first)
        await reader.drop()
        cluster.kill(buses[0])
        assert not await reader.connect(second), "its server has died"
        first_pid = reader.pid
        await reader.drop()
        reader.pid = "y" * 65
        assert not await reader.connect(third)
        assert third.health()["bus"]["servers"] == 1
        assert reader.pid != first_pid


async def test_a_client_that_goes_while_its_session_comes() -> None:
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        first.emit("e", 1)
        await turns()
        await reader.drop()
        first.emit("e", 2)
        buses[0].reading = False
        auth = {"pid": reader.pid, "offset": reader.offset}
        reader.client = Client(second)
        reader.client.send("40" + json.dumps(auth))
        await turns()
        reader.client.drop()
        await turns()
        buses[0].reading = True
        await turns()
        assert await reader.connect(third)
        assert reader.events == [["e", 1], ["e", 2]]


async def test_nothing_is_left_of_a_session_that_does_not_come() -> None:
    before = asyncio.all_tasks()
    async with three() as (_, buses, (_first, second, _third)):
        buses[0].reading = False
        client = Client(second)
        client.send("40" + json.dumps({"pid": "x" * 20, "offset": "o"}))
        await turns()
        await asyncio.wait_for(second.close(), 20)
        await until(lambda: not second._cluster._tasks)  # type: ignore[union-attr]
    await until(lambda: not [task for task in asyncio.all_tasks() - before if not task.done()])


async def test_the_search_is_none_of_the_middlewares_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.cluster_adapter.SEARCH_SECONDS", 0.5)
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 0.1)
    async with three(middleware_timeout=0.1) as (_, buses, (_first, second, _third)):
        buses[0].reading = False
        reader = Reader()
        reader.pid = "x" * 20
        assert not await reader.connect(second)
        assert counts(second).get("middleware_timeouts", 0) == 0


async def test_a_server_that_stands_still_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.cluster_adapter.SEARCH_SECONDS", 0.1)
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 0.1)
    async with three() as (_, buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        buses[0].reading = False
        assert not await reader.connect(second)


async def test_the_one_that_has_it_is_enough() -> None:
    async with three() as (_, buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        buses[2].reading = False
        assert await asyncio.wait_for(reader.connect(second), 2.5)


async def test_expired_and_unissued() -> None:
    recovery = {"max_disconnection_duration": 0.05}
    async with three(connection_state_recovery=recovery) as (_, _buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        await asyncio.sleep(0.1)
        assert not await reader.connect(second)
        await reader.drop()
        reader.offset = "never issued"
        assert not await reader.connect(first)


async def test_what_was_missed_is_too_large_for_the_bus() -> None:
    async with three(max_bus_message=20_000) as (_, _buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        for number in range(40):
            first.emit("e", number, "x" * 5000)
        await turns()
        assert await reader.connect(second), "in several messages"
        assert [event[1] for event in reader.events] == list(range(40))
        await reader.drop()
        first.local.emit("e")
        second.local.emit("e", "x" * 30_000)
        await turns()
        assert not await reader.connect(first), "one event is too large, so it cannot be whole"


async def test_data_that_cannot_travel() -> None:
    async with three() as (_, _buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        reader.socket(first).data = object()
        await reader.drop()
        pid, offset = reader.pid, reader.offset
        assert not await reader.connect(second)
        # Once each time that it was asked for.
        assert counts(first)["fault.data_not_shared"] >= 1
        await reader.drop()
        # It is where it was.
        reader.pid, reader.offset = pid, offset
        reader.sid = next(iter(first.of("/").log.sessions.values())).sid  # type: ignore[union-attr]
        assert await reader.connect(first)


async def test_a_refusal_gives_it_back() -> None:
    async with three() as (_, _buses, (first, second, _third)):
        refuse = [True]

        @second.use
        async def guard(socket: Socket) -> None:
            assert socket.recovered
            if refuse.pop():
                raise ConnectRefused("not now")
            refuse.append(False)

        reader = Reader()
        await reader.connect(first)
        first.emit("e", 1)
        await turns()
        await reader.drop()
        first.emit("e", 2)
        await turns()
        client = Client(second)
        client.send("40" + json.dumps({"pid": reader.pid, "offset": reader.offset}))
        await until(lambda: client.packets == ['44{"message":"not now"}'])
        refuse.append(False)
        assert await reader.connect(second)
        assert reader.events == [["e", 1], ["e", 2]]


async def test_another_parser() -> None:
    async with three(parser="msgpack") as (_, _buses, (first, second, _third)):
        parser = first._hub.parser
        assert parser is not None

        async def connect(io: Server, auth: Any) -> tuple[Client, list[Any]]:
            from duplexio.protocol.socket_packet import Packet

            client = Client(io)
            client.send(bytes(parser.encode(Packet(0, "/", None, auth))))  # type: ignore[arg-type]
            await until(lambda: client.packets)
            return client, [parser.decode(packet) for packet in client.take()]

        client, (reply,) = await connect(first, {})
        client.drop()
        first.emit("e", 1, b"\x01")
        await turns()
        _, (missed, again) = await connect(second, {"pid": reply.data["pid"]})
        assert missed.data[:3] == ["e", 1, b"\x01"]
        assert len(missed.data) == 4
        assert again.data == reply.data


@pytest.mark.parametrize("seed", range(6))
async def test_a_client_that_is_always_on_its_way(seed: int, tmp_path: Path) -> None:
    """Three servers talk without a pause while it goes from one to another: each event once, in the order of each."""
    drawn = random.Random(seed)
    cluster = MemoryCluster()
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for _ in range(3):
            bus = cluster.bus() if seed % 2 else UnixBus(tmp_path / "run")
            servers.append(await stack.enter_async_context(serving(adapter=bus, connection_state_recovery=True)))
        for io in servers:
            await until(lambda io=io: len(io._cluster.seen) == 3)  # type: ignore[misc]
        reader = Reader()
        await reader.connect(servers[0])
        reader.socket(servers[0]).join("room")
        numbers = itertools.count()
        sent: dict[int, list[int]] = {0: [], 1: [], 2: []}

        def speak() -> None:
            who, number = drawn.randrange(3), next(numbers)
            sent[who].append(number)
            servers[who].to("room").emit("e", who, number)

        for _ in range(60):
            for _ in range(drawn.randrange(6)):
                speak()
                if drawn.random() < 0.5:
                    await asyncio.sleep(0)
            if drawn.random() < 0.5:
                reader.read()
            reader.client.drop()
            for _ in range(drawn.randrange(4)):
                speak()
                if drawn.random() < 0.5:
                    await asyncio.sleep(0)
            connecting = asyncio.ensure_future(reader.connect(servers[drawn.randrange(3)]))
            while not connecting.done():
                if drawn.random() < 0.3:
                    speak()
                await asyncio.sleep(0)
            assert await connecting

        def has_all() -> bool:
            reader.read()
            return len(reader.events) >= sum(map(len, sent.values()))

        await until(has_all)
        for who, expected in sent.items():
            assert [event[2] for event in reader.events if event[1] == who] == expected
