"""What a program does with a socket, with every server, over every transport, in both writings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import pytest

import duplexio

from .peers import DUPLEXIO, DUPLEXIO_EIO3, NODE2, NODE4, NODE4_EIO3, Peer, PeerPool

Transport = Literal["polling", "websocket"]
#: By how a session begins and goes on; `upgrade` is tried when it has moved.
TRANSPORTS: dict[str, tuple[Transport, ...]] = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}
CELLS = [
    (peer, parser, transport)
    for peer in (NODE4, NODE2, DUPLEXIO, NODE4_EIO3, DUPLEXIO_EIO3)
    for parser in ("json", "msgpack")
    for transport in TRANSPORTS
    # Parsers of that time are another dialect, and refuse with texts alone.
    if not (parser == "msgpack" and peer.eio == 3)
]
NESTED = {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}


@dataclass
class Stage:
    """A server, and how it is spoken to."""

    peer: Peer
    url: str
    transport: str
    options: dict[str, Any]

    def connect(self, nsp: str = "", **options: Any) -> duplexio.ClientSocket:
        return duplexio.connect(self.url + nsp, **{**self.options, **options})


@pytest.fixture(params=CELLS, ids=lambda cell: "-".join(map(str, cell)))
def stage(request: pytest.FixtureRequest, pool: PeerPool) -> Stage:
    peer, parser, transport = request.param
    server = pool.get(peer, "--parser", parser)
    options = {
        "transports": TRANSPORTS[transport],
        "eio": peer.eio,
        "parser": parser,
        "reconnection_delay": 0.02,
        "force_new": True,
        "ack_timeout": 10.0,
    }
    return Stage(peer, server.url, transport, options)


@pytest.fixture
async def socket(stage: Stage) -> AsyncIterator[duplexio.ClientSocket]:
    async with asyncio.timeout(30), stage.connect() as socket:
        if stage.transport == "upgrade":
            assert await socket.emit_with_ack("upgraded") == "websocket"
        assert socket.io.engine is not None
        assert socket.io.engine.transport.name == stage.options["transports"][-1]
        yield socket


async def test_values_both_ways(socket: duplexio.ClientSocket) -> None:
    socket.emit("request", {"data": "Send Request"})
    assert await socket.receive("response", timeout=10) == {"data": "Send Request"}
    assert await socket.emit_with_ack("ack") == (1, "two", [3], {"four": 4}, None)
    assert await socket.emit_with_ack("ack nothing") is None
    assert await socket.emit_with_ack("echo", "ä🎉\u2028", None, True, 1.5, [], {}) == (
        "ä🎉\u2028",
        None,
        True,
        1.5,
        [],
        {},
    )
    with pytest.raises(duplexio.AckTimeout):
        await socket.emit_with_ack("never", timeout=0.1)


async def test_bytes_both_ways(socket: duplexio.ClientSocket) -> None:
    came: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    socket.once("binary", lambda *args: came.set_result(args), inline=True)
    assert await socket.emit_with_ack("binary") == (NESTED, b"last")
    assert await came == (NESTED, b"last")
    assert await socket.emit_with_ack("echo", NESTED, b"xx") == (NESTED, b"xx")
    assert await socket.emit_with_ack("echo", b"z" * 300_000) == b"z" * 300_000


async def test_many_in_order(socket: duplexio.ClientSocket) -> None:
    came: list[Any] = []
    done = asyncio.Event()

    @socket.on("item", inline=True)
    def item(number: int, data: bytes | None = None) -> None:
        assert data in (None, bytes([number % 256]))
        came.append(number)
        if number == 499:
            done.set()

    socket.emit("burst", 500, True)
    await done.wait()
    assert came == list(range(500))
    ledger = uuid4().hex
    for number in range(200):
        socket.emit("numbered", number, ledger)
    assert await socket.emit_with_ack("recorded", ledger) == list(range(200))


async def test_large_ones(socket: duplexio.ClientSocket) -> None:
    assert await socket.emit_with_ack("large", 200_000) == "ä" * 200_000
    assert await socket.emit_with_ack("echo", "z" * 300_000) == "z" * 300_000


async def test_the_server_asks(socket: duplexio.ClientSocket) -> None:
    @socket.on("question")
    async def question(left: int, right: int) -> tuple[int, bytes]:
        await asyncio.sleep(0)
        return left + right, b"1"

    @socket.on("plain question")
    def plain_question(text: str) -> str:
        return text.upper()

    assert await socket.emit_with_ack("ask", "question", 1, 2) == [3, "hex:31"]
    assert await socket.emit_with_ack("ask", "plain question", "a") == ["A"]


async def test_namespaces_share_the_connection(stage: Stage, socket: duplexio.ClientSocket) -> None:
    asked = 0

    async def token() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"token": "secret"}

    async with socket.io.socket("/auth", auth=token) as auth, socket.io.socket("/dyn-7") as dynamic:
        for other in (auth, dynamic):
            who = await other.emit_with_ack("whoami")
            assert (who["nsp"], who["id"], who["transport"]) == (other.nsp, other.id, stage.options["transports"][-1])
        dynamic.emit("kick")
        assert await dynamic.wait_disconnected() == "io server disconnect"
        assert auth.connected
        assert socket.connected
    assert asked == 1
    assert socket.connected


async def test_a_refusal(stage: Stage, socket: duplexio.ClientSocket) -> None:
    with pytest.raises(duplexio.ConnectRefused) as refused:
        await socket.io.socket("/refused").connect()
    assert refused.value.data == {"code": "closed", "retry": False}
    if stage.peer.eio == 4:
        assert refused.value.message == "nobody comes in here"
    with pytest.raises(duplexio.ConnectRefused, match="Invalid namespace"):
        await socket.io.socket("/nowhere").connect()
    assert socket.connected


async def test_a_lost_connection_comes_back(stage: Stage, socket: duplexio.ClientSocket) -> None:
    lost: asyncio.Future[tuple[str, Any]] = asyncio.get_running_loop().create_future()

    @socket.on("disconnect", inline=True)
    def disconnect(reason: str, details: str) -> None:
        if not lost.done():
            lost.set_result((reason, details))
            socket.emit("numbered", 1, ledger)
            socket.volatile.emit("numbered", 2, ledger)
            socket.emit("numbered", 3, ledger)

    ledger, first = uuid4().hex, socket.id
    waiting = asyncio.create_task(socket.emit_with_ack("never"))
    await asyncio.sleep(0.05)
    socket.emit("drop")
    assert (await lost)[0] in ("transport close", "transport error")
    with pytest.raises(duplexio.Disconnected):
        await waiting
    await socket.wait_connected()
    assert socket.id != first
    assert await socket.emit_with_ack("recorded", ledger) == [1, 3]


async def test_the_server_sends_it_away(socket: duplexio.ClientSocket) -> None:
    socket.emit("kick_all")
    assert await socket.wait_disconnected() == "io server disconnect"
    assert not socket.active
    with pytest.raises(duplexio.Disconnected):
        await socket.receive("anything")
    # Not by itself, but when it is asked to.
    await socket.connect()
    assert await socket.emit_with_ack("echo", "back") == "back"


async def test_what_is_promised_is_sent_until_it_is_answered(stage: Stage) -> None:
    ledger = uuid4().hex
    async with asyncio.timeout(30), stage.connect(retries=5, ack_timeout=0.15) as socket:
        answers = await asyncio.gather(
            socket.emit_with_ack("reluctant", 1, ledger, 3), socket.emit_with_ack("reluctant", 2, ledger, 1)
        )
        assert [*answers] == [1, 2]
        with pytest.raises(duplexio.AckTimeout):
            await socket.emit_with_ack("reluctant", 3, ledger, 100)
        recorded = await socket.emit_with_ack("recorded", ledger)
    # One at a time: the second waits until the first was answered. The third was sent once and five times more.
    assert recorded == [1, 1, 1, 2, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_what_was_missed_comes_once_and_in_order(pool: PeerPool, peer: Peer, transport: str) -> None:
    server = pool.get(peer, "--recovery")
    missed: list[Any] = []
    connected: list[Any] = []
    options: dict[str, Any] = {"transports": TRANSPORTS[transport], "reconnection_delay": 0.1, "force_new": True}
    async with asyncio.timeout(30), duplexio.connect(server.url, **options) as socket:
        socket.on("missed", lambda *args: missed.append(args), inline=True)
        socket.on("connect", lambda: connected.append((socket.id, socket.recovered)), inline=True)
        if transport == "upgrade":
            assert await socket.emit_with_ack("upgraded") == "websocket"
        first = socket.id
        # An event with an offset, so that there is one to come back with.
        socket.emit("request", "one")
        assert await socket.receive("response") == "one"
        socket.emit("miss", 5)
        for _ in range(3000):
            if len(missed) >= 5 and connected:
                break
            await asyncio.sleep(0.01)
        assert connected == [(first, True)]
        assert missed == [(number,) for number in range(5)]
        socket.emit("request", "two")
        assert await socket.receive("response") == "two"
