"""The contract of a bus as a suite: what every driver passes.

Each check makes ends with the function it is given and tries one promise of `adapters.bus.Bus`. They need no test
framework; a driver's tests may run them one by one by their names in `BUS_CHECKS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias

from duplexio.adapters.bus import Bus, BusLimits
from duplexio.observe import Counts, Reporter

__all__ = ["BUS_CHECKS", "check_bus"]

#: Makes another end of one and the same bus. Called anew for each end; ends of two checks may meet no more.
MakeBus: TypeAlias = Callable[[], Bus]
Check: TypeAlias = Callable[[MakeBus], Awaitable[None]]

#: No check waits longer for anything, in seconds: a bus over a network, on a busy machine.
PATIENCE = 20.0
#: Of messages in the checks: large enough for a good message, small enough to be filled.
LIMITS = BusLimits(max_message=2 * 1024 * 1024, max_queue=8 * 1024 * 1024)
SMALL = BusLimits(max_message=65_536, max_queue=262_144)


class End:
    """A bus and what its receiver was told."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.messages: list[tuple[str, str, bytes]] = []
        self.nodes: set[str] = set()
        self.lost: list[str] = []
        self.unseen: list[str] = []
        self.raises = 0
        self.raises_for_nodes = False
        self.answers: deque[tuple[str, bytes]] = deque()
        self.counts = Counts()

    def start(self, limits: BusLimits = LIMITS) -> None:
        logger = logging.getLogger("duplexio.testing")
        self.bus.start(self, limits, Reporter(self.counts, logger))

    def bus_received(self, sender: str, channel: str, message: bytes) -> None:
        if sender not in self.nodes:
            self.unseen.append(sender)
        self.messages.append((sender, channel, message))
        if self.answers:
            self.bus.publish(*self.answers.popleft(), sender)
        if self.raises:
            self.raises -= 1
            raise ValueError("a receiver that raises, as the check wants it")

    def bus_node_seen(self, node: str) -> None:
        self.nodes.add(node)
        if self.raises_for_nodes:
            raise ValueError("a receiver that raises, as the check wants it")

    def bus_node_lost(self, node: str, reason: str) -> None:
        assert reason, "a loss has its reason"
        self.nodes.discard(node)
        self.lost.append(node)
        if self.raises_for_nodes:
            raise ValueError("a receiver that raises, as the check wants it")

    def of(self, sender: str, channel: str = "c") -> list[bytes]:
        return [message for node, name, message in self.messages if node == sender and name == channel]


