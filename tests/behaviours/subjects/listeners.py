"""Listeners: catch-all, once, off; on the namespace and on the socket."""

from __future__ import annotations

from typing import Any

from duplexio import Socket

from .stage import Stage


def prepare(stage: Stage) -> None:
    incoming = stage.of("/listeners-incoming")

    @incoming.on("connection")
    async def watch_incoming(socket: Socket) -> None:
        seen: list[str] = []

        def second(event: str, *args: Any) -> None:
            seen.append(f"second:{event}:{len(args)}")

        def first(event: str, *args: Any) -> None:
            seen.append(f"first:{event}:{len(args)}")

        socket.on_any(second)
        socket.prepend_any(first)

        @socket.on("specific")
        async def specific(*args: Any) -> None:
            seen.append(f"specific:{len(args)}")

        @socket.on("stop first")
        async def stop_first() -> None:
            socket.off_any(first)

        @socket.on("stop all")
        async def stop_all() -> None:
            socket.off_any()

        @socket.on("seen")
        async def give() -> list[str]:
            given = list(seen)
            seen.clear()
            return given

    outgoing = stage.of("/listeners-outgoing")

    @outgoing.on("connection")
    async def watch_outgoing(socket: Socket) -> None:
        seen: list[list[Any]] = []

        def second(event: str, *args: Any) -> None:
            seen.append(["second", event, *args])

        def first(event: str, *args: Any) -> None:
            seen.append(["first", event, *args])

        socket.on_any_outgoing(second)
        socket.prepend_any_outgoing(first)

        @socket.on("emit")
        async def emit() -> None:
            socket.emit("to you", 1)
            outgoing.to(socket.id).emit("to your room", 2)

        @socket.on("stop first")
        async def stop_first() -> None:
            socket.off_any_outgoing(first)

        @socket.on("stop all")
        async def stop_all() -> None:
            socket.off_any_outgoing()

        @socket.on("seen")
        async def give() -> list[list[Any]]:
            given = list(seen)
            seen.clear()
            return given

    own = stage.of("/listeners-own")

    @own.on("connection")
    async def own_listeners(socket: Socket) -> None:
        heard: list[Any] = []

        async def every_time(*args: Any) -> None:
            heard.append(["every time", *args])

        async def until_told(*args: Any) -> None:
            heard.append(["until told", *args])

        socket.on("event", every_time)
        socket.on("event", until_told)

        @socket.once("event")
        async def first_time(*args: Any) -> None:
            heard.append(["once", *args])

        @socket.on("stop")
        async def stop() -> None:
            socket.off("event", until_told)

        @socket.on("stop everything")
        async def stop_everything() -> None:
            socket.off("event")

        @socket.on("heard")
        async def give() -> list[Any]:
            given = list(heard)
            heard.clear()
            return given

        @socket.on("count")
        async def count() -> int:
            return len(socket.listeners("event"))

    shared = stage.of("/listeners-shared")
    heard_by_all: list[Any] = []

    @shared.once("first of all")
    async def first_of_all(socket: Socket, text: str) -> None:
        heard_by_all.append(["once", text])

    async def for_everyone(socket: Socket, text: str) -> None:
        heard_by_all.append(["everyone", text])

    shared.on("for everyone", for_everyone)

    @shared.on("stop")
    async def stop_shared(socket: Socket) -> list[int]:
        before = len(shared.listeners("for everyone"))
        shared.off("for everyone", for_everyone)
        return [before, len(shared.listeners("for everyone"))]

    @shared.on("heard")
    async def give_all(socket: Socket) -> list[Any]:
        return heard_by_all

    io = stage.main

    @io.on("said at the root")
    async def at_the_root(socket: Socket, text: str) -> str:
        return f"{socket.nsp.name} heard {text}"

    direct = stage.of("/listeners-direct")

    async def direct_handler(socket: Socket, text: str) -> str:
        return text * 2

    direct.on("double", direct_handler)

    @direct.on("connection")
    async def arguments_only(socket: Socket) -> None:
        socket.on("triple", lambda text: text * 3)
        socket.on("plain", plain)

    def plain(text: str) -> str:
        return f"plain {text}"
