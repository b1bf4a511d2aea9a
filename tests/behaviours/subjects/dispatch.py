"""How handlers are called: in which order, on which thread, with how many arguments."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from duplexio import Socket

from .stage import Stage


def prepare(stage: Stage) -> None:
    dispatch = stage.of("/dispatch")

    @dispatch.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["log"] = []

    @dispatch.on("log")
    async def log(socket: Socket) -> Any:
        return socket.data["log"]

    @dispatch.on("async")
    async def async_(socket: Socket, name: Any, delay: float) -> None:
        socket.data["log"].append(f"start {name}")
        if delay:
            await asyncio.sleep(delay)
        socket.data["log"].append(f"end {name}")

    @dispatch.on("wait")
    async def wait(socket: Socket) -> None:
        socket.data["log"].append("start waiting")
        socket.data["released"] = asyncio.Event()
        await socket.data["released"].wait()
        socket.data["log"].append("end waiting")

    @dispatch.on("release")
    async def release(socket: Socket) -> None:
        socket.data["log"].append("release")
        socket.data["released"].set()

    @dispatch.on("ordered", ordered=True)
    async def ordered(socket: Socket, name: Any, delay: float) -> Any:
        socket.data["log"].append(f"start {name}")
        await asyncio.sleep(delay)
        socket.data["log"].append(f"end {name}")
        return name

    @dispatch.on("plain")
    def plain(socket: Socket, name: Any, delay: float) -> str:
        socket.data["log"].append(f"start {name}")
        time.sleep(delay)
        socket.data["log"].append(f"end {name}")
        return threading.current_thread().name

    @dispatch.on("inline", inline=True)
    def inline(socket: Socket, name: Any) -> str:
        socket.data["log"].append(f"inline {name}")
        return threading.current_thread().name

    @dispatch.on("inline answer", inline=True)
    def inline_answer(socket: Socket, value: Any) -> tuple[Any, str]:
        socket.emit("inline event", value)
        return value, "inline"

    @dispatch.on("main thread")
    async def main_thread(socket: Socket) -> str:
        return threading.current_thread().name

    @dispatch.on("fails")
    async def fails(socket: Socket) -> None:
        socket.data["log"].append("fails")
        raise RuntimeError("as it should")

    @dispatch.on("fails in a thread")
    def fails_in_a_thread(socket: Socket) -> None:
        socket.data["log"].append("fails in a thread")
        raise RuntimeError("as it should")

    @dispatch.on("fails inline", inline=True)
    def fails_inline(socket: Socket) -> None:
        socket.data["log"].append("fails inline")
        raise RuntimeError("as it should")

    @dispatch.on("none")
    async def none(socket: Socket) -> str:
        return "none"

    @dispatch.on("one")
    async def one(socket: Socket, first: Any) -> str:
        return repr(first)

    @dispatch.on("two with default")
    async def two_with_default(socket: Socket, first: Any, second: Any = "default") -> str:
        return repr((first, second))

    @dispatch.on("all")
    async def everything(socket: Socket, first: Any, *rest: Any) -> str:
        return repr((first, rest))

    @dispatch.on("keyword only")
    async def keyword_only(socket: Socket, first: Any, *, mode: str = "usual") -> str:
        return repr((first, mode))

    @dispatch.on("plain two")
    def plain_two(socket: Socket, first: Any, second: Any) -> str:
        return repr((first, second))

    @dispatch.on("inline two", inline=True)
    def inline_two(socket: Socket, first: Any, second: Any = 2) -> str:
        return repr((first, second))

    class Handlers:
        async def method(self, socket: Socket, first: Any, second: Any = "m") -> str:
            return repr((first, second))

        async def __call__(self, socket: Socket, first: Any) -> str:
            return repr(first)

    dispatch.on("method", Handlers().method)
    dispatch.on("callable", Handlers())

    ordered_socket = stage.of("/dispatch-ordered")

    @ordered_socket.on("connection", ordered=True)
    async def slow_connection(socket: Socket) -> None:
        socket.data["log"] = ["connection began"]
        await asyncio.sleep(0.05)
        socket.data["log"].append("connection ended")

    @ordered_socket.on("step", ordered=True)
    async def step(socket: Socket, delay: float) -> list[str]:
        socket.data["log"].append(f"step {delay}")
        await asyncio.sleep(delay)
        socket.data["log"].append(f"step {delay} ended")
        return list(socket.data["log"])
