"""Handlers, functions of options and threads that connect, leave and end in the middle of what they are told of."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import duplexio
from duplexio import sync
from duplexio.errors import ConfigurationError, ConnectError, ConnectRefused, Disconnected

from .peers import DUPLEXIO, DUPLEXIO_EIO3, PeerPool, running
from .stage import SECONDS, SOON, Stage, until

GIVE_UP = pytest.mark.parametrize("how", ["open", "connect"])


def comes_back(socket: duplexio.ClientSocket, how: str) -> Callable[..., Any]:
    """A handler that lets it come back."""
    if how == "open":
        return lambda *_: socket.open()

    async def connect(*_: Any) -> None:
        await socket.connect()

    return connect


def on(socket: duplexio.ClientSocket, event: str, handler: Callable[..., Any]) -> None:
    if asyncio.iscoroutinefunction(handler):
        socket.once(event, handler)
    else:
        socket.once(event, handler, inline=True)


async def test_out_in_the_middle_of_what_came(stage: Stage) -> None:
    """What stands behind it in the same body, or the same read, is not heard any more."""
    async with stage.connected(force_new=True) as socket:
        came: list[int] = []

        def leave(number: int, data: bytes | None = None) -> None:
            came.append(number)
            socket.disconnect()

        socket.on("item", leave, inline=True)
        socket.emit("burst", 20, True)
        assert await socket.wait_disconnected() == "io client disconnect"
        await asyncio.sleep(0.02)
        assert came == [0]


@GIVE_UP
async def test_sent_away_and_back_at_once(stage: Stage, how: str) -> None:
    """The JavaScript client's own way of coming back from `io server disconnect`."""
    async with stage.connected(force_new=True) as socket, socket.io:
        await socket.emit_with_ack("echo", 1)
        on(socket, "disconnect", comes_back(socket, how))
        first = socket.id
        socket.emit("kick")
        await until(lambda: socket.connected and socket.id != first)
        socket.emit("request", 2)
        assert await socket.receive("response", SECONDS) == 2


@GIVE_UP
async def test_refused_and_back_with_another_token(stage: Stage, how: str) -> None:
    async with asyncio.timeout(SECONDS):
        socket = stage.socket("/auth", force_new=True, auth={"token": "expired"})

        def renew(error: Exception) -> Any:
            assert isinstance(error, ConnectRefused)
            socket.auth = {"token": "secret"}
            return comes_back(socket, how)()

        async def renew_and_wait(error: Exception) -> None:
            await renew(error)

        on(socket, "connect_error", renew if how == "open" else renew_and_wait)
        with pytest.raises(ConnectRefused):
            await socket.connect()
        await socket.wait_connected()
        assert await socket.emit_with_ack("echo", 1) == 1
        await socket.io.close()


@GIVE_UP
async def test_a_first_attempt_that_failed_is_begun_again(ours: Stage, how: str) -> None:
    """By the handler that is told of it, when the server is there."""
    async with asyncio.timeout(SECONDS):
        asked = 0

        async def headers() -> dict[str, str]:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise RuntimeError("no header yet")
            return {}

        socket = ours.socket(force_new=True, extra_headers=headers)
        on(socket, "connect_error", comes_back(socket, how))
        with pytest.raises(ConnectError, match="no header yet"):
            await socket.connect()
        await socket.wait_connected()
        await socket.io.close()


async def test_a_manager_begun_again_when_it_has_given_up(nothing_left: None) -> None:
    begun: list[asyncio.Task[None]] = []
    with running(DUPLEXIO) as server:
        async with asyncio.timeout(SECONDS * 2):
            manager = duplexio.Manager(server.url, reconnection_delay=SOON, reconnection_attempts=2)
            await manager.socket().connect()
            manager.on("reconnect_failed", lambda: begun.append(asyncio.create_task(manager.connect())))
            server.kill()
            await until(lambda: begun)
            with pytest.raises(ConnectError, match="nobody listens"):
                await begun[0]
            await manager.close()


async def test_waiting_does_not_end_a_socket_that_comes_back(over_websocket: Stage) -> None:
    asked = 0

    async def auth() -> dict[str, str]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise RuntimeError("no token for a moment")
        return {"token": "secret"}

    async with over_websocket.connected("/auth", auth=auth, force_new=True) as socket:
        assert socket.io.engine is not None
        socket.io.engine.close()
        await until(lambda: not socket.connected)
        await socket.wait_connected(SECONDS)
        assert asked == 3


async def test_one_that_begins_anew_in_the_handler_of_another(ours: Stage) -> None:
    async with ours.connected(force_new=True) as first:
        second = first.io.socket("/other")
        told: list[Exception] = []
        second.on("connect_error", told.append, inline=True)
        await second.connect()

        def again(*_: Any) -> None:
            second.disconnect()
            second.open()

        first.on("disconnect", again, inline=True)
        assert first.io.engine is not None
        first.io.engine.close()
        await until(lambda: not first.connected)
        await second.wait_connected(SECONDS)
        first.off("disconnect")
        assert told == []
        await first.io.close()


async def test_connect_is_not_told_of_a_session_that_is_over(ours: Stage) -> None:
    """A thread is busy while the session ends, begins, and ends."""
    told: list[str] = []
    free = threading.Event()
    async with ours.connected(force_new=True) as socket:
        socket.on("response", lambda *_: free.wait(SECONDS) and None)
        socket.on("connect", lambda: told.append("connect"))
        socket.on("disconnect", lambda *_: told.append("disconnect"), inline=True)
        socket.emit("request", 1)
        await socket.emit_with_ack("echo", 1)
        assert socket.io.engine is not None
        socket.io.engine.close()
        await until(lambda: not socket.connected)
        await socket.wait_connected(SECONDS)
        socket.disconnect()
        free.set()
        await asyncio.sleep(0.05)
    assert told == ["disconnect", "disconnect"]


