"""duplexio as users run it: `duplexio run benchmarks.servers.programs.ours:io`, with its options as they come.

The environment says what differs: BENCHMARK_SETTING changes one option or one thing that sockets do, and
BENCHMARK_HANDLERS=inline registers handlers that only compute and emit as `inline`, as the documentation advises.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from duplexio import Server, Socket
from duplexio.observe import Counts
from duplexio.options import ServerOptions

SETTING = os.environ.get("BENCHMARK_SETTING", "plain")
OPTIONS: dict[str, ServerOptions] = {
    "heartbeat": {"ping_interval": 1.0},
    "msgpack": {"parser": "msgpack"},
    "deflate": {"per_message_deflate": True},
}

io = Server(**OPTIONS.get(SETTING, {}))
namespaces = [io.of(f"/n{number}") for number in range(10)] if SETTING == "namespaces" else [io.of("/")]


def echo(socket: Socket, data: Any) -> None:
    socket.emit("echo", data)


def ack(socket: Socket, data: Any) -> Any:
    return data


def broadcast(socket: Socket, data: Any) -> None:
    io.emit("news", data)


def room(socket: Socket, name: str, data: Any) -> None:
    io.to(name).emit("news", data)


def except_(socket: Socket, name: str, data: Any) -> None:
    io.to(name).except_("half").emit("news", data)


async def echo_async(socket: Socket, data: Any) -> None:
    socket.emit("echo", data)


async def ack_async(socket: Socket, data: Any) -> Any:
    return data


async def broadcast_async(socket: Socket, data: Any) -> None:
    io.emit("news", data)


async def room_async(socket: Socket, name: str, data: Any) -> None:
    io.to(name).emit("news", data)


async def except_async(socket: Socket, name: str, data: Any) -> None:
    io.to(name).except_("half").emit("news", data)


ASYNC: dict[str, Callable[..., Any]] = {
    "echo": echo_async,
    "ack": ack_async,
    "broadcast": broadcast_async,
    "room": room_async,
    "except": except_async,
}
PLAIN: dict[str, Callable[..., Any]] = {
    "echo": echo,
    "ack": ack,
    "broadcast": broadcast,
    "room": room,
    "except": except_,
}
for namespace in namespaces:
    if os.environ.get("BENCHMARK_HANDLERS") == "inline":
        for event, handler in PLAIN.items():
            namespace.on(event, handler, inline=True)
    else:
        for event, handler in ASYNC.items():
            namespace.on(event, handler)

if SETTING == "rooms":
    connected = 0

    @io.on("connection")
    async def join(socket: Socket) -> None:
        global connected
        number, connected = connected, connected + 1
        socket.join(f"r{number % 1000}")
        if number // 1000 % 2:
            socket.join("half")


@io.on("counts")
async def counts(socket: Socket) -> dict[str, int]:
    """What has been counted so far."""
    assert isinstance(io.counts, Counts)
    return dict(io.counts.snapshot())
