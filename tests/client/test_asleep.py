"""A machine that was asleep: the server has given up on the client, and no timer of it has run yet."""

from __future__ import annotations

import asyncio
import time

import duplexio

from .peers import Peer, PeerPool

PINGS = ("--ping-interval", "0.3", "--ping-timeout", "0.3")


def sleep() -> None:
    """Nothing of this program runs: as little as while its machine sleeps."""
    time.sleep(1.0)


async def test_what_is_emitted_first_waits_for_the_next_connection(pool: PeerPool, peer: Peer) -> None:
    server = pool.get(peer, *PINGS)
    reasons: list[str] = []
    async with duplexio.connect(server.url, eio=peer.eio, force_new=True, reconnection_delay=0.01) as socket:
        first = socket.id
        echoed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        socket.once("echo", echoed.set_result, inline=True)
        socket.on("disconnect", lambda reason, details: reasons.append(reason), inline=True)
        sleep()
        socket.emit("echo", "after the sleep")
        assert not socket.connected
        assert reasons == ["ping timeout"]
        async with asyncio.timeout(10):
            assert await echoed == "after the sleep"
        assert socket.id != first


async def test_so_does_its_acknowledgement(pool: PeerPool, peer: Peer) -> None:
    server = pool.get(peer, *PINGS)
    async with duplexio.connect(server.url, eio=peer.eio, force_new=True, reconnection_delay=0.01) as socket:
        sleep()
        assert await socket.emit_with_ack("echo", "after the sleep", timeout=10) == "after the sleep"