async def test_a_bare_connection_is_waited_for_by_nobody(ours: Stage) -> None:
    async with asyncio.timeout(SECONDS), ours.manager() as manager:
        async with manager.socket() as socket:
            socket.emit("kick")
            await socket.wait_disconnected()
            await manager.connect()
        assert manager.engine is not None


# Functions of options.


async def _never() -> dict[str, str]:
    await asyncio.sleep(1000)
    return {}


async def _cancelled() -> dict[str, str]:
    task = asyncio.create_task(asyncio.sleep(1000))
    task.cancel()
    await task
    return {}


@pytest.mark.parametrize("option", ["extra_headers", "query"])
@pytest.mark.parametrize(
    ("function", "said"), [(_never, "took longer than 0.2 s"), (_cancelled, "function raised CancelledError")]
)
async def test_functions_that_give_nothing(ours: Stage, option: str, function: Any, said: str) -> None:
    socket = ours.socket(force_new=True, timeout=0.2, **{option: function})
    with pytest.raises(ConnectError, match=said):
        await asyncio.wait_for(socket.connect(), SECONDS)


async def test_an_auth_function_that_is_cancelled(ours: Stage) -> None:
    socket = ours.socket(force_new=True, auth=_cancelled)
    with pytest.raises(ConnectError, match="auth function raised CancelledError"):
        await asyncio.wait_for(socket.connect(), SECONDS)


@pytest.mark.parametrize("way", ["disconnect", "close"])
async def test_a_function_that_calls_it_off(ours: Stage, way: str) -> None:
    async def headers() -> dict[str, str]:
        if way == "disconnect":
            socket.disconnect()
        else:
            await socket.io.close()
        return {}

    socket = ours.socket(force_new=True, extra_headers=headers)
    with pytest.raises(Disconnected):
        await asyncio.wait_for(socket.connect(), SECONDS)
    assert socket.io.engine is None


async def test_an_auth_of_a_wrong_type(stage: Stage) -> None:
    async with stage.connected(force_new=True) as main:
        other = main.io.socket("/other")
        other.auth = "secret"  # type: ignore[assignment]
        with pytest.raises(ConnectError, match="auth is a str: expected a mapping"):
            await asyncio.wait_for(other.connect(), SECONDS)
        assert not other.active
        assert await main.emit_with_ack("echo", 1) == 1


async def test_the_main_namespace_of_protocol_4_opened_and_closed_in_a_moment(pool: PeerPool) -> None:
    stage = Stage(pool.get(DUPLEXIO_EIO3), "websocket")
    async with stage.connected("/other", force_new=True, timeout=1.0) as other:
        await other.emit_with_ack("echo", 1)
        main = other.io.socket("/")
        main.open()
        main.disconnect()
        await asyncio.sleep(0)
        async with main:
            assert await main.emit_with_ack("echo", 2) == 2


# From threads.


def test_leaving_does_not_wait_for_another_threads_session(pool: PeerPool) -> None:
    """Managers are shared by default."""
    url = pool.get(DUPLEXIO).url
    manager = sync.Manager(url)
    first, second = manager.socket("/other"), manager.socket("/dyn-1")
    left = threading.Event()
    first.on("disconnect", lambda *_: second.connect(timeout=SECONDS))

    def leave() -> None:
        with first:
            pass
        left.set()

    thread = threading.Thread(target=leave, daemon=True)
    thread.start()
    assert left.wait(SECONDS)
    second.wait_connected(SECONDS)
    assert second.emit_with_ack("echo", 1) == 1
    second.disconnect()
    manager.close(SECONDS)


def test_a_plain_function_that_ends_its_thread(pool: PeerPool) -> None:
    url = pool.get(DUPLEXIO).url

    def leave() -> dict[str, str]:
        raise SystemExit(3)

    with pytest.raises(ConnectError, match="SystemExit"):
        sync.connect(url, auth=leave, force_new=True).connect(timeout=SECONDS)
    with sync.connect(url, force_new=True) as socket:
        assert socket.emit_with_ack("echo", 1) == 1


def test_calls_after_the_loop_has_ended(pool: PeerPool) -> None:
    kept: list[duplexio.ClientSocket] = []

    async def connect() -> None:
        kept.append(duplexio.connect(pool.get(DUPLEXIO).url, force_new=True))
        await kept[0].connect()
        await kept[0].io.close()

    asyncio.run(connect())

    def call() -> None:
        kept[0].emit("request", 1)
        kept[0].disconnect()

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert kept[0].io.counts["calls_after_the_end"] == 2


def test_texts_of_a_command_line_that_are_none() -> None:
    for given in ({"query": {"a": "\udcff"}}, {"extra_headers": {"\udcff": "a"}}, {"path": "/\udcff"}):
        with pytest.raises(ConfigurationError):
            duplexio.connect("http://127.0.0.1:9", **given)
    with pytest.raises(ConfigurationError, match="lone surrogate"):
        duplexio.Manager("http://127.0.0.1:9").socket("/\udcff")


@pytest.mark.parametrize("proxy", ["http://", "http://u:sesame@127.0.0.1:notaport", "socks5://:1080"])
def test_proxies_that_cannot_be(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="expected host and port") as caught:
        duplexio.connect("http://127.0.0.1:9", proxy=proxy)
    assert "sesame" not in str(caught.value)