async def until(true: Callable[[], object], what: str) -> None:
    """Waits until it is; AssertionError with `what` where it does not come to that."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110 - a bus tells nobody
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"within {PATIENCE:g} s: {what}") from None


@contextlib.asynccontextmanager
async def ends(make: MakeBus, count: int, limits: BusLimits = LIMITS) -> AsyncIterator[list[End]]:
    """So many ends that see each other."""
    made = [End(make()) for _ in range(count)]
    try:
        for end in made:
            end.start(limits)
        await seen(made)
        yield made
    finally:
        for end in made:
            await end.bus.close()


async def seen(made: list[End]) -> None:
    names = {end.bus.node for end in made}
    assert len(names) == len(made), f"each node has a name of its own: {names}"
    assert "" not in names, "a node that was started has a name"
    for end in made:
        await until(lambda end=end: end.nodes == names - {end.bus.node}, "every node sees all the others, and no more")  # type: ignore[misc]
        assert end.bus.alone == (len(made) == 1), "`alone` tells whether there is another"


async def check_each_sees_the_others(make: MakeBus) -> None:
    """Nodes see each other, whoever comes first; one that closes is lost, and comes back as another."""
    async with ends(make, 1) as made:
        late = End(make())
        assert late.bus.node == "", "no name before the start"
        late.start()
        await seen([*made, late])
        former = late.bus.node
        await late.bus.close()
        await until(lambda: former in made[0].lost and not made[0].nodes, "who closes is lost")
        again = End(make())
        again.start()
        await asyncio.wait_for(again.bus.meet(), PATIENCE)
        assert made[0].bus.node in again.nodes, "who was there already is seen when `meet` returns"
        await seen([*made, again])
        assert again.bus.node != former, "a name is never used again"
        await again.bus.close()


async def check_everybody_else_gets_it(make: MakeBus) -> None:
    """A message reaches every other node, once, as it is; never its sender."""
    bodies = [b"", b"\0", bytes(range(256)), b"x" * 100_000, b"\xff" * 1_500_000, b"last"]
    async with ends(make, 3) as made:
        first, *others = made
        for body in bodies:
            assert first.bus.publish("/name é", body), "a message within the limits is taken"
        for other in others:
            await until(lambda other=other: len(other.messages) >= len(bodies), "every message arrives")  # type: ignore[misc]
        await asyncio.sleep(0.05)
        for other in others:
            assert other.of(first.bus.node, "/name é") == bodies, "each message once, as it was, with its channel"
            assert len(other.messages) == len(bodies)
            assert not other.unseen, "a node is seen before anything of it is received"
        assert first.messages == [], "nobody gets what he has sent"


async def check_order(make: MakeBus) -> None:
    """In order per publisher and channel."""
    count = 2000
    async with ends(make, 3) as made:
        for number in range(count):
            for end in made:
                assert end.bus.publish("c" if number % 2 else "d", b"%d" % number)
            if number % 500 == 0:
                await asyncio.sleep(0)
        for end in made:
            await until(lambda end=end: len(end.messages) >= 2 * count, "every message arrives")  # type: ignore[misc]
            for other in made:
                if other is not end:
                    for channel, odd in ("c", 1), ("d", 0):
                        numbers = [int(body) for body in end.of(other.bus.node, channel)]
                        assert numbers == [n for n in range(count) if n % 2 == odd], "in order, without gaps"


async def check_to_one(make: MakeBus) -> None:
    """`to` names one node; to one that is not there nothing is sent, and nothing raised."""
    async with ends(make, 3) as (first, second, third):
        assert first.bus.publish("c", b"for the second", second.bus.node)
        assert first.bus.publish("c", b"for all")
        for end in second, third:
            await until(lambda end=end: b"for all" in end.of(first.bus.node), "a message arrives")  # type: ignore[misc]
        assert second.of(first.bus.node) == [b"for the second", b"for all"], "in order with the others of its channel"
        assert third.of(first.bus.node) == [b"for all"], "nobody else gets it"
        gone = third.bus.node
        await third.bus.close()
        await until(lambda: gone in first.lost, "who closes is lost")
        assert not first.bus.publish("c", b"for nobody", gone), "not taken where there is no such node"
        assert not first.bus.publish("c", b"for nobody", first.bus.node + "x")


async def check_answers_from_within(make: MakeBus) -> None:
    """A receiver may publish, and may answer the first message of a node it has just seen."""
    async with ends(make, 2) as (first, second):
        second.answers.extend([("c", b"one"), ("c", b"two")])
        first.bus.publish("c", b"a")
        first.bus.publish("c", b"b")
        await until(lambda: len(first.messages) >= 2, "answers arrive")
        assert first.of(second.bus.node) == [b"one", b"two"]


async def check_a_receiver_that_raises(make: MakeBus) -> None:
    """What a receiver raises is counted, and keeps no later message from it."""
    async with ends(make, 2) as (first, second):
        second.raises = 2
        for body in b"a", b"b", b"c":
            first.bus.publish("c", body)
        await until(lambda: len(second.messages) >= 3, "messages arrive behind one whose receiver raised")
        assert second.counts["handler_errors"] == 2, "what a receiver raises is told as a failure"
        assert first.nodes == {second.bus.node}, "and costs no connection"
        first.raises_for_nodes = True
        third = End(make())
        third.start()
        try:
            await until(lambda: len(third.nodes) == 2 and len(first.nodes) == 2, "who comes is seen all the same")
            name = third.bus.node
        finally:
            await third.bus.close()
        await until(lambda: name in first.lost and name in second.lost, "and lost by everybody")
        assert first.counts["handler_errors"] == 2


async def check_too_large(make: MakeBus) -> None:
    """A message over `max_message` is not taken, is counted, and is in nobody's way."""
    async with ends(make, 2, SMALL) as (first, second):
        assert first.bus.publish("c", b"x" * SMALL.max_message), "as large as is allowed"
        assert not first.bus.publish("c", b"x" * (SMALL.max_message + 1)), "one byte more is not taken"
        assert first.counts["fault.bus_oversized"] == 1, "and is counted"
        first.bus.publish("c", b"after")
        await until(lambda: b"after" in second.of(first.bus.node), "what follows arrives")
        assert len(second.messages) == 2


