"""Leaving, and being shown out."""

from __future__ import annotations

import asyncio
from typing import Any

from duplexio import Namespace, Socket
from duplexio.options import ServerOptions

from .stage import Stage


def servers() -> dict[str, ServerOptions]:
    return {
        "cancelling": ServerOptions(cancel_on_disconnect=True),
        "closing": ServerOptions(drain_seconds=0.2),
    }


def prepare(stage: Stage) -> None:
    leaving = stage.of("/leaving")
    _take_leave(stage, leaving)
    _take_leave(stage, stage.of("/leaving-too"))
    _take_leave(stage, stage.of("/", "closing"))

    @leaving.on("show me out")
    async def show_me_out(socket: Socket, close: bool) -> None:
        socket.emit("last words")
        socket.disconnect(close)
        stage.note(f"shown out {socket.id}", socket.connected)

    @leaving.on("answer and show me out")
    async def answer_and_show_me_out(socket: Socket) -> str:
        asyncio.get_running_loop().call_soon(socket.disconnect)
        return "answer"

    @leaving.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @leaving.on("clear the room")
    async def clear_the_room(socket: Socket, room: str, close: bool) -> None:
        leaving.in_(room).disconnect_sockets(close)

    @leaving.on("show out")
    async def show_out(socket: Socket, id: str) -> None:
        (found,) = [each for each in await leaving.fetch_sockets() if each.id == id]
        found.disconnect()

    @leaving.on("who is here")
    async def who_is_here(socket: Socket) -> list[str]:
        everywhere = await leaving.fetch_sockets()
        return sorted({*leaving.sockets, *(each.id for each in everywhere)})

    unwelcome = stage.of("/leaving-at-once")

    @unwelcome.on("connection")
    async def turn_away(socket: Socket) -> None:
        socket.emit("sorry")
        socket.disconnect()

    banished = stage.of("/leaving-at-once-and-for-good")

    @banished.on("connection")
    async def banish(socket: Socket) -> None:
        socket.emit("sorry")
        socket.disconnect(True)

    async def work(socket: Socket) -> None:
        """Goes on when the socket has left, where it may."""
        stage.note(f"work began {socket.id}")
        try:
            await socket.wait_disconnected()
            await asyncio.sleep(0.05)
            stage.note(f"work ended {socket.id}", ["finished", socket.connected])
        except asyncio.CancelledError:
            stage.note(f"work ended {socket.id}", ["cancelled", socket.connected])
            raise

    leaving.on("work", work)
    stage.of("/", "cancelling").on("work", work)

    @leaving.on("wait for the end")
    async def wait_for_the_end(socket: Socket) -> None:
        stage.note(f"waiting began {socket.id}")
        await socket.wait_disconnected()
        await socket.wait_disconnected()
        stage.note(f"waiting ended {socket.id}", socket.connected)

    @stage.task("close the server")
    async def close_the_server() -> None:
        await stage.servers["closing"].close()


def _take_leave(stage: Stage, namespace: Namespace) -> None:
    @namespace.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        stage.note(f"leaving {socket.id}", ["disconnecting", reason, socket.connected])

    @namespace.on("disconnect")
    async def disconnect(socket: Socket, reason: str, details: Any = None) -> None:
        stage.note(f"leaving {socket.id}", ["disconnect", reason, socket.connected])
