"""Segments end where they end: frames behind a handshake in the same one, and frames in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket

from duplexio import Server

from .applications import make_server
from .clients import connected
from .frames import TEXT, frame, handshake, raw_websocket, session
from .hosts import fast

OPEN = "/socket.io/?EIO=4&transport=websocket"


async def reverse(websocket: WebSocket) -> None:
    await asyncio.sleep(0.05)
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text[::-1])


class Slow:
    """A middleware that takes its time before the server is asked: the frames are there first."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await asyncio.sleep(0.05)
        await self.app(scope, receive, send)


async def admit_late(request: Any) -> bool:
    await asyncio.sleep(0.05)
    return True


def mounted(io: Server) -> Any:
    return Starlette(routes=[WebSocketRoute("/reverse", reverse), Mount("/socket.io", app=io)])


@contextlib.asynccontextmanager
async def served(place: str) -> AsyncIterator[str]:
    """`root`: without a call of the application. `mounted`, `slow`: the connection is handed over at its accept."""
    io = make_server(**({"allow_request": admit_late} if place.endswith("late") else {}))
    app: Any = io
    if place.startswith("mounted"):
        app = mounted(io)
    elif place == "slow":
        app = Slow(mounted(io))
    async with fast(app, io) as url:
        yield url


PLACES = ["root", "root-late", "mounted", "mounted-late", "slow"]


@pytest.mark.parametrize("place", PLACES)
async def test_frames_in_the_segment_of_the_handshake(place: str) -> None:
    async with served(place) as url, raw_websocket(url) as websocket:
        question = frame('421["echo","early"]')
        await websocket.write(handshake(url, OPEN) + frame("40") + question + question)
        assert " 101 " in await websocket.read_head()
        await websocket.expect("0{")
        await websocket.expect("40{")
        assert await websocket.expect("43") == '431[["early"]]'
        assert await websocket.expect("43") == '431[["early"]]'


@pytest.mark.parametrize("place", PLACES)
async def test_a_part_of_a_frame_in_the_segment_of_the_handshake(place: str) -> None:
    """Cut at each byte of the first frame, and of the second."""
    frames = frame("40") + frame('421["echo","cut"]')
    async with served(place) as url:

        async def attempt(cut: int) -> None:
            async with raw_websocket(url) as websocket:
                await websocket.write(handshake(url, OPEN) + frames[:cut])
                await asyncio.sleep(0.01)
                await websocket.write(frames[cut:])
                await websocket.read_head()
                await websocket.expect("0{")
                await websocket.expect("40{")
                assert await websocket.expect("43") == '431[["cut"]]'

        await asyncio.gather(*map(attempt, range(len(frames) + 1)))


@pytest.mark.parametrize("place", ["root", "mounted", "slow"])
async def test_a_handshake_in_pieces(place: str) -> None:
    """Cut at every seventh byte; the frame that follows comes with the last piece."""
    async with served(place) as url:

        async def attempt(cut: int) -> None:
            async with raw_websocket(url) as websocket:
                whole = handshake(url, OPEN) + frame("40")
                await websocket.write_pieces([whole[:cut], whole[cut:]])
                assert " 101 " in await websocket.read_head()
                await websocket.expect("0{")
                await websocket.expect("40{")

        await asyncio.gather(*map(attempt, range(1, 190, 7)))


@pytest.mark.parametrize("place", ["root", "mounted", "slow"])
async def test_a_large_message_in_the_segment_of_the_handshake(place: str) -> None:
    """It is far from whole when the connection changes hands."""
    text = "large " * 50_000
    async with served(place) as url, raw_websocket(url) as websocket:
        await websocket.write(handshake(url, OPEN) + frame("40") + frame(f'421["echo","{text}"]'))
        await websocket.read_head()
        await websocket.expect("0{")
        await websocket.expect("40{")
        assert await websocket.expect("43") == f'431[["{text}"]]'


