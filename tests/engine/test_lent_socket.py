"""A connection that ends while a loop takes it from its socket object."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
from typing import Any, cast

import pytest
import uvloop

from duplexio.engine.http_client import HttpClient, HttpFailure, HttpOptions
from duplexio.engine.lent_socket import LentSocket

from .descriptors import taken_again
from .loops import LOOPS


class Hasty(asyncio.Protocol):
    """Writes at once, as a client does."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"GET / HTTP/1.1\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
        return here, there


@pytest.mark.parametrize("loop", LOOPS)
def test_whoever_has_its_number_next_keeps_it(loop: str) -> None:
    async def main() -> None:
        connection, there = connected()
        # Reset, and not only ended: the first write fails.
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()
        descriptor = connection.fileno()
        lent = LentSocket(connection)
        protocol = Hasty()
        try:
            await asyncio.get_running_loop().create_connection(lambda: protocol, sock=connection)
        except OSError:
            # asyncio's loop may say so here.
            pass
        else:
            await asyncio.wait_for(protocol.lost, 10)
        await asyncio.sleep(0.01)
        # Sockets, since these could be shut down.
        pairs = [socket.socketpair()]
        while max(end.fileno() for end in pairs[-1]) < descriptor:
            pairs.append(socket.socketpair())
        ends = {end.fileno(): (end, other) for a, b in pairs for end, other in ((a, b), (b, a))}
        assert descriptor in ends
        lent.end()
        del lent, connection
        gc.collect()
        mine, other = ends[descriptor]
        os.fstat(descriptor)
        mine.send(b"still there")
        assert other.recv(20) == b"still there"
        for end, _ in ends.values():
            end.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_that_lives_is_ended(loop: str) -> None:
    async def main() -> None:
        connection, there = connected()
        lent = LentSocket(connection)
        protocol = Hasty()
        await asyncio.get_running_loop().create_connection(lambda: protocol, sock=connection)
        lent.end()
        await asyncio.wait_for(protocol.lost, 10)
        with there:
            assert there.recv(100) == b"GET / HTTP/1.1\r\n\r\n"
            assert there.recv(100) == b""

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("base", [asyncio.SelectorEventLoop, uvloop.Loop])
def test_of_a_request_under_tls(base: Any) -> None:
    """Which begins with a write of the loop's own."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    dialled: list[int] = []

    class Loop(base):  # type: ignore[misc]
        async def sock_connect(self, sock: socket.socket, address: Any) -> None:
            await super().sock_connect(sock, address)
            dialled.append(sock.fileno())
            # With a connection that was not accepted: it is reset.
            listener.close()

    async def main() -> None:
        client = HttpClient(HttpOptions({}, None, None, None, 10, 1000, None))
        with pytest.raises(HttpFailure) as failed:
            await client.get(f"https://127.0.0.1:{port}/")
        await client.close()
        await asyncio.sleep(0.01)
        with taken_again(dialled[0]):
            # Whose traceback has the socket object.
            del failed

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
