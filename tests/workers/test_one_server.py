"""Workers are one server: what one of them sends to many reaches the clients of all, with no bus given to them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

import duplexio
from duplexio.hub.client_socket import ClientSocket
from tests.hosting.processes import duplexio_run, free_port, running

from .pairs import HERE
from .test_servers import SERVERS as OTHERS
from .test_servers import wait_serving
from .test_supervisor import wait_all

WORKERS = 4
SECONDS = 30.0
#: Which worker gets a connection is the kernel's affair: that all of these get to one is not to be expected.
CLIENTS = 24
SERVERS = {
    "duplexio": lambda application, port: duplexio_run(application, port, "--workers", str(WORKERS)),
    **OTHERS,
}


@asynccontextmanager
async def connected(port: int, reconnection_delay: float = 0.05) -> AsyncIterator[list[ClientSocket]]:
    """Clients, half of them polling."""
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        sockets = [
            duplexio.connect(
                url,
                transports=["polling"] if number % 2 else ["websocket"],
                force_new=True,
                reconnection_delay=reconnection_delay,
            )
            for number in range(CLIENTS)
        ]
        for socket in sockets:
            stack.push_async_exit(socket)
        # At once: one after the other would all get to the worker that slept last.
        await asyncio.gather(*(socket.connect() for socket in sockets))
        await all_have_met(sockets)
        yield sockets


async def asked(sockets: list[ClientSocket], event: str, *args: Any) -> list[Any]:
    return await asyncio.gather(*(socket.emit_with_ack(event, *args, timeout=SECONDS) for socket in sockets))


async def all_have_met(sockets: list[ClientSocket]) -> None:
    """Until every worker that has one of these clients knows of all others."""
    async with asyncio.timeout(SECONDS):
        while any(number != WORKERS - 1 for number in await asked(sockets, "neighbours")):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def check(sockets: list[ClientSocket]) -> None:
    ids = [str(socket.id) for socket in sockets]
    assert len(set(await asked(sockets, "pid"))) > 1
    await asked(sockets, "join", "all")
    for teller in ids[:4]:
        sockets[ids.index(teller)].emit("tell", "all", teller)
        assert await asyncio.gather(*(socket.receive("told", SECONDS) for socket in sockets)) == [teller] * CLIENTS
    assert sorted(await sockets[0].emit_with_ack("fetch", "all", timeout=SECONDS)) == sorted(ids)
    for number, socket in enumerate(sockets):
        socket.on("who", lambda number=number: number, inline=True)
    answers = await sockets[-1].emit_with_ack("ask", "all", timeout=SECONDS)
    assert sorted(answers) == list(range(CLIENTS))
    # Behind everything that was told: none of it came twice.
    sockets[0].emit("tell", "all", "last")
    assert await asyncio.gather(*(socket.receive("told", SECONDS) for socket in sockets)) == ["last"] * CLIENTS


@pytest.mark.parametrize("server", SERVERS)
async def test_what_is_for_many_reaches_those_of_all_workers(server: str) -> None:
    with running(*SERVERS[server]("applications:io", free_port()), folder=HERE) as process:
        if server == "duplexio":
            port = await asyncio.to_thread(process.wait_listening)
            await asyncio.to_thread(wait_all, process, WORKERS, port)
        else:
            port = await asyncio.to_thread(wait_serving, process)
        async with connected(port) as sockets:
            await check(sockets)
        process.signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 20)
        assert "Traceback" not in process.log


@pytest.mark.parametrize("away", [0.05, 1.0])
async def test_a_session_goes_on_when_its_worker_is_replaced(away: float) -> None:
    """Each is let in with what it has missed, in whichever worker it comes back to.

    As long as a stock client waits, the one it comes back to may have started after that.
    """
    with running(*duplexio_run("applications:recovering", 0, "--workers", str(WORKERS)), folder=HERE) as process:
        port = await asyncio.to_thread(process.wait_listening)
        before = await asyncio.to_thread(wait_all, process, WORKERS, port)
        async with connected(port, away) as sockets:
            heard: dict[str, list[int]] = {str(socket.id): [] for socket in sockets}
            recovered: list[bool] = []
            for socket in sockets:
                socket.on("told", heard[str(socket.id)].append, inline=True)
                socket.on("connect", lambda socket=socket: recovered.append(socket.recovered), inline=True)
            await asked(sockets, "join", "all")
            ids = [socket.id for socket in sockets]
            process.signal(signal.SIGHUP)
            number = 0
            for pid in before:
                while f"worker {pid} has ended" not in process.log:
                    # By anybody who is connected; `tell` is answered when it was sent.
                    teller = next((socket for socket in sockets if socket.connected), None)
                    if teller is not None:
                        try:
                            await teller.emit_with_ack("tell", "all", number, timeout=SECONDS)
                        except duplexio.Disconnected:
                            # It may have been sent, or not: the next has another number.
                            pass
                        number += 1
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(wait_all, process, WORKERS, port)
            async with asyncio.timeout(SECONDS):
                while not all(socket.connected for socket in sockets):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await sockets[0].emit_with_ack("tell", "all", -1, timeout=SECONDS)
            async with asyncio.timeout(SECONDS):
                while any(-1 not in numbers for numbers in heard.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        assert recovered == [True] * len(recovered)
        assert len(recovered) >= CLIENTS
        assert [socket for socket in ids if socket not in heard] == []
        first, *others = heard.values()
        assert len(set(first)) == len(first) > WORKERS
        for other in others:
            assert other == first
