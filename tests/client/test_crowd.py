"""Fifty clients of four namespaces each in one process: nothing of them is left when they have gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import weakref
from typing import Literal

import duplexio

from .peers import DUPLEXIO, NODE4, PeerPool

#: A minute, by hand: DUPLEXIO_CROWD_SECONDS=60.
SECONDS = float(os.environ.get("DUPLEXIO_CROWD_SECONDS", "6"))
CLIENTS = 50
NAMESPACES = ("/", "/other", "/dyn-1", "/dyn-2")
TRANSPORTS: tuple[list[Literal["polling", "websocket"]], ...] = (["polling"], ["websocket"], ["polling", "websocket"])


async def use(socket: duplexio.ClientSocket, rnd: random.Random, until: float) -> int:
    """Mixed traffic over one socket; returns how much of it there was."""
    loop = asyncio.get_running_loop()
    count = 0
    answered: list[object] = []

    @socket.on("question")
    async def question(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    while loop.time() < until:
        match rnd.randrange(7):
            case 0:
                assert await socket.emit_with_ack("echo", count, b"x" * rnd.randrange(500)) is not None
            case 1:
                assert await socket.emit_with_ack("ask", "question", count) == [count + 1]
            case 2:
                socket.emit("request", {"count": count})
                # Lost where another namespace's drop came in between.
                with contextlib.suppress(TimeoutError):
                    assert await socket.receive("response", timeout=0.5) is not None
            case 3:
                socket.volatile.emit("request", "volatile")
            case 4:
                socket.emit("echo", count, ack=answered.append)
            case 5:
                socket.emit("drop")
                await asyncio.sleep(rnd.random() / 50)
                await socket.wait_connected(30)
            case 6:
                socket.disconnect()
                await socket.connect()
        count += 1
        await asyncio.sleep(rnd.random() / 20)
    return count


async def client(url: str, number: int, gone: list[weakref.ref[object]]) -> int:
    rnd = random.Random(number)
    manager = duplexio.Manager(
        url, transports=TRANSPORTS[number % 3], reconnection_delay=0.01, reconnection_delay_max=0.1, retry=True
    )
    until = asyncio.get_running_loop().time() + SECONDS
    total = 0

    async def keep_on(nsp: str) -> None:
        nonlocal total
        socket = manager.socket(nsp)
        gone.append(weakref.ref(socket))
        async with socket:
            while asyncio.get_running_loop().time() < until:
                try:
                    total += await use(socket, rnd, until)
                except (duplexio.Disconnected, duplexio.ConnectError):
                    # By a drop of another namespace's: the connection is the same.
                    if not socket.active:
                        await socket.connect()

    async with manager, asyncio.TaskGroup() as group:
        for nsp in NAMESPACES:
            group.create_task(keep_on(nsp))
    gone.append(weakref.ref(manager))
    return total


async def test_a_crowd_comes_and_goes(pool: PeerPool) -> None:
    gone: list[weakref.ref[object]] = []
    urls = [pool.get(DUPLEXIO).url, pool.get(NODE4).url]
    counts = await asyncio.gather(*(client(urls[number % 2], number, gone) for number in range(CLIENTS)))
    assert min(counts) > 0
    for _ in range(20):
        await asyncio.sleep(0.05)
        gc.collect()
        if len(asyncio.all_tasks()) == 1 and not any(ref() for ref in gone):
            break
    assert asyncio.all_tasks() == {asyncio.current_task()}
    left = [found for found in (ref() for ref in gone) if found is not None]
    assert not left, [(found, gc.get_referrers(found)[:3]) for found in left[:2]]
    assert len(gone) == CLIENTS * (len(NAMESPACES) + 1)
