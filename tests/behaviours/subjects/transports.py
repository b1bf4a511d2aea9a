"""Transports: upgrades, heartbeats, limits, and what a server may be told not to offer."""

from __future__ import annotations

from typing import Any

from duplexio import Socket
from duplexio.options import ServerOptions

from .stage import Stage


def servers() -> dict[str, ServerOptions]:
    return {
        "heartbeat": ServerOptions(ping_interval=0.3, ping_timeout=1.0),
        "no_upgrades": ServerOptions(allow_upgrades=False),
        "polling_only": ServerOptions(transports=("polling",)),
        "websocket_only": ServerOptions(transports=("websocket",)),
        "small": ServerOptions(max_http_buffer_size=10_000),
    }


def prepare(stage: Stage) -> None:
    transports = stage.of("/transports")

    @transports.on("connection")
    async def connection(socket: Socket) -> None:
        names = [socket.conn.transport.name]

        def upgraded(transport: Any) -> None:
            names.append(transport.name)

        socket.conn.on("upgrade", upgraded)
        socket.data["names"] = names

    @transports.on("names")
    async def names(socket: Socket) -> tuple[list[str], str]:
        return socket.data["names"], socket.conn.transport.name

    burst = stage.of("/transports-burst")

    @burst.on("connection")
    async def burst_connection(socket: Socket) -> None:
        socket.data["items"] = []
        for index in range(200):
            socket.emit("item", index)

    @burst.on("item")
    async def item(socket: Socket, index: int) -> None:
        socket.data["items"].append(index)

    @burst.on("items")
    async def items(socket: Socket) -> Any:
        return socket.data["items"]

    @burst.on("echo")
    async def echo(socket: Socket, index: int) -> int:
        socket.emit("echoed", index)
        return index

    @stage.task("polls that another worker answered")
    async def relayed() -> int:
        return stage.main.counts.snapshot().get("relayed_requests", 0)

    @stage.task("upgrades that went to another worker")
    async def moved() -> int:
        counts = stage.main.counts.snapshot()
        return counts.get("passed_websockets", 0) + counts.get("relayed_websockets", 0)

    for server in ("heartbeat", "no_upgrades", "polling_only", "websocket_only", "small"):
        namespace = stage.of("/", server)

        @namespace.on("name")
        async def name(socket: Socket) -> str:
            return socket.conn.transport.name

        @namespace.on("size")
        async def size(socket: Socket, data: Any) -> int:
            return len(data)

        @namespace.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            stage.note(f"transport left {socket.id}", reason)
