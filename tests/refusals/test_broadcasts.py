"""One broadcast for clients of every transport: each gets it in the form that its transport has for it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from duplexio import Server

from .conftest import Start
from .raw import BINARY, TEXT, WebSocket
from .stage import Polling, Session, Stage, join

everywhere = pytest.mark.hostings("fast", "asgi", "handover")

HEAD = b'451-["e",{"_placeholder":true,"num":0}]'
BYTES = b"\x00\x1e\xff"


async def upgraded(stage: Stage) -> WebSocket:
    """A session that began on polling."""
    polling = await stage.polling()
    await polling.send(b"40")
    assert (await polling.read()).startswith(b"40")
    session = await stage.websocket(sid=polling.sid)
    await session.send(b"2probe")
    assert await session.read() == b"3probe"
    await session.send(b"5")
    await session.send(b'420["echo"]')
    assert await session.read() == b"430[]"
    return session


async def three(stage: Stage) -> list[Session]:
    return [await stage.session("polling"), await stage.session("websocket"), await upgraded(stage)]


async def take(session: Session, *packets: bytes) -> None:
    """The next that the session gets are these: a text, or the bytes behind it."""
    if isinstance(session, Polling):
        expected = [b"b" + base64.b64encode(packet) if packet == BYTES else packet for packet in packets]
        assert [await session.read() for _ in packets] == expected
        return
    assert isinstance(session, WebSocket)
    frames = [await session.frame() for _ in packets]
    assert [(frame.opcode, frame.payload) for frame in frames] == [
        (BINARY if packet == BYTES else TEXT, packet) for packet in packets
    ]


def speaking(io: Server) -> None:
    """What everybody hears, as clients ask for it."""

    @io.on("say", inline=True)
    def say(socket: Any, room: str) -> None:
        target = io.to(room) if room else io
        target.emit("e", BYTES)
        target.emit("e", 1)

    @io.on("join", inline=True)
    def join_room(socket: Any, *rooms: str) -> None:
        socket.join(rooms)

    @io.on("say volatile", inline=True)
    def say_volatile(socket: Any) -> None:
        io.volatile.emit("e", BYTES)


@everywhere
async def test_text_and_bytes_reach_every_transport(start: Start) -> None:
    stage = await start(witness=False)
    speaking(stage.io)
    sessions = await three(stage)
    for speaker in sessions:
        await speaker.send(b'42["say",""]')
        for session in sessions:
            await take(session, HEAD, BYTES, b'42["e",1]')
    await stage.no_fault()


@everywhere
async def test_a_room_of_several_transports(start: Start) -> None:
    stage = await start(witness=False)
    speaking(stage.io)
    polling, websocket, moved = await three(stage)
    outside = await stage.session("websocket")
    for session in (polling, websocket, moved):
        await session.send(b'42["join","r"]')
    await outside.send(b'42["say","r"]')
    for session in (polling, websocket, moved):
        await take(session, HEAD, BYTES, b'42["e",1]')
    await outside.send(b'421["echo"]')
    await take(outside, b"431[]")
    await stage.no_fault()


@everywhere
async def test_a_namespace_that_only_some_are_in(start: Start) -> None:
    """By its name, and by the pattern that made it."""
    stage = await start(witness=False)
    stage.io.of("/made")
    parent = stage.io.of(lambda name, auth: name == "/found")
    sessions = await three(stage)
    for session in sessions[1:]:
        await join(session, "/made")
        await join(session, "/found")
    stage.io.of("/made").emit("e", BYTES)
    parent.emit("e", 1)
    for session in sessions[1:]:
        await take(session, b'451-/made,["e",{"_placeholder":true,"num":0}]', BYTES, b'42/found,["e",1]')
    for session in sessions:
        await session.send(b'421["echo"]')
        await take(session, b"431[]")
    await stage.no_fault()


@everywhere
async def test_a_volatile_one_reaches_all_who_are_ready(start: Start) -> None:
    stage = await start(witness=False)
    speaking(stage.io)
    polling, websocket, moved = await three(stage)
    assert isinstance(polling, Polling)
    poll = await stage.open_poll(polling)
    await websocket.send(b'42["say volatile"]')
    for session in (websocket, moved):
        await take(session, HEAD, BYTES)
    assert (await poll).body == HEAD + b"\x1eb" + base64.b64encode(BYTES)
    await stage.no_fault()
