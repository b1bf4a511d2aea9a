"""A server that ends: it is out in time, and its clients are back by themselves as soon as there is one again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from duplexio import Server
from tests.client.leftovers import nothing_left_behind

from .applications import make_server
from .clients import TRANSPORTS, connected, websocket
from .crowd import BACK_SECONDS, Crowd, LocalCrowd, Report, crowd
from .processes import (
    HERE,
    ServerProcess,
    assert_quiet,
    daphne,
    duplexio_run,
    free_port,
    granian,
    hypercorn,
    plain_uvicorn,
    running,
)

Command = Callable[..., list[str]]

#: `drain_seconds`, and what a process needs to end besides.
GRACE_SECONDS = 13.0
POLLS_ONLY_SECONDS = 3.0
#: uvicorn raises the signal again when it has cleaned up.
ENDED_BY_SIGTERM = (0, -signal.SIGTERM)

HOSTINGS = [
    pytest.param(duplexio_run, "applications:io", id="duplexio-root"),
    pytest.param(duplexio_run, "applications:wrapped_app", id="duplexio-wrapped"),
    pytest.param(duplexio_run, "applications:fastapi_app", id="duplexio-fastapi"),
    pytest.param(plain_uvicorn, "applications:io", id="uvicorn-root"),
    pytest.param(plain_uvicorn, "applications:starlette_app", id="uvicorn-starlette"),
    pytest.param(plain_uvicorn, "applications:starlette_app_with_lifespan", id="uvicorn-starlette-lifespan"),
    pytest.param(plain_uvicorn, "applications:fastapi_app", id="uvicorn-fastapi"),
    pytest.param(plain_uvicorn, "applications:fastapi_app_with_lifespan", id="uvicorn-fastapi-lifespan"),
    pytest.param(hypercorn, "applications:io", id="hypercorn-root"),
    pytest.param(granian, "applications:starlette_app_with_lifespan", id="granian-starlette-lifespan"),
    pytest.param(daphne, "applications:starlette_app", id="daphne-starlette"),
]


def assert_told_to_come_back(report: Report) -> None:
    """A client that the server has disconnected by name stays away for good."""
    assert report.reasons, report
    assert set(report.reasons) <= {"transport close", "transport error"}, report


def end_by_signal(process: ServerProcess, seconds: float) -> None:
    start = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(seconds) in ENDED_BY_SIGTERM
    assert time.monotonic() - start < seconds
    assert_quiet(process)


@pytest.fixture(scope="module")
def restarts(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """Of each way to host that was selected, a few at a time: they wait for clients and for grace times."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            item.name: pool.submit(SCENARIOS[item.originalname], **cast(Any, item.callspec.params))
            for item in request.session.items
            if isinstance(item, pytest.Function) and item.originalname in SCENARIOS
        }


@pytest.mark.parametrize(("command", "application"), HOSTINGS)
def test_sigterm_with_a_crowd(
    restarts: dict[str, Future[None]], command: Command, application: str, request: pytest.FixtureRequest
) -> None:
    restarts[request.node.name].result()


def restart_with_a_crowd(command: Command, application: str) -> None:
    port = free_port()
    with running(*command(application, port)) as process:
        process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=50, websocket=50) as clients:
            clients.wait_connected()
            clients.echo()
            end_by_signal(process, GRACE_SECONDS)
            with running(*command(application, port)) as next_process:
                next_process.wait_listening()
                report = clients.wait_connected(BACK_SECONDS)
                assert_told_to_come_back(report)
                assert sum(report.reasons.values()) == 100
                clients.echo()


def reloading_application(folder: Path, version: int) -> None:
    (folder / "reloaded.py").write_text(
        f"from applications import *\n\nversion = {version}\nprint('version', version)\n"
    )


@pytest.mark.parametrize(
    ("command", "application"),
    [
        pytest.param(duplexio_run, "reloaded:io", id="duplexio-root"),
        pytest.param(plain_uvicorn, "reloaded:starlette_app", id="uvicorn-starlette"),
    ],
)
def test_reload_with_a_crowd(
    restarts: dict[str, Future[None]], command: Command, application: str, request: pytest.FixtureRequest
) -> None:
    restarts[request.node.name].result()


def reload_with_a_crowd(command: Command, application: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reload_in(Path(folder), command, application)


def reload_in(folder: Path, command: Command, application: str) -> None:
    shutil.copy(HERE / "applications.py", folder)
    reloading_application(folder, 1)
    port = free_port()
    with running(*command(application, port, "--reload"), folder=folder) as process:
        process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=50, websocket=50) as clients:
            clients.wait_connected()
            clients.echo()
            start = time.monotonic()
            reloading_application(folder, 2)
            process.wait_for("version 2", seconds=GRACE_SECONDS)
            assert time.monotonic() - start < GRACE_SECONDS
            assert_told_to_come_back(clients.wait_connected(BACK_SECONDS))
            clients.echo()
            process.signal(signal.SIGTERM)
            assert process.wait(GRACE_SECONDS) in ENDED_BY_SIGTERM
            assert_quiet(process)


SCENARIOS = {"test_sigterm_with_a_crowd": restart_with_a_crowd, "test_reload_with_a_crowd": reload_with_a_crowd}


@pytest.mark.parametrize(
    ("command", "application"),
    [
        pytest.param(duplexio_run, "applications:io", id="duplexio-root"),
        pytest.param(duplexio_run, "applications:function_app", id="duplexio-function"),
        pytest.param(plain_uvicorn, "applications:starlette_app", id="uvicorn-starlette"),
        pytest.param(plain_uvicorn, "applications:fastapi_app_with_lifespan", id="uvicorn-fastapi-lifespan"),
    ],
)
def test_sigterm_where_only_polls_are_open(command: Command, application: str) -> None:
    port = free_port()
    with running(*command(application, port)) as process:
        process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=50) as clients:
            clients.wait_connected()
            time.sleep(0.3)
            end_by_signal(process, POLLS_ONLY_SECONDS)
            assert_told_to_come_back(clients.report())


