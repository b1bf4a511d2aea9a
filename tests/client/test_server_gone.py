"""The server dies, hangs, ends in order or cannot be found any more: what a client tells, keeps, and does then."""

from __future__ import annotations

import asyncio
import os
import signal
import socket as sockets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import duplexio
from tests.hosting.clients import Transport
from tests.hosting.processes import free_port

from .peers import DUPLEXIO, NODE4, ROOT, Peer, PeerPool, running
from .proxies import HttpProxy
from .stage import NAMES, SECONDS, until
from .wire import Wire

SOON: dict[str, Any] = {"reconnection_delay": 0.02, "reconnection_delay_max": 0.1, "force_new": True}
PINGS = ("--ping-interval", "0.3", "--ping-timeout", "0.3")
LOST = ("transport close", "transport error")
#: Servers are started meanwhile.
LONG = 30.0

pytestmark = pytest.mark.usefixtures("tidy")


class Told:
    """The events of a socket and of its manager, in order."""

    def __init__(self, socket: duplexio.ClientSocket) -> None:
        self.events: list[tuple[Any, ...]] = []
        for event in ("connect", "connect_error", "disconnect"):
            socket.on(event, self._note(event), inline=True)
        manager = socket.io
        for name in ("reconnect_attempt", "reconnect", "reconnect_error", "reconnect_failed", "close"):
            manager.on(name, self._note(name))

    def _note(self, event: str) -> Callable[..., None]:
        return lambda *args: self.events.append((event, *args))

    def of(self, event: str) -> list[Any]:
        """The first argument of each."""
        return [args[0] if args else None for name, *args in self.events if name == event]

    def names(self) -> list[str]:
        return [name for name, *_ in self.events]


@asynccontextmanager
async def connected(
    url: str, transport: Transport, **options: Any
) -> AsyncIterator[tuple[duplexio.ClientSocket, Told]]:
    """In, on its last transport, and its events from then on."""
    socket = duplexio.connect(url, **{"transports": NAMES[transport], "timeout": SECONDS, **SOON, **options})
    async with asyncio.timeout(LONG), socket:
        engine = socket.io.engine
        assert engine is not None
        await until(lambda: engine.transport.name == NAMES[transport][-1])
        yield socket, Told(socket)
    await socket.io.close()


# It dies.


@pytest.mark.parametrize(
    ("peer", "transport", "seconds"),
    [
        *((DUPLEXIO, transport, 0.1) for transport in NAMES),
        (NODE4, "upgrade", 0.1),
        (DUPLEXIO, "polling", 3.0),
        (NODE4, "websocket", 3.0),
    ],
    ids=str,
)
async def test_it_comes_back(peer: Peer, transport: Transport, seconds: float) -> None:
    port = str(free_port())
    with running(peer, "--port", port) as first:
        async with connected(first.url, transport) as (socket, told):
            await socket.emit_with_ack("numbered", "before")
            waiting = asyncio.create_task(socket.emit_with_ack("never", 1))
            await asyncio.sleep(0.05)
            first.kill()
            with pytest.raises(duplexio.Disconnected) as ended:
                await waiting
            assert ended.value.reason in LOST
            kept = [bytes([number]) if number % 3 else number for number in range(20)]
            for each in kept:
                socket.emit("numbered", each)
            acknowledged = asyncio.create_task(socket.emit_with_ack("numbered", "acknowledged"))
            await asyncio.sleep(seconds)
            assert not socket.connected
            assert socket.active
            with running(peer, "--port", port):
                await socket.wait_connected()
                # What waited went out first.
                socket.emit("numbered", "after")
                assert await acknowledged == "acknowledged"
                assert await socket.emit_with_ack("recorded") == [*kept, "acknowledged", "after"]
                attempts = told.of("reconnect_attempt")
                assert told.of("disconnect") == told.of("close") == [ended.value.reason]
                assert attempts == [*range(1, len(attempts) + 1)]
                assert told.of("reconnect") == [attempts[-1]]
                assert len(told.of("connect")) == 1
                errors = told.of("connect_error")
                assert errors == told.of("reconnect_error")
                assert len(errors) == len(attempts) - 1
                assert all(isinstance(error, duplexio.ConnectError) for error in errors)
                if seconds > 1:
                    assert any("nobody listens there" in error.message for error in errors)
                assert told.names()[0] == "disconnect"
                await socket.io.close()


async def test_it_never_comes_back(transport: Transport) -> None:
    with running(DUPLEXIO) as server:
        async with connected(server.url, transport, reconnection_attempts=3) as (socket, told):
            waiting = [asyncio.create_task(socket.emit_with_ack("never", number)) for number in range(3)]
            ended = asyncio.create_task(socket.wait_disconnected())
            received = asyncio.create_task(socket.receive("never comes"))
            await asyncio.sleep(0.05)
            server.kill()
            for each in waiting:
                with pytest.raises(duplexio.Disconnected):
                    await each
            late = asyncio.create_task(socket.emit_with_ack("echo", "late"))
            assert await ended == "transport error"
            for each in (late, received):
                with pytest.raises(duplexio.Disconnected):
                    await each
            with pytest.raises(duplexio.ConnectError, match="nobody listens there"):
                await socket.wait_connected()
            assert not socket.active
            await until(lambda: "reconnect_failed" in told.names())
            assert told.of("reconnect_attempt") == [1, 2, 3]
            assert told.names().count("reconnect_failed") == 1
            assert len(told.of("connect_error")) == len(told.of("reconnect_error")) == 3
            assert len(told.of("disconnect")) == 1


