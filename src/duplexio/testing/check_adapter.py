"""What a cluster promises, over any bus, as a suite: servers that listen on the loopback, and real clients.

Each check makes servers with ends of one bus and tries one promise. They need no test framework; a driver's tests may
run them one by one by their names in `ADAPTER_CHECKS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from duplexio.adapters.bus import Bus, BusLimits
from duplexio.client import ClientSocket, connect
from duplexio.errors import AckTimeout, EncodeError, MessageTooLarge
from duplexio.hub.socket import Socket
from duplexio.observe import Counts, Reporter
from duplexio.server import Server
from duplexio.testing.check_bus import PATIENCE, MakeBus, until

__all__ = ["ADAPTER_CHECKS", "check_adapter"]

Check: TypeAlias = Callable[[MakeBus], Awaitable[None]]
Event: TypeAlias = tuple[Any, ...]
#: How long is waited for what is not to come.
SHORT = 0.3


class Client:
    """A client, and the events it was sent. It is in the rooms `all` and one named by its number."""

    def __init__(self, socket: ClientSocket, mine: Socket) -> None:
        self.socket = socket
        self.mine = mine
        self.events: list[Event] = []
        socket.on_any(lambda *event: self.events.append(event))
        socket.on("question", lambda value: value, inline=True)

    def take(self) -> list[Event]:
        """What came since the last call, but for fences."""
        events, self.events = self.events, []
        return [event for event in events if event[0] != "fence"]


class Stage:
    """Servers of one cluster, with as many clients each.

    Attributes:
        clients: client `n` is at server `n % len(servers)`.
    """

    def __init__(self, servers: list[Server], urls: list[str], clients: list[Client]) -> None:
        self.servers = servers
        self.urls = urls
        self.clients = clients
        self._fences = itertools.count()

    async def heard(self, clients: Iterable[Client] | None = None) -> list[list[Event]]:
        """What each client was sent by all that was done before, in order: a fence of each server is behind it."""
        number = next(self._fences)
        for io in self.servers:
            io.emit("fence", number)
        waiting = self.clients if clients is None else list(clients)
        for client in waiting:
            await until(
                lambda c=client: c.events.count(("fence", number)) == len(self.servers),  # type: ignore[misc]
                "a broadcast of each server reaches every client, once",
            )
        return [client.take() for client in waiting]

    async def settled(self) -> None:
        """Every server has heard all that the others have said so far."""
        await self.heard()


@contextlib.asynccontextmanager
async def cluster(make: MakeBus, servers: int = 3, clients: int = 3, **options: Any) -> AsyncIterator[Stage]:
    """So many servers that have seen each other, and clients spread over them."""
    ios = [Server(adapter=make(), handle_signals=False, drain_seconds=0.0, **options) for _ in range(servers)]
    async with contextlib.AsyncExitStack() as stack:
        urls = []
        for io in ios:
            listening = await io.listen("127.0.0.1", 0, lifespan="on", log_level="warning")
            await stack.enter_async_context(listening)
            urls.append(listening.url)
        for io in ios:
            await until(lambda io=io: io.health()["bus"]["servers"] == servers - 1, "servers see each other")  # type: ignore[misc]
        made = [await _client(stack, ios[n % servers], urls[n % servers], n) for n in range(clients)]
        stage = Stage(ios, urls, made)
        await stage.settled()
        yield stage


async def _client(stack: contextlib.AsyncExitStack, io: Server, url: str, number: int) -> Client:
    headers = {"authorization": "secret", "cookie": "secret=1", "x-number": str(number)}
    socket = connect(url, transports=["websocket"], auth={"token": "secret"}, extra_headers=headers)
    await stack.enter_async_context(socket)
    mine = io.sockets.sockets[str(socket.id)]
    mine.join(["all", str(number)])
    mine.data["number"] = number
    return Client(socket, mine)


async def timed_out(answers: Awaitable[Any], what: str) -> AckTimeout:
    """The AckTimeout that waiting ends in, before the check's patience."""
    try:
        await asyncio.wait_for(answers, PATIENCE)
    except AckTimeout as error:
        return error
    raise AssertionError(what)


@contextlib.contextmanager
def too_large() -> Iterator[None]:
    """What is done in it raises MessageTooLarge."""
    try:
        yield
    except MessageTooLarge:
        return
    raise AssertionError("what is too large raises MessageTooLarge")


