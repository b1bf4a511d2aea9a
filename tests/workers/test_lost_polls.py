"""Polls that are lost with the workers that held them, and how long their sessions wait for the next; and answers that
must not be lost with the workers that gave them.
"""

from __future__ import annotations

import asyncio
import socket

import pytest

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.workers.relay_message import Frames, Kind, pack_request, unpack_answer, write_frames
from duplexio.workers.relay_server import ASK_AGAIN_SECONDS, AskedStream
from tests.engine.clock import run
from tests.engine.ends import engine, polling, request
from tests.engine.loops import LOOPS
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


@pytest.mark.parametrize("loop", LOOPS)
def test_the_last_answer_is_there_whatever_is_written_in_front_of_reading_it(loop: str) -> None:
    """A write to a connection that has been closed would fail, and with it all that was not read."""

    async def main() -> None:
        server = engine()
        connection, _ = polling(server)
        here, there = socket.socketpair()
        there.setblocking(False)
        ends: list[AskedStream] = []
        with here:
            stream = AskedStream(server, b"", ends.append)
            await server.loop.connect_accepted_socket(lambda: stream, there)
            asked = request(f"/socket.io/?EIO=4&transport=polling&sid={connection.id}")
            here.sendall(b"".join(write_frames(Kind.ASK, 1, pack_request(asked, b""))))
            await until(lambda: connection.transport.writable)
            connection.close("server shutting down")
            stream.finish()
            await asyncio.sleep(0.01)
            here.sendall(b"".join(write_frames(Kind.RELEASE, 1, b"")))
            # Too late: nobody answers it.
            here.sendall(b"".join(write_frames(Kind.ASK, 2, pack_request(asked, b""))))
            await asyncio.sleep(0.01)
            assert not ends
            [(kind, number, payload)] = Frames(1_000_000).feed(here.recv(1_000_000))
            assert (kind, number, unpack_answer(payload).body) == (Kind.ANSWER, 1, b"1")
            assert here.recv(1) == b""
        await until(lambda: ends)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
