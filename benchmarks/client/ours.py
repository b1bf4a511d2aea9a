"""duplexio's client, measured: `python -m benchmarks.client.ours PLAN [asyncio|uvloop]`."""

from __future__ import annotations

import asyncio
import platform
import sys
from importlib.metadata import version
from typing import Any

import uvloop

import duplexio
from benchmarks.client.meter import Meter, plan, report


async def echo(socket: duplexio.ClientSocket, meter: Meter, window: int, payload: Any) -> None:
    done = asyncio.Event()

    @socket.on("echo", inline=True)
    def echoed(data: Any) -> None:
        if meter.tick():
            done.set()
        else:
            socket.emit("echo", data)

    for _ in range(window):
        socket.emit("echo", payload)
    await done.wait()


async def ack(socket: duplexio.ClientSocket, meter: Meter, window: int, payload: Any) -> None:
    async def ask() -> None:
        while not meter.over:
            await socket.emit_with_ack("ack", payload)
            meter.tick()

    await asyncio.gather(*(ask() for _ in range(window)))


async def main() -> None:
    given, payload = plan()
    run = {"echo": echo, "ack": ack}[given["event"]]
    async with duplexio.connect(given["url"], transports=(given["transport"],)) as socket:
        meter = Meter(given)
        await run(socket, meter, given["window"], payload)
    versions = {name: version(name) for name in ("duplexio", "picows", "orjson", "uvloop", "aiohttp")}
    report(meter, {**versions, "Python": platform.python_version()})


if __name__ == "__main__":
    if sys.argv[2:] == ["uvloop"]:
        uvloop.run(main())
    else:
        asyncio.run(main())