@pytest.mark.parametrize("command", [duplexio_run, plain_uvicorn])
def test_sigterm_where_one_application_has_two_servers(command: Command) -> None:
    port = free_port()
    with running(*command("applications:two_servers_app", port)) as process:
        process.wait_listening()
        url = f"http://127.0.0.1:{port}"
        with crowd(url, polling=3) as first, crowd(url, polling=3, path="/other/") as second:
            for clients in first, second:
                clients.wait_connected()
                clients.echo()
            time.sleep(0.3)
            end_by_signal(process, POLLS_ONLY_SECONDS)
            assert_told_to_come_back(first.report())
            assert_told_to_come_back(second.report())


async def test_close_with_a_crowd() -> None:
    io = make_server()
    async with await io.listen() as listening, LocalCrowd(listening.url, polling=50, websocket=50) as clients:
        await clients.wait_connected()
        await clients.echo()
        sockets = list(io.sockets.sockets.values())
        assert len(sockets) == 100
        start = time.monotonic()
        await io.close()
        assert time.monotonic() - start < GRACE_SECONDS
        assert io.engine.clients_count == 0
        assert not any(socket.connected for socket in sockets)
        assert_told_to_come_back(await clients.report())
        await listening.close()
        async with await make_server().listen(port=listening.port):
            report = await clients.wait_connected()
            assert_told_to_come_back(report)
            await clients.echo()


async def test_sockets_see_why_the_server_closed() -> None:
    io = make_server()
    reasons: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: object, reason: str) -> None:
        reasons.append(reason)

    async with await io.listen() as listening, LocalCrowd(listening.url, polling=3, websocket=3) as clients:
        await clients.wait_connected()
        await io.close()
        await asyncio.sleep(0)
        assert reasons == ["server shutting down"] * 6


async def test_closings_are_spread_over_the_grace_time_at_the_most() -> None:
    """With ten clients and hardly any time the spread must not outlast the time."""
    io = make_server(drain_seconds=0.05)
    async with await io.listen() as listening, LocalCrowd(listening.url, websocket=10) as clients:
        await clients.wait_connected()
        start = time.monotonic()
        await io.close()
        assert time.monotonic() - start < 2.0
        assert_told_to_come_back(await clients.report())


async def test_closing_twice_at_once_and_again() -> None:
    io = make_server()
    async with await io.listen() as listening, LocalCrowd(listening.url, polling=2, websocket=2) as clients:
        await clients.wait_connected()
        async with asyncio.timeout(10):
            await asyncio.gather(io.close(), io.close())
            await io.close()
        assert io.engine.clients_count == 0


async def test_nothing_is_left_of_sessions_in_whatever_state() -> None:
    """On polling with and without a poll, on WebSocket, moved there, and on the way there: no task, timer or socket."""
    io = make_server(drain_seconds=0.1)
    async with nothing_left_behind(), await io.listen() as listening, contextlib.AsyncExitStack() as stack:
        url = f"127.0.0.1:{listening.port}"
        for transport in TRANSPORTS:
            await stack.enter_async_context(connected(url, transport))
        moving = await stack.enter_async_context(connected(url, "polling"))
        candidate = await stack.enter_async_context(websocket(url, "/socket.io/", {}, moving.sid))
        await candidate.send("2probe")
        assert await candidate.recv() == "3probe"
        polling = await stack.enter_async_context(connected(url, "polling"))
        poll = asyncio.create_task(polling.expect("1"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(GRACE_SECONDS):
            await listening.close()
            await poll
        assert io.engine.clients_count == 0


async def test_clients_come_back_to_a_server_that_listens_again() -> None:
    """The same object, on the same port, with the handlers that it had."""
    io = make_server(drain_seconds=1)
    async with await io.listen() as listening, LocalCrowd(listening.url, polling=2, websocket=2, upgrade=2) as clients:
        await clients.wait_connected()
        await listening.close()
        assert len(io.sockets.sockets) == 0
        async with await io.listen(port=listening.port):
            assert_told_to_come_back(await clients.wait_connected())
            await clients.echo()
            assert len(io.sockets.sockets) == 6


async def test_closing_what_never_started() -> None:
    async with asyncio.timeout(5):
        await Server().close()


def test_a_second_sigterm_does_no_harm() -> None:
    port = free_port()
    with running(*duplexio_run("applications:io", port)) as process:
        process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=5, websocket=20) as clients:
            clients.wait_connected()
            process.signal(signal.SIGTERM)
            process.wait_for("Shutting down")
            end_by_signal(process, GRACE_SECONDS)
            assert_told_to_come_back(clients.report())


@pytest.mark.parametrize("command", [duplexio_run, plain_uvicorn])
def test_sigint(command: Command) -> None:
    """Ctrl+C is no error, and no traceback."""
    port = free_port()
    with running(*command("applications:io", port)) as process:
        process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=3, websocket=3) as clients:
            clients.wait_connected()
            process.signal(signal.SIGINT)
            assert process.wait(GRACE_SECONDS) == 0
            assert_quiet(process)
            assert_told_to_come_back(clients.report())


def test_clients_wait_for_a_server_that_is_late() -> None:
    """Who finds nobody keeps asking."""
    port = free_port()
    clients = Crowd(f"http://127.0.0.1:{port}", polling=5, websocket=5)
    try:
        time.sleep(0.5)
        with running(*duplexio_run("applications:io", port)) as process:
            process.wait_listening()
            clients.wait_connected(BACK_SECONDS)
    finally:
        clients.end()
