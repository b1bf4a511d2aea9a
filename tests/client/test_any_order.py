"""Connecting, leaving, emitting, being sent away and cancelled in any order, by callers and by handlers.

Whatever it was: every call comes to an end, who wants in gets in, the server has as many members as the client
believes, and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import duplexio
from duplexio import ConnectRefused, Server, Socket

from .stage import NAMES, SECONDS, left_behind

ROUNDS = 6
NAMESPACES = ("/", "/a", "/b")
LIFECYCLE = ("connect", "connect_error", "disconnect")
PAUSES = (0.0, 0.0, 0.001, 0.005, 0.02, 0.1)
CLIENTS_OWN = ("hub/manager.py", "hub/client_", "engine/client.py", "_client.py")
EXPECTED = (duplexio.Disconnected, duplexio.ConnectError, ConnectRefused, TimeoutError)


def make_server() -> Server:
    io = Server(handle_signals=False, allow_eio3=True)
    for name in NAMESPACES:
        namespace = io.of(name)

        @namespace.use
        async def decide(socket: Socket) -> None:
            given = {**socket.handshake.query, **socket.handshake.auth}
            await asyncio.sleep(float(given.get("wait", 0)))
            if given.get("refuse") == "1":
                raise ConnectRefused("not this time")

        @namespace.on("echo")
        async def echo(socket: Socket, value: Any) -> Any:
            return value

        @namespace.on("kick")
        async def kick(socket: Socket) -> None:
            socket.disconnect()

        @namespace.on("drop")
        async def drop(socket: Socket) -> None:
            socket.conn.close()

    return io


class Round:
    """One client, and what was done to it."""

    def __init__(self, url: str, transport: Any, chance: random.Random) -> None:
        self.chance = chance
        self.done: list[str] = []
        self.calls: dict[asyncio.Task[Any], str] = {}
        options: Any = {
            "transports": NAMES[transport],
            "reconnection_delay": 0.02,
            "reconnection_delay_max": 0.05,
            "timeout": 3.0,
            "eio": chance.choice([4, 4, 4, 3]),
        }
        self.old = options["eio"] == 3
        self.manager = duplexio.Manager(url, **options)
        own: Any = {"retries": 1} if chance.random() < 0.3 else {}
        self.sockets = [self.manager.socket(name, auth=self.auth, **own) for name in NAMESPACES]
        if chance.random() < 0.5:
            for socket in self.sockets:
                for event in LIFECYCLE:
                    socket.on(event, self.handler(socket, event))

    async def auth(self) -> dict[str, str]:
        chance = self.chance
        await asyncio.sleep(chance.choice([0, 0, 0.01, 0.03]))
        if chance.random() < 0.1:
            raise OSError("no token for a moment")
        return {"wait": str(chance.choice([0, 0, 0.02, 0.15])), "refuse": str(int(chance.random() < 0.15))}

    def handler(self, socket: duplexio.ClientSocket, event: str) -> Callable[..., Awaitable[None]]:
        def again() -> None:
            socket.disconnect()
            socket.open()

        def another() -> None:
            self.chance.choice(self.sockets).open()

        acts: list[Callable[[], None]] = [socket.disconnect, socket.open, again, another]

        async def act(*_: Any) -> None:
            self.done.append(f"{event} {socket.nsp}")
            if self.chance.random() < 0.15:
                chosen = self.chance.randrange(len(acts))
                self.done.append(f"its handler: {chosen}")
                acts[chosen]()

        return act

    def call(self, coroutine: Any, what: str) -> None:
        self.calls[asyncio.ensure_future(coroutine)] = what

    def cancel_one(self) -> None:
        running = [task for task in self.calls if not task.done()]
        if running:
            self.chance.choice(running).cancel()

    def close_engine(self) -> None:
        if self.manager.engine is not None and self.chance.random() < 0.3:
            self.manager.engine.close()

    def step(self) -> str:
        """Does one thing; its name."""
        socket = self.chance.choice(self.sockets)
        steps: dict[str, Callable[[], object]] = {
            "open": socket.open,
            "connect": lambda: self.call(socket.connect(), f"connect {socket.nsp}"),
            "connect again": lambda: self.call(socket.connect(), f"connect {socket.nsp}"),
            "cancel": self.cancel_one,
            "disconnect": socket.disconnect,
            "emit": lambda: socket.emit("echo", 1),
            "ack": lambda: self.call(socket.emit_with_ack("echo", 1, timeout=2), f"emit_with_ack {socket.nsp}"),
            "kick": lambda: socket.volatile.emit("kick"),
            "drop": lambda: socket.volatile.emit("drop"),
            "close": lambda: self.call(self.manager.close(), "close"),
            "manager connect": lambda: self.call(self.manager.connect(), "manager connect"),
            "manager disconnect": self.manager.disconnect,
            "wait": lambda: self.call(socket.wait_connected(2), f"wait_connected {socket.nsp}"),
            "receive": lambda: self.call(socket.receive("never", timeout=1), f"receive {socket.nsp}"),
            "close engine": self.close_engine,
        }
        name = self.chance.choice(list(steps))
        steps[name]()
        return f"{name} {socket.nsp}"

    async def run(self, io: Server) -> None:
        for _ in range(self.chance.randint(5, 40)):
            self.done.append(self.step())
            if self.chance.random() < 0.3:
                await asyncio.sleep(self.chance.choice(PAUSES))
        # What was called last has begun.
        await asyncio.sleep(0)
        for socket in self.sockets:
            socket.off()
        wanted = [socket for socket in self.sockets if self.chance.random() < 0.6]
        for socket in self.sockets:
            if socket not in wanted:
                socket.disconnect()
        async with asyncio.timeout(SECONDS):
            for socket in wanted:
                while not socket.connected:
                    with contextlib.suppress(*EXPECTED):
                        await socket.connect()
                    await asyncio.sleep(0.01)
            # A kick that was on its way, or the answer to somebody who left.
            while not self.agrees(io):  # noqa: ASYNC110 - nobody tells it
                await asyncio.sleep(0.02)
            self.done.append("the end")
            await self.manager.close()
        await asyncio.wait_for(self.all_calls_end(), SECONDS)

    def agrees(self, io: Server) -> bool:
        """The server has those that believe to be in; of protocol 4, everybody is in the main namespace."""
        return all(
            len(io.of(socket.nsp).sockets) == socket.connected
            for socket in self.sockets
            if not (self.old and socket.nsp == "/")
        )

    async def all_calls_end(self) -> None:
        for task, what in self.calls.items():
            try:
                await task
            except (*EXPECTED, asyncio.CancelledError):
                pass
            except Exception as error:
                raise AssertionError(f"{what} raised {error!r}") from error


@pytest.fixture
async def io() -> AsyncIterator[tuple[Server, str]]:
    server = make_server()
    async with await server.listen("127.0.0.1", 0) as listening:
        yield server, listening.url


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_any_order(io: tuple[Server, str], transport: Any, number: int) -> None:
    server, url = io
    seed = f"{transport} {number} {random.randrange(10**6)}"
    one = Round(url, transport, random.Random(seed))
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    try:
        await one.run(server)
        assert told == []
        assert one.manager.context.running == set()
        # The server's own are not of this test.
        remaining = [repr(left) for left in (*asyncio.all_tasks(), *left_behind())]
        assert [left for left in remaining if any(module in left for module in CLIENTS_OWN)] == []
    except BaseException:
        print(seed, *one.done, sep="\n")
        raise
