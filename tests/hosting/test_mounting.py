"""Where the server answers: at the root, mounted, wrapped, behind a proxy that cuts a path off."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus

from duplexio import Server, Socket

from .applications import make_server
from .clients import SECONDS, TRANSPORTS, Transport, connected, first_answer
from .hosts import Host, fast

ACCEPTED: dict[Literal["polling", "websocket"], int] = {"polling": 200, "websocket": 101}


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


async def reverse(websocket: StarletteWebSocket) -> None:
    """A WebSocket that is not ours, with a subprotocol and a header of its own."""
    await websocket.accept(subprotocol="words", headers=[(b"x-other", b"yes")])
    async for text in websocket.iter_text():
        await websocket.send_text(text[::-1])


def root(io: Server) -> Any:
    return io


def others() -> list[Any]:
    return [Route("/", home), WebSocketRoute("/reverse", reverse)]


def in_starlette(io: Server) -> Any:
    return Starlette(routes=[*others(), Mount("/socket.io", app=io)])


def in_fastapi(io: Server) -> Any:
    app = FastAPI(routes=others())
    app.mount("/socket.io", io)
    return app


def nested_mounts(io: Server) -> Any:
    inner = Starlette(routes=[Mount("/ws", app=io)])
    return Starlette(routes=[*others(), Mount("/api", app=inner)])


def nested_path(io: Server) -> Any:
    app = FastAPI(routes=others())
    app.mount("/api/ws", io)
    return app


def around_starlette(io: Server) -> Any:
    return io.wrap(Starlette(routes=others()))


def around_fastapi(io: Server) -> Any:
    return io.wrap(FastAPI(routes=others()))


PLACES = [
    pytest.param(in_starlette, ["/socket.io/", "/socket.io/socket.io/", "/socket.io/socket.io"], id="starlette"),
    pytest.param(in_fastapi, ["/socket.io/"], id="fastapi"),
    pytest.param(nested_mounts, ["/api/ws/"], id="nested-mounts"),
    pytest.param(nested_path, ["/api/ws/", "/api/ws/socket.io/"], id="nested-path"),
    pytest.param(around_starlette, ["/socket.io/", "/socket.io"], id="wrap-starlette"),
    pytest.param(around_fastapi, ["/socket.io/"], id="wrap-fastapi"),
    pytest.param(root, ["/socket.io/", "/socket.io"], id="root"),
]


@pytest.mark.parametrize(("make", "paths"), PLACES)
async def test_it_answers_where_it_is_put(host: Host, make: Any, paths: list[str]) -> None:
    io = make_server()
    async with host(make(io), io) as url:
        for path, transport in itertools.product(paths, TRANSPORTS):
            async with connected(url, transport, path) as client:
                assert await client.ask("echo", "hello", 1) == ["hello", 1]
                assert client.transport == ("polling" if transport == "polling" else "websocket")
                assert io.engine.clients_count == 1


@pytest.mark.parametrize(("make", "path"), [(in_starlette, "/socket.io/"), (around_fastapi, "/socket.io/")])
async def test_the_other_application_is_left_alone(host: Host, make: Any, path: str) -> None:
    io = make_server()
    async with host(make(io), io) as url, connected(url, "polling", path) as client:
        async with httpx.AsyncClient(timeout=SECONDS) as http:
            assert (await http.get(f"http://{url}/")).text == "home"
            assert (await http.get(f"http://{url}/nothing")).status_code == 404
        await assert_reverse(url)
        assert await client.ask("echo", "still here") == ["still here"]


async def assert_reverse(url: str) -> None:
    """The other application's WebSocket, texts of several sizes, its subprotocol and its header."""
    async with asyncio.timeout(SECONDS):
        async with connect_websocket(f"ws://{url}/reverse", subprotocols=["chat", "words"], proxy=None) as other:  # type: ignore[list-item]
            assert other.subprotocol == "words"
            assert other.response is not None
            assert other.response.headers["x-other"] == "yes"
            for text in "abc", "ö" * 1000, "x" * 200_000:
                await other.send(text)
                assert await other.recv() == text[::-1]


async def test_mounted_the_slash_less_url_is_redirected_on_polling_and_refused_on_websocket(host: Host) -> None:
    """Starlette's doing; documented."""
    io = make_server()
    async with host(in_starlette(io), io) as url:
        status, headers, _ = await first_answer(url, "polling", "/socket.io")
        assert status == 307
        assert headers["location"] == f"http://{url}/socket.io/?EIO=4&transport=polling"
        assert (await first_answer(url, "websocket", "/socket.io"))[0] in (403, 404)


ELSEWHERE = [
    pytest.param(root, ["/", "/elsewhere/", "/socket.iox/", "/socket.io/deeper/", "/x/socket.io/"], id="root"),
    pytest.param(around_starlette, ["/socket.io/deeper/"], id="wrapped"),
    pytest.param(in_starlette, ["/socket.io/deeper/", "/socket.io/socket.io/deeper"], id="mounted"),
    pytest.param(nested_path, ["/api/ws/deeper", "/api/ws/socket.iox/"], id="nested"),
]


