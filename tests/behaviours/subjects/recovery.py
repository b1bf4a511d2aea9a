"""Connection state recovery: what a client finds again after its transport broke."""

from __future__ import annotations

import asyncio
from typing import Any

from duplexio import Socket
from duplexio.options import ServerOptions

from .stage import Stage


def servers() -> dict[str, ServerOptions]:
    return {
        "recovering": ServerOptions(connection_state_recovery=True),
        "forgetful": ServerOptions(connection_state_recovery={"max_disconnection_duration": 0.2}),
        "trusting": ServerOptions(connection_state_recovery={"skip_middlewares": True}),
    }


def prepare(stage: Stage) -> None:
    for server in ("recovering", "forgetful", "trusting"):
        for name in ("/", "/other"):
            _prepare(stage, server, name)


def _prepare(stage: Stage, server: str, name: str) -> None:
    namespace = stage.of(name, server)

    @namespace.use
    async def count(socket: Socket) -> None:
        stage.note(f"{server} middleware", socket.handshake.auth.get("name"))

    @namespace.on("connection")
    async def connection(socket: Socket) -> None:
        stage.note(f"connected as {socket.handshake.auth.get('name')}", [socket.id, socket.recovered])

    @namespace.on("remember")
    async def remember(socket: Socket, room: str, value: Any) -> None:
        socket.join(room)
        socket.data["value"] = value

    @namespace.on("state")
    async def state(socket: Socket) -> dict[str, Any]:
        return {
            "rooms": sorted(socket.rooms - {socket.id}),
            "data": socket.data,
            "recovered": socket.recovered,
            "connected": socket.connected,
        }

    @namespace.on("say")
    async def say(socket: Socket, *args: Any) -> None:
        socket.emit("said", *args)

    @namespace.on("whisper")
    async def whisper(socket: Socket, *args: Any) -> None:
        socket.volatile.emit("said", *args)

    @namespace.on("answer")
    async def answer(socket: Socket, value: Any) -> Any:
        return value

    @namespace.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        """Speak of what the client misses: to it, to its room, to everybody, and to rooms it is not in."""
        room = socket.data.get("value")
        if room is None:
            return
        namespace.to(socket.id).emit("missed", 1, "to the socket")
        namespace.to(f"not {room}").emit("missed", "wrong room")
        namespace.to(str(room)).emit("missed", 2, "to the room")
        namespace.to(str(room)).except_(socket.id).emit("missed", "except")
        namespace.to(str(room)).volatile.emit("missed", "volatile")
        namespace.to(str(room)).emit("missed", 3, {"bytes": b"\x01\x02"})
        await asyncio.sleep(0.01)
        namespace.to(str(room)).emit("missed", 4, "later")
        stage.note(f"spoken after {room}", reason)
