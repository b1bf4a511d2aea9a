"""The application that workers of these tests serve."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from duplexio import Server, Socket


def stand(seconds: float) -> None:
    time.sleep(seconds)


def make_server(**options: Any) -> Server:
    # What a test waits for is not to be waited for long.
    server = Server(**{"drain_seconds": 0.5, **options})

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> Any:
        return list(args)

    @server.on("pid")
    async def pid(socket: Socket) -> int:
        return os.getpid()

    @server.on("address")
    async def address(socket: Socket) -> list[Any]:
        return [socket.handshake.address, socket.handshake.secure]

    @server.on("shout")
    async def shout(socket: Socket, text: str, count: int) -> None:
        for _ in range(count):
            socket.emit("shouted", text)

    @server.on("shout at length")
    async def shout_at_length(socket: Socket, length: int) -> None:
        socket.emit("shouted", "x" * length)

    @server.on("hush")
    async def hush(socket: Socket, text: str) -> None:
        socket.compress(False).emit("hushed", text)

    @server.on("tell all")
    async def tell_all(socket: Socket, text: str) -> int:
        server.emit("told", text)
        return len(await server.fetch_sockets())

    @server.on("farewell")
    async def farewell(socket: Socket, count: int) -> None:
        for number in range(count):
            socket.emit("farewell", number)
            if number % 3:
                await asyncio.sleep(0)
        socket.disconnect(close=True)

    @server.on("disconnect")
    async def left(socket: Socket, reason: str) -> None:
        print("left:", reason, flush=True)

    @server.on("fork")
    async def fork(socket: Socket, seconds: float) -> None:
        # As a pool of processes does, whose processes stay where nobody ends them.
        if os.fork() == 0:
            stand(seconds)
            os._exit(0)

    @server.on("stand still")
    async def stand_still(socket: Socket, seconds: float) -> None:
        # The whole worker does, when it has answered.
        asyncio.get_running_loop().call_later(0.1, stand, seconds)

    @server.on("neighbours")
    async def neighbours(socket: Socket) -> int:
        return int(server.health()["bus"]["servers"])

    @server.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @server.on("tell")
    async def tell(socket: Socket, room: str, what: Any) -> None:
        server.to(room).emit("told", what)

    @server.on("tell everybody")
    async def tell_everybody(socket: Socket, what: Any) -> int:
        server.emit("told", what)
        return os.getpid()

    @server.on("fetch")
    async def fetch(socket: Socket, room: str) -> list[str]:
        return [found.id for found in await server.in_(room).fetch_sockets()]

    @server.on("ask")
    async def ask(socket: Socket, room: str) -> list[Any]:
        return await server.to(room).emit_with_ack("who")

    @server.on("counts")
    async def counts(socket: Socket) -> dict[str, int]:
        return dict(server.counts.snapshot())

    return server


io = make_server()
#: What old and odd clients need.
lenient = make_server(allow_eio3=True, jsonp=True, cors_allowed_origins=["http://page.test"], debug=True)
#: Behind a framework, where requests go through the application.
mounted = Starlette(routes=[Mount("/socket.io", app=make_server())])
#: The same, with a page of another origin that the framework lets in.
admitting = Starlette(
    routes=[Mount("/socket.io", app=make_server())],
    middleware=[Middleware(CORSMiddleware, allow_origins=["http://page.test"])],
)


class Adding:
    """Has a say in the answers to handshakes of WebSockets."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "websocket.accept":
                message = {**message, "headers": [*message["headers"], (b"x-added", b"around")]}
                if scope["subprotocols"]:
                    message["subprotocol"] = scope["subprotocols"][-1]
                if b"&refuse" in scope["query_string"]:
                    message = {"type": "websocket.close", "code": 1000}
            await send(message)

        await self.app(scope, receive, sending)


#: Behind a framework whose middleware changes answers to handshakes.
surrounded = Starlette(routes=[Mount("/socket.io", app=make_server())], middleware=[Middleware(Adding)])
small = make_server(max_http_buffer_size=10_000)
impatient = make_server(ping_interval=0.5, ping_timeout=0.5)
unhelpful = make_server(max_relayed_requests=20)
hasty = make_server(upgrade_timeout=0.5)
recovering = make_server(connection_state_recovery=True)
copying = make_server(connection_state_recovery=True, recovery_copies=1)


class Denying:
    """Closes WebSockets with a code, which browsers tell their pages, as no status is."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "websocket.accept":
                raise PermissionError
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except PermissionError:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4001})


#: Behind a framework whose middleware lets no WebSocket in.
denying = Denying(Starlette(routes=[Mount("/socket.io", app=make_server())]))

#: Whose listener of headers is at fault, where it is asked to.
faulty = make_server()


@faulty.engine.on("headers")
def add_number(headers: dict[str, Any], request: Any) -> None:
    if "number" in request.query:
        headers["x-number"] = 1


#: Beside other requests.
resting = make_server().wrap(Starlette(routes=[Route("/rest", lambda request: PlainTextResponse("at rest"))]))
