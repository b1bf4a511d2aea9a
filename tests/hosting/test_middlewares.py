"""Middlewares of the surrounding application: they see both transports, and what they add is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from duplexio import ConnectRefused, Server, Socket

from .clients import TRANSPORTS, connected, first_answer
from .hosts import Host

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
First = Literal["polling", "websocket"]
FIRST: tuple[First, ...] = ("polling", "websocket")
OPENED = {"polling": 200, "websocket": 101}
REFUSED = {"polling": 403, "websocket": 400}


class Sessions:
    """A session middleware: what a cookie names is in the scope, and a visitor without one gets one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        cookies = HTTPConnection(scope).cookies
        scope["session"] = {"visitor": cookies.get("visitor", "new")}

        async def send_with_cookie(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                cookie = b"visitor=%s; path=/" % scope["session"]["visitor"].encode()
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", cookie), (b"x-seen-by", b"sessions")]
            await send(message)

        await self.app(scope, receive, send_with_cookie)


class Tokens(AuthenticationBackend):
    """A token is the name of its user; one that is empty is a forgery."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        if not token:
            raise AuthenticationError("an empty token")
        return AuthCredentials(["authenticated"]), SimpleUser(token)


def make_server(**options: Any) -> Server:
    io = Server(**options)

    @io.on("scope")
    async def scope(socket: Socket) -> Any:
        scope = socket.conn.scope
        user = scope.get("user")
        return {
            "session": scope.get("session"),
            "user": user.display_name if user is not None and user.is_authenticated else None,
            "state": scope.get("state", {}).get("answer"),
        }

    return io


def in_starlette(io: Server, *middlewares: Middleware, **options: Any) -> Any:
    return Starlette(routes=[Mount("/socket.io", app=io)], middleware=middlewares, **options)


def in_fastapi(io: Server, *middlewares: Middleware, **options: Any) -> Any:
    app = FastAPI(**options)
    for middleware in reversed(middlewares):
        app.add_middleware(middleware.cls, *middleware.args, **middleware.kwargs)
    app.mount("/socket.io", io)
    return app


@pytest.mark.parametrize("make", [in_starlette, in_fastapi])
async def test_session_and_user_and_state_are_in_the_scope(host: Host, make: Any) -> None:
    io = make_server()

    def lifespan(app: Any) -> Any:
        return _state(42)

    app = make(
        io, Middleware(Sessions), Middleware(AuthenticationMiddleware, backend=Tokens()), lifespan=io.lifespan(lifespan)
    )
    headers = {"Cookie": "visitor=anna", "Authorization": "Bearer anna-maria"}
    async with host(app, io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, headers=headers) as client:
                assert await client.ask("scope") == {"session": {"visitor": "anna"}, "user": "anna-maria", "state": 42}
                assert client.header("x-seen-by") == ["sessions"]
                assert client.header("set-cookie") == ["visitor=anna; path=/"]


class _state:  # noqa: N801  # stands where a function would
    """A lifespan's context with a state."""

    def __init__(self, answer: int) -> None:
        self._answer = answer

    async def __aenter__(self) -> dict[str, Any]:
        return {"answer": self._answer}

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("wrap", [False, True])
async def test_a_plain_middleware_around_the_server_alone(host: Host, wrap: bool) -> None:
    """The server is not the root application then, and the connection is handed over through the middleware."""
    io = make_server()
    async with host(Sessions(io.wrap(Starlette()) if wrap else io), io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, headers={"Cookie": "visitor=bob"}) as client:
                assert (await client.ask("scope"))["session"] == {"visitor": "bob"}
                assert client.header("x-seen-by") == ["sessions"]
                assert client.header("set-cookie") == ["visitor=bob; path=/"]


async def test_a_connection_middleware_of_ours_asks_for_the_user(host: Host) -> None:
    """What the application has found out decides about the Socket.IO connection."""
    io = make_server()

    @io.use
    async def known_users_only(socket: Socket) -> None:
        if not socket.conn.scope["user"].is_authenticated:
            raise ConnectRefused("who are you?")

    app = in_starlette(io, Middleware(AuthenticationMiddleware, backend=Tokens()))
    async with host(app, io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport, headers={"Authorization": "Bearer carla"}) as client:
                assert (await client.ask("scope"))["user"] == "carla"
            with pytest.raises(AssertionError, match="who are you"):
                async with connected(url, transport):
                    pass


@pytest.mark.parametrize("make", [in_starlette, in_fastapi])
async def test_who_a_middleware_turns_away_never_reaches_us(host: Host, make: Any) -> None:
    io = make_server()
    app = make(io, Middleware(AuthenticationMiddleware, backend=Tokens()))
    async with host(app, io) as url:
        for transport, status in ("polling", 400), ("websocket", 403):
            assert (await first_answer(url, transport, headers={"Authorization": "Bearer "}))[0] == status  # type: ignore[arg-type]
        assert io.counts["connections_opened"] == 0


@pytest.mark.parametrize("make", [in_starlette, in_fastapi])
async def test_trusted_hosts(host: Host, make: Any) -> None:
    io = make_server()
    app = make(io, Middleware(TrustedHostMiddleware, allowed_hosts=["good.example"]))
    async with host(app, io) as url:
        for transport in FIRST:
            status, _, _ = await first_answer(url, transport, headers={"Host": "good.example"})
            assert status == OPENED[transport]
            status, _, _ = await first_answer(url, transport, headers={"Host": "bad.example"})
            assert status in (400, 403)
        assert io.counts["connections_opened"] == 2


CORS: list[tuple[dict[str, Any], str, bool]] = [
    ({"allow_origins": ["http://page.example"]}, "http://page.example", True),
    ({"allow_origins": ["http://page.example"]}, "http://other.example", False),
    ({"allow_origins": ["http://page.example"], "allow_credentials": True}, "http://page.example", True),
    ({"allow_origin_regex": r"https://.*\.page\.example"}, "https://a.page.example", True),
    ({"allow_origin_regex": r"https://.*\.page\.example"}, "https://a.page.example.org", False),
    ({"allow_origins": ["*"]}, "http://anywhere.example", True),
]


async def test_cors_middleware_around_us(host: Host) -> None:
    """Its origins are ours, on both transports, and its headers are the only ones."""
    await asyncio.gather(*(check_origin(host, *case) for case in CORS))


async def check_origin(host: Host, options: dict[str, Any], origin: str, admitted: bool) -> None:
    io = make_server()
    make = in_fastapi if "allow_credentials" in options else in_starlette
    async with host(make(io, Middleware(CORSMiddleware, **options)), io) as url:
        for transport in FIRST:
            status, headers, _ = await first_answer(url, transport, headers={"Origin": origin})
            assert status == (OPENED if admitted else REFUSED)[transport], (options, origin)
            if transport == "polling" and admitted:
                assert headers["access-control-allow-origin"] in (origin, "*")
            if not admitted:
                assert "access-control-allow-origin" not in headers


async def test_cors_headers_are_written_once(host: Host) -> None:
    """A browser refuses an answer that has them twice."""
    io = make_server()
    cors = Middleware(CORSMiddleware, allow_origins=["http://page.example"], allow_credentials=True)
    headers = {"Origin": "http://page.example"}
    async with host(in_starlette(io, cors), io) as url, connected(url, "polling", headers=headers) as client:
        assert client.header("access-control-allow-origin") == ["http://page.example"]
        assert client.header("access-control-allow-credentials") == ["true"]


async def test_cors_middleware_answers_preflights(host: Host) -> None:
    io = make_server()
    cors = Middleware(CORSMiddleware, allow_origins=["http://page.example"], allow_methods=["GET", "POST"])
    async with host(in_starlette(io, cors), io) as url:
        headers = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
        status, answered, _ = await first_answer(url, "polling", headers=headers, method="OPTIONS")
        assert status == 200
        assert answered["access-control-allow-origin"] == "http://page.example"


async def test_origins_of_our_own_win_over_the_middleware(host: Host) -> None:
    """Given `cors_allowed_origins`, that is the list."""
    io = make_server(cors_allowed_origins=["http://mine.example"], cors_headers=False)
    app = in_starlette(io, Middleware(CORSMiddleware, allow_origins=["http://page.example"]))
    async with host(app, io) as url:
        for transport in FIRST:
            for origin, expected in ("http://mine.example", OPENED), ("http://page.example", REFUSED):
                status, _, _ = await first_answer(url, transport, headers={"Origin": origin})
                assert status == expected[transport]


class Named:
    """Notes its name in the scope, and as a header of whatever is answered."""

    def __init__(self, app: Any, name: str) -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        scope["session"] = [*scope.get("session", ()), self.name]

        async def send_named(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message["headers"] = [*message.get("headers", ()), (b"x-passed", self.name.encode())]
            await send(message)

        await self.app(scope, receive, send_named)


async def test_several_run_in_their_order_and_back(host: Host) -> None:
    io = make_server()
    app = in_starlette(io, *(Middleware(Named, name) for name in ("outer", "middle", "inner")))
    async with host(app, io, lifespan="off") as url:
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert (await client.ask("scope"))["session"] == ["outer", "middle", "inner"]
                assert client.header("x-passed") == ["inner", "middle", "outer"]


class Failing:
    """A middleware with a mistake in it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        raise RuntimeError("of the middleware")


async def test_one_that_raises_lets_nobody_in(host: Host) -> None:
    io = make_server()
    async with host(in_starlette(io, Middleware(Failing)), io, lifespan="off") as url:
        for transport in FIRST:
            assert (await first_answer(url, transport))[0] == 500
        assert io.counts["connections_opened"] == 0


async def test_listeners_of_headers_are_told_once_of_a_session_that_upgrades(host: Host) -> None:
    """`initial_headers` of its beginning, `headers` of every answer, the accepted WebSocket's too."""
    io = make_server()
    told: list[tuple[str, str]] = []
    for event in ("initial_headers", "headers"):
        io.engine.on(event, lambda headers, request, event=event: told.append((event, request.query["transport"])))
    async with host(in_starlette(io), io) as url, connected(url, "upgrade") as client:
        assert (await client.ask("scope"))["user"] is None
        assert [transport for event, transport in told if event == "initial_headers"] == ["polling"]
        transports = [transport for event, transport in told if event == "headers"]
        assert transports.count("polling") >= 3
        assert transports.count("websocket") == 1


async def test_a_header_added_to_every_answer(host: Host) -> None:
    """Polls, posts and refusals alike."""
    io = make_server()
    async with host(in_starlette(io, Middleware(Sessions)), io) as url:
        for transport in FIRST:
            _, headers, _ = await first_answer(url, transport)
            assert headers["x-seen-by"] == "sessions"
        _, headers, _ = await first_answer(url, "polling", headers={"Origin": "http://elsewhere.example"})
        assert headers["x-seen-by"] == "sessions"


async def test_headers_of_the_engine_and_of_a_middleware(host: Host) -> None:
    """Both are on the accepted WebSocket."""
    io = make_server(cookie="io")

    def initial_headers(headers: dict[str, str], request: Any) -> None:
        headers["x-first"] = "yes"

    io.engine.on("initial_headers", initial_headers)

    async with host(in_starlette(io, Middleware(Sessions)), io) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert client.header("x-first") == ["yes"]
                assert client.header("x-seen-by") == ["sessions"]
                assert [cookie.split("=")[0] for cookie in client.header("set-cookie")] == ["io", "visitor"]
