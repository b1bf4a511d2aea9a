"""A server that says nothing any more: how long a client waits for it, by a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import duplexio
from tests.engine.clock import run

from .answering import frame, open_packet
from .hostile import Hostile
from .test_whatever_comes import sends

OPENED = open_packet(pingInterval=25_000, pingTimeout=20_000)


async def connected(server: Hostile, **options: Any) -> tuple[duplexio.ClientSocket, list[str]]:
    """In, over a WebSocket; and why it ends."""
    reasons: list[str] = []
    socket = duplexio.connect(server.url, transports=["websocket"], reconnection=False, force_new=True, **options)
    socket.on("disconnect", lambda reason, details: reasons.append(reason), inline=True)
    await socket.connect()
    return socket, reasons


def test_a_server_that_never_pings() -> None:
    """Its ping may come after the whole interval, and has its time on the way besides."""

    async def main() -> None:
        async with Hostile(sends(), opened=OPENED) as server:
            socket, reasons = await connected(server)
            await asyncio.sleep(44)
            assert socket.connected
            await asyncio.sleep(2)
            assert reasons == ["ping timeout"]
            await socket.io.close()

    run(main(), sockets=True)


def test_a_server_that_pings_once() -> None:
    """The time begins anew with each ping."""

    async def ping_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(40)
        writer.write(frame(b"2"))

    async def main() -> None:
        async with Hostile(ping_late, opened=OPENED) as server:
            socket, reasons = await connected(server)
            await asyncio.sleep(84)
            assert socket.connected
            assert b"3" in server.heard
            await asyncio.sleep(2)
            assert reasons == ["ping timeout"]
            await socket.io.close()

    run(main(), sockets=True)


def test_a_server_of_protocol_3_that_never_answers() -> None:
    """There the client pings, and waits for the answer."""

    async def main() -> None:
        async with Hostile(sends(frame(b"40")), opened=OPENED, joins=False) as server:
            socket, reasons = await connected(server, eio=3)
            await asyncio.sleep(24)
            assert b"2" not in server.heard
            await asyncio.sleep(20)
            assert b"2" in server.heard
            assert socket.connected
            await asyncio.sleep(2)
            assert reasons == ["ping timeout"]
            await socket.io.close()

    run(main(), sockets=True)
