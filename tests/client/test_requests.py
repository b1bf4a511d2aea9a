"""What goes out with the requests of a session: headers, cookies, queries; and where they go."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

import duplexio
from duplexio.errors import ConnectError, ConnectTimeout
from tests.hosting.clients import Transport

from .peers import DUPLEXIO, NODE4, Peer, PeerPool
from .stage import SECONDS, Stage, dropped, transport_of, until


def texts(how: str, given: dict[str, str], asked: list[int]) -> Any:
    def ask() -> dict[str, str]:
        asked.append(1)
        return given

    async def ask_later() -> dict[str, str]:
        await asyncio.sleep(0)
        return ask()

    return {"dict": given, "function": ask, "async": ask_later}[how]


@pytest.mark.parametrize("how", ["dict", "function", "async"])
async def test_headers_and_queries(stage: Stage, how: str) -> None:
    """Asked for anew at each attempt, where a function gives them."""
    asked: list[int] = []
    headers = texts(how, {"X-One": "1"}, asked)
    query = texts(how, {"two": "2 & ä"}, asked)
    async with stage.connected("?three=3", extra_headers=headers, query=query) as socket:
        who = await socket.emit_with_ack("whoami")
        assert who["headers"]["x-one"] == "1"
        assert (who["query"]["two"], who["query"]["three"]) == ("2 & ä", "3")
        await dropped(socket)
        assert (await socket.emit_with_ack("whoami"))["headers"]["x-one"] == "1"
    assert len(asked) == (0 if how == "dict" else 4)


async def test_a_function_that_fails(ours: Stage) -> None:
    def fail() -> dict[str, str]:
        raise RuntimeError("no header today")

    with pytest.raises(ConnectError, match="no header today"):
        await ours.socket(extra_headers=fail).connect()
    with pytest.raises(ConnectError, match=r"what the query function gave\['a'\] is of type int: expected a text"):
        await ours.socket(query=lambda: {"a": 1}).connect()


async def test_headers_of_one_transport(stage: Stage) -> None:
    """Those of the transport that opens the session are seen."""
    options = {name: {"extra_headers": {"X-By": name}} for name in ("polling", "websocket")}
    async with stage.connected(transport_options=options, extra_headers={"X-By": "any", "X-Other": "o"}) as socket:
        headers = (await socket.emit_with_ack("whoami"))["headers"]
        first = "websocket" if stage.transport == "websocket" else "polling"
        assert (headers["x-by"], headers["x-other"]) == (first, "o")


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_credentials_of_the_url_give_way_to_a_header(stage: Stage, name: str) -> None:
    """However it is written: two of them would be one too many."""
    stage.url = stage.url.replace("//", "//somebody:sesame@")
    async with stage.connected(extra_headers={name: "Bearer of this"}) as socket:
        assert (await socket.emit_with_ack("whoami"))["headers"]["authorization"] == "Bearer of this"
    async with stage.connected(force_new=True) as socket:
        given = (await socket.emit_with_ack("whoami"))["headers"]["authorization"]
        assert given == "Basic " + base64.b64encode(b"somebody:sesame").decode()


@pytest.mark.parametrize("credentials", [True, False])
async def test_cookies(pool: PeerPool, peer: Peer, transport: Transport, nothing_left: None, credentials: bool) -> None:
    """Kept, and shown to the next session, by any transport; or not at all."""
    stage = Stage(pool.get(peer, "--cookie", "io"), transport)
    async with stage.connected(with_credentials=credentials, extra_headers={"cookie": "own=1"}) as socket:
        first = (await socket.emit_with_ack("whoami"))["headers"].get("cookie", "")
        assert "own=1" in first
        await dropped(socket)
        second = (await socket.emit_with_ack("whoami"))["headers"].get("cookie", "")
        assert "own=1" in second
        # Node's servers set none with the answer that opens a WebSocket.
        set_by_the_server = peer is DUPLEXIO or transport != "websocket"
        assert ("io=" in second) == (credentials and set_by_the_server)


async def test_other_paths(pool: PeerPool, peer: Peer, transport: Transport, nothing_left: None) -> None:
    stage = Stage(pool.get(peer, "--path", "/deep/er"), transport)
    for path in "/deep/er", "deep/er/":
        async with stage.connected("/other", path=path, force_new=True) as socket:
            assert (await socket.emit_with_ack("whoami"))["nsp"] == "/other"
    with pytest.raises(ConnectError) as caught:
        await stage.socket().connect()
    assert caught.value.transport in ("polling", "websocket")


# A server that notes what it is asked, and sends elsewhere.


@contextlib.asynccontextmanager
async def redirecting(to: str, status: int = 307) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that answers every request with a redirect to the same path there; and the requests."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs}")
        return web.Response(status=status, headers={"Location": f"{to}{request.path_qs}"})

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects(pool: PeerPool, peer: Peer, status: int) -> None:
    """The first request is sent elsewhere, and the session stays there."""
    for transport in "polling", "upgrade":
        server = pool.get(peer)
        async with redirecting(server.url, status) as (url, asked):
            stage = Stage(server, transport, url)
            async with stage.connected(force_new=True) as socket:
                assert await socket.emit_with_ack("echo", b"x" * 100) == b"x" * 100
            assert len(asked) == 1
            assert asked[0].startswith("GET /socket.io/?")


async def test_redirects_for_ever(pool: PeerPool) -> None:
    async with redirecting("") as (url, asked):
        with pytest.raises(ConnectError, match="redirects"):
            await duplexio.connect(url, transports=["polling"]).connect()
        assert 1 < len(asked) < 30


async def test_with_and_without_a_slash(pool: PeerPool) -> None:
    """Our own server takes both."""
    async with redirecting(pool.get(DUPLEXIO).url) as (url, asked):
        for slash, path in (True, "/socket.io/"), (False, "/socket.io"):
            asked.clear()
            async with (
                asyncio.timeout(SECONDS),
                duplexio.connect(url, add_trailing_slash=slash, force_new=True) as socket,
            ):
                assert await socket.emit_with_ack("echo", 1) == 1
            assert asked[0].startswith(f"GET {path}?")


# Transports.


async def test_subprotocols(pool: PeerPool, nothing_left: None) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Sec-WebSocket-Protocol", ""))
        return web.Response(status=403)

    application = web.Application()
    application.router.add_get("/socket.io/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    with pytest.raises(ConnectError):
        await duplexio.connect(url, transports=["websocket"], protocols=["one", "two"]).connect()
    with pytest.raises(ConnectError):
        await duplexio.connect(url, transports=["websocket"], protocols="three").connect()
    await runner.cleanup()
    assert asked == ["one, two", "three"]


async def test_an_upgrade_is_remembered(pool: PeerPool, peer: Peer, nothing_left: None) -> None:
    for remember, expected in (True, "websocket"), (False, "polling"):
        stage = Stage(pool.get(peer), "upgrade")
        async with stage.connected(remember_upgrade=remember) as socket:
            first: list[str] = []
            socket.on("connect", lambda: first.append(transport_of(socket)), inline=True)  # noqa: B023
            await dropped(socket)
            assert first == [expected]


async def test_without_upgrades(pool: PeerPool, peer: Peer, nothing_left: None) -> None:
    """Where the client does not want one, or the server does not offer it."""
    for options, upgrade in ((), False), (("--no-upgrades",), True):
        stage = Stage(pool.get(peer, *options), "polling")
        names = ["polling", "websocket"]
        async with stage.connected(upgrade=upgrade, transports=names, force_new=True) as socket:
            await asyncio.sleep(0.05)
            assert await socket.emit_with_ack("echo", 1) == 1
            assert transport_of(socket) == "polling"


async def test_all_transports_are_tried(pool: PeerPool, peer: Peer, nothing_left: None) -> None:
    for offered, names in ("websocket", ["polling", "websocket"]), ("polling", ["websocket", "polling"]):
        stage = Stage(pool.get(peer, "--transports", offered), "polling")
        with pytest.raises(ConnectError) as caught:
            await stage.socket(transports=names, force_new=True).connect()
        assert caught.value.transport == names[0]
        async with stage.socket(transports=names, try_all_transports=True, force_new=True) as socket:
            assert transport_of(socket) == offered


async def test_the_server_pings(pool: PeerPool, peer: Peer, transport: Transport, nothing_left: None) -> None:
    """Or the client, in protocol 3; either is told of, and the session lasts."""
    stage = Stage(pool.get(peer, "--ping-interval", "0.1", "--ping-timeout", "5"), transport)
    async with stage.connected() as socket:
        pings: list[int] = []
        socket.io.on("ping", lambda: pings.append(1))
        id = socket.id
        await until(lambda: len(pings) >= 3)
        assert (socket.id, socket.connected) == (id, True)


async def test_too_late(pool: PeerPool, transport: Transport, nothing_left: None) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    stage = Stage(pool.get(NODE4), transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(ConnectTimeout) as caught:
        await stage.socket(timeout=0.05).connect()
    assert isinstance(caught.value, TimeoutError)
    server.close()
    await server.wait_closed()
