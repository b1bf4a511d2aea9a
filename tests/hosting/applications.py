"""The applications that server processes of these tests serve, one attribute for each way to host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from duplexio import Server, Socket

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def make_server(**options: Any) -> Server:
    server = Server(**options)

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> Any:
        return list(args)

    @server.on("memory")
    async def memory(socket: Socket) -> int:
        return _resident_bytes()

    @server.on("shout")
    async def shout(socket: Socket, text: str, count: int) -> None:
        for _ in range(count):
            socket.emit("shouted", text)

    return server


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


io = make_server()

wrapped_app = make_server().wrap(Starlette())

starlette_app = Starlette(routes=[Mount("/socket.io", app=make_server())])

_early = make_server()
starlette_app_with_lifespan = Starlette(routes=[Mount("/socket.io", app=_early)], lifespan=_early.lifespan)

fastapi_app = FastAPI()
fastapi_app.mount("/socket.io", make_server())

_early_too = make_server()
fastapi_app_with_lifespan = FastAPI(lifespan=_early_too.lifespan)
fastapi_app_with_lifespan.mount("/socket.io", _early_too)

#: Two servers in one application: each has its sessions to end.
two_servers_app = Starlette(routes=[Mount("/socket.io", app=make_server()), Mount("/other", app=make_server())])

#: It says in the log who has left, and why; who does not read has little that waits for him.
telling = make_server(max_outbox_bytes=200_000)


@telling.on("disconnect")
async def left(socket: Socket, reason: str) -> None:
    print("left:", reason, flush=True)


@telling.on("flood")
async def flood(socket: Socket, text: str, count: int, patient: bool) -> None:
    """As fast as it is read, or as the loop turns."""
    for _ in range(count):
        socket.emit("flooded", text)
        await (socket.drain() if patient else asyncio.sleep(0))


telling_app = Starlette(routes=[Mount("/socket.io", app=telling)])

_hidden = make_server()


async def function_app(scope: Scope, receive: Receive, send: Send) -> None:
    """A server that cannot be found from outside."""
    await _hidden(scope, receive, send)


def make_application() -> Server:
    """For `--factory`."""
    return make_server()


def make_nothing() -> None:
    """A factory that forgot its `return`."""


not_an_application = 42
