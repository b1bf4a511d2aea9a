"""What waits for something that does not come is told: what it was, why not, and at once where that is known."""

from __future__ import annotations

import asyncio
import logging
import re
import socket as sockets
from typing import Any

import pytest
from aiohttp import web

import duplexio
from duplexio.errors import (
    AckTimeout,
    ConfigurationError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    Disconnected,
    EncodeError,
)

from .answering import Answering
from .peers import DUPLEXIO, PeerPool
from .stage import SECONDS, SOON, Stage, dropped


def unused_port() -> int:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


async def test_what_cannot_be_encoded_is_not_waited_for(stage: Stage) -> None:
    async with stage.connected(max_pending_acks=3) as socket:
        for _ in range(5):
            with pytest.raises(EncodeError):
                await socket.emit_with_ack("echo", {1, 2})
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_refused_when_it_comes_back(over_websocket: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """By an auth that holds once."""
    asked = 0

    def auth() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"token": "secret" if asked == 1 else "expired"}

    # A server of Socket.IO 2 has one value for it: here, the data.
    said = "not authorized|does not let this client into /auth"
    async with over_websocket.connected("/auth", auth=auth, force_new=True) as socket:
        received = asyncio.create_task(socket.receive("x"))
        ended = asyncio.create_task(socket.wait_disconnected())
        await asyncio.sleep(0)
        assert socket.io.engine is not None
        socket.io.engine.close()
        with pytest.raises(Disconnected, match=said) as caught:
            await received
        assert isinstance(caught.value.__cause__, ConnectRefused)
        assert await ended == "io server disconnect"
        with pytest.raises(Disconnected, match=said):
            await socket.emit_with_ack("echo", 1)
        with pytest.raises(ConnectRefused, match=said):
            await socket.wait_connected()
    (told,) = messages(caplog, logging.WARNING)
    assert re.search(said, told)


async def test_a_handler_of_connect_error_is_told_in_place_of_the_log(
    over_websocket: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(SECONDS):
        socket = over_websocket.socket("/refused", force_new=True)
        socket.on("connect_error", lambda error: None, inline=True)
        socket.open()
        assert await socket.wait_disconnected() == "io server disconnect"
        await socket.io.close()
    assert messages(caplog, logging.WARNING) == []


async def test_attempts_that_are_repeated_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "duplexio")
    manager = duplexio.Manager(f"http://127.0.0.1:{unused_port()}", retry=True, reconnection_delay=SOON)
    async with manager:
        socket = manager.socket()
        socket.open()
        with pytest.raises(ConnectTimeout, match=r"not connected within 0.3 s; the last attempt: nobody listens there"):
            await socket.wait_connected(timeout=0.3)
    (told,) = messages(caplog, logging.WARNING)
    assert "nobody listens there" in told
    assert told.endswith("trying again")
    assert manager.counts["attempts_failed"] > 1


async def test_connections_are_logged(over_websocket: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "duplexio")
    async with over_websocket.connected(force_new=True) as socket:
        await dropped(socket)
        await socket.wait_connected(SECONDS)
    url = over_websocket.url
    told = messages(caplog, logging.INFO)
    assert told.count(f"connected to {url} by websocket") == 2
    assert sum(text.startswith(f"the connection to {url} has ended: ") for text in told) == 2


async def test_draining_waits_until_the_server_has_it(stage: Stage) -> None:
    ledger = f"drained {stage.transport}"
    async with stage.connected() as socket, stage.connected() as other:
        for number in range(3):
            socket.emit("numbered", number, ledger)
        await asyncio.wait_for(socket.drain(), SECONDS)
        if stage.transport == "polling":
            assert await other.emit_with_ack("recorded", ledger) == [0, 1, 2]


async def test_acknowledgements_of_a_socket_that_is_out(ours: Stage) -> None:
    socket = ours.socket(force_new=True)
    with pytest.raises(AckTimeout, match=r"'echo' was not sent: .* not connected within 0\.05 s") as caught:
        await socket.emit_with_ack("echo", 1, timeout=0.05)
    assert not caught.value.sent
    async with socket:
        with pytest.raises(AckTimeout, match="0 of 1 acknowledgements of 'never'") as late:
            await socket.emit_with_ack("never", timeout=0.05)
        assert late.value.sent
    with pytest.raises(Disconnected):
        await asyncio.wait_for(socket.emit_with_ack("echo", 1), SECONDS)


async def test_events_that_do_not_come(ours: Stage) -> None:
    async with ours.connected(force_new=True) as socket:
        # For a few turns after the connect, events are kept.
        await asyncio.sleep(0.02)
        socket.emit("request", 1)
        await socket.emit_with_ack("echo", 1)
        with pytest.raises(TimeoutError) as caught:
            await socket.receive("response", timeout=0.05)
        assert str(caught.value) == (
            "no event 'response' came within 0.05 s; one came before the first `receive`, when none was kept"
        )
        with pytest.raises(TimeoutError) as caught:
            await socket.receive("another", timeout=0.05)
        assert str(caught.value) == "no event 'another' came within 0.05 s"


async def test_an_unheard_event_right_at_the_connection(nothing_left: None, caplog: pytest.LogCaptureFixture) -> None:
    server = duplexio.Server(handle_signals=False)

    @server.on("connection")
    async def greet(socket: duplexio.Socket) -> None:
        socket.emit("hello")

    async with await server.listen("127.0.0.1", 0) as listening, duplexio.connect(listening.url, debug=True):
        await asyncio.sleep(0.05)
    assert [text for text in messages(caplog, logging.WARNING) if "no handler for the event 'hello'" in text]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_server_of_http_1_0(transport: Any) -> None:
    async def not_found(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with Answering(not_found) as server:
        with pytest.raises(ConnectError, match="the server answered 404") as caught:
            await duplexio.connect(server.url, transports=[transport]).connect()
    assert caught.value.status == 404


async def test_a_redirect_to_where_nobody_is() -> None:
    elsewhere = f"127.0.0.1:{unused_port()}"

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://{elsewhere}{request.path_qs}"})

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", redirect)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(ConnectError, match=f"redirects to {elsewhere}, and there: nobody listens") as caught:
            await duplexio.connect(url).connect()
    finally:
        await runner.cleanup()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_what_a_newcomer_may_write() -> None:
    with pytest.raises(ConfigurationError, match="expected a port from 0 to 65535"):
        duplexio.connect("http://127.0.0.1:99999")
    socket = duplexio.connect("http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="on_any"):
        socket.on("*", print)
    with pytest.raises(TypeError, match=r"@socket\.on\('print'\)"):
        socket.on(print)  # type: ignore[call-overload]


async def test_waiting_for_a_socket_that_nobody_opened(pool: PeerPool) -> None:
    socket = duplexio.connect(pool.get(DUPLEXIO).url, force_new=True)
    with pytest.raises(Disconnected, match=r"connect\(\) or open\(\)"):
        await asyncio.wait_for(socket.wait_connected(), SECONDS)
