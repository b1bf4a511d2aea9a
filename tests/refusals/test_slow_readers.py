"""Clients that stop reading: what waits for them is bounded, by the policy that was chosen, and nobody else waits."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from typing import Any

import pytest

from duplexio import Socket

from .conftest import Start
from .raw import CLOSE, PING, TEXT, WebSocket, frame
from .stage import Polling, Stage, join, until

both_loops = pytest.mark.hostings("fast", "fast-asyncio", "asgi")

#: What one emit is, and how many are more than any kernel takes for a client with a small buffer of its own.
SIZE = 20_000
EMITS = 800
LIMIT = 200_000


def text(number: int) -> str:
    return f"{number:06}" + "x" * (SIZE - 6)


async def stuck(stage: Stage) -> tuple[WebSocket, Socket]:
    """A client that has joined and then reads no more, and its socket here."""
    wire = await stage.wire(receive_buffer=4096)
    session = await stage.websocket(wire)
    assert (await session.read()).startswith(b"0{")
    sid = await join(session)
    return session, stage.io.sockets.sockets[sid]


async def flood(socket: Socket, emits: int = EMITS) -> int:
    """Emits until the socket is gone; how often it emitted."""
    for number in range(emits):
        if not socket.connected:
            return number
        socket.emit("flood", text(number))
        await asyncio.sleep(0)
    return emits


@both_loops
async def test_it_is_disconnected(start: Start) -> None:
    stage = await start(max_outbox_bytes=LIMIT)
    reasons: list[tuple[str, Any]] = []
    stage.io.on("disconnect", lambda socket, reason, details: reasons.append((reason, details)), inline=True)
    _, socket = await stuck(stage)
    assert await flood(socket) < EMITS
    await stage.gone()
    await stage.one_fault("outbox_overflow", "does not read", f"max_outbox_bytes={LIMIT}")
    assert stage.counts["outbox_overflows"] == 1
    assert [reason for reason, _ in reasons] == ["transport error"]
    assert "does not read" in str(reasons[0][1])


async def test_too_many_packets(start: Start) -> None:
    """Small packets cost objects rather than bytes."""
    stage = await start(max_outbox_packets=50)
    _, socket = await stuck(stage)
    await flood(socket)
    await stage.gone()
    await stage.one_fault("outbox_overflow", "max_outbox_packets=50")


async def test_in_one_go(start: Start) -> None:
    """A handler that never lets the loop run meets the same limit."""
    stage = await start(max_outbox_bytes=LIMIT)
    _, socket = await stuck(stage)
    for number in range(EMITS):
        socket.emit("flood", text(number))
    assert not socket.connected
    await stage.gone()
    await stage.one_fault("outbox_overflow")


async def test_a_polling_client_that_does_not_poll(start: Start) -> None:
    stage = await start(max_outbox_bytes=LIMIT)
    session = await stage.engine("polling")
    assert isinstance(session, Polling)
    sid = await join(session)
    sent = await flood(stage.io.sockets.sockets[sid])
    assert sent <= LIMIT // SIZE + 2
    await stage.gone()
    await stage.one_fault("outbox_overflow")


async def test_a_broadcast_goes_on_for_the_others(start: Start) -> None:
    stage = await start(max_outbox_bytes=LIMIT)
    _, socket = await stuck(stage)
    reader = await stage.session("websocket")
    for number in range(EMITS):
        stage.io.to(_everybody(stage)).emit("news", text(number))
        assert (await reader.read()).startswith(b'42["news","%06d' % number)
        if not socket.connected:
            break
    await stage.one_fault("outbox_overflow")
    assert stage.others == 1


def _everybody(stage: Stage) -> list[str]:
    """All but the witness, who expects nothing but its echoes."""
    sockets = stage.io.sockets.sockets.values()
    return [socket.id for socket in sockets if "witness" not in socket.handshake.query]


async def test_a_disconnected_client_is_let_go(start: Start) -> None:
    """Its connection ends though it never reads the end: no descriptor and no buffer stay for it."""
    stage = await start(max_outbox_bytes=LIMIT)
    before = transports()
    stuck_ones = [await stuck(stage) for _ in range(5)]
    for _, socket in stuck_ones:
        await flood(socket)
    await stage.gone()
    sessions = [session for session, _ in stuck_ones]
    del stuck_ones, socket
    await until(lambda: transports() <= before, "the transports were collected")
    for session in sessions:
        session.wire.close()
    await stage.one_fault("outbox_overflow", times=5)


def transports() -> int:
    gc.collect()
    names = ("WebSocketTransport", "AsgiWebSocket")
    return sum(type(thing).__name__ in names for thing in gc.get_objects())


async def test_memory_is_bounded(start: Start) -> None:
    """Megabytes are emitted to it; the limit and what is on its way to the kernel are all that is ever held."""
    stage = await start(max_outbox_bytes=LIMIT, outbox_policy="drop_oldest")
    _, socket = await stuck(stage)
    await flood(socket, 300)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        await flood(socket)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert socket.connected
    assert peak - before < 3_000_000


async def received_by(session: WebSocket, last: bytes) -> list[int]:
    """The numbers of what the client finds when it reads again, up to the packet `last`."""
    numbers: list[int] = []
    while True:
        found = await session.frame()
        assert found.opcode == TEXT, found
        if found.payload == last:
            return numbers
        if found.payload != b"2":
            event, value = json.loads(found.payload[2:])
            assert event == "flood"
            assert len(value) == SIZE
            numbers.append(int(value[:6]))


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_it_misses_some(start: Start, policy: str) -> None:
    """Whole packets, in order, and counted; acknowledgements are never dropped."""
    stage = await start(max_outbox_bytes=LIMIT, outbox_policy=policy)
    session, socket = await stuck(stage)
    assert await flood(socket) == EMITS
    await session.send(b'421["echo",1]')
    await until(lambda: stage.heard == [(1,)], "the event came")
    assert socket.connected
    assert stage.others == 1
    numbers = await received_by(session, b"431[1]")
    assert numbers == sorted(set(numbers))
    dropped = stage.counts["packets_dropped"]
    assert dropped > 0
    assert len(numbers) + dropped == EMITS
    if policy == "drop_oldest":
        assert numbers[-1] == EMITS - 1
    else:
        assert numbers[-1] < EMITS - 1
    await stage.no_fault()
    # It reads again, and is as good as any.
    await session.send(b'422["echo",2]')
    assert await session.read() == b"432[2]"


async def test_newer_values_replace_older_ones(start: Start) -> None:
    stage = await start(
        max_outbox_bytes=LIMIT,
        outbox_policy="conflate",
        conflate_key=lambda event, args: event if event == "flood" else None,
    )
    session, socket = await stuck(stage)
    assert await flood(socket) == EMITS
    assert socket.connected
    await session.send(b'421["echo",1]')
    numbers = await received_by(session, b"431[1]")
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == EMITS - 1
    assert len(numbers) + stage.counts["packets_conflated"] == EMITS
    assert stage.counts.get("packets_dropped", 0) == 0
    await stage.no_fault()


async def test_values_of_too_many_keys(start: Start) -> None:
    """Nothing can be replaced, so nothing is left but to disconnect."""
    stage = await start(
        max_outbox_bytes=LIMIT, outbox_policy="conflate", conflate_key=lambda event, args: (event, args[0][:6])
    )
    _, socket = await stuck(stage)
    assert await flood(socket) < EMITS
    await stage.gone()
    await stage.one_fault("outbox_overflow")


async def test_one_packet_larger_than_the_limit(start: Start) -> None:
    """It is admitted to an empty outbox: what could not be sent at all would be a limit of another kind."""
    stage = await start(max_outbox_bytes=1000)
    session = await stage.session("websocket")
    (socket,) = (stage.io.sockets.sockets[sid] for sid in _everybody(stage))
    socket.emit("flood", text(1))
    assert (await session.read()).startswith(b'42["flood","000001')
    await stage.no_fault()


async def test_volatile_events_are_not_kept_for_it(start: Start) -> None:
    stage = await start(max_outbox_bytes=LIMIT)
    session, socket = await stuck(stage)
    for number in range(EMITS):
        socket.volatile.emit("flood", text(number))
        await asyncio.sleep(0)
    assert socket.connected
    assert stage.counts["volatile_dropped"] > 0
    await session.send(b'421["echo",1]')
    numbers = await received_by(session, b"431[1]")
    assert len(numbers) + stage.counts["volatile_dropped"] == EMITS
    await stage.no_fault()


async def test_drain_waits_for_it(start: Start) -> None:
    """An emitter that asks is held back, so nothing overflows; others are not."""
    stage = await start(max_outbox_bytes=LIMIT)
    session, socket = await stuck(stage)
    sent = 0

    async def emit() -> None:
        nonlocal sent
        for number in range(EMITS):
            socket.emit("flood", text(number))
            sent += 1
            await socket.drain()

    emitting = stage.background(emit())
    await asyncio.sleep(0.3)
    assert 0 < sent < EMITS
    assert not emitting.done()
    for number in range(EMITS):
        assert (await session.read()).startswith(b'42["flood","%06d' % number)
    await emitting
    await stage.no_fault()


@pytest.mark.hostings("fast", "fast-asyncio")
@pytest.mark.parametrize("what", ["pings", "events"])
async def test_a_flood_from_a_client_that_never_reads(start: Start, what: str) -> None:
    """Neither what it sent nor what it would be answered stays in memory."""
    stage = await start()
    session, _ = await stuck(stage)
    small = frame(PING, b"x" * 125) if what == "pings" else frame(TEXT, b'42["nobody","' + b"x" * 5000 + b'"]')
    burst = small * (200_000 // len(small))
    tracemalloc.start()
    try:
        for _ in range(100):
            await session.wire.write(burst)
        await session.send(b'42["echo",1]')
        await until(lambda: stage.heard == [(1,)], "all of it was read")
        await asyncio.sleep(0.05)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000
    assert stage.others == 1


async def test_the_end_of_a_session_reaches_a_client_that_reads_again(start: Start) -> None:
    stage = await start(max_outbox_bytes=LIMIT)
    session, socket = await stuck(stage)
    await flood(socket)
    await stage.gone()
    try:
        await session.closing()
        await session.wire.write(frame(CLOSE, b""))
    except (EOFError, ConnectionError):
        pass  # cut off in the middle is an end, too
    assert await session.wire.rest() == b""
    await stage.one_fault("outbox_overflow")
