"""Rooms, who is in them, and whom a broadcast reaches."""

from __future__ import annotations

import os
from typing import Any

from duplexio import Socket
from duplexio.options import ServerOptions

from .stage import Stage


class Profile:
    """What ``Server(data=...)`` makes for each socket."""

    def __init__(self) -> None:
        self.visits = 1


def servers() -> dict[str, ServerOptions]:
    return {"profiled": ServerOptions(data=Profile), "alone": ServerOptions()}


def prepare(stage: Stage) -> None:
    membership = stage.of("/rooms-membership")

    @membership.on("join")
    async def join(socket: Socket, rooms: Any) -> list[str]:
        socket.join(rooms)
        return sorted(socket.rooms)

    @membership.on("leave")
    async def leave(socket: Socket, room: str) -> list[str]:
        socket.leave(room)
        return sorted(socket.rooms)

    @membership.on("join wrongly")
    async def join_wrongly(socket: Socket) -> list[str]:
        raised = []
        for room in (1, None, ["fine", 2]):
            try:
                socket.join(room)  # type: ignore[arg-type]
            except TypeError:
                raised.append(repr(room))
        return raised

    @membership.on("members")
    async def members(socket: Socket, room: str) -> list[str]:
        return sorted(membership.rooms.get(room, ()))

    @membership.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        stage.note(f"rooms while leaving {socket.id}", sorted(socket.rooms - {socket.id}))

    @membership.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        socket.join("too late")
        stage.note(f"rooms after leaving {socket.id}", sorted(socket.rooms))

    for name in (
        "targets",
        "duplicates",
        "sender",
        "private",
        "everybody",
        "isolated",
        "isolated-too",
        "operators",
        "crowd",
        "remote",
    ):
        _take_orders(stage, f"/rooms-{name}")
    _take_orders(stage, "/", "alone")

    events = stage.of("/rooms-events")

    @events.on("join")
    async def join_events(socket: Socket, room: str) -> None:
        socket.join(room)

    @events.on("leave")
    async def leave_events(socket: Socket, room: str) -> None:
        socket.leave(room)

    process = os.getpid()
    events.on_room("create", lambda room: stage.note("room events", [process, "create", room]))
    events.on_room("delete", lambda room: stage.note("room events", [process, "delete", room]))
    events.on_room("join", lambda room, id: stage.note("room events", [process, "join", room, id]))
    events.on_room("leave", lambda room, id: stage.note("room events", [process, "leave", room, id]))

    profiled = stage.of("/", "profiled")

    @profiled.on("visit")
    async def visit(socket: Socket) -> int:
        socket.data.visits += 1
        visits: int = socket.data.visits
        return visits

    data = stage.of("/rooms-data")

    @data.on("remember")
    async def remember(socket: Socket, key: str, value: Any) -> Any:
        socket.data[key] = value
        return socket.data


def _take_orders(stage: Stage, name: str, server: str = "main") -> None:
    """Let clients of this namespace join, leave, and have things said."""
    namespace = stage.of(name, server)

    @namespace.on("join")
    async def join(socket: Socket, *rooms: str) -> None:
        socket.join(rooms)

    @namespace.on("remember")
    async def remember(socket: Socket, value: Any) -> None:
        socket.data["value"] = value

    @namespace.on("say")
    async def say(socket: Socket, steps: list[list[Any]], *args: Any) -> None:
        """Follow the steps from the socket or its namespace, then emit: ``[["socket"], ["to", "room"]]``."""
        ((start,), *modifiers) = steps
        target: Any = socket if start == "socket" else namespace
        for modifier, *values in modifiers:
            attribute = getattr(target, modifier)
            target = attribute(*values) if callable(attribute) and values else attribute
        target.emit("said", *args)

    @namespace.on("reuse")
    async def reuse(socket: Socket) -> list[bool]:
        first = namespace.to("a")
        second = first.to("b")
        third = second.except_("c")
        first.emit("said", "a")
        second.emit("said", "a or b")
        third.emit("said", "a or b, not c")
        first.emit("said", "a again")
        socket.to("a").emit("said", "a, not me")
        socket.emit("said", "only me")
        return [first is not second, second is not third]

    @namespace.on("fetch")
    async def fetch(socket: Socket, room: str | None = None) -> list[dict[str, Any]]:
        target = namespace.in_(room) if room else namespace
        found = await target.fetch_sockets()
        records = [
            {"id": each.id, "rooms": sorted(each.rooms), "data": each.data, "told": bool(each.handshake)}
            for each in found
        ]
        return sorted(records, key=lambda record: record["id"])

    @namespace.on("move")
    async def move(socket: Socket, room: str, joined: list[str], left: list[str]) -> None:
        target = namespace.in_(room) if room else namespace
        target.sockets_join(joined)
        target.sockets_leave(left)

    @namespace.on("use one")
    async def use_one(socket: Socket, id: str) -> None:
        (found,) = [each for each in await namespace.fetch_sockets() if each.id == id]
        found.join("chosen")
        found.emit("said", "hello, you")
        namespace.to("chosen").emit("said", "hello, chosen ones")
        found.leave("chosen")
        namespace.to("chosen").emit("said", "hello, nobody")

    @namespace.on("live")
    async def live(socket: Socket) -> list[str]:
        return sorted(namespace.sockets)
