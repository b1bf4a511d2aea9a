"""This library's own client, before several workers."""

from __future__ import annotations

import asyncio

import pytest

import duplexio
from duplexio import Manager
from duplexio.client_options import ClientOptions
from tests.hosting.processes import assert_quiet, duplexio_run, running

from .pairs import HERE
from .test_supervisor import wait_all


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
