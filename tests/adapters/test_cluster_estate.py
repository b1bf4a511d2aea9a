"""A server that closes leaves its sessions to another one: its clients come back, and have missed nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duplexio import Server
from duplexio.adapters.estate import estate_of, inherit
from duplexio.adapters.session_transfer import give_inherited
from duplexio.errors import SocketPacketError
from duplexio.protocol.cluster_message import Inherit
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, counts, serving, until

from .test_cluster_recovery import Reader, overtaken, three, turns


@contextlib.asynccontextmanager
async def another(cluster: MemoryCluster, **options: Any) -> AsyncIterator[Server]:
    async with serving(adapter=cluster.bus(), connection_state_recovery=True, **options) as io:
        await turns()
        yield io


async def left_by(io: Server, *others: Server, count: int = 1) -> None:
    """It closes, and what it leaves has arrived."""
    await io.close()
    await until(lambda: sum(len(o.of("/").inherited) for o in others) >= count)


async def test_one_that_closes() -> None:
    async with three() as (_, _buses, (first, second, third)):
        readers = [Reader() for _ in range(3)]
        for number, reader in enumerate(readers):
            await reader.connect(first)
            reader.socket(first).join(f"room-{number}")
            reader.socket(first).data["number"] = number
        second.emit("e", "before")
        await turns()
        readers[0].read()
        readers[1].read()
        # The third has not read it: it is missed, too.
        first.to("room-1").emit("e", b"\x01", 1)
        await turns()
        await left_by(first, second, third)
        second.to(["room-1", "room-2"]).emit("e", "meanwhile")
        await turns()
        assert await readers[0].connect(second)
        assert await readers[1].connect(third)
        assert readers[0].events == [["e", "before"]]
        binary = ["e", {"_placeholder": True, "num": 0}, 1]
        assert readers[1].events == [["e", "before"], binary, ["e", "meanwhile"]]
        readers[2].client.take()
        assert await readers[2].connect(second)
        assert readers[2].events == [["e", "before"], ["e", "meanwhile"]]
        assert readers[2].socket(second).data == {"number": 2}
        assert readers[2].socket(second).rooms == {readers[2].sid, "room-2"}
        third.emit("e", "after")
        await turns()
        for reader in readers:
            reader.read()
            assert reader.events[-1] == ["e", "after"]


async def test_back_to_the_heir_when_it_is_alone() -> None:
    cluster = MemoryCluster()
    async with another(cluster) as first, another(cluster) as second:
        reader = Reader()
        await reader.connect(first)
        first.emit("e", 1)
        await turns()
        reader.read()
        first.emit("e", 2)
        await turns()
        reader.client.take()
        await left_by(first, second)
        assert second.health()["bus"]["servers"] == 0
        second.emit("e", 3)
        assert await reader.connect(second)
        assert reader.events == [["e", 1], ["e", 2], ["e", 3]]
        await reader.drop()
        assert await reader.connect(second)


async def test_a_deploy_that_rolls_through_all() -> None:
    """Each is replaced in turn while the client is away: what was left is left again."""
    cluster = MemoryCluster()
    reader = Reader()
    async with contextlib.AsyncExitStack() as stack:
        old = [await stack.enter_async_context(another(cluster)) for _ in range(2)]
        await reader.connect(old[0])
        old[1].emit("e", 0)
        await turns()
        await reader.drop()
        expected = [["e", 0]]
        for number in range(2):
            new = await stack.enter_async_context(another(cluster))
            others = [io for io in old if io is not old[0]] + [new]
            await left_by(old.pop(0), *others)
            old.append(new)
            old[0].emit("e", number + 1)
            await turns()
            expected.append(["e", number + 1])
        assert await reader.connect(old[0])
        assert reader.events == expected


@pytest.mark.parametrize("back_to", ["the heir", "the new one"])
async def test_what_one_says_that_has_come_meanwhile(back_to: str) -> None:
    """The server that left the session had never heard of it."""
    cluster = MemoryCluster()
    async with another(cluster) as first, another(cluster) as second:
        reader = Reader()
        await reader.connect(first)
        second.emit("e", 0)
        await turns()
        reader.read()
        await left_by(first, second)
        async with another(cluster) as new:
            new.emit("e", 1)
            await turns()
            second.emit("e", 2)
            await turns()
            assert await reader.connect(second if back_to == "the heir" else new)
            assert reader.events == [["e", 0], ["e", 1], ["e", 2]]


async def test_the_one_that_takes_it_is_younger_than_what_was_missed() -> None:
    """The heir tells what has come to it since, of servers that the one which has closed never knew, too."""
    cluster = MemoryCluster()
    reader = Reader()
    async with another(cluster) as first, another(cluster) as heir:
        await reader.connect(first)
        reader.socket(first).join("room")
        first.emit("e", 0)
        await reader.drop()
        await left_by(first, heir)
        heir.to("room").emit("e", 1)
        heir.to("other").emit("e", 2)
        async with another(cluster) as stranger:
            stranger.to("room").emit("e", 3)
            await turns()
            async with another(cluster) as youngest:
                heir.to("room").emit("e", 4)
                await turns()
                assert await reader.connect(youngest)
                assert [event[1] for event in reader.events] == [0, 1, 3, 4]
                # Nobody has it any more.
                assert not any(left.log.sessions for left in heir.of("/").inherited)


async def test_the_next_heir_is_younger_than_what_was_missed() -> None:
    """What is left once more is left with what has come since."""
    cluster = MemoryCluster()
    reader, present = Reader(), Reader()
    async with another(cluster) as first, another(cluster) as heir:
        await reader.connect(first)
        first.emit("e", 0)
        await reader.drop()
        await left_by(first, heir)
        heir.emit("e", 1)
        async with another(cluster) as stranger:
            stranger.emit("e", 2)
            await turns()
            await stranger.close()
        async with another(cluster) as youngest:
            await present.connect(youngest)
            await left_by(heir, youngest)
            youngest.emit("e", 3)
            assert await reader.connect(youngest)
            assert [event[1] for event in reader.events] == [0, 1, 2, 3]
            present.read()
            assert [event[1] for event in present.events] == [3]


async def test_left_by_two_of_whom_one_has_got_more() -> None:
    """Each copy is whole in itself: nothing is sent twice, and the session goes on once."""
    async with three() as (_, _buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        first.emit("e", 0)
        await reader.drop()
        first.emit("e", 1)
        await turns()
        for record in list(estate_of(first._main, first._cluster.seen, 10_000)):  # type: ignore[union-attr]
            inherit(second._main, record, "first")
            inherit(third._main, record, "first")
        first.engine.connections.clear()
        first._main.log.sessions.clear()  # type: ignore[union-attr]
        second.emit("e", 2)
        await turns()
        for record in estate_of(second._main, second._cluster.seen, 10_000):  # type: ignore[union-attr]
            inherit(third._main, record, "second")
        assert len(third._main.inherited) == 2
        assert await reader.connect(third)
        assert [event[1] for event in reader.events] == [0, 1, 2]
        assert not any(left.log.sessions for left in third._main.inherited)


async def test_more_has_come_since_than_is_kept() -> None:
    """Who comes back begins anew, wherever, and it is not left to a third one either."""
    for closes_too in False, True:
        async with three(max_recovery_packets=5) as (_, _buses, (first, second, third)):
            reader, in_time = Reader(), Reader()
            for one in reader, in_time:
                await one.connect(first)
            first.emit("e", 0)
            await turns()
            for one in reader, in_time:
                one.read()
            await first.close()
            for number in range(1, 5):
                third.emit("e", number)
            await turns()
            assert await in_time.connect(third)
            assert [event[1] for event in in_time.events] == [0, 1, 2, 3, 4]
            for number in 5, 6:
                third.emit("e", number)
            await turns()
            if closes_too:
                await second.close()
            assert not await reader.connect(third)
            assert reader.events == [["e", 0]]


async def test_more_has_come_than_is_kept_where_the_other_one_stands_still() -> None:
    async with three(max_recovery_packets=5) as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        buses[0].reading = False
        for number in range(1, 11):
            third.emit("e", number)
        await turns()
        connecting = asyncio.ensure_future(reader.connect(second))
        await overtaken(buses[0], 11)
        assert not await connecting
        assert reader.events == []


async def test_what_comes_to_one_that_closes_is_left_too() -> None:
    """A client has come to it from another server, and is sent on before its session is here."""
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        first.emit("e", 1)
        await turns()
        buses[0].reading = False
        connecting = asyncio.ensure_future(reader.connect(second))
        await turns()
        reader.client.drop()
        closing = asyncio.ensure_future(second.close())
        await turns()
        buses[0].reading = True
        await closing
        connecting.cancel()
        assert await reader.connect(third)
        assert reader.events == [["e", 1]]


async def test_in_several_messages() -> None:
    async with three(max_bus_message=20_000) as (_, _buses, (first, second, third)):
        readers = [Reader() for _ in range(230)]
        for reader in readers:
            await reader.connect(first)
        for number in range(50):
            first.emit("e", number, "x" * 2000)
        await turns()
        for reader in readers:
            reader.client.take()
        await left_by(first, second, third)
        heir = second if second.of("/").inherited else third
        await until(lambda: len(heir.of("/").inherited[0].log.sessions) == 230)
        for reader in readers[::50]:
            assert await reader.connect(second)
            assert [event[1] for event in reader.events] == list(range(50))
        assert counts(first).get("fault.bus_oversized", 0) == 0


async def test_what_cannot_be_left() -> None:
    async with three() as (_, _buses, (first, second, third)):
        good, bad = Reader(), Reader()
        await good.connect(first)
        await bad.connect(first)
        bad.socket(first).data = object()
        await left_by(first, second, third)
        assert counts(first)["fault.data_not_shared"] == 1
        assert await good.connect(second)
        assert not await bad.connect(second)


async def test_large_data_is_left_in_as_many_records_as_it_takes() -> None:
    async with three(max_bus_message=20_000) as (_, _buses, (first, second, third)):
        readers = [Reader() for _ in range(20)]
        for number, reader in enumerate(readers):
            await reader.connect(first)
            reader.socket(first).data["text"] = "x" * (30_000 if number == 5 else 4000)
        await left_by(first, second, third)
        assert counts(first).get("fault.bus_oversized") is None
        assert counts(first)["fault.data_not_shared"] == 1
        assert [await reader.connect(second) for reader in readers] == [number != 5 for number in range(20)]


async def test_nobody_to_leave_it_to_and_nothing_to_leave() -> None:
    cluster = MemoryCluster()
    async with another(cluster) as first:
        reader = Reader()
        await reader.connect(first)
        await first.close()
    async with three() as (_, _buses, (first, second, third)):
        first.emit("e")
        await turns()
        await first.close()
        await turns()
        assert not second.of("/").inherited
        assert not third.of("/").inherited


async def test_an_heir_that_stands_still_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 0.1)
    async with three() as (_, buses, (first, _second, _third)):
        reader = Reader()
        await reader.connect(first)
        buses[1].reading = buses[2].reading = False
        await asyncio.wait_for(first.close(), 20)


async def test_another_one_that_stands_still_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of the two is asked first: the one that reads gets all, and who closes is done at once."""
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 1000.0)
    monkeypatch.setattr("duplexio.adapters.leaving.SLOW_SECONDS", 0.1)
    for still in 1, 2:
        async with three() as (_, buses, servers):
            first, other = servers[0], servers[3 - still]
            reader = Reader()
            await reader.connect(first)
            buses[still].reading = False
            first.emit("e", 1)
            await turns()
            await asyncio.wait_for(first.close(), 20)
            await until(lambda other=other: other.of("/").inherited)  # type: ignore[misc]
            reader.client.take()
            assert await reader.connect(other)
            assert reader.events == [["e", 1]]
            buses[still].reading = True
    assert "could be left" not in caplog.text


