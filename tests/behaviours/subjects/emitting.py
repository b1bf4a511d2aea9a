"""Emitting: bursts, volatile, refused names and values, from threads, and waiting for the receiver."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import duplexio
from duplexio import EncodeError, ReservedEvent, Socket

from .stage import Stage

RESERVED = ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")


def prepare(stage: Stage) -> None:
    emitting = stage.of("/emitting")

    @emitting.on("burst")
    async def burst(socket: Socket, count: int) -> None:
        for index in range(count):
            socket.emit("item", index)

    @emitting.on("item")
    async def item(socket: Socket, index: int) -> None:
        socket.data.setdefault("items", []).append(index)

    @emitting.on("items")
    async def items(socket: Socket) -> Any:
        return socket.data["items"]

    @emitting.on("echo item")
    async def echo_item(socket: Socket, index: int) -> None:
        socket.emit("item", index)

    @emitting.on("before and after")
    async def before_and_after(socket: Socket) -> str:
        socket.emit("item", "before")
        await asyncio.sleep(0.02)
        socket.emit("item", "after")
        return "answer"

    @emitting.on("volatile ticks")
    async def volatile_ticks(socket: Socket, count: int) -> None:
        for index in range(count):
            await asyncio.sleep(0.03)
            socket.volatile.emit("tick", index)
        socket.emit("last tick")

    @emitting.on("volatile flood")
    async def volatile_flood(socket: Socket, count: int) -> None:
        incompressible = os.urandom(128_000)
        for index in range(count):
            socket.volatile.emit("flood", index, incompressible)
            await asyncio.sleep(0.001)
        stage.note(f"flooded {socket.id}")

    @emitting.on("volatile to a room")
    async def volatile_to_a_room(socket: Socket, count: int) -> None:
        socket.join(f"volatile {socket.id}")
        for index in range(count):
            await asyncio.sleep(0.03)
            emitting.to(f"volatile {socket.id}").volatile.emit("tick", index)
        socket.emit("last tick")

    @emitting.on("flags")
    async def flags(socket: Socket) -> None:
        quiet = socket.compress(False)
        quiet.emit("item", "uncompressed")
        quiet.emit("item", "again")
        socket.compress(True).emit("item", "compressed")
        socket.local.emit("for others", socket.id)

    @emitting.on("reserved")
    async def reserved(socket: Socket) -> list[str]:
        refused = []
        for name in RESERVED:
            for target in (socket, socket.broadcast, emitting, emitting.to("room")):
                try:
                    target.emit(name, 1)
                except ReservedEvent:
                    refused.append(name)
        return refused

    @emitting.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["connections"] = socket.data.get("connections", 0) + 1

    @emitting.on("connections")
    async def connections(socket: Socket) -> Any:
        return socket.data["connections"]

    @emitting.on("unencodable")
    async def unencodable(socket: Socket) -> str:
        try:
            socket.emit("item", object())
        except EncodeError as error:
            return type(error).__name__
        return "no error"

    @emitting.on("returns the unencodable")
    async def returns_the_unencodable(socket: Socket) -> Any:
        return object()

    @emitting.on("from a thread")
    async def from_a_thread(socket: Socket, count: int) -> None:
        def work() -> None:
            socket.join(f"thread {socket.id}")
            for index in range(count):
                socket.emit("item", index)
            emitting.to(f"thread {socket.id}").emit("item", "room")
            socket.emit("end")

        threading.Thread(target=work).start()

    @emitting.on("asked from a thread")
    def asked_from_a_thread(socket: Socket, question: str) -> Any:
        return duplexio.from_thread(socket.emit_with_ack("question", question))

    @emitting.on("drain")
    async def drain(socket: Socket, count: int) -> str:
        for index in range(count):
            socket.emit("item", index, "x" * 10_000)
            await socket.drain()
        return "drained"

    @emitting.on("dropped after disconnect")
    async def dropped_after_disconnect(socket: Socket) -> None:
        await socket.wait_disconnected()
        socket.emit("item", "nobody is there")
        socket.to("room").emit("item", "nobody is there")
        socket.join("room")
        socket.disconnect()
        stage.note(f"still running {socket.id}", [socket.connected, sorted(socket.rooms)])

    @emitting.on("small ones in one turn")
    async def small_ones_in_one_turn(socket: Socket, count: int) -> None:
        await asyncio.sleep(0)
        for index in range(count):
            socket.emit("item", index, "0123456789")
