"""Namespaces: fixed, by pattern, by function; many on one connection; parents and their children."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Any

from duplexio import Namespace, Socket

from .stage import Stage


def prepare(stage: Stage) -> None:
    io = stage.main

    @io.on("new_namespace")
    def new_namespace(namespace: Namespace) -> None:
        stage.note("new_namespace", [namespace.name, os.getpid()])

    # In front of the pattern: behind it, it would be one of its children.
    fixed = stage.of("/numbered-7")
    numbered = stage.of(re.compile(r"^/numbered-\d+$"))

    @numbered.on("connection")
    async def numbered_connection(socket: Socket) -> None:
        socket.emit("welcome", socket.nsp.name)

    @numbered.on("whoami")
    async def whoami(socket: Socket) -> tuple[str, str, str]:
        return socket.nsp.name, socket.id, socket.conn.id

    @fixed.on("whoami")
    async def fixed_whoami(socket: Socket) -> str:
        return "the fixed one"

    async def with_the_right_token(name: str, auth: dict[str, Any]) -> bool:
        if not name.startswith("/asked-"):
            return False
        await asyncio.sleep(0.01)
        return auth.get("token") == "right"

    asked = stage.of(with_the_right_token)

    @asked.on("whoami")
    async def asked_whoami(socket: Socket) -> str:
        return socket.nsp.name

    plainly_asked = stage.of(lambda name, auth: name.startswith("/plainly-asked-"))

    @plainly_asked.on("whoami")
    async def plainly_asked_whoami(socket: Socket) -> str:
        return socket.nsp.name

    parent = stage.of(re.compile("^/child-of-one-"))

    @parent.on("to all children")
    async def to_all_children(socket: Socket, text: str) -> None:
        parent.emit("for all children", text)
        parent.to("front").emit("for the front row", text)

    @parent.on("sit in front")
    async def sit_in_front(socket: Socket) -> None:
        socket.join("front")

    grown = stage.of(re.compile("^/growing-"))

    @grown.on("grow")
    async def grow(socket: Socket) -> None:
        @grown.on("grown")
        async def late(socket: Socket) -> str:
            return f"late in {socket.nsp.name}"

        @grown.use
        async def late_middleware(socket: Socket) -> None:
            socket.data["late"] = True

    @grown.on("seen")
    async def seen(socket: Socket) -> Any:
        return socket.data.get("late", False)

    stage.of(re.compile("^/fleeting-"))

    crowd = stage.of(re.compile("^/crowd-"))

    @crowd.on("say")
    async def say(socket: Socket, text: str) -> None:
        socket.nsp.emit("said", socket.nsp.name, text)
