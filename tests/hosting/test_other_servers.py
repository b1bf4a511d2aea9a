"""Under ASGI servers that are not uvicorn: raw requests, and clients that go away or stop reading."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .clients import SECONDS, TRANSPORTS, connected, first_answer, websocket
from .crowd import crowd
from .processes import ServerProcess, assert_quiet, daphne, free_port, granian, hypercorn, running
from .test_asgi_servers import assert_binary

COMMANDS = {"hypercorn": hypercorn, "granian": granian, "daphne": daphne}
#: What was said to be over when it began takes no longer.
END_SECONDS = 10.0


@dataclass(frozen=True)
class Running:
    name: str
    process: ServerProcess
    url: str


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """One process of each, for the tests of this file."""
    name = request.param
    application = "applications:telling_app" if name == "daphne" else "applications:telling"
    with running(*COMMANDS[name](application, free_port())) as process:
        yield Running(name, process, f"127.0.0.1:{process.wait_listening()}")
        assert_quiet(process)


async def test_every_transport(server: Running) -> None:
    for transport in TRANSPORTS:
        async with connected(server.url, transport) as client:
            assert await client.ask("echo", "ä", 1.5, None) == ["ä", 1.5, None]
            assert await client.ask("echo", "x" * 200_000) == ["x" * 200_000]
    await assert_binary(server.url)


async def test_refusals(server: Running) -> None:
    """The protocol's answers; of a WebSocket those of a server that has no other than its own."""
    foreign = {"Origin": "http://elsewhere.example"}
    status, headers, body = await first_answer(server.url, "polling", headers=foreign)
    assert (status, json.loads(body)) == (403, {"code": 4, "message": "Forbidden"})
    assert headers["content-type"] == "application/json"
    assert (await first_answer(server.url, "polling", method="PUT"))[0] == 400
    status, _, body = await first_answer(server.url, "websocket", headers=foreign)
    assert (status, body) == ((403, "") if server.name == "daphne" else (400, "Forbidden"))
    assert (await first_answer(server.url, "polling", "/elsewhere/"))[0] == 404
    assert (await first_answer(server.url, "websocket", "/elsewhere/"))[0] in (403, 404)


async def test_a_client_that_goes_away_in_the_middle_of_its_poll(server: Running) -> None:
    async with connected(server.url, "polling") as client:
        target = f"/socket.io/?EIO=4&transport=polling&sid={client.sid}"
        before = len(server.process.log)
        host, port = server.url.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {server.url}\r\n\r\n".encode())
        await asyncio.sleep(0.2)  # it is waiting there
        writer.close()
        await asyncio.to_thread(server.process.wait_for, "left: transport error", SECONDS, before)


async def test_a_body_that_is_too_large(server: Running) -> None:
    """Refused by the length that it announces, where a server does not wait for all of it; the session lives."""
    async with connected(server.url, "polling") as client:
        target = f"/socket.io/?EIO=4&transport=polling&sid={client.sid}"
        host, port = server.url.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST {target} HTTP/1.1\r\nHost: {server.url}\r\nContent-Length: 1000001\r\n\r\n".encode())
        writer.write(b"4" * (1_000_001 if server.name == "daphne" else 1))
        async with asyncio.timeout(SECONDS):
            assert b" 413 " in await reader.readline()
        writer.close()
        assert await client.ask("echo", 1) == [1]


async def read_on(client: ClientConnection) -> None:
    while True:
        await client.recv()


# daphne takes whatever it is given, so there nothing is seen to wait.
@pytest.mark.parametrize("server", ["hypercorn", "granian"], indirect=True)
async def test_a_client_that_does_not_read(server: Running) -> None:
    """It is let go, and who reads gets all, as the sender waits for it."""
    before = len(server.process.log)
    async with websocket(server.url, "/socket.io/", {}) as reading, websocket(server.url, "/socket.io/", {}) as stuck:
        for client, patient in (reading, "true"), (stuck, "false"):
            await client.recv()
            await client.send("40")
            await client.recv()
            # Twelve megabytes are more than what both kernels take for somebody who never reads.
            await client.send(f'42["flood","{"x" * 30_000}",400,{patient}]')
        async with asyncio.timeout(30):
            messages = 0
            while messages < 400:
                messages += str(await reading.recv()).startswith('42["flooded"')
            await asyncio.to_thread(server.process.wait_for, "left: transport error", SECONDS, before)
            with pytest.raises(ConnectionClosed):
                await read_on(stuck)
    assert server.process.log[before:].count("left: transport error") == 1


@pytest.mark.parametrize("name", ["hypercorn", "granian"])
def test_sockets_see_why_the_server_closed(name: str) -> None:
    """The signal is heard before the server's own work at its end, and polls are told then.

    granian cuts WebSockets off that are still open; daphne ends everything at once.
    """
    with running(*COMMANDS[name]("applications:telling", free_port())) as process:
        url = f"http://127.0.0.1:{process.wait_listening()}"
        with crowd(url, polling=3, websocket=3) as clients:
            clients.wait_connected()
            clients.echo()
            time.sleep(0.3)  # polls are open again
            process.signal(signal.SIGTERM)
            process.wait(END_SECONDS)
            told = process.log.count("left: server shutting down")
            assert told == 6 if name == "hypercorn" else told >= 3, process.log
            assert_quiet(process)
