"""A large message needs a large buffer, once; a connection does not keep it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest

from .frames import RawWebSocket, frame, session
from .processes import assert_quiet, duplexio_run, running

CONNECTIONS = 40
LARGE = 900_000
#: What all of them may keep together; their buffers alone were nearly four times that.
KEPT = 20 * 1024 * 1024


@pytest.fixture(scope="module", params=["applications:io", "applications:starlette_app"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(*duplexio_run(request.param, 0)) as process:
        yield f"127.0.0.1:{process.wait_listening()}"
        assert_quiet(process)


async def resident(websocket: RawWebSocket) -> int:
    await websocket.write(frame('421["memory"]'))
    size: int = json.loads((await websocket.expect("431"))[3:])[0]
    return size


async def echo(websocket: RawWebSocket, text: str) -> None:
    await websocket.write(frame(f'427["echo","{text}"]'))
    assert await websocket.expect("437") == f'437[["{text}"]]'


async def test_large_frames_are_not_kept_in_the_read_buffers(url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        websockets = [await stack.enter_async_context(session(url)) for _ in range(CONNECTIONS)]
        first = websockets[0]
        # The allocator's own peak is not what is measured: one message goes through before.
        await echo(first, "w" * LARGE)
        before = await resident(first)
        for websocket in websockets:
            await echo(websocket, "l" * LARGE)
        for _ in range(3):
            await asyncio.gather(*(echo(websocket, "small") for websocket in websockets))
        assert await resident(first) - before < KEPT
