"""A node of the bus that says what no server says: it is counted or passed over, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import math
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duplexio import Server
from duplexio.adapters.bus import BusLimits
from duplexio.observe import Counts, Reporter
from duplexio.protocol.cluster_message import (
    Ask,
    Beat,
    Broadcast,
    Bye,
    Disconnect,
    Fetch,
    Hello,
    Inherit,
    Join,
    Leave,
    Record,
    Recover,
    Reply,
    ServerEvent,
    Taken,
    decode,
    encode,
)
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, counts, joined, serving, until


class Stranger:
    """A node that is no server. `answers`: what it replies to each request."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.answers: list[Any] | None = None
        self.heard: list[Record] = []
        bus.start(self, BusLimits(2**24, 2**26), Reporter(Counts(), logging.getLogger("tests")))

    def bus_received(self, sender: str, channel: str, message: bytes) -> None:
        record = decode(message)
        self.heard.append(record)
        if isinstance(record, Fetch | Ask | ServerEvent | Recover) and self.answers is not None:
            self.say(Reply(record.request, len(self.answers), self.answers))

    def bus_node_seen(self, node: str) -> None: ...

    def bus_node_lost(self, node: str, reason: str) -> None: ...

    def say(self, record: Record) -> None:
        assert self.bus.publish("cluster", encode(record))


@contextlib.asynccontextmanager
async def with_a_stranger(**options: Any) -> AsyncIterator[tuple[Server, Stranger]]:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus(), **options) as io:
        stranger = Stranger(cluster.bus())
        try:
            stranger.say(Hello())
            await until(lambda: io.health()["bus"]["servers"] == 1)
            yield io, stranger
        finally:
            await stranger.bus.close()


async def still_works(io: Server) -> None:
    client, socket = joined(io)
    client.take()
    io.to(socket.id).emit("alive")
    await until(lambda: any('["alive"' in str(packet) for packet in client.packets))
    socket.disconnect()


ABSURD_NUMBERS = [-1, 0, 1, 2**31, 2**63 - 1]
NAMES = ["", "/", "/nowhere", "/\ud7ff", "\u0000", "/" + "n" * 10_000, "/a,b", "/\u202e"]


def absurd(drawn: random.Random) -> Record:
    name, number = drawn.choice(NAMES), drawn.choice(ABSURD_NUMBERS)
    rooms = drawn.sample(NAMES, drawn.randrange(3))
    text = drawn.choice([b"", b"[]", b'["e"]', b"[", b"[1]", b'["connect"]', b"4", b"x" * 1000])
    attachments = [b"\xff"] * drawn.randrange(3)
    where = (name, rooms, drawn.sample(NAMES, drawn.randrange(2)))
    seconds = drawn.choice([0.0, -1.0, math.nan, math.inf, 1e300])
    form = drawn.choice([0, 1, 2, 7, -1])
    values: list[Any] = [None, {}, [], {"sid": 1}, 2**63, "x"][: drawn.randrange(7)]
    count = abs(number)
    packets: list[Any] = [(count, seconds, rooms, [], ("n", count), text, attachments)]
    sessions: list[Any] = [("p", "s", rooms, values, count, seconds, None, {"n": count})]
    records: list[Record] = [
        Hello(count),
        Beat(count, True),
        Bye(),
        Broadcast(*where, form, text, attachments, True, False, count),
        Ask(number, *where, form, text, attachments, min(seconds, 1e6)),
        Join(*where, NAMES),
        Leave(*where, NAMES),
        Disconnect("/nowhere", [], [], True),
        Fetch(number, *where),
        ServerEvent(number, name, values),
        Reply(number, number, values, count),
        Recover(number, name, "pid", "offset"),
        Inherit(
            name,
            "e",
            drawn.randrange(3),
            drawn.random() < 0.5,
            count,
            count,
            {"n": count},
            sessions if drawn.random() < 0.5 else [],
            packets,
        ),
        Taken(name, "pid"),
    ]
    return drawn.choice(records)


@pytest.mark.parametrize("recovery", [False, True])
async def test_well_formed_and_absurd(recovery: bool) -> None:
    drawn = random.Random(7)
    async with with_a_stranger(connection_state_recovery=recovery) as (io, stranger):
        io.of("/nowhere")
        io.on_server("", lambda *args: args)
        for number in itertools.count():
            stranger.say(absurd(drawn))
            if number % 50 == 0:
                await asyncio.sleep(0)
            if number > 2000:
                break
        await until(lambda: not io._cluster.bus._inbox)  # type: ignore[union-attr]
        await still_works(io)
        stranger.say(Bye())
        await until(lambda: io.health()["bus"]["servers"] == 0)
        await still_works(io)


async def test_no_message_at_all() -> None:
    drawn = random.Random(3)
    async with with_a_stranger() as (io, stranger):
        for size in range(300):
            stranger.bus.publish("cluster", drawn.randbytes(size))
        await until(lambda: not io._cluster.bus._inbox)  # type: ignore[union-attr]
        assert counts(io)["fault.bus_garbage"] >= 299
        await still_works(io)


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [{"sid": "s", "rooms": [], "data": None, "seen": {"n": math.inf}, "age": 0.0}],
        [{"sid": "s", "rooms": [], "data": None, "seen": {}, "age": math.nan}, [None, 0, 2**36, []]],
        [{"sid": "s", "rooms": [], "data": None, "seen": {}, "age": 0.0}, [None, 9, b"[]", []]],
        [{"sid": "s", "rooms": [], "data": None, "seen": {}, "age": 0.0}, [None, 0, b"[]", ["text"]]],
    ],
    ids=range(5),
)
async def test_a_session_that_cannot_be(answers: list[Any]) -> None:
    """The client is let in with a new one."""
    async with with_a_stranger(connection_state_recovery=True) as (io, stranger):
        stranger.answers = answers
        client = Client(io)
        client.send("40" + json.dumps({"pid": "x" * 20, "offset": "o"}))
        await until(lambda: client.packets)
        assert str(client.packets[0]).startswith('40{"sid"'), client.packets
        await until(lambda: any(isinstance(record, Recover) for record in stranger.heard))


async def test_an_offset_that_was_never_issued_is_not_asked_for() -> None:
    async with with_a_stranger(connection_state_recovery=True) as (io, stranger):
        client = Client(io)
        client.send("40" + json.dumps({"pid": "x" * 20, "offset": "o" * 10_000}))
        await until(lambda: client.packets)
        assert str(client.packets[0]).startswith('40{"sid"')
        assert not any(isinstance(record, Recover) for record in stranger.heard)


async def test_records_of_sockets_that_are_none() -> None:
    async with with_a_stranger() as (io, stranger):
        _client, socket = joined(io)
        like = {**socket._record(), "rooms": ["r"]}
        like["id"] = "there"
        bad = [{**like, "id": 1}, {**like, "rooms": [[]]}, {**like, "rooms": [1]}, {**like, "handshake": {}}, 1, None]
        stranger.answers = [*bad, like]
        found = await asyncio.wait_for(io.fetch_sockets(), 20)
        assert {remote.id for remote in found} == {socket.id, "there"}
