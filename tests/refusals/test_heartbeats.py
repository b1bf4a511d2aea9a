"""Clients that do not answer pings, or send their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from duplexio import Socket

from .conftest import Start
from .raw import CLOSE, PONG, TEXT, WebSocket, frame
from .stage import Polling, refusal, until

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])

QUICK: dict[str, Any] = {"ping_interval": 0.1, "ping_timeout": 0.4}


@transports
async def test_a_client_that_never_answers(start: Start, transport: str) -> None:
    stage = await start(**QUICK)
    reasons: list[str] = []
    stage.io.on("disconnect", lambda socket, reason: reasons.append(reason), inline=True)
    session = await stage.session(transport)
    assert await session.read() == b"2"
    if isinstance(session, WebSocket):
        await stage.closed(session)
    else:
        assert isinstance(session, Polling)
        assert (await session.poll()).brief == (200, "text/plain; charset=UTF-8", b"1")
        # Whoever asks now is told the same as anybody: nothing is known of it.
        assert stage.others == 0
    await stage.gone()
    await stage.one_fault("ping_timeout", "not answered within 0.4 s")
    assert reasons == ["ping timeout"]


@pytest.mark.hostings("fast", "asgi", "handover")
async def test_pings_pass_between_large_messages(start: Start) -> None:
    """A client that takes much is no silent one."""
    # It shares the loop with who fills its connection, and the machine with other tests.
    stage = await start(**QUICK | {"ping_timeout": 5.0})
    enough = asyncio.Event()

    @stage.io.on("all of it")
    async def send_much(socket: Socket) -> None:
        while not enough.is_set():
            socket.emit("much", "x" * 65_536)
            await socket.drain()

    session = await stage.session("websocket")
    assert isinstance(session, WebSocket)
    await session.send(b'42["all of it"]')
    pings = events = 0
    while pings < 5:
        packet = await session.read()
        if packet == b"2":
            pings += 1
            await session.send(b"3")
        else:
            assert packet.startswith(b'42["much","xxx')
            events += 1
    enough.set()
    assert events > 50
    await session.send(b'421["echo",1]')
    while (packet := await session.read()) != b"431[1]":
        assert packet == b"2" or packet.startswith(b'42["much"')
    await stage.no_fault()


async def test_a_client_that_never_polls(start: Start) -> None:
    stage = await start(**QUICK)
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await stage.gone()
    await stage.one_fault("ping_timeout")
    assert (await session.poll()).brief == refusal(1)


async def test_a_client_that_sends_and_never_answers(start: Start) -> None:
    """Only a pong is a pong."""
    stage = await start(**QUICK)
    session = await stage.session("websocket")

    async def send() -> None:
        while stage.others:
            try:
                await session.send(b'42["witness",1]')
            except ConnectionError:
                return
            await asyncio.sleep(0.02)

    sending = stage.background(send())
    await stage.gone()
    await sending
    assert stage.faults["ping_timeout"] == 1


async def test_a_websockets_own_pong_is_none(start: Start) -> None:
    """Engine.IO's is a text."""
    stage = await start(**QUICK)
    session = await stage.session("websocket")
    assert isinstance(session, WebSocket)
    assert await session.read() == b"2"
    await session.wire.write(frame(PONG, b""))
    await stage.closed(session)
    await stage.one_fault("ping_timeout")


@transports
async def test_a_client_that_answers_lives(start: Start, transport: str) -> None:
    stage = await start(ping_interval=0.1, ping_timeout=5)
    session = await stage.session(transport)
    for _ in range(3):
        assert await session.read() == b"2"
        await session.send(b"3")
    await session.send(b'421["echo",1]')
    while (packet := await session.read()) == b"2":
        await session.send(b"3")
    assert packet == b"431[1]"
    await stage.no_fault()


@transports
@pytest.mark.parametrize("packet", [b"3", b"3probe", b"6", b"0", b"5"])
async def test_packets_that_mean_nothing_here(start: Start, transport: str, packet: bytes) -> None:
    """An answer to no ping, a noop, what only a server sends: passed over, as on Node."""
    stage = await start()
    session = await stage.session(transport)
    for _ in range(3):
        await session.send(packet)
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    await stage.no_fault()


@transports
async def test_a_ping_of_protocol_3(start: Start, transport: str) -> None:
    """There the client pings; here that is an error, which the log explains."""
    stage = await start()
    session = await stage.session(transport)
    await stage.refused(session, b"2")
    await stage.one_fault("transport_error", "a ping from the client", "the server pings")


async def test_a_client_that_closes(start: Start) -> None:
    stage = await start()
    reasons: list[str] = []
    stage.io.on("disconnect", lambda socket, reason: reasons.append(reason), inline=True)
    for transport in ("polling", "websocket"):
        session = await stage.session(transport)
        if isinstance(session, Polling):
            poll = await stage.open_poll(session)
            await session.send(b"1")
            assert (await poll).brief == (200, "text/plain; charset=UTF-8", b"6")
        else:
            assert isinstance(session, WebSocket)
            await session.wire.write(frame(TEXT, b"1") + frame(TEXT, b'42["echo",1]'))
            assert (await session.closing()).opcode == CLOSE
        await stage.gone()
    await until(lambda: len(reasons) == 2, "both disconnects")
    assert reasons == ["transport close"] * 2
    assert stage.heard == []
    await stage.no_fault()