@pytest.mark.parametrize(("make", "paths"), ELSEWHERE)
async def test_elsewhere_it_says_where_it_is(host: Host, make: Any, paths: list[str]) -> None:
    """And there it is."""
    io = make_server()
    async with host(make(io), io) as url:
        for path, (transport, accepted) in itertools.product(paths, ACCEPTED.items()):
            status, _, body = await first_answer(url, transport, path)
            assert status == 404
            hint = re.search(r"/\S+/", body)
            assert hint is not None, body
            assert (await first_answer(url, transport, hint[0]))[0] == accepted


@pytest.mark.parametrize(
    ("make", "path"),
    [(root, "/socket.io/"), (around_starlette, "/socket.io/"), (in_fastapi, "/socket.io/"), (nested_path, "/api/ws/")],
)
async def test_behind_a_proxy_that_cuts_off_a_path(host: Host, make: Any, path: str) -> None:
    """`--root-path`: what arrives is the rest."""
    io = make_server()
    async with host(make(io), io, root_path="/behind") as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, path) as client:
                assert await client.ask("echo", "hello") == ["hello"]


async def test_behind_a_proxy_the_hint_is_the_public_path(host: Host) -> None:
    io = make_server()
    async with host(io, io, root_path="/behind") as url:
        status, _, body = await first_answer(url, "polling", "/elsewhere/")
        assert status == 404
        assert "/behind/socket.io/" in body


@contextlib.asynccontextmanager
async def scope_of(host: Host, app: Any, io: Server, transport: Transport, path: str) -> AsyncIterator[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        seen.append(dict(socket.conn.scope))

    async with host(app, io, root_path="/behind") as url, connected(url, transport, path) as client:
        await client.ask("echo")
        yield seen[0]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("make", [root, in_starlette])
async def test_the_scope_is_the_ordinary_one(host: Host, make: Any, transport: Transport) -> None:
    """The same on every hosting: who reads it needs not know which it is."""
    io = make_server()
    async with scope_of(host, make(io), io, transport, "/socket.io/") as scope:
        assert scope["type"] == ("websocket" if transport == "websocket" else "http")
        assert scope["path"] == "/behind/socket.io/"
        assert scope["root_path"] == ("/behind/socket.io" if make is in_starlette else "/behind")
        assert scope["query_string"].startswith(b"EIO=4&transport=")
        assert scope["scheme"] == ("ws" if transport == "websocket" else "http")
        assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
        assert dict(scope["headers"])[b"host"].startswith(b"127.0.0.1:")
        assert scope["state"] == {}


@pytest.mark.parametrize("make", [root, in_starlette, around_starlette])
async def test_a_refused_upgrade_is_no_error_in_the_log(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn's own class logs one, of every HTTP answer to a WebSocket; ours must not."""
    io = make_server()
    async with fast(make(io), io) as url:
        monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
        status, _, body = await first_answer(url, "websocket", headers={"Origin": "http://elsewhere.example"})
        assert (status, body) == (400, "Forbidden")
        await asyncio.sleep(0.05)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_two_servers_in_one_application(host: Host) -> None:
    first, second = make_server(), make_server()
    app = Starlette(routes=[Mount("/one", app=first), Mount("/two", app=second)])
    async with host(app, first) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, "/one/") as one, connected(url, transport, "/two/") as two:
                assert await one.ask("echo", 1) == [1]
                assert await two.ask("echo", 2) == [2]
                assert first.engine.clients_count == second.engine.clients_count == 1
        await second.close()


async def test_a_path_of_its_own(host: Host) -> None:
    io = make_server(path="/live/")
    async with host(io.wrap(Starlette(routes=[Route("/", home)])), io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, "/live/") as client:
                assert await client.ask("echo", 1) == [1]
        assert (await first_answer(url, "polling", "/socket.io/"))[0] == 404


async def test_a_websocket_of_a_router(host: Host) -> None:
    """FastAPI's decorator, beside a mounted server."""
    io = make_server()
    router = APIRouter()

    @router.websocket("/rooms/{name}")
    async def room(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        await websocket.send_json({"room": name})
        await websocket.close(4321, "enough")

    app = FastAPI()
    app.include_router(router)
    app.mount("/socket.io", io)
    async with host(app, io) as url, connect_websocket(f"ws://{url}/rooms/7", proxy=None) as other:
        assert await asyncio.wait_for(other.recv(), SECONDS) == '{"room":"7"}'
        await asyncio.wait_for(other.wait_closed(), SECONDS)
        assert (other.close_code, other.close_reason) == (4321, "enough")


async def test_a_websocket_that_the_other_application_refuses(host: Host) -> None:
    async def refuse(websocket: StarletteWebSocket) -> None:
        await websocket.close()

    io = make_server()
    app = io.wrap(Starlette(routes=[WebSocketRoute("/refused", refuse)]))
    async with host(app, io) as url:
        with pytest.raises(InvalidStatus) as error:
            await connect_websocket(f"ws://{url}/refused", proxy=None)
        assert error.value.response.status_code == 403


async def test_a_server_that_is_mounted_late(host: Host) -> None:
    """Nothing of it is bound to a loop before its first request."""
    io = make_server()
    app = Starlette(routes=[Route("/", home)])
    async with host(app, io) as url:
        assert (await first_answer(url, "polling"))[0] == 404
        app.mount("/socket.io", io)
        async with connected(url, "upgrade") as client:
            assert await client.ask("echo", 1) == [1]
