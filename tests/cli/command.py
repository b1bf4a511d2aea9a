"""The command as a process: run to its end, or followed; and the server that it talks to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from duplexio import ConnectRefused, Server, Socket

#: Every wait ends by then; two cores may be busy with other tests.
SECONDS = 30.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}


def make_server(**options: Any) -> Server:
    io = Server(**options)

    @io.on("connect")
    async def connect(socket: Socket) -> None:
        socket.emit("welcome", {"name": "Zoë"}, bytes(range(12)))

    @io.on("add")
    async def add(socket: Socket, a: int, b: int) -> int:
        return a + b

    @io.on("both")
    async def both(socket: Socket) -> tuple[int, bytes]:
        return 1, b"\x00\x01"

    @io.on("nothing")
    async def nothing(socket: Socket) -> None: ...

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> None:
        socket.emit("echoed", *args)

    @io.on("never")
    async def never(socket: Socket) -> None:
        await asyncio.sleep(SECONDS)

    @io.on("kick")
    async def kick(socket: Socket) -> None:
        socket.disconnect()

    @io.on("told")
    async def told(socket: Socket) -> dict[str, Any]:
        handshake = socket.handshake
        return {
            "auth": handshake.auth,
            "header": handshake.headers.get("x-who"),
            "query": handshake.query.get("room"),
            "transport": socket.conn.transport.name,
        }

    @io.of("/admin").use
    async def admin(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "abc":
            raise ConnectRefused("who are you?", {"retry": False})

    return io


@contextlib.asynccontextmanager
async def serving(port: int = 0, io: Server | None = None, **uvicorn_options: Any) -> AsyncIterator[str]:
    """Our server's URL."""
    async with await (io or make_server()).listen("127.0.0.1", port, **uvicorn_options) as listening:
        yield listening.url


class Ended(NamedTuple):
    code: int
    out: str
    err: str


async def start(
    *arguments: str, stdin: int = asyncio.subprocess.DEVNULL, **variables: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "duplexio",
        "client",
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**ENVIRONMENT, **variables},
    )


async def client(*arguments: str, stdin: str | None = None, **variables: str) -> Ended:
    """The command, to its end; with `stdin`, these lines are its commands."""
    process = await start(
        *arguments, stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE, **variables
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Ended(process.returncode, out.decode(), err.decode())
