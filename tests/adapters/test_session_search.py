"""How often the others are asked for a session that none of them has: its client waits for each answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from duplexio import Server
from duplexio.adapters.cluster_adapter import SEARCH_AGAIN
from duplexio.protocol.cluster_message import Hello, Recover
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import serving, until

from .test_cluster_hostile import Stranger
from .test_cluster_recovery import Reader, turns

SECRET = "a-secret-of-nobody-s"


@contextlib.asynccontextmanager
async def two_and_a_stranger(**options: Any) -> AsyncIterator[tuple[MemoryCluster, MemoryBus, list[Server], Stranger]]:
    """The bus is the second server's. The stranger says that it has none of the sessions it is asked for."""
    cluster = MemoryCluster()
    bus = cluster.bus()
    given = {"connection_state_recovery": True, **options}
    async with serving(adapter=cluster.bus(), **given) as first, serving(adapter=bus, **given) as second:
        stranger = Stranger(cluster.bus())
        stranger.answers = []
        stranger.say(Hello())
        await until(lambda: first.health()["bus"]["servers"] == 2)
        await turns()
        try:
            yield cluster, bus, [first, second], stranger
        finally:
            await stranger.bus.close()


async def times_asked(io: Server, stranger: Stranger) -> int:
    reader = Reader()
    reader.pid = SECRET
    assert not await reader.connect(io)
    return sum(isinstance(record, Recover) for record in stranger.heard)


async def test_once() -> None:
    async with two_and_a_stranger() as (_, _bus, (first, _second), stranger):
        assert await times_asked(first, stranger) == 1


async def test_once_where_a_server_was_killed() -> None:
    async with two_and_a_stranger() as (cluster, bus, (first, _), stranger):
        cluster.kill(bus)
        await until(lambda: first.health()["bus"]["servers"] == 1)
        assert await times_asked(first, stranger) == 1


async def test_again_where_it_may_have_left_some() -> None:
    async with two_and_a_stranger() as (_, _bus, (first, second), stranger):
        await second.close()
        await until(lambda: first.health()["bus"]["servers"] == 1)
        assert await times_asked(first, stranger) == 1 + len(SEARCH_AGAIN)


async def test_again_where_another_may_have_its_copies() -> None:
    async with two_and_a_stranger(recovery_copies=1) as (cluster, bus, (first, _), stranger):
        cluster.kill(bus)
        await until(lambda: first.health()["bus"]["servers"] == 1)
        assert await times_asked(first, stranger) == 1 + len(SEARCH_AGAIN)