async def test_an_heir_that_stands_still_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 1000.0)
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        buses[1].reading = buses[2].reading = False
        closing = asyncio.ensure_future(first.close())
        leaving = first._cluster._leaving  # type: ignore[union-attr]
        await until(lambda: leaving.heir)
        still, quick = (1, 2) if leaving.heir == buses[1].node else (2, 1)
        await until(lambda: leaving.heir == buses[quick].node)
        # It gets all of it anew.
        buses[quick].reading = True
        await asyncio.wait_for(closing, 20)
        heir = (second, third)[quick - 1]
        await until(lambda: heir.of("/").inherited)
        buses[still].reading = True
        reader.client.take()
        assert await reader.connect(heir)


async def test_it_does_not_stay_for_ever() -> None:
    recovery = {"max_disconnection_duration": 0.2}
    async with three(connection_state_recovery=recovery, ping_interval=1.0, ping_timeout=1.0) as (
        _,
        _buses,
        (first, second, third),
    ):
        reader = Reader()
        await reader.connect(first)
        await left_by(first, second, third)
        await until(lambda: not second.of("/").inherited and not third.of("/").inherited)
        assert not await reader.connect(second)


async def test_a_namespace_that_a_pattern_stands_for() -> None:
    cluster = MemoryCluster()
    async with another(cluster) as first, another(cluster) as second:
        for io in first, second:
            io.of(re.compile("^/room-"))
        client = Client(first)
        pid = await _entered(client, {})
        client.drop()
        await turns()
        first.of("/room-1").emit("e", 1)
        await turns()
        await first.close()
        await until(lambda: "/room-1" in second._hub.namespaces)
        await turns()
        client = Client(second)
        assert await _entered(client, {"pid": pid}) == pid
        assert any(str(packet).startswith('42/room-1,["e",1,') for packet in client.take())


