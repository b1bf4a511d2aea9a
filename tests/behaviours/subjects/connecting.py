"""Connecting: ids, what the handshake carries, who is turned away before there is a session."""

from __future__ import annotations

import asyncio
from typing import Any

from duplexio import Socket
from duplexio.options import ServerOptions

from .stage import Stage


def servers() -> dict[str, ServerOptions]:
    return {
        "guarded": ServerOptions(allow_request=lambda request: request.headers.get("x-key") == "sesame"),
        "cross_origin": ServerOptions(cors_allowed_origins=["https://app.example"], cors_credentials=True),
        "impatient": ServerOptions(connect_timeout=0.4),
        "with_cookie": ServerOptions(cookie="io"),
        "with_headers": ServerOptions(),
        "counted": ServerOptions(),
    }


def prepare(stage: Stage) -> None:
    for name in ("main", "guarded", "cross_origin", "impatient", "with_cookie", "with_headers", "counted"):
        stage.of("/", name)

    connecting = stage.of("/connecting")

    @connecting.on("connection")
    async def welcome(socket: Socket) -> None:
        socket.emit("welcome", socket.nsp.name, socket.id, socket.connected)

    @connecting.on("handshake")
    async def handshake(socket: Socket) -> dict[str, Any]:
        seen = socket.handshake
        return {
            "headers": dict(seen.headers),
            "time": seen.time,
            "address": seen.address,
            "xdomain": seen.xdomain,
            "secure": seen.secure,
            "issued": seen.issued,
            "url": seen.url,
            "query": dict(seen.query),
            "auth": seen.auth,
        }

    @connecting.on("auth")
    async def auth(socket: Socket) -> str:
        return repr(socket.handshake.auth)

    @connecting.on("ids")
    async def ids(socket: Socket) -> dict[str, Any]:
        return {"socket": socket.id, "conn": socket.conn.id, "protocol": socket.conn.protocol}

    @connecting.on("scope")
    async def scope(socket: Socket) -> dict[str, Any]:
        seen = socket.conn.scope
        return {"type": seen["type"], "session": seen.get("session"), "address": socket.conn.remote_address}

    early = stage.of("/connecting-early")

    @early.on("connection")
    async def greet(socket: Socket) -> None:
        socket.emit("first")
        await asyncio.sleep(0.05)
        socket.emit("third")

    @early.on("question")
    async def question(socket: Socket, text: str) -> str:
        socket.emit("second", text)
        return text.upper()

    suspended = stage.of("/connecting-suspended")

    @suspended.on("connection")
    async def wait_for_an_event(socket: Socket) -> None:
        socket.data["asked"] = asyncio.Event()
        socket.emit("begun")
        await socket.data["asked"].wait()
        socket.emit("ended")

    @suspended.on("ask")
    async def ask(socket: Socket) -> None:
        socket.emit("asked")
        socket.data["asked"].set()

    counted = stage.of("/connecting-counted")

    @counted.on("connection")
    async def count(socket: Socket) -> None:
        stage.note("connections", [socket.id, socket.handshake.auth])

    engine = stage.servers["with_headers"].engine

    engine.on("initial_headers", lambda headers, request: headers.update({"x-initial": "once"}))
    engine.on("headers", lambda headers, request: headers.update({"x-every": "time"}))

    def connection_error(error: dict[str, Any]) -> None:
        stage.note("connection_errors", [error["code"], error["message"]])

    stage.main.engine.on("connection_error", connection_error)

    @stage.task("clients_count")
    async def clients_count() -> int:
        return stage.servers["counted"].engine.clients_count
