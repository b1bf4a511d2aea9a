"""Polls that are lost with the workers that held them: how long their sessions wait for the next."""

from __future__ import annotations

import asyncio
import socket

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.workers.relay_message import Kind, pack_request, write_frames
from duplexio.workers.relay_server import ASK_AGAIN_SECONDS, AskedStream
from tests.engine.clock import run
from tests.engine.ends import engine, polling, request
from tests.engine.waiting import until


async def polled_and_lost(server: EngineServer, connection: Connection) -> None:
    """A poll by a worker that is gone then."""
    here, there = socket.socketpair()
    there.setblocking(False)
    with here:
        stream = AskedStream(server, b"", lambda stream: None)
        await server.loop.connect_accepted_socket(lambda: stream, there)
        asked = request(f"/socket.io/?EIO=4&transport=polling&sid={connection.id}")
        here.sendall(b"".join(write_frames(Kind.ASK, 1, pack_request(asked, b""))))
        await until(lambda: connection.transport.writable)
    await until(lambda: not connection.transport.writable)


def test_each_poll_that_is_lost_has_its_own_time() -> None:
    async def main() -> None:
        server = engine()
        connection, _ = polling(server)
        await polled_and_lost(server, connection)
        await asyncio.sleep(ASK_AGAIN_SECONDS - 1)
        await polled_and_lost(server, connection)
        await asyncio.sleep(ASK_AGAIN_SECONDS - 1)
        assert server.connections
        await asyncio.sleep(2)
        assert not server.connections

    run(main(), sockets=True)
