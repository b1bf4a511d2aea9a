"""Starting with the application, ending with it, and the lifespans of others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from duplexio import Server, Socket

from .applications import make_server
from .clients import TRANSPORTS, connected, first_answer
from .hosts import Host
from .processes import duplexio_run, plain_uvicorn, running


class Diary:
    """What a lifespan did, in order."""

    def __init__(self, name: str = "mine") -> None:
        self.name = name
        self.entries: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[dict[str, str]]:
        self.entries.append(f"{self.name} in")
        try:
            yield {"lifespan": self.name}
        finally:
            self.entries.append(f"{self.name} out")


def started(io: Server) -> bool:
    return getattr(io.engine, "loop", None) is not None


@pytest.mark.parametrize("make", [Starlette, FastAPI])
async def test_the_lifespan_starts_the_server_before_its_first_request(host: Host, make: Callable[..., Any]) -> None:
    io = make_server()
    app = make(lifespan=io.lifespan)
    app.mount("/socket.io", io)
    async with host(app, io) as url:
        assert started(io)
        async with connected(url, "upgrade") as client:
            assert await client.ask("echo", 1) == [1]


async def test_without_a_lifespan_it_starts_at_its_first_request(host: Host) -> None:
    io = make_server()
    async with host(Starlette(routes=[Mount("/socket.io", app=io)]), io) as url:
        assert not started(io)
        assert (await first_answer(url, "polling"))[0] == 200
        assert started(io)


@pytest.mark.parametrize("make", [Starlette, FastAPI])
async def test_a_lifespan_of_the_application_runs_inside_ours(host: Host, make: Callable[..., Any]) -> None:
    io = make_server()
    diary = Diary()

    @contextlib.asynccontextmanager
    async def mine(app: Any) -> AsyncIterator[dict[str, int]]:
        diary.entries.append(f"in, started: {started(io)}")
        async with diary.lifespan(app):
            yield {"answer": 42}
        diary.entries.append(f"out, closing: {io.engine.closing}")

    @io.on("state")
    async def state(socket: Socket) -> Any:
        return socket.conn.scope["state"]["answer"]

    app = make(lifespan=io.lifespan(mine))
    app.mount("/socket.io", io)
    async with host(app, io) as url:
        assert diary.entries == ["in, started: True", "mine in"]
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert await client.ask("state") == 42
    assert diary.entries[2:] == ["mine out", "out, closing: True"]


class Lifespan:
    """An object that is one."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    def __call__(self, app: Any) -> Any:
        return self._diary.lifespan(app)


def lifespan_with_settings(diary: Diary, app: Any) -> Any:
    return diary.lifespan(app)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda diary: diary.lifespan, id="method"),
        pytest.param(lambda diary: functools.partial(lifespan_with_settings, diary), id="partial"),
        pytest.param(Lifespan, id="object"),
    ],
)
def test_whatever_can_be_called_with_the_application_is_a_lifespan(make: Callable[[Diary], Any]) -> None:
    """Given as `io.lifespan(mine)`; an application is what takes a scope."""
    io = make_server()
    lifespan = io.lifespan(make(Diary()))
    assert callable(lifespan)
    context = lifespan(Starlette())
    assert hasattr(context, "__aenter__")


@pytest.mark.parametrize("place", ["root", "wrapped", "mounted"])
async def test_the_option_is_entered_and_left_once(host: Host, place: str) -> None:
    diary = Diary()
    io = make_server(lifespan=diary.lifespan)
    app: Any = io
    if place == "wrapped":
        app = io.wrap(Starlette())
    elif place == "mounted":
        app = FastAPI(lifespan=io.lifespan)
        app.mount("/socket.io", io)
    async with host(app, io) as url:
        assert diary.entries == ["mine in"]
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert await client.ask("echo", 1) == [1]
        assert diary.entries == ["mine in"]
    assert diary.entries == ["mine in", "mine out"]


async def test_a_wrapped_application_keeps_its_lifespan(host: Host) -> None:
    """It runs once, inside ours, and its state reaches the scope."""
    inner, outer = Diary("theirs"), Diary("ours")
    outer.entries = inner.entries
    io = make_server(lifespan=outer.lifespan)
    async with host(io.wrap(FastAPI(lifespan=inner.lifespan)), io) as url:
        assert inner.entries == ["ours in", "theirs in"]
        assert (await first_answer(url, "polling"))[0] == 200
    assert inner.entries == ["ours in", "theirs in", "theirs out", "ours out"]


async def test_an_application_without_a_lifespan_can_be_wrapped(host: Host) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "it knows nothing else"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    diary = Diary()
    io = make_server(lifespan=diary.lifespan)
    async with host(io.wrap(app), io, lifespan="on") as url:
        assert diary.entries == ["mine in"]
        assert (await first_answer(url, "polling", "/"))[0] == 204
        async with connected(url, "upgrade") as client:
            assert await client.ask("echo", 1) == [1]
    assert diary.entries == ["mine in", "mine out"]


