"""python-socketio's client for asyncio, measured, in its virtualenv: `-m benchmarks.client.python_socketio PLAN`."""

from __future__ import annotations

import asyncio
import platform
from importlib.metadata import version
from typing import Any

import socketio

from benchmarks.client.meter import Meter, plan, report


async def echo(client: Any, meter: Meter, window: int, payload: Any) -> None:
    done = asyncio.Event()

    async def echoed(data: Any) -> None:
        if meter.tick():
            done.set()
        else:
            await client.emit("echo", data)

    client.on("echo", echoed)
    for _ in range(window):
        await client.emit("echo", payload)
    await done.wait()


async def ack(client: Any, meter: Meter, window: int, payload: Any) -> None:
    async def ask() -> None:
        while not meter.over:
            await client.call("ack", payload)
            meter.tick()

    await asyncio.gather(*(ask() for _ in range(window)))


async def main() -> None:
    given, payload = plan()
    run = {"echo": echo, "ack": ack}[given["event"]]
    client: Any = socketio.AsyncClient(reconnection=False)
    await client.connect(given["url"], transports=[given["transport"]])
    meter = Meter(given)
    await run(client, meter, given["window"], payload)
    await client.disconnect()
    versions = {name: version(name) for name in ("python-socketio", "python-engineio", "aiohttp")}
    report(meter, {**versions, "Python": platform.python_version()})


if __name__ == "__main__":
    asyncio.run(main())