async def check_broadcasts(make: MakeBus) -> None:
    """Every client of every server gets an event once, as it was, in order."""
    values: list[Any] = [1, "text é \U0001f600", None, {"a": [1, {"b": b"\x00\xff"}]}, b"", [], 1.5, {"_": "]"}]
    async with cluster(make, 3, 6) as stage:
        for number, io in enumerate(stage.servers):
            io.emit("e", number, *values)
            io.volatile.compress(False).emit("v", number, "text")
            io.emit("none")
        for events in await stage.heard():
            for number in range(3):
                mine = [event for event in events if len(event) > 1 and event[1] == number]
                assert mine == [("e", number, *values), ("v", number, "text")], mine
            assert events.count(("none",)) == 3
        for number in range(200):
            stage.servers[0].emit("n", number)
        for events in await stage.heard():
            assert events == [("n", number) for number in range(200)], "in the order they were emitted"


async def check_whom_it_reaches(make: MakeBus) -> None:
    """Rooms, `except_`, `local`, and a socket's own operators select the same wherever the sockets are."""
    async with cluster(make, 2, 4) as stage:
        first = stage.servers[0]
        socket = stage.clients[0].mine
        cases: list[tuple[Any, set[int]]] = [
            (first, {0, 1, 2, 3}),
            (first.to("all"), {0, 1, 2, 3}),
            (first.to("1"), {1}),
            (first.to(["0", "1", "all"]).except_("2"), {0, 1, 3}),
            (first.except_(["0", "3"]), {1, 2}),
            (first.to("nowhere"), set()),
            (first.local, {0, 2}),
            (first.local.to(["0", "1"]), {0}),
            (first.to(stage.clients[3].mine.id), {3}),
            (socket.broadcast, {1, 2, 3}),
            (socket.to("all").except_("1"), {2, 3}),
            (socket.to("0"), set()),
        ]
        for operator, expected in cases:
            operator.emit("e")
            heard = await stage.heard()
            assert {n for n, events in enumerate(heard) if events} == expected
            assert all(events in ([], [("e",)]) for events in heard), "once"


async def check_rooms_from_elsewhere(make: MakeBus) -> None:
    """Joins and leaves reach sockets of other servers, in order with what is sent behind them."""
    async with cluster(make, 3, 3) as stage:
        first, second, third = stage.servers
        first.sockets_join("new")
        first.to("new").emit("joined")
        assert await stage.heard() == [[("joined",)]] * 3
        assert [client.mine.rooms >= {"new"} for client in stage.clients] == [True] * 3
        second.in_("0").sockets_leave("new")
        second.to("new").emit("left")
        assert await stage.heard() == [[], [("left",)], [("left",)]]
        third.local.sockets_leave("new")
        first.to("new").emit("one")
        assert await stage.heard() == [[], [("one",)], []]


async def check_disconnecting(make: MakeBus) -> None:
    """`disconnect_sockets` reaches sockets of other servers."""
    async with cluster(make, 2, 4) as stage:
        stage.servers[0].to(["1", "2"]).disconnect_sockets()
        for client in stage.clients[1], stage.clients[2]:
            reason = await asyncio.wait_for(client.socket.wait_disconnected(), PATIENCE)
            assert reason == "io server disconnect"
        assert await stage.heard([stage.clients[0], stage.clients[3]]) == [[], []]
        stage.servers[0].disconnect_sockets(close=True)
        for client in stage.clients[0], stage.clients[3]:
            await asyncio.wait_for(client.socket.wait_disconnected(), PATIENCE)


async def check_fetching(make: MakeBus) -> None:
    """`fetch_sockets` finds those of every server, and reaches them; credentials stay where they are."""
    async with cluster(make, 3, 6) as stage:
        first = stage.servers[0]
        found = {remote.id: remote for remote in await first.fetch_sockets()}
        assert set(found) == {client.mine.id for client in stage.clients}
        for number, client in enumerate(stage.clients):
            remote = found[client.mine.id]
            assert remote.rooms == client.mine.rooms
            assert remote.data == {"number": number}
            assert remote.handshake.headers["x-number"] == str(number)
            shared = number % 3 == 0
            assert ("authorization" in remote.handshake.headers) == shared, "secret headers stay with their server"
            assert ("cookie" in remote.handshake.headers) == shared
            assert remote.handshake.auth == ({"token": "secret"} if shared else {})
        only = await first.in_("all").except_("1").local.fetch_sockets()
        assert {remote.data["number"] for remote in only} == {0, 3}
        (one,) = await first.in_("4").fetch_sockets()
        one.emit("hello")
        one.join("found")
        first.to("found").emit("there")
        heard = await stage.heard()
        assert heard[4] == [("hello",), ("there",)]
        assert sum(map(len, heard)) == 2
        assert await one.emit_with_ack("question", "value", timeout=PATIENCE) == "value"
        assert await first.in_("nowhere").fetch_sockets() == []


