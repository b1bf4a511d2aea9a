"""A worker of a cluster as a process of its own: `python -m tests.adapters.worker DIRECTORY [OPTIONS as JSON]`.

It prints its port when it listens, and ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from duplexio import Server, Socket
from duplexio.adapters.unix import UnixBus


def server(directory: str, options: dict[str, Any]) -> Server:
    io = Server(adapter=UnixBus(directory), drain_seconds=0.0, handle_signals=False, **options)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @io.on("tell")
    async def tell(socket: Socket, room: str, *args: Any) -> None:
        io.to(room).emit("told", *args)

    @io.on("ask")
    async def ask(socket: Socket, timeout: float) -> list[Any]:
        answers: list[Any] = await io.emit_with_ack("question", timeout=timeout)
        return answers

    @io.on("pids")
    async def pids(socket: Socket) -> list[int]:
        answers: list[int] = await io.server_side_emit_with_ack("pid", timeout=30)
        return answers

    @io.on("ids")
    async def ids(socket: Socket) -> list[str]:
        return [remote.id for remote in await io.fetch_sockets()]

    @io.on("health")
    async def health(socket: Socket) -> dict[str, Any]:
        return io.health()

    @io.on("counts")
    async def counts(socket: Socket) -> dict[str, int]:
        return dict(io.counts.snapshot())

    io.on_server("pid", os.getpid)
    return io


async def main(directory: str, options: dict[str, Any]) -> None:
    async with await server(directory, options).listen(log_level="warning", lifespan="on") as listening:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        print(listening.port, flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