@pytest.mark.parametrize("place", ["root", "mounted", "slow"])
async def test_the_probe_in_the_segment_of_the_upgrade(place: str) -> None:
    async with served(place) as url, connected(url, "polling") as client, raw_websocket(url) as websocket:
        await websocket.write(handshake(url, f"{OPEN}&sid={client.sid}") + frame("2probe"))
        assert " 101 " in await websocket.read_head()
        assert await websocket.receive() == "3probe"
        await client.expect("6")
        await websocket.write(frame("5") + frame('421["echo","moved"]'))
        assert await websocket.expect("43") == '431[["moved"]]'
        await websocket.write(frame("1"))


@pytest.mark.parametrize("place", ["mounted", "slow"])
async def test_frames_behind_the_handshake_of_another_websocket(place: str) -> None:
    """The other routes of the application lose nothing either."""
    frames = frame("abc") + frame("def")
    async with served(place) as url:
        for cut in 0, 5, len(frames) - 2, len(frames):
            async with raw_websocket(url) as websocket:
                await websocket.write(handshake(url, "/reverse") + frames[:cut])
                await asyncio.sleep(0.01)
                await websocket.write(frames[cut:])
                assert " 101 " in await websocket.read_head()
                assert await websocket.receive() == "cba"
                assert await websocket.receive() == "fed"


@pytest.mark.parametrize("place", ["root", "mounted"])
async def test_a_message_cut_at_every_byte(place: str) -> None:
    whole = frame('421["echo","ä message that is cut"]')
    async with served(place) as url, session(url) as websocket:
        for cut in range(1, len(whole)):
            await websocket.write_pieces([whole[:cut], whole[cut:]])
            assert json.loads((await websocket.expect("431"))[3:]) == [["ä message that is cut"]]


@pytest.mark.parametrize("place", ["root", "mounted"])
async def test_messages_byte_by_byte(place: str) -> None:
    text = "x" * 130
    whole = frame(f'421["echo","{text}"]') + frame('422["echo",2]')
    async with served(place) as url, session(url) as websocket:
        await websocket.write_pieces(whole[position : position + 1] for position in range(len(whole)))
        assert await websocket.expect("43") == f'431[["{text}"]]'
        assert await websocket.expect("43") == "432[[2]]"


@pytest.mark.parametrize("place", ["root", "mounted"])
async def test_many_messages_in_segments_of_odd_sizes(place: str) -> None:
    """Small ones and large ones, whose ends and beginnings share segments."""
    texts = ["s" * 10, "m" * 3_000, "l" * 100_000, "", "l" * 70_000, "s", "m" * 65_535, "m" * 65_536]
    whole = b"".join(frame(f'42{number}["echo","{text}"]') for number, text in enumerate(texts))
    async with served(place) as url, session(url) as websocket:
        sending = asyncio.create_task(
            websocket.write_pieces(whole[start : start + 7_919] for start in range(0, len(whole), 7_919))
        )
        for number, text in enumerate(texts):
            assert await websocket.expect("43") == f'43{number}[["{text}"]]'
        await sending


@pytest.mark.parametrize("place", ["root", "mounted"])
async def test_fragments_in_segments_of_odd_sizes(place: str) -> None:
    """RFC 6455 §5.4: one message in many frames, and those in pieces."""
    message = f'421["echo","{"ö" * 40_000}"]'.encode()
    parts = [message[start : start + 9_001] for start in range(0, len(message), 9_001)]
    whole = b"".join(
        frame(part, opcode=0 if position else TEXT, fin=position == len(parts) - 1)
        for position, part in enumerate(parts)
    )
    async with served(place) as url, session(url) as websocket:
        await websocket.write_pieces(whole[start : start + 4_999] for start in range(0, len(whole), 4_999))
        assert (await websocket.expect("43"))[2:] == message[2:].decode().replace('["echo",', "[[") + "]"
