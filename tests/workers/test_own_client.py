"""This library's own client, before several workers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import duplexio
from duplexio import Manager
from duplexio.client_options import ClientOptions
from tests.hosting.processes import assert_quiet, duplexio_run, plain_uvicorn, running

from .pairs import HERE
from .test_supervisor import wait_all

COMMANDS = {
    "duplexio": duplexio_run("applications:io", 0, "--workers", "3"),
    "uvicorn": plain_uvicorn("applications:io", 0, "--workers", "3"),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_what_is_for_all_reaches_all(name: str) -> None:
    """The workers are a cluster by themselves."""
    with running(*COMMANDS[name], folder=HERE) as process:
        port = await asyncio.to_thread(process.wait_listening)
        await asyncio.to_thread(process.wait_for, "(?s)(Application startup complete.*){3}")
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
            sockets: list[duplexio.ClientSocket] = []
            told: list[list[str]] = []
            pids: set[int] = set()
            # Of those who come one after the other, no worker takes all.
            while len(pids) < 2 or len(sockets) < 8:
                socket = Manager(f"http://127.0.0.1:{port}", reconnection=False).socket()
                told.append([])
                socket.on("told", told[-1].append)
                sockets.append(await stack.enter_async_context(socket))
                pids.add(await socket.emit_with_ack("pid"))
            # A worker that has just started may be one moment without the others.
            while await sockets[0].emit_with_ack("tell all", "early") < len(sockets):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for number, socket in enumerate(sockets):
                assert await socket.emit_with_ack("tell all", f"{number}") == len(sockets)
            sent = sorted(map(str, range(len(sockets))))
            for texts in told:
                while len([text for text in texts if text != "early"]) < len(sent):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                assert sorted(text for text in texts if text != "early") == sent
        assert_quiet(process)


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"], ["websocket"]], ids="-".join)
async def test_many_clients(transports: list[duplexio.types.TransportName]) -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "3"), folder=HERE) as process:
        port = await asyncio.to_thread(process.wait_listening)
        await asyncio.to_thread(wait_all, process, 3, port)

        async def one(number: int) -> int:
            options: ClientOptions = {"transports": transports, "reconnection": False}
            socket = Manager(f"http://127.0.0.1:{port}", **options).socket()
            async with socket:
                for length in 1, 1000, 100_000:
                    text = f"{number} " * length
                    assert await socket.emit_with_ack("echo", text[:length]) == [text[:length]]
                socket.emit("shout", "x", 5)
                for _ in range(5):
                    assert await socket.receive("shouted") == "x"
                return int(await socket.emit_with_ack("pid"))

        pids: set[int] = set()
        async with asyncio.timeout(60):
            # Of many that knock in one moment, one worker may take all.
            while len(pids) < 2:
                pids.update(await asyncio.gather(*map(one, range(8))))
        assert_quiet(process)