async def _entered(client: Client, auth: dict[str, str]) -> str:
    """The `pid` of a client that has joined; what came with it is there to be taken."""
    client.send("40/room-1," + json.dumps(auth))

    def reply() -> str:
        return next((str(packet) for packet in client.packets if str(packet).startswith("40/room-1,")), "")

    await until(reply)
    return str(json.loads(reply()[len("40/room-1,") :])["pid"])


async def test_with_a_gap_it_is_worth_nothing() -> None:
    """What was dropped on the way is not passed over in silence."""
    async with serving(connection_state_recovery=True) as io:
        namespace = io._main
        packets: list[Any] = [(number, 0.0, [], [], None, b'42["e","epoch.%d"]' % number, []) for number in (1, 2, 4)]
        session: Any = ("pid", "sid", ["sid"], None, 0, 0.0, None, {})

        def leave(place: int, last: bool, sessions: list[Any], packets: list[Any], epoch: str = "epoch") -> None:
            inherit(namespace, Inherit("/", epoch, place, last, 4, 0, {}, sessions, packets), "node")

        leave(0, False, [], packets[:1])
        with pytest.raises(SocketPacketError):
            leave(2, True, [session], packets[2:])
        assert not namespace.inherited[0].log.sessions
        with pytest.raises(SocketPacketError):
            leave(1, True, [session], [], "another")
        leave(0, True, [session], [(1, 0.0, [], [], None, b'42["e","whole.1"]', [])], "whole")
        (given, *missed) = give_inherited(namespace, "pid", None, {})
        assert given.sid == "sid"
        assert len(missed) == 1
        # Whose client is back has nothing here any more; what came half may be gone on with.
        assert [left.log.epoch for left in namespace.inherited] == ["epoch"]


