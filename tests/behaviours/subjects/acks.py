"""Acknowledgements, from the server's handlers, from clients, and from many clients at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from duplexio import Ack, AckTimeout, Disconnected, EventError, Socket

from .stage import Stage


def prepare(stage: Stage) -> None:
    acks = stage.of("/acks")

    @acks.on("nothing")
    async def nothing(socket: Socket) -> None:
        return None

    @acks.on("value")
    async def value(socket: Socket, given: Any) -> dict[str, Any]:
        return {"given": given}

    @acks.on("several")
    async def several(socket: Socket) -> tuple[int, str, list[int]]:
        return 1, "two", [3]

    @acks.on("list")
    async def list_(socket: Socket) -> list[int]:
        return [1, 2, 3]

    @acks.on("none in a tuple")
    async def none_in_a_tuple(socket: Socket) -> tuple[None]:
        return (None,)

    @acks.on("empty tuple")
    async def empty_tuple(socket: Socket) -> tuple[()]:
        return ()

    @acks.on("false")
    async def false(socket: Socket) -> tuple[bool, int, str]:
        return False, 0, ""

    @acks.on("later")
    async def later(socket: Socket, delay: float, answer: Any) -> Any:
        await asyncio.sleep(delay)
        return answer

    @acks.on("wait for the other")
    async def wait_for_the_other(socket: Socket) -> str:
        socket.data["other"] = asyncio.Event()
        await socket.data["other"].wait()
        return "waited"

    @acks.on("the other")
    async def the_other(socket: Socket) -> str:
        socket.data["other"].set()
        return "did not wait"

    @acks.on("by itself")
    async def by_itself(socket: Socket, text: str, ack: Ack) -> str:
        stage.note(f"ack wanted {text}", ack.wanted)
        asyncio.get_running_loop().call_later(0.02, ack, "answered", text)
        return "this is not the answer"

    @acks.on("by itself twice")
    async def by_itself_twice(socket: Socket, ack: Ack) -> None:
        ack("first")
        ack("second")

    @acks.on("event error")
    async def event_error(socket: Socket) -> None:
        raise EventError({"code": 42}, "reason")

    @acks.on("bare event error")
    async def bare_event_error(socket: Socket) -> None:
        raise EventError

    @acks.on("exception")
    async def exception(socket: Socket) -> None:
        raise RuntimeError("a secret of the server")

    @acks.on("exception in a thread")
    def exception_in_a_thread(socket: Socket) -> None:
        raise EventError("from a thread")

    @acks.on("two handlers")
    async def first_handler(socket: Socket) -> str:
        socket.data["ran"] = ["namespace"]
        return "the namespace's"

    @acks.on("who answers")
    async def silent(socket: Socket) -> None:
        await asyncio.sleep(0.01)
        raise RuntimeError("no answer from here")

    @acks.on("who answers")
    async def quick(socket: Socket) -> str:
        return "quick"

    @acks.on("who answers")
    async def slow(socket: Socket) -> str:
        await asyncio.sleep(0.05)
        return "slow"

    @acks.on("connection")
    async def connected(socket: Socket) -> None:
        @socket.on("two handlers")
        async def second_handler() -> str:
            socket.data["ran"].append("socket")
            return "the socket's"

        @socket.on("which ran")
        async def which_ran() -> Any:
            return socket.data["ran"]

    @acks.on("ask")
    async def ask(socket: Socket, event: str, *args: Any) -> str:
        return repr(await socket.emit_with_ack(event, *args))

    @acks.on("ask and answer")
    async def ask_and_answer(socket: Socket, number: int) -> Any:
        return await socket.emit_with_ack("double", number)

    @acks.on("ask for too long")
    async def ask_for_too_long(socket: Socket, way: str) -> dict[str, Any]:
        start = time.monotonic()
        try:
            if way == "argument":
                await socket.emit_with_ack("never answered", timeout=0.2)
            else:
                await socket.timeout(0.2).emit_with_ack("never answered")
        except AckTimeout as error:
            return {"timeout": isinstance(error, TimeoutError), "seconds": time.monotonic() - start}
        return {"timeout": None}

    @acks.on("ask with a callback")
    async def ask_with_a_callback(socket: Socket) -> None:
        socket.emit("question", "callback", ack=lambda *args: socket.emit("callback got", repr(args)))

    @acks.on("ask who leaves")
    async def ask_who_leaves(socket: Socket) -> None:
        start = time.monotonic()
        try:
            await socket.emit_with_ack("please leave", timeout=8)
        except Disconnected as error:
            stage.note("asked who left", [type(error).__name__, time.monotonic() - start < 4])

    polls = stage.of("/acks-broadcast")

    @polls.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    @polls.on("poll")
    async def poll(socket: Socket, room: str, seconds: float, *args: Any) -> dict[str, Any]:
        try:
            answers = await polls.to(room).timeout(seconds).emit_with_ack("poll", *args)
        except AckTimeout as error:
            return {"timeout": True, "answers": sorted(error.responses)}
        return {"timeout": False, "answers": sorted(answers, key=repr)}

    @polls.on("poll the others")
    async def poll_the_others(socket: Socket, room: str) -> list[Any]:
        return sorted(await socket.to(room).timeout(5).emit_with_ack("poll"))

    @polls.on("poll a fetched one")
    async def poll_a_fetched_one(socket: Socket, id: str) -> Any:
        (found,) = [each for each in await polls.fetch_sockets() if each.id == id]
        return await found.timeout(5).emit_with_ack("poll", "only you")

    @polls.on("ask the other servers")
    async def ask_the_other_servers(socket: Socket) -> Any:
        return await stage.main.server_side_emit_with_ack("anybody there", 1)