async def check_acknowledgements(make: MakeBus) -> None:
    """Answers of every client come to the server that asked; who does not answer in time is told of."""
    async with cluster(make, 3, 6) as stage:
        first = stage.servers[0]
        value = {"a": [1, b"\x01\x02"]}
        assert await first.timeout(PATIENCE).emit_with_ack("question", value) == [value] * 6
        assert await first.to("1").to("2").emit_with_ack("question", 1, timeout=PATIENCE) == [1, 1]
        assert await first.to("nowhere").emit_with_ack("question", 1, timeout=PATIENCE) == []
        assert await first.local.emit_with_ack("question", 1, timeout=PATIENCE) == [1, 1]
        many = await asyncio.gather(*(first.emit_with_ack("question", n, timeout=PATIENCE) for n in range(50)))
        assert many == [[n] * 6 for n in range(50)]
        stage.clients[4].socket.off("question")
        late = await timed_out(
            first.emit_with_ack("question", 2, timeout=SHORT), "a client that does not answer is told of by AckTimeout"
        )
        assert late.responses == [2] * 5, "what came in time is carried"
        assert late.expected == 6
        # One that leaves is not waited for.
        waiting = asyncio.ensure_future(first.emit_with_ack("question", 3, timeout=10 * PATIENCE))
        await asyncio.sleep(SHORT)
        assert not waiting.done()
        stage.clients[4].socket.disconnect()
        gone = await timed_out(waiting, "a client that left without its answer is told of by AckTimeout")
        assert gone.responses == [3] * 5


async def check_servers_among_themselves(make: MakeBus) -> None:
    """`server_side_emit` is heard by the other servers, whose answers come back."""
    async with cluster(make, 3, 0) as stage:
        first, second, third = stage.servers
        told: list[tuple[Any, ...]] = []
        for name, io in zip("abc", stage.servers, strict=True):
            io.on_server("told", lambda *args, name=name: told.append((name, *args)))
        first.server_side_emit("told", 1, {"a": b"\x01"}, None)
        first.server_side_emit("nobody hears it")
        await until(lambda: len(told) == 2, "the others hear it")
        assert sorted(told) == [("b", 1, {"a": b"\x01"}, None), ("c", 1, {"a": b"\x01"}, None)]
        assert await first.server_side_emit_with_ack("told", timeout=PATIENCE) == [None, None]
        second.on_server("sum", lambda a, b: a + b)
        assert await first.server_side_emit_with_ack("sum", 1, 2, timeout=PATIENCE) == [3], "of those that listen"
        third.on_server("sum", lambda a, b: 1 / 0)
        missing = await timed_out(
            first.server_side_emit_with_ack("sum", 1, 2, timeout=10 * PATIENCE),
            "a listener that raised gives no answer, and AckTimeout tells",
        )
        assert missing.responses == [3]
        assert missing.expected == 2
        assert await first.server_side_emit_with_ack("none", timeout=PATIENCE) == []
        try:
            first.server_side_emit("told", object())
        except EncodeError:
            pass
        else:
            raise AssertionError("what cannot travel raises EncodeError")


async def check_namespaces(make: MakeBus) -> None:
    """A namespace that another server has not got is nothing to wait for; two of them keep out of each other's way."""
    async with cluster(make, 2, 2) as stage:
        first, second = stage.servers
        for io in stage.servers:
            io.of("/chat")
        first.of("/only-here")
        chat = [Client(*await _join(stage, n, "/chat")) for n in range(2)]
        here = Client(*await _join(stage, 0, "/only-here"))
        first.of("/chat").emit("e", 1)
        first.of("/only-here").emit("f", 2)
        second.of("/chat").emit("g", 3)
        await until(lambda: all(len(client.events) == 2 for client in chat), "a namespace's events arrive")
        for client in chat:
            assert sorted(client.take()) == [("e", 1), ("g", 3)]
        assert here.take() == [("f", 2)]
        assert await stage.heard() == [[], []]
        assert len(await first.of("/only-here").fetch_sockets()) == 1
        assert await first.of("/only-here").emit_with_ack("question", 1, timeout=PATIENCE) == [1]
        assert len(await second.of("/chat").fetch_sockets()) == 2
        for client in *chat, here:
            client.socket.disconnect()