async def test_left_anew() -> None:
    """Who gave up, since this server was slow, and found no better one, begins from the beginning."""
    async with serving(connection_state_recovery=True) as io:
        namespace = io._main
        packet: Any = (1, 0.0, [], [], None, b'42["e","epoch.1"]', [])
        session: Any = ("pid", "sid", ["sid"], None, 0, 0.0, None, {})
        parts: list[Any] = [(0, False, [], [packet]), (0, False, [], [packet]), (1, True, [session], [])]
        for place, last, sessions, packets in parts:
            inherit(namespace, Inherit("/", "epoch", place, last, 1, 0, {}, sessions, packets), "node")
        (given, *missed) = give_inherited(namespace, "pid", None, {})
        assert given.sid == "sid"
        assert len(missed) == 1


async def test_given_to_one_and_left_to_another() -> None:
    """Who came back while its server was closing is nobody's inheritance any more."""
    async with three() as (_, _buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        (estate,) = estate_of(first._main, first._cluster.seen, 1000)  # type: ignore[union-attr]
        inherit(third._main, estate, "first")
        assert reader.pid in third._main.inherited[0].log.sessions
        assert await reader.connect(second)
        await turns()
        assert not third._main.inherited


async def test_an_heir_that_closes_is_not_waited_for_and_another_one_is_found() -> None:
    async with three() as (_, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        second.emit("e", 1)
        await turns()
        buses[1].reading = buses[2].reading = False
        closing = asyncio.ensure_future(first.close())
        cluster = first._cluster
        assert cluster is not None
        await until(lambda: cluster._leaving.heir)
        heir, other = (second, third) if cluster._leaving.heir == buses[1].node else (third, second)
        assert heir._cluster is not None
        heir._cluster.begin_closing()
        await until(lambda: cluster._leaving.heir == buses[[second, third].index(other) + 1].node)
        buses[1].reading = buses[2].reading = True
        await closing
        await until(lambda: other.of("/").inherited)
        reader.client.take()
        assert await reader.connect(other)
        assert reader.events == [["e", 1]]


async def test_all_close_at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is left to leave anything to, and nobody waits for it."""
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 1000.0)
    async with three() as (_, buses, servers):
        for io in servers:
            await Reader().connect(io)
        for io in servers:
            # What `close` begins with, before it takes its time to end sessions.
            io._cluster.begin_closing()  # type: ignore[union-attr]
        await turns()
        for bus in buses:
            bus.reading = False
        await asyncio.wait_for(asyncio.gather(*(io.close() for io in servers)), 20)
        assert not any(io.of("/").inherited for io in servers)
    assert "could be left" not in caplog.text


async def test_the_same_left_by_two() -> None:
    """At the same time, and one of them not to its end."""
    async with three() as (_, _buses, (first, _second, third)):
        reader = Reader()
        await reader.connect(first)
        for number in range(4):
            first.emit("e", number)
        await reader.drop()
        reader.events.clear()
        first.emit("e", 4)
        log = first.of("/").log
        assert log is not None
        records = list(estate_of(first.of("/"), first._cluster.seen, 1))  # type: ignore[union-attr]
        for index, record in enumerate(records):
            inherit(third.of("/"), record, "first")
            if index < 3:
                inherit(third.of("/"), record, "second")
        whole, half = third.of("/").inherited
        assert [entry.number for entry in whole.log.entries] == [1, 2, 3, 4, 5]
        assert (whole.complete, half.complete) == (True, False)
        first._main.log.sessions.clear()  # type: ignore[union-attr]
        assert await reader.connect(third)
        assert reader.events == [["e", 4]]


async def test_nothing_is_left_but_what_may_be_missed() -> None:
    async with three() as (_, _buses, (first, _second, _third)):
        here, away, later = Reader(), Reader(), Reader()
        for reader in here, away:
            await reader.connect(first)
        first.emit("e", "has arrived")
        await turns()
        first.engine.connections[away.client.connection.id]._beat()
        away.client.send("3")
        await asyncio.sleep(0.002)
        first.to(here.sid).emit("e", "for another")
        first.to(away.sid).emit("e", 1)
        await away.drop()
        await later.connect(first)
        await later.drop()
        first.emit("e", 2)
        first.to(later.sid).emit("e", 3)
        records = list(estate_of(first._main, {}, 10_000))
        told = [json.loads(packet[5][2:])[1] for record in records for packet in record.packets]
        assert told == [1, 2, 3]


async def test_who_is_about_to_be_left_is_asked_what_it_has_had() -> None:
    """A ping before the end, so that no more is left than what was sent behind it."""
    async with three(drain_seconds=0.5) as (_, _buses, (first, second, third)):
        reader, silent = Reader(), Reader()
        for one in reader, silent:
            await one.connect(first)
        first.emit("e", 1)
        first.to(reader.sid).emit("e", "for one")
        closing = asyncio.ensure_future(first.close())
        await until(lambda: "2" in reader.client.packets)
        reader.client.send("3")
        await closing
        (left,) = [*second._main.inherited, *third._main.inherited]
        assert [entry.number for entry in left.log.entries] == [1]
        for one in reader, silent:
            one.client.packets.clear()
            assert await one.connect(second)


async def test_a_closing_server_gives_away_sessions_while_it_leaves_others() -> None:
    """However much there is to be left, somebody who asks is answered between two records of it."""
    async with three() as (_, buses, (first, second, third)):
        readers = [Reader(), Reader()]
        for reader in readers:
            await reader.connect(first)
        for number in range(3000):
            first.emit("e", number, "x" * 100)
        buses[1].reading = buses[2].reading = False
        closing = asyncio.ensure_future(first.close())
        await until(lambda: first._cluster._leaving.heir)  # type: ignore[union-attr]
        buses[1].reading = buses[2].reading = True
        back = asyncio.ensure_future(readers[0].connect(second))
        await asyncio.wait((closing, back), return_when=asyncio.FIRST_COMPLETED)
        assert back.done()
        assert back.result()
        await closing
        assert await readers[1].connect(third)
        assert [reader.events[-1][1] for reader in readers] == [2999, 2999]


async def test_a_room_that_cannot_travel_costs_its_session_alone() -> None:
    async with three() as (_, buses, (first, second, third)):
        good, bad = Reader(), Reader()
        await good.connect(first)
        await bad.connect(first)
        bad.socket(first).join("half a character: \ud800")
        await left_by(first, second, third)
        assert counts(first)["fault.data_not_shared"] == 1
        assert await good.connect(second)
        assert not await bad.connect(second)
        assert buses[0].health().status == "down"


async def test_a_close_that_is_cancelled_closes_the_bus() -> None:
    async with three() as (_, buses, (first, _second, _third)):
        await Reader().connect(first)
        buses[1].reading = buses[2].reading = False
        closing = asyncio.ensure_future(first.close())
        await until(lambda: first._cluster._leaving.heir)  # type: ignore[union-attr]
        closing.cancel()
        await asyncio.wait((closing,))
        assert closing.cancelled()
        assert buses[0].health().status == "down"
        assert not first._cluster.is_open  # type: ignore[union-attr]


async def test_who_comes_back_while_it_is_left_is_not_left() -> None:
    """Nobody else is to have a session that has gone on elsewhere: it would be found there, as it was."""
    async with three() as (_, _buses, (first, second, third)):
        readers = [Reader(), Reader()]
        for reader in readers:
            await reader.connect(first)
        first.emit("e", 1)
        for reader in readers:
            await reader.drop()
        records = estate_of(first._main, first._cluster.seen, 1)  # type: ignore[union-attr]
        inherit(third._main, next(records), "first")
        assert await readers[0].connect(second)
        await turns()
        for record in records:
            inherit(third._main, record, "first")
        assert list(third._main.inherited[0].log.sessions) == [readers[1].pid]


class Mourner(MemoryBus):
    """Who has got all that waited for it dies in that moment."""

    async def drain(self, to: str = "") -> None:
        await super().drain(to)
        if to in self._cluster._members:
            self._cluster.kill(self._cluster._members[to])


async def test_an_heir_that_dies_when_it_has_all_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.leaving.LEAVING_SECONDS", 1000.0)
    cluster = MemoryCluster()
    async with another(cluster), serving(adapter=Mourner(cluster), connection_state_recovery=True) as first:
        await turns()
        await Reader().connect(first)
        await asyncio.wait_for(first.close(), 20)