async def check_full(make: MakeBus) -> None:
    """What exceeds `max_queue` is dropped and counted, tells in `health`, and what follows arrives again."""
    async with ends(make, 2, SMALL) as (first, second):
        assert first.bus.health().status == "ok"
        body = b"x" * 32_768
        sent = [first.bus.publish("c", b"%4d" % number + body) for number in range(64)]
        assert sent[0], "there is room at first"
        assert False in sent, "more than max_queue, in one turn of the loop, is more than it takes"
        assert first.counts["fault.bus_overflow"] == sent.count(False), "each one that was dropped is counted"
        health = first.bus.health()
        assert health.status == "degraded", "health tells of what was dropped a moment ago"
        assert health.dropped == sent.count(False)
        assert health.problem, "and says what is wrong"
        assert health.queued <= SMALL.max_queue
        await until(lambda: len(second.messages) >= sent.count(True), "what was taken arrives")
        numbers = [int(message[:4]) for message in second.of(first.bus.node)]
        assert numbers == [number for number, taken in enumerate(sent) if taken]
        assert first.bus.publish("c", b"after")
        await until(lambda: second.of(first.bus.node)[-1] == b"after", "what follows arrives")


async def check_drain(make: MakeBus) -> None:
    """`drain` returns when nothing waits, for all or for one, and can be cancelled."""
    async with ends(make, 2) as (first, second):
        await asyncio.wait_for(first.bus.drain(), PATIENCE)
        await asyncio.wait_for(first.bus.drain(second.bus.node), PATIENCE)
        await asyncio.wait_for(first.bus.drain(second.bus.node + "x"), PATIENCE)
        for number in range(50):
            first.bus.publish("c", b"%d" % number * 10_000)
        draining = [asyncio.ensure_future(first.bus.drain(to)) for to in ("", second.bus.node)]
        await asyncio.sleep(0)
        for each in draining:
            each.cancel()
        await asyncio.gather(*draining, return_exceptions=True)
        await asyncio.wait_for(first.bus.drain(second.bus.node), PATIENCE)
        assert first.bus.health().queued == 0, "nothing waits behind `drain`, where there is but one"
        first.bus.publish("c", b"last")
        await asyncio.wait_for(first.bus.drain(), PATIENCE)
        assert first.bus.health().queued == 0, "nothing waits behind `drain`"
        await until(lambda: len(second.messages) == 51, "cancelling it stops nothing else")
        draining = [asyncio.ensure_future(first.bus.drain(to)) for to in ("", second.bus.node)]
        first.bus.publish("c", b"x" * LIMITS.max_message)
        await second.bus.close()
        await asyncio.wait_for(asyncio.gather(*draining), PATIENCE)


async def check_close(make: MakeBus) -> None:
    """What was published before `close` is sent; afterwards nothing is taken, told, or left running."""
    before = asyncio.all_tasks()
    async with ends(make, 2) as (first, second):
        for number in range(100):
            first.bus.publish("c", b"%d" % number)
        name = first.bus.node
        await first.bus.close()
        await until(lambda: name in second.lost, "who closes is lost")
        assert len(second.of(name)) == 100, "what was published before is received, before the loss is told"
        assert not first.bus.publish("c", b"late"), "nothing is taken after the end"
        assert first.bus.health().status == "down"
        assert first.lost == [], "who has closed is told nothing"
        assert first.messages == []
        await first.bus.close()
        assert first.nodes == {second.bus.node}
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    assert not left, f"no task is left: {left}"


#: Each promise by its name.
BUS_CHECKS: Mapping[str, Check] = {
    "each_sees_the_others": check_each_sees_the_others,
    "everybody_else_gets_it": check_everybody_else_gets_it,
    "order": check_order,
    "to_one": check_to_one,
    "answers_from_within": check_answers_from_within,
    "a_receiver_that_raises": check_a_receiver_that_raises,
    "too_large": check_too_large,
    "full": check_full,
    "drain": check_drain,
    "close": check_close,
}


async def check_bus(make: MakeBus) -> None:
    """Tries every promise of a bus; raises AssertionError with what was not kept.

    `make` gives another end of one and the same bus at each call, not started yet.
    """
    for check in BUS_CHECKS.values():
        await check(make)
