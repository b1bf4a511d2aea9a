"""The application that the matrix runs against: ``python -m behaviours.server``, a hosting of `HOSTINGS`, and a parser.

It prints one line of JSON and ends when its standard input does::

    {"control": url, "ports": {server: port}, "paths": {server: path}, "middleware": whether one is around it}
"""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Literal, NamedTuple

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import Mount

from duplexio import Server

from .board import Board
from .subjects import SUBJECTS, make_servers
from .subjects.stage import Stage

Message = MutableMapping[str, Any]

PARSERS: dict[str, Literal["json", "msgpack"]] = {"json": "json", "msgpack": "msgpack"}

_running: list[Any] = []  # kept from being collected


class Visit:
    """What a session middleware does: it adds to the scope, and a header to what is answered or accepted."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message["headers"] = [*message.get("headers", ()), (b"x-visit", b"yes")]
            await send(message)

        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            scope["session"] = {"visitor": "anna"}
            await self.app(scope, receive, send_marked)


async def host_fast(server: Server) -> int:
    """Our own protocol classes under uvicorn, ``server`` being the whole application."""
    listening = await server.listen("127.0.0.1", 0)
    _running.append(listening)
    port: int = listening.port
    return port


async def host_asgi(server: Server) -> int:
    """Any ASGI server's way: mounted in another application, behind a middleware, uvicorn's own classes."""
    app = Visit(Starlette(routes=[Mount("/socket.io", app=server)]))
    config = uvicorn.Config(app, http="httptools", ws="websockets", log_level="warning", access_log=False)
    listener = sockets.create_server(("127.0.0.1", 0))
    runner = uvicorn.Server(config)
    serving = asyncio.create_task(runner.serve([listener]))
    while not runner.started:
        assert not serving.done(), "uvicorn did not start"
        await asyncio.sleep(0.01)
    _running.append(serving)
    port: int = listener.getsockname()[1]
    return port


def set_up(servers: Mapping[str, Server]) -> Board:
    """The subjects on these servers, and the board of this process alone."""
    loop = asyncio.get_running_loop()

    def note(name: str, value: Any) -> None:
        loop.call_soon_threadsafe(board.note, name, value)

    stage = Stage(servers, note)
    board = Board(stage.perform)
    for prepare in SUBJECTS:
        prepare(stage)
    return board


class Hosting(NamedTuple):
    """How a server is hosted, and on which loop."""

    host: Callable[[Server], Awaitable[int]]
    new_event_loop: Callable[[], asyncio.AbstractEventLoop]


HOSTINGS = {
    "fast": Hosting(host_fast, uvloop.new_event_loop),
    "asyncio": Hosting(host_fast, asyncio.new_event_loop),
    "asgi": Hosting(host_asgi, asyncio.new_event_loop),
}


async def main(hosting: str, parser: Literal["json", "msgpack"]) -> None:
    host = HOSTINGS[hosting].host
    servers = make_servers(allow_eio3=True, parser=parser)
    board = set_up(servers)
    ports = {name: await host(server) for name, server in servers.items()}
    control = await board.serve()
    paths = dict.fromkeys(ports, "/socket.io")
    line = {"control": control, "ports": ports, "paths": paths, "middleware": hosting == "asgi"}
    print(json.dumps(line), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # the tests hold the other end: however they end, so does this process


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=HOSTINGS[sys.argv[1]].new_event_loop) as runner:
        runner.run(main(sys.argv[1], PARSERS[sys.argv[2]]))