async def _join(stage: Stage, number: int, name: str) -> tuple[ClientSocket, Socket]:
    socket = connect(stage.urls[number] + name, transports=["websocket"], force_new=True)
    await socket.connect()
    return socket, stage.servers[number].of(name).sockets[str(socket.id)]


async def check_a_server_that_goes(make: MakeBus) -> None:
    """Nobody waits for a server that closes; what it answered before is kept. A new one takes its part at once."""
    async with cluster(make, 3, 3) as stage:
        first, second, third = stage.servers
        second.on_server("name", lambda: "second")
        third.on_server("name", lambda: "third")
        stage.clients[1].socket.off("question")
        waiting = asyncio.ensure_future(first.emit_with_ack("question", 1, timeout=10 * PATIENCE))
        await asyncio.sleep(SHORT)
        assert not waiting.done(), "a client of the second server has not answered"
        await second.close()
        gone = await timed_out(waiting, "an answer that cannot come any more is told of by AckTimeout")
        assert gone.responses == [1, 1], "what came in time is carried"
        assert gone.expected == 3
        await until(lambda: first.health()["bus"]["servers"] == 1, "who closes is not counted any more")
        assert len(await first.fetch_sockets()) == 2
        assert await first.server_side_emit_with_ack("name", timeout=PATIENCE) == ["third"]
        async with cluster_of_one(make) as late:
            await until(lambda: first.health()["bus"]["servers"] == 2, "who comes is seen")
            late.on_server("name", lambda: "late")
            assert sorted(await first.server_side_emit_with_ack("name", timeout=PATIENCE)) == ["late", "third"]


@contextlib.asynccontextmanager
async def cluster_of_one(make: MakeBus) -> AsyncIterator[Server]:
    """Another server, without clients."""
    io = Server(adapter=make(), handle_signals=False, drain_seconds=0.0)
    async with await io.listen("127.0.0.1", 0, lifespan="on", log_level="warning"):
        yield io


async def check_what_cannot_be_read(make: MakeBus) -> None:
    """Garbage and messages cut short are counted and passed over; what is good arrives behind them."""
    async with cluster(make, 2, 2) as stage:
        first, second = stage.servers
        stranger = _Stranger(make())
        good: list[tuple[str, bytes]] = []
        stranger.heard = good
        await until(lambda: first.health()["bus"]["servers"] == 2, "who comes is seen")
        first.emit("e", 1)
        second.server_side_emit("s", [1, 2, 3])
        await until(lambda: len(good) >= 2, "broadcasts reach every node")
        sent = 0
        for channel, message in list(good):
            for cut in range(len(message)):
                sent += stranger.bus.publish(channel, message[:cut])
        bad = [b"", b"\x00", b"\x01", b"\x01\xc1", b"\x01" + b"\x91" * 5000, b"\x02" + good[0][1][1:], b"x" * 1000]
        for message in bad:
            sent += stranger.bus.publish(good[0][0], message)
        first.emit("e", 2)
        for events in await stage.heard():
            assert events == [("e", 1), ("e", 2)]
        for io in stage.servers:
            await until(lambda io=io: io.counts["fault.bus_garbage"] >= sent, "each is counted")  # type: ignore[misc]
            assert io.counts["handler_errors"] == 0, "none is taken for a fault of the program's"
        await stranger.bus.close()


