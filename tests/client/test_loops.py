"""Programs that end with their event loop, and leave a client as it is."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

import duplexio

from .peers import DUPLEXIO, PeerPool

TRANSPORTS: list[list[Literal["polling", "websocket"]]] = [["polling"], ["websocket"], ["polling", "websocket"]]


@pytest.mark.parametrize("transports", TRANSPORTS, ids=["polling", "websocket", "upgrade"])
def test_a_program_that_just_ends(pool: PeerPool, transports: list[Literal["polling", "websocket"]]) -> None:
    url = pool.get(DUPLEXIO).url

    async def main() -> duplexio.ClientSocket:
        socket = duplexio.connect(url, transports=transports, force_new=True)
        await socket.connect()
        if len(transports) > 1:
            await socket.emit_with_ack("upgraded")
        return socket

    for _ in range(2):
        socket = asyncio.run(asyncio.wait_for(main(), 10))
        assert not socket.connected


async def test_who_leaves_does_not_make_the_others_deaf(pool: PeerPool) -> None:
    """Though the connection was not read, since its handlers were too many."""
    manager = duplexio.Manager(pool.get(DUPLEXIO).url, max_handlers_in_flight=2, transports=["websocket"])
    one, two = manager.socket("/"), manager.socket("/other")
    entered = asyncio.Event()

    async def slow(*_: object) -> None:
        entered.set()
        await asyncio.sleep(3600)

    one.on("item", slow)
    async with asyncio.timeout(20), manager, two:
        await one.connect()
        one.emit("burst", 50)
        await entered.wait()
        one.disconnect()
        assert await two.emit_with_ack("echo", 1) == 1
        for task in list(manager.context.running):
            task.cancel()


async def test_what_was_given_up_is_not_sent_later(pool: PeerPool) -> None:
    socket = duplexio.connect(pool.get(DUPLEXIO).url, force_new=True)
    came: list[object] = []
    socket.on("response", came.append, inline=True)
    with pytest.raises(duplexio.AckTimeout):
        await socket.emit_with_ack("request", "late", timeout=0.05)
    async with asyncio.timeout(10), socket:
        assert await socket.emit_with_ack("echo", 1) == 1
    assert came == []
