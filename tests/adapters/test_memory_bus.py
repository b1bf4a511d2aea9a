"""The bus in memory keeps the contract of a bus."""

from __future__ import annotations

import asyncio

import pytest

from duplexio import ConfigurationError
from duplexio.testing import BUS_CHECKS, MemoryCluster, check_bus
from duplexio.testing.check_bus import LIMITS, SMALL, ends, until


@pytest.mark.parametrize("name", BUS_CHECKS)
async def test_the_contract(name: str) -> None:
    await BUS_CHECKS[name](MemoryCluster().bus)


async def test_the_contract_as_one() -> None:
    await check_bus(MemoryCluster().bus)


async def test_a_node_that_stands_still_is_sent_what_its_queue_holds() -> None:
    cluster = MemoryCluster()
    buses = [cluster.bus(), cluster.bus()]
    async with ends(lambda: buses.pop(0), 2, SMALL) as (first, second):
        assert not isinstance(second.bus, type(None))
        second.bus.reading = False  # type: ignore[attr-defined]
        taken = 0
        for _ in range(40):
            taken += first.bus.publish("c", b"x" * 16_384)
            await asyncio.sleep(0)
        assert taken == SMALL.max_queue // 16_384
        assert second.messages == []
        second.bus.reading = True  # type: ignore[attr-defined]
        await until(lambda: len(second.messages) == taken, "it reads what was kept for it")


async def test_who_waits_for_one_that_reads_does_not_wait_for_another() -> None:
    cluster = MemoryCluster()
    buses = [cluster.bus() for _ in range(3)]
    made = list(buses)
    async with ends(lambda: made.pop(0), 3) as (first, second, third):
        buses[2].reading = False
        assert first.bus.publish("c", b"for all")
        await asyncio.wait_for(first.bus.drain(second.bus.node), 20)
        waiting = [asyncio.ensure_future(first.bus.drain(to)) for to in (third.bus.node, "")]
        assert second.messages
        await asyncio.wait(waiting, timeout=0.05)
        assert not any(waiter.done() for waiter in waiting)
        buses[2].reading = True
        await asyncio.wait_for(asyncio.gather(*waiting), 20)
        assert third.messages


async def test_one_that_is_killed_is_lost_with_what_it_sent_and_nobody_read() -> None:
    cluster = MemoryCluster()
    made = [cluster.bus() for _ in range(2)]
    buses = list(made)
    async with ends(lambda: buses.pop(0), 2) as (first, second):
        name = first.bus.node
        first.bus.publish("c", b"unread")
        cluster.kill(made[0])
        assert second.lost == [name]
        await asyncio.sleep(0.01)
        assert second.messages == []
        assert second.bus.alone


async def test_started_once() -> None:
    async with ends(MemoryCluster().bus, 1) as (end,):
        with pytest.raises(ConfigurationError, match="started already"):
            end.start(LIMITS)
