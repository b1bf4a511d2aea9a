"""A server that is killed: its sessions go on elsewhere, where another one has kept a copy."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest

from duplexio import Server
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import counts, joined, serving, until

from .test_cluster_recovery import Reader, three, turns

Stage: TypeAlias = tuple[MemoryCluster, list[MemoryBus], list[Server]]


@contextlib.asynccontextmanager
async def copying(copies: int = 1, **options: Any) -> AsyncIterator[Stage]:
    async with three(recovery_copies=copies, **options) as (cluster, buses, servers):
        await settled(*servers)
        yield cluster, buses, servers


async def settled(*servers: Server) -> None:
    """Each has a keeper, which has all that was to be copied."""
    for io in servers:
        cluster = io._cluster
        assert cluster is not None
        copying = cluster._copying
        alone = not cluster.heirs or not copying._copies
        await until(lambda: alone or (copying._keepers and all(k._streams for k in copying._keepers.values())))  # noqa: B023
    for _ in range(5):
        await turns()


def keepers(io: Server, servers: list[Server]) -> list[Server]:
    nodes = io._cluster._copying._keepers  # type: ignore[union-attr]
    return [other for other in servers if other._cluster.bus.node in nodes]  # type: ignore[union-attr]


def copied(io: Server) -> list[str]:
    """The secrets of the sessions that are copied there."""
    return sorted(pid for left in io.of("/").inherited if left.copied for pid in left.log.sessions)


@pytest.mark.parametrize("to_the_keeper", [False, True])
async def test_killed(to_the_keeper: bool) -> None:
    async with copying() as (cluster, buses, servers):
        first, *others = servers
        reader = Reader()
        await reader.connect(first)
        reader.socket(first).join(["room", "left"])
        reader.socket(first).leave("left")
        reader.socket(first).data["name"] = "Anna"
        first.emit("e", "before")
        await settled(first)
        reader.read()
        others[0].to("room").emit("e", "unread", b"\x01")
        await turns()
        first.to("left").emit("e", "not for it")
        first.to(reader.sid).emit("e", "to its id")
        await settled(first)
        (keeper,) = keepers(first, others)
        stranger = next(io for io in others if io is not keeper)
        cluster.kill(buses[0])
        await turns()
        stranger.emit("e", "meanwhile")
        stranger.to("left").emit("e", "not for it")
        await turns()
        assert await reader.connect(keeper if to_the_keeper else stranger)
        unread = ["e", "unread", {"_placeholder": True, "num": 0}]
        assert reader.events == [["e", "before"], unread, ["e", "to its id"], ["e", "meanwhile"]]
        socket = reader.socket(keeper if to_the_keeper else stranger)
        assert socket.recovered
        assert socket.rooms == {reader.sid, "room"}
        assert socket.data == {"name": "Anna"}
        assert not [left for io in others for left in io.of("/").inherited if not left.alive]


async def test_without_copies() -> None:
    async with copying(0) as (cluster, buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await turns()
        cluster.kill(buses[0])
        assert not await reader.connect(second)
        assert not second.of("/").inherited


async def test_who_has_more_than_was_copied_begins_anew() -> None:
    async with copying() as (cluster, buses, (first, second, _third)):
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        first.to(reader.sid).emit("e", 1)
        reader.read()
        cluster.kill(buses[0])
        await turns()
        assert not await reader.connect(second)
        assert reader.events == [["e", 1]]


async def test_who_was_away_already() -> None:
    async with copying() as (cluster, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        first.to(reader.sid).emit("e", 1)
        await settled(first)
        cluster.kill(buses[0])
        await turns()
        assert await reader.connect(random.choice([second, third]))
        assert reader.events == [["e", 1]]


async def test_who_has_gone_for_good_is_copied_no_more() -> None:
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        stranger = next(io for io in others if io is not keeper)
        gone, moved, stays = [Reader() for _ in range(3)]
        for reader in gone, moved, stays:
            await reader.connect(first)
        await until(lambda: copied(keeper) == sorted([gone.pid, moved.pid, stays.pid]))
        gone.client.send("41")
        await until(lambda: copied(keeper) == sorted([moved.pid, stays.pid]))
        await moved.drop()
        assert await moved.connect(stranger)
        await until(lambda: copied(keeper) == [stays.pid] or keeper in keepers(stranger, servers))
        (left,) = [left for left in keeper.of("/").inherited if left.sender == buses[0].node]
        assert list(left.log.sessions) == [stays.pid]


async def test_what_nobody_tells_of_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.copying.LOOKING_SECONDS", 0.02)
    async with copying() as (_cluster, _buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        reader = Reader()
        await reader.connect(first)

        def data() -> Any:
            return next((s.data for left in keeper.of("/").inherited for s in left.log.sessions.values()), None)

        await until(lambda: data() == {})
        reader.socket(first).data["list"] = [1]
        await until(lambda: data() == {"list": [1]})
        reader.socket(first).data["list"].append(2)
        await until(lambda: data() == {"list": [1, 2]})
        reader.socket(first).data["list"] = object()
        await until(lambda: data() is None)
        assert counts(first)["fault.data_not_shared"] == 1


async def test_a_keeper_that_goes_has_a_successor() -> None:
    async with copying() as (cluster, buses, servers):
        first = servers[0]
        reader = Reader()
        await reader.connect(first)
        for number in range(5):
            first.to(reader.sid).emit("e", number)
        await settled(first)
        (keeper,) = keepers(first, servers)
        cluster.kill(buses[servers.index(keeper)])
        await until(lambda: keepers(first, servers) not in ([], [keeper]))
        await settled(first)
        (successor,) = keepers(first, servers)
        cluster.kill(buses[0])
        await turns()
        assert await reader.connect(successor)
        assert [event[1] for event in reader.events] == [0, 1, 2, 3, 4]


async def test_who_closes_leaves_and_its_copies_are_dropped() -> None:
    async with copying() as (_cluster, buses, (first, second, third)):
        node = buses[0].node
        reader = Reader()
        await reader.connect(first)
        await reader.drop()
        first.to(reader.sid).emit("e", 1)
        await settled(first)
        await first.close()
        await turns()
        of_first = [left for io in (second, third) for left in io.of("/").inherited if left.sender == node]
        assert [left.copied for left in of_first] == [False]
        assert await reader.connect(second)
        assert reader.events == [["e", 1]]


async def test_what_is_lost_on_the_way_is_copied_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.copying.LOOKING_SECONDS", 0.02)
    async with copying() as (cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        keeper.of("/").inherited[0].records -= 1
        first.to(reader.sid).emit("e", 1)
        await until(lambda: counts(keeper).get("fault.bus_garbage"))
        await until(lambda: any(left.log.entries for left in keeper.of("/").inherited))
        cluster.kill(buses[0])
        await turns()
        assert await reader.connect(others[0])
        assert reader.events == [["e", 1]]


async def test_who_was_taken_for_lost_and_is_there() -> None:
    """It has its sessions, and nobody else has."""
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        keeper._cluster.bus_node_lost(buses[0].node, "not heard of")  # type: ignore[union-attr]
        assert [left.alive for left in keeper.of("/").inherited if left.sender == buses[0].node] == [False]
        first.emit("e", 1)
        await turns()
        assert not [left for left in keeper.of("/").inherited if left.sender == buses[0].node and not left.alive]
        assert not [name for name in counts(keeper) if name.startswith("fault")]
        await reader.drop()
        assert await reader.connect(keeper)
        assert reader.events == [["e", 1]]


async def test_what_no_message_can_have() -> None:
    """It is not copied: who has not got it begins anew, and who has goes on."""
    async with copying(max_bus_message=20_000) as (cluster, buses, (first, second, _third)):
        has, has_not = Reader(), Reader()
        for reader in has, has_not:
            await reader.connect(first)
        first.local.emit("e", "x" * 30_000)
        has.read()
        first.local.emit("e", 2)
        await settled(first)
        cluster.kill(buses[0])
        await turns()
        assert await has.connect(second)
        assert has.events[-1] == ["e", 2]
        assert not await has_not.connect(second)


async def test_what_has_gone_before_it_was_copied() -> None:
    """More in one turn of the loop than the log holds: who has not got it begins anew, as he does without copies."""
    async with copying(max_recovery_packets=5) as (cluster, buses, (first, second, _third)):
        behind, has = Reader(), Reader()
        for reader in behind, has:
            await reader.connect(first)
        first.emit("e", 0)
        behind.read()
        for number in range(1, 11):
            first.local.emit("e", number)
        has.read()
        await settled(first)
        cluster.kill(buses[0])
        await turns()
        assert not await behind.connect(second)
        assert await has.connect(second)
        assert [event[1] for event in has.events] == list(range(11))


async def test_what_one_says_that_came_when_nobody_knew_of_the_loss_yet() -> None:
    """Where only heartbeats tell of it, others may have come and spoken meanwhile."""
    async with copying() as (cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        reader = Reader()
        await reader.connect(first)
        first.emit("e", 0)
        await settled(first)
        reader.read()
        # Dead, and still taken for alive.
        first._cluster._copying.stop()  # type: ignore[union-attr]
        buses[0].reading = False
        fourth = cluster.bus()
        async with serving(adapter=fourth, connection_state_recovery=True) as io:
            await turns()
            io.emit("e", 1)
            await turns()
            cluster.kill(buses[0])
            await turns()
            assert await reader.connect(keeper)
            assert reader.events == [["e", 0], ["e", 1]]


@pytest.mark.parametrize("let_in", [False, True])
async def test_a_keeper_that_comes_while_a_middleware_is_asked(let_in: bool) -> None:
    """It gets what that client missed, too, who has not got it yet."""
    async with copying() as (cluster, buses, servers):
        first = servers[0]
        gate = asyncio.Event()
        gate.set()

        @first.use
        async def middleware(socket: Any) -> None:
            await gate.wait()

        reader, other = Reader(), Reader()
        await reader.connect(first)
        first.emit("e", 0)
        await turns()
        await reader.drop()
        first.emit("e", 1)
        await other.connect(first)
        gate.clear()
        connecting = asyncio.ensure_future(reader.connect(first))
        await until(lambda: first.of("/").restoring)
        # Nobody reads what it is sent.
        connecting.cancel()
        await settled(first)
        (keeper,) = keepers(first, servers)
        cluster.kill(buses[servers.index(keeper)])
        await until(lambda: keepers(first, servers) not in ([], [keeper]))
        await settled(first)
        if let_in:
            gate.set()
            await until(lambda: reader.client.packets)
            await settled(first)
        (successor,) = keepers(first, servers)
        cluster.kill(buses[0])
        await turns()
        gate.set()
        assert await reader.connect(successor)
        assert reader.events == [["e", 0], ["e", 1]]


async def test_who_is_told_of_behind_its_leaving() -> None:
    """The bus may be slower from here to the keeper than by the server that has the session now."""
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        other = next(io for io in others if io is not keeper)
        bus = buses[servers.index(keeper)]
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        bus.reading = False
        reader.socket(first).join("room")
        await turns()
        await reader.drop()
        connecting = asyncio.ensure_future(reader.connect(other))

        def from_first(item: Any) -> bool:
            return item[0] is buses[0]

        def later() -> None:
            inbox = sorted(bus._inbox, key=from_first)
            bus._inbox.clear()
            bus._inbox.extend(inbox)

        await turns()
        assert await connecting
        await turns()
        later()
        bus.reading = True
        of_first = next(left for left in keeper.of("/").inherited if left.sender == buses[0].node)
        await until(lambda: "room" in str(of_first.log.sessions) or not of_first.log.sessions)
        await until(lambda: not of_first.log.sessions)
        await reader.drop()
        assert await reader.connect(keeper)


async def test_large_data() -> None:
    """In as many records as it takes; what none can have costs that session alone, and is said once."""
    async with copying(max_bus_message=20_000) as (cluster, buses, (first, second, _third)):
        readers = [Reader() for _ in range(20)]
        for number, reader in enumerate(readers):
            await reader.connect(first)
            reader.socket(first).data["text"] = "x" * (30_000 if number == 5 else 4000)
        copying_of_first = first._cluster._copying  # type: ignore[union-attr]
        for _ in range(3):
            copying_of_first._look()
            await settled(first)
        assert counts(first).get("fault.bus_oversized") is None
        assert counts(first)["fault.data_not_shared"] == 1
        cluster.kill(buses[0])
        await turns()
        assert [await reader.connect(second) for reader in readers] == [number != 5 for number in range(20)]


async def test_looking_at_all_lets_others_have_their_turn() -> None:
    async with copying() as (_cluster, _buses, (first, *_)):
        for _ in range(1000):
            joined(first)
        await settled(first)
        (keeper,) = first._cluster._copying._keepers.values()  # type: ignore[union-attr]
        looking = asyncio.ensure_future(keeper._streams["/"].tell_sessions({None}))
        passed = 0
        while not looking.done():
            passed += 1
            await asyncio.sleep(0)
        assert passed > 5


async def test_a_keeper_that_reads_nothing_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.copying.MAX_CHANGED", 10)
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        buses[servers.index(keeper)].reading = False
        for _ in range(50):
            joined(first)[0].drop()
        (of_first,) = first._cluster._copying._keepers.values()  # type: ignore[union-attr]
        assert sum(map(len, of_first._dirty.values())) <= 10
        buses[servers.index(keeper)].reading = True
        await until(lambda: len(copied(keeper)) == 50)


@pytest.mark.parametrize("to_the_keeper", [False, True])
async def test_one_that_stood_still_has_its_session_no_more(to_the_keeper: bool) -> None:
    """It was taken for lost, and its client has gone on elsewhere: with what it had, nobody may go on again."""
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        other = next(io for io in others if (io is keeper) == to_the_keeper)
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        buses[0].reading = False
        for io in others:
            io._cluster.bus_node_lost(buses[0].node, "not heard of")  # type: ignore[union-attr]
        assert await reader.connect(other)
        other.to(reader.sid).emit("e", 1)
        await turns()
        # Lost with the connection.
        reader.client.take()
        buses[0].reading = True
        await turns()
        assert await reader.connect(first)
        assert reader.events == [["e", 1]]
        assert [len(io.sockets.sockets) for io in servers] == [1, 0, 0]


async def test_the_session_itself_is_better_than_its_copy() -> None:
    """One alone has taken its server for lost, and answers first."""
    async with copying() as (_cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        other = next(io for io in others if io is not keeper)
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        first._cluster._copying.stop()  # type: ignore[union-attr]
        keeper._cluster.bus_node_lost(buses[0].node, "not heard of")  # type: ignore[union-attr]
        first.local.emit("e", 1)
        buses[0].reading = False
        connecting = asyncio.ensure_future(reader.connect(other))
        await turns()
        buses[0].reading = True
        assert await connecting
        assert reader.events == [["e", 1]]


async def test_one_that_starts_again_has_nobodys_session() -> None:
    """It has left them, and what was said meanwhile is not in its log."""
    cluster = MemoryCluster()
    options: dict[str, Any] = {"connection_state_recovery": True, "recovery_copies": 1}
    again = Server(handle_signals=False, drain_seconds=0.0, adapter=cluster.bus(), **options)
    async with serving(adapter=cluster.bus(), **options) as other:
        reader, of_other = Reader(), Reader()
        async with again.lifespan(None):
            await turns()
            await of_other.connect(other)
            await reader.connect(again)
            again.emit("e", 0)
            await settled(other, again)
            reader.read()
        assert not again.of("/").inherited
        other.emit("e", 1)
        await turns()
        listening = await again.listen()
        try:
            await settled(other, again)
            assert await reader.connect(again)
            assert reader.events == [["e", 0], ["e", 1]]
            assert [left.alive for left in again.of("/").inherited] == [True]
        finally:
            await listening.close()


async def test_killed_between_two_records() -> None:
    """What was copied is not told again out of what the keeper has got itself."""
    async with copying(max_bus_message=4000) as (cluster, buses, servers):
        first, *others = servers
        (keeper,) = keepers(first, others)
        reader = Reader()
        await reader.connect(first)
        await settled(first)
        (of_first,) = [left for left in keeper.of("/").inherited if left.sender == buses[0].node]
        for number in range(20):
            random.choice(servers).emit("e", number, "x" * 300)
        while not of_first.log.entries:  # noqa: ASYNC110 - not a turn of the loop later
            await asyncio.sleep(0)
        cluster.kill(buses[0])
        assert len(of_first.log.entries) < 20
        await turns()
        # What it was sent was lost with the connection.
        reader.client.take()
        assert await reader.connect(others[0])
        assert sorted(event[1] for event in reader.events) == list(range(20))


@pytest.mark.parametrize("closes", [False, True])
async def test_what_one_that_was_killed_has_told_some_only_is_left_with_the_session(closes: bool) -> None:
    async with copying() as (cluster, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        buses[1].reading = False
        third.emit("e", 1)
        await turns()
        cluster.kill(buses[2])
        buses[1].reading = True
        await settled(first, second)
        await reader.drop()
        assert await reader.connect(second)
        await settled(second)
        if closes:
            await second.close()
        else:
            cluster.kill(buses[1])
        await turns()
        assert await reader.connect(first)
        assert reader.events == [["e", 1]]


async def test_two_keepers_and_both_are_left() -> None:
    async with copying(2) as (cluster, buses, (first, second, third)):
        reader = Reader()
        await reader.connect(first)
        first.to(reader.sid).emit("e", 1)
        await settled(first)
        assert copied(second) == copied(third) == [reader.pid]
        cluster.kill(buses[0])
        await turns()
        assert await reader.connect(second)
        assert reader.events == [["e", 1]]
        assert copied(third) == [reader.pid], "of the second, where it is now"


async def test_more_copies_than_servers(caplog: pytest.LogCaptureFixture) -> None:
    async with copying(9) as (_cluster, _buses, (first, second, third)):
        assert keepers(first, [second, third]) == [second, third]
        joined(first)
        await until(lambda: copied(second) == copied(third) != [])
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens(seed: int) -> None:
    """Clients break off, move and are told; servers are killed: nobody is told twice or with a gap what goes on."""
    drawn = random.Random(seed)
    async with copying() as (cluster, buses, servers):
        alive = list(servers)
        readers = [Reader() for _ in range(6)]
        at: dict[Reader, Server | None] = {}
        number = 0
        for reader in readers:
            at[reader] = io = drawn.choice(alive)
            await reader.connect(io)
        for _ in range(150):
            action = drawn.random()
            reader = drawn.choice(readers)
            if action < 0.5:
                number += 1
                io = drawn.choice(alive)
                io.emit("e", number, servers.index(io))
            elif action < 0.6:
                await turns()
            elif action < 0.7 and at[reader] is not None:
                reader.read()
            elif action < 0.8 and at[reader] is not None:
                await reader.drop()
                at[reader] = None
            elif action < 0.97 and at[reader] is None:
                # All that was sent has got to the servers: how else would be known what is to be in it?
                await settled(*alive)
                at[reader] = io = drawn.choice(alive)
                assert await reader.connect(io)
            elif action > 0.985 and len(alive) > 1:
                for one in readers:
                    if at[one] is None and len(alive) < len(servers):
                        # Its session may be another killed one's, of which there is no second copy.
                        await settled(*alive)
                        at[one] = io = drawn.choice(alive)
                        assert await one.connect(io)
                await settled(*alive)
                gone = drawn.choice(alive)
                alive.remove(gone)
                cluster.kill(buses[servers.index(gone)])
                await turns()
                for one in readers:
                    if at[one] is gone:
                        at[one] = None
        await settled(*alive)
        for reader in readers:
            if at[reader] is None:
                assert await reader.connect(alive[0])
            reader.read()
            assert sorted(event[1] for event in reader.events) == list(range(1, number + 1))
            for sender in range(len(servers)):
                # Between two senders there is no order.
                told = [event[1] for event in reader.events if event[2] == sender]
                assert told == sorted(told)


async def test_a_task_is_not_left_behind() -> None:
    before = asyncio.all_tasks()
    async with copying():
        pass
    await until(lambda: not [task for task in asyncio.all_tasks() - before if not task.done()])