class _Stranger:
    """A node that says what no server says."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        limits = BusLimits(1024 * 1024, 16 * 1024 * 1024)
        bus.start(self, limits, Reporter(Counts(), logging.getLogger("duplexio.testing")))

    def bus_received(self, sender: str, channel: str, message: bytes) -> None:
        # Heartbeats and greetings are short.
        if len(message) > 4:
            self.heard.append((channel, message))

    def bus_node_seen(self, node: str) -> None: ...

    def bus_node_lost(self, node: str, reason: str) -> None: ...


async def check_too_large(make: MakeBus) -> None:
    """What is too large for the bus is told to who sends it, and sent to nobody; an answer that is, is left out."""
    async with cluster(make, 2, 2, max_bus_message=65_536) as stage:
        first, second = stage.servers
        text = "x" * 100_000
        told: list[str] = []
        second.on_server("large", told.append)
        for call in first.emit, first.to("all").emit, first.server_side_emit:
            with too_large():
                call("large", text)
        with too_large():
            await first.emit_with_ack("question", text, timeout=PATIENCE)
        with too_large():
            await first.server_side_emit_with_ack("large", text, timeout=PATIENCE)
        assert await stage.heard() == [[], []], "nobody was sent it"
        assert told == []
        first.local.emit("large", text)
        assert await stage.heard() == [[("large", text)], []], "with .local it travels nowhere"
        assert await first.local.emit_with_ack("question", text, timeout=PATIENCE) == [text]
        assert first.counts["fault.bus_oversized"] == 0
        # Answers that are too large for one message come in several; one that is itself too large does not come.
        for number in range(20):
            stage.clients[1].mine.join("room-" * 40 + str(number))
            stage.clients[1].mine.data[f"key {number}"] = "y" * 2000
        found = await first.fetch_sockets()
        assert sorted(len(remote.rooms) for remote in found) == [3, 23]
        stage.clients[1].mine.data["huge"] = text
        assert len(await first.fetch_sockets()) == 1
        assert second.counts["fault.bus_oversized"] == 1
        assert await first.to("1").emit_with_ack("question", 1, timeout=PATIENCE) == [1]


async def check_recovery(make: MakeBus) -> None:
    """A client goes on with its session on another server, also where the one that had it has closed meanwhile."""
    for closes in False, True:
        async with cluster(make, 3, 0, connection_state_recovery=True) as stage:
            first, second, third = stage.servers
            session = connect(stage.urls[0], transports=["websocket"], reconnection=False)
            await session.connect()
            mine = first.sockets.sockets[str(session.id)]
            mine.join("mine")
            mine.conn.end("transport error", "the check breaks it")
            await asyncio.wait_for(session.wait_disconnected(), PATIENCE)
            third.to("mine").emit("missed", 1)
            first.to("mine").emit("missed", 2, b"\x01")
            await _heard_by_all(stage)
            if closes:
                await first.close()
                await until(lambda io=second: io.health()["bus"]["servers"] == 1, "who closes is missed")  # type: ignore[misc]
            got: list[Event] = []
            again = connect(stage.urls[1], transports=["websocket"], auth={"pid": mine._pid})
            again.on_any(lambda *event, got=got: got.append(event))
            async with again:
                back = second.sockets.sockets[str(again.id)]
                assert back.recovered, "the session goes on"
                assert back.id == mine.id
                assert back.rooms == {mine.id, "mine"}
                third.to("mine").emit("after")
                await until(lambda got=got: len(got) >= 3, "what it missed, and what comes")  # type: ignore[misc]
                # Behind the arguments there may be an offset.
                assert sorted(event[:2] for event in got[:2]) == [("missed", 1), ("missed", 2)]
                assert [event[2] for event in got if event[1:2] == (2,)] == [b"\x01"]
                assert [event[0] for event in got[2:]] == ["after"]


async def _heard_by_all(stage: Stage) -> None:
    """Each server has heard what the others have said before."""
    heard: list[int] = []
    for io in stage.servers:
        io.on_server("said", heard.append)
    for number, io in enumerate(stage.servers):
        await io.server_side_emit_with_ack("said", number, timeout=PATIENCE)


#: Each promise by its name.
ADAPTER_CHECKS: Mapping[str, Check] = {
    "broadcasts": check_broadcasts,
    "whom_it_reaches": check_whom_it_reaches,
    "rooms_from_elsewhere": check_rooms_from_elsewhere,
    "disconnecting": check_disconnecting,
    "fetching": check_fetching,
    "acknowledgements": check_acknowledgements,
    "servers_among_themselves": check_servers_among_themselves,
    "namespaces": check_namespaces,
    "a_server_that_goes": check_a_server_that_goes,
    "recovery": check_recovery,
    "what_cannot_be_read": check_what_cannot_be_read,
    "too_large": check_too_large,
}


async def check_adapter(make: MakeBus) -> None:
    """Tries every promise of a cluster over this bus; raises AssertionError with what was not kept.

    `make` gives another end of one and the same bus at each call, not started yet.
    """
    for check in ADAPTER_CHECKS.values():
        await check(make)
