"""A server and a way to it: what a test of the client makes its sockets with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import duplexio
from duplexio.client import ClientSocket
from tests.hosting.clients import Transport

from .peers import Peer, PeerProcess

TransportName = Literal["polling", "websocket"]
#: No answer takes longer.
SECONDS = 10.0
#: Tests do not wait for a back-off.
SOON = 0.05
#: "upgrade" is polling, from which it is waited until it has moved to WebSocket.
NAMES: dict[Transport, tuple[TransportName, ...]] = {
    "polling": ("polling",),
    "websocket": ("websocket",),
    "upgrade": ("polling", "websocket"),
}


class Stage:
    """Makes sockets, and connects them.

    Attributes:
        peer: the kind of server.
        url: where it is.
        transport: by which it is reached.
    """

    def __init__(self, server: PeerProcess, transport: Transport = "websocket", url: str = "") -> None:
        self.peer: Peer = server.peer
        self.server = server
        self.url = url or server.url
        self.transport: Transport = transport

    def options(self, **more: Any) -> Any:
        """Of a client for it."""
        names = NAMES[self.transport]
        return {"transports": names, "eio": self.peer.eio, "reconnection_delay": SOON, **more}

    def socket(self, nsp: str = "", **more: Any) -> ClientSocket:
        return duplexio.connect(self.url + nsp, **self.options(**more))

    def manager(self, **more: Any) -> duplexio.Manager:
        return duplexio.Manager(self.url, **self.options(**more))

    @contextlib.asynccontextmanager
    async def connected(self, nsp: str = "", **more: Any) -> AsyncIterator[ClientSocket]:
        """A socket that is in, and on the transport that was asked for."""
        async with asyncio.timeout(SECONDS), self.socket(nsp, **more) as socket:
            await self.settled(socket)
            yield socket

    async def settled(self, socket: ClientSocket) -> None:
        """Until the transport is the one that was asked for."""
        await until(lambda: transport_of(socket) == NAMES[self.transport][-1])


def transport_of(socket: ClientSocket) -> str:
    engine = socket.io.engine
    return "" if engine is None else engine.transport.name


async def until(true: Callable[[], object]) -> None:
    """Waits for what nobody tells."""
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.002)


async def dropped(socket: ClientSocket) -> str:
    """The connection is lost, and open again; the reason."""
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def note(reason: str, details: str) -> None:
        if not lost.done():
            lost.set_result(reason)

    socket.once("disconnect", note, inline=True)
    socket.emit("drop")
    reason = await asyncio.wait_for(lost, SECONDS)
    await socket.wait_connected(SECONDS)
    return reason


def left_behind() -> list[object]:
    """Tasks and timers of the running loop, but for the caller's own."""
    loop = asyncio.get_running_loop()
    timers = [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    return [*timers, *(task for task in asyncio.all_tasks() if task is not asyncio.current_task())]
