"""Middlewares: of connections, and of packets."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from duplexio import ConnectRefused, EventError, Socket
from duplexio.options import ServerOptions

from .stage import Stage


def servers() -> dict[str, ServerOptions]:
    return {"hurried": ServerOptions(middleware_timeout=0.3)}


def prepare(stage: Stage) -> None:
    passing = stage.of("/middlewares-passing")

    @passing.use
    async def first(socket: Socket) -> None:
        socket.data["order"] = ["first", socket.connected, socket.handshake.auth.get("token")]
        await asyncio.sleep(0.01)
        socket.data["order"].append("first ended")

    @passing.use
    async def second(socket: Socket) -> None:
        socket.data["order"].append("second")

    @passing.on("connection")
    async def passing_connection(socket: Socket) -> None:
        socket.data["order"] += ["connection", socket.connected]

    @passing.on("order")
    async def order(socket: Socket) -> Any:
        return socket.data["order"]

    refusing = stage.of("/middlewares-refusing")

    @refusing.use
    async def refuse(socket: Socket) -> None:
        asked = socket.handshake.auth.get("ask")
        socket.join("hopeful")
        if asked == "data":
            raise ConnectRefused("not allowed", data={"code": 401, "details": ["why", None]})
        if asked == "message":
            raise ConnectRefused("only words")
        if asked == "exception":
            raise RuntimeError("a secret of the server")

    @refusing.use
    async def after_refusal(socket: Socket) -> None:
        stage.note("second middleware ran", socket.handshake.auth.get("ask"))

    @refusing.on("connection")
    async def refusing_connection(socket: Socket) -> None:
        stage.note("connected past the middleware", socket.handshake.auth.get("ask"))

    @refusing.on("disconnect")
    async def refusing_disconnect(socket: Socket, reason: str) -> None:
        stage.note("left behind the middleware", socket.handshake.auth.get("ask"))

    @refusing.on("members and everybody")
    async def members_and_everybody(socket: Socket) -> tuple[list[str], list[str]]:
        return sorted(refusing.rooms.get("hopeful", ())), sorted(refusing.sockets)

    early = stage.of("/middlewares-early")

    @early.use
    async def emit_early(socket: Socket) -> None:
        socket.emit("from the middleware", 1)
        await asyncio.sleep(0.02)
        socket.emit("from the middleware", 2)
        socket.join("early birds")

    @early.on("connection")
    async def early_connection(socket: Socket) -> None:
        early.to("early birds").emit("from the connection", socket.id)

    slow = stage.of("/middlewares-slow")
    told = asyncio.Event()

    @stage.task("let the slow middleware end")
    async def tell() -> None:
        told.set()

    @slow.use
    async def until_told(socket: Socket) -> None:
        stage.note("slow middleware began", socket.id)
        if socket.handshake.auth["name"] == "left early":
            await told.wait()

    @slow.on("connection")
    async def slow_connection(socket: Socket) -> None:
        stage.note("connected after a slow middleware", socket.handshake.auth["name"])

    hurried = stage.of("/", "hurried")

    @hurried.use
    async def too_slow(socket: Socket) -> None:
        if "slow" in socket.handshake.query:
            await asyncio.sleep(5)

    family = stage.of(re.compile("^/middlewares-family-"))

    @family.use
    async def of_the_parent(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "family":
            raise ConnectRefused(f"{socket.nsp.name} is for the family")

    in_thread = stage.of("/middlewares-thread")

    @in_thread.use
    def plain(socket: Socket) -> None:
        if socket.handshake.auth.get("refuse"):
            raise ConnectRefused("refused in a plain function")
        socket.data["plain"] = True

    @in_thread.on("plain")
    async def plain_ran(socket: Socket) -> Any:
        return socket.data["plain"]

    packets = stage.of("/middlewares-packets")

    @packets.on("connection")
    async def packet_middlewares(socket: Socket) -> None:
        seen: list[Any] = []

        @socket.use
        async def note(event: str, args: Any) -> None:
            seen.append([event, list(args)])

        @socket.use
        async def guard(event: str, args: Any) -> None:
            if event == "dropped":
                raise RuntimeError("dropped")
            if event == "refused":
                raise EventError("refused", list(args))
            if event == "slow":
                await asyncio.sleep(0.05)

        @socket.use
        async def last(event: str, args: Any) -> None:
            seen.append("passed")

        @socket.on("seen")
        async def give() -> list[Any]:
            return seen

    @packets.on("passed")
    async def passed(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @packets.on("dropped")
    async def dropped(socket: Socket) -> str:
        stage.note("dropped packet was handled")
        return "handled"

    @packets.on("refused")
    async def refused(socket: Socket) -> str:
        return "handled"

    @packets.on("slow")
    async def slow_packet(socket: Socket) -> None:
        socket.data["order"] = ["slow"]

    @packets.on("fast")
    async def fast_packet(socket: Socket) -> Any:
        socket.data.setdefault("order", []).append("fast")
        return socket.data["order"]