# It hangs, or what is between.


@pytest.mark.parametrize(
    ("peer", "transport"), [*((DUPLEXIO, transport) for transport in NAMES), (NODE4, "upgrade")], ids=str
)
async def test_it_is_held_and_goes_on(pool: PeerPool, peer: Peer, transport: Transport) -> None:
    server = pool.get(peer, *PINGS)
    async with connected(server.url, transport, timeout=0.5) as (socket, told):
        server.hold()
        try:
            waiting = asyncio.create_task(socket.emit_with_ack("echo", 1))
            with pytest.raises(duplexio.Disconnected) as ended:
                await waiting
            assert ended.value.reason == "ping timeout"
            await until(lambda: told.of("connect_error"))
        finally:
            server.go_on()
        await socket.wait_connected()
        assert await socket.emit_with_ack("echo", 2) == 2
        assert told.of("disconnect") == ["ping timeout"]
        assert isinstance(told.of("connect_error")[0], duplexio.ConnectTimeout)


async def test_a_black_hole(pool: PeerPool, transport: Transport) -> None:
    """Nothing comes and nothing is refused: it is noticed, and the next way is taken once there is one."""
    async with (
        Wire(pool.get(DUPLEXIO, *PINGS).port) as wire,
        connected(wire.url(), transport, timeout=0.5) as (socket, told),
    ):
        wire.black_hole()
        socket.volatile.emit("echo", "lost")
        with pytest.raises(duplexio.Disconnected) as ended:
            await socket.emit_with_ack("echo", 1)
        assert ended.value.reason == "ping timeout"
        socket.emit("numbered", "kept", f"black hole {transport}")
        await until(lambda: told.of("connect_error"))
        assert isinstance(told.of("connect_error")[0], duplexio.ConnectTimeout)
        wire.clear()
        await socket.wait_connected()
        assert await socket.emit_with_ack("recorded", f"black hole {transport}") == ["kept"]
        assert told.of("disconnect") == ["ping timeout"]


# Its name is gone.


@contextmanager
def resolving(name: str) -> Iterator[list[bool]]:
    """This machine knows a name, until the list is cleared."""
    known, found = [True], sockets.getaddrinfo

    def look_up(host: Any, *args: Any, **options: Any) -> Any:
        if host in (name, name.encode()):
            if not known:
                raise sockets.gaierror(sockets.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return found(host, *args, **options)

    sockets.getaddrinfo = look_up
    try:
        yield known
    finally:
        sockets.getaddrinfo = found


async def test_its_name_cannot_be_resolved_any_more(pool: PeerPool, transport: Transport) -> None:
    with resolving("server.test") as known:
        async with Wire(pool.get(DUPLEXIO).port) as wire:
            url = f"http://server.test:{wire.port}"
            async with connected(url, transport, reconnection_attempts=3) as (socket, told):
                known.clear()
                ended = asyncio.create_task(socket.wait_disconnected())
                await asyncio.sleep(0)
                wire.cut_all()
                assert await ended == "transport error"
                await until(lambda: "reconnect_failed" in told.names())
                assert told.of("reconnect_attempt") == [1, 2, 3]
                errors = told.of("connect_error")
                assert [error.message for error in errors] == ["the name of the host cannot be resolved"] * 3
                with pytest.raises(duplexio.ConnectError, match="cannot be resolved"):
                    await socket.wait_connected()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_the_server_is_gone_behind_a_proxy(transport: Transport) -> None:
    port = str(free_port())
    async with HttpProxy() as proxy:
        with running(DUPLEXIO, "--port", port) as first:
            async with connected(first.url, transport, proxy=proxy.url) as (socket, told):
                first.kill()
                await until(lambda: told.of("connect_error"))
                with running(DUPLEXIO, "--port", port):
                    await socket.wait_connected()
                    assert await socket.emit_with_ack("echo", 1) == 1
                    await socket.io.close()
                assert "proxy" in told.of("connect_error")[0].message


# It ends in order.


@contextmanager
def draining(port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.client.draining_server", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_it_is_told_to_end_and_started_anew(transport: Transport) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with draining(port) as first:
        async with connected(url, transport, retry=True) as (socket, told):
            assert await socket.emit_with_ack("echo", 1) == 1
            os.kill(first.pid, signal.SIGTERM)
            await until(lambda: told.of("disconnect"))
            answered = asyncio.create_task(socket.emit_with_ack("echo", 2))
            await asyncio.to_thread(first.wait, SECONDS)
            with draining(port):
                # It went: that is no decision of the server to be rid of this client.
                assert await answered == 2
                assert told.of("disconnect") == ["transport close"]
                assert len(told.of("reconnect")) == 1
                await socket.io.close()