async def by_hand(app: Any, before_the_end: Callable[[], Any] | None = None) -> list[str]:
    """Runs an application's lifespan as a server does; what it sent, in order."""
    sent: list[str] = []
    started, told = asyncio.Event(), asyncio.Event()
    messages = ["lifespan.startup"]

    async def receive() -> dict[str, str]:
        if messages:
            return {"type": messages.pop()}
        await told.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None:
        sent.append(message["type"])
        started.set()

    running = asyncio.ensure_future(app({"type": "lifespan", "state": {}}, receive, send))
    async with asyncio.timeout(10):
        await started.wait()
        if before_the_end is not None:
            await asyncio.sleep(0.05)
            before_the_end()
        told.set()
        await running
    return sent


@pytest.mark.parametrize("inner", [FastAPI(), Starlette(), make_server(), lambda scope, receive, send: None])
async def test_all_of_ours_is_over_before_a_wrapped_application_says_so(inner: Any) -> None:
    """Who serves may stop the loop at that message."""
    done: list[str] = []

    @contextlib.asynccontextmanager
    async def slow(app: Any) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(0.05)
        done.append("closed my database")

    io = Server(lifespan=slow, handle_signals=False)
    wrapped = io.wrap(inner)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            done.append(message["type"])
            await send(message)

        await wrapped(scope, receive, note)

    await by_hand(noting)
    assert done == ["lifespan.startup.complete", "closed my database", "lifespan.shutdown.complete"]


async def ends_at_once(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def answers_anything(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize(("inner", "warns"), [(ends_at_once, True), (answers_anything, False)])
async def test_a_lifespan_that_ends_too_early_does_not_end_ours(
    inner: Any, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    io = Server(handle_signals=False)
    states: list[str] = []
    sent = await by_hand(io.wrap(inner), lambda: states.append(io.health()["status"]))
    assert states == ["ok"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert ("ended before it was told to" in caplog.text) is warns


async def test_a_lifespan_that_fails_at_its_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def failing(app: Any) -> AsyncIterator[None]:
        yield
        raise RuntimeError("the database is gone")

    io = Server(lifespan=failing, handle_signals=False)
    assert await by_hand(io.wrap(FastAPI())) == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert "the database is gone" in caplog.text


async def test_the_state_of_the_option_is_in_the_scope(host: Host) -> None:
    """As with any application whose lifespan yields a state."""
    io = make_server(lifespan=Diary("own").lifespan)

    @io.on("state")
    async def state(socket: Socket) -> Any:
        return socket.conn.scope["state"]

    async with host(io, io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert await client.ask("state") == {"lifespan": "own"}


FAILING = """
import contextlib
from fastapi import FastAPI
from duplexio import Server

@contextlib.asynccontextmanager
async def broken(app):
    raise RuntimeError("no database today")
    yield

io = Server(lifespan=broken)
wrapped = io.wrap(FastAPI())
around = Server().wrap(FastAPI(lifespan=broken))
mounted = FastAPI(lifespan=Server().lifespan(broken))
"""


@pytest.mark.parametrize(
    ("command", "attribute"),
    [
        (duplexio_run, "io"),
        (duplexio_run, "wrapped"),
        (duplexio_run, "around"),
        (duplexio_run, "mounted"),
        (plain_uvicorn, "io"),
        (plain_uvicorn, "wrapped"),
    ],
)
def test_a_lifespan_that_fails_ends_the_server(tmp_path: Any, command: Any, attribute: str) -> None:
    """It says why, and never begins to listen."""
    (tmp_path / "failing.py").write_text(FAILING)
    with running(*command(f"failing:{attribute}", 0), folder=tmp_path) as process:
        assert process.wait(10) == 3
        assert "no database today" in process.log
        assert "startup failed" in process.log
        assert "running on" not in process.log


MISCONFIGURED = """
import os
from duplexio import Server
from duplexio.adapters.unix import UnixBus

os.makedirs("open to all", exist_ok=True)
os.chmod("open to all", 0o755)
io = Server(adapter=UnixBus("open to all"))
"""


@pytest.mark.parametrize("command", [duplexio_run, plain_uvicorn])
def test_what_is_misconfigured_has_no_traceback(tmp_path: Any, command: Any) -> None:
    """The message says what to do, and the way to it through this library does not."""
    (tmp_path / "misconfigured.py").write_text(MISCONFIGURED)
    with running(*command("misconfigured:io", 0), folder=tmp_path) as process:
        assert process.wait(10) == 3
        assert "the lifespan failed to start: " in process.log
        assert "open to all is open to others (mode 755): chmod 700" in process.log
        assert "Traceback" not in process.log


LISTENING = (
    FAILING
    + """
import asyncio

async def main():
    for server in (io, wrapped):
        try:
            async with asyncio.timeout(5):
                await server.listen()
        except OSError as error:
            print("raised:", error)
    print("the program goes on")

asyncio.run(main())
"""
)


def test_a_lifespan_that_fails_where_a_program_listens(tmp_path: Any) -> None:
    """An error to catch; the program that listens is not ended by it."""
    (tmp_path / "listening.py").write_text(LISTENING)
    with running("listening.py", folder=tmp_path) as process:
        process.wait(10)
        assert process.log.count("raised:") == 2, process.log
        assert "failed to start" in process.log
        assert "the program goes on" in process.log
