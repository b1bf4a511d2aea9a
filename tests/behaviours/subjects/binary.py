"""Bytes anywhere in the arguments, in both directions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from duplexio import Socket

from .stage import Stage


@dataclass
class Picture:
    name: str
    pixels: bytes


def prepare(stage: Stage) -> None:
    binary = stage.of("/binary")

    @binary.on("repr")
    async def show(socket: Socket, *args: Any) -> str:
        return repr(list(args))

    @binary.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @binary.on("every kind")
    async def every_kind(socket: Socket) -> None:
        socket.emit("kinds", b"\x00\x01\xff", bytearray(b"array"), memoryview(b"__view__")[2:6])

    @binary.on("nested")
    async def nested(socket: Socket) -> dict[str, Any]:
        return {"a": b"1", "list": [b"2", "text", {"deep": b"3"}], "tuple": (b"4",), "none": None}

    @binary.on("same twice")
    async def same_twice(socket: Socket) -> tuple[bytes, list[bytes]]:
        data = b"twice"
        return data, [data, data]

    @binary.on("dataclass")
    async def dataclass_(socket: Socket) -> Picture:
        return Picture("logo", b"\x89PNG")

    @binary.on("digest")
    async def digest(socket: Socket, data: bytes) -> tuple[int, str, bytes]:
        return len(data), hashlib.sha256(data).hexdigest(), data[::-1]

    @binary.on("mixed")
    async def mixed(socket: Socket, count: int) -> None:
        for index in range(count):
            if index % 3 == 1:
                socket.emit("item", index, bytes([index]))
            else:
                socket.emit("item", index, str(index))

    @binary.on("item")
    async def item(socket: Socket, index: int, value: bytes | str) -> None:
        socket.data.setdefault("items", []).append([index, repr(value)])

    @binary.on("items")
    async def items(socket: Socket) -> Any:
        return socket.data["items"]

    @binary.on("ask")
    async def ask(socket: Socket) -> str:
        return repr(await socket.emit_with_ack("question", b"?"))

    @binary.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @binary.on("to room")
    async def to_room(socket: Socket, room: str, *args: Any) -> None:
        stage.main.of("/binary").to(room).emit("to room", *args)

    @binary.on("connection")
    async def connected(socket: Socket) -> None:
        def any_event(event: str, *args: Any) -> None:
            if event == "seen by any":
                stage.note("bytes seen by any", repr(args))

        socket.on_any(any_event)

    @binary.on("disconnect")
    async def disconnected(socket: Socket, reason: str) -> None:
        stage.note(f"binary left {socket.id}", reason)
