"""As an ASGI application under each of uvicorn's protocol classes, watched by one who knows the specification.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from duplexio import Server
from duplexio.integrations.asgi import HANDOVER

from .applications import make_server
from .clients import SECONDS, TRANSPORTS, connected, first_answer, websocket
from .hosts import Host, plain, wait_until

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SERVERS = [(http, ws) for http in ("h11", "httptools") for ws in ("websockets", "websockets-sansio", "wsproto")]


class Watched:
    """Notes what an application does against the specification."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.calls = 0
        self.faults: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        self.calls += 1
        call = HttpCall(scope) if scope["type"] == "http" else WebSocketCall(scope)

        async def watched_receive() -> Message:
            message = await receive()
            call.received(message)
            return message

        async def watched_send(message: Message) -> None:
            fault = call.sent(message) or _wrong_headers(message)
            if fault:
                self.faults.append(f"{fault}: {message}")
            await send(message)

        await self.app(scope, watched_receive, watched_send)
        # A connection that was handed over is no longer the call's.
        if not call.ended and HANDOVER not in (scope.get("extensions") or {}):
            self.faults.append(f"returned too early: {scope['type']} {scope['path']}")


def _wrong_headers(message: Message) -> str:
    for name, value in message.get("headers", ()):
        if not isinstance(name, bytes) or not isinstance(value, bytes) or name != name.lower():
            return f"the header {name!r}: {value!r}"
        if name in (b"connection", b"transfer-encoding", b"upgrade"):
            return f"the header {name!r} is the server's"
    return ""


class HttpCall:
    def __init__(self, scope: Message) -> None:
        self._started = False
        self._bodyless = scope["method"] == "HEAD"
        self._length: int | None = None
        self.ended = False

    def received(self, message: Message) -> None:
        # Nobody is left to be answered.
        self.ended = self.ended or message["type"] == "http.disconnect"

    def sent(self, message: Message) -> str:
        if message["type"] == "http.response.start":
            if self._started:
                return "a second start"
            self._started = True
            lengths = [int(value) for name, value in message["headers"] if name == b"content-length"]
            self._length = lengths[0] if lengths else None
            self._bodyless = self._bodyless or message["status"] in (204, 304)
            return "two lengths" if len(lengths) > 1 else ""
        if message["type"] != "http.response.body":
            return "no message of HTTP"
        if not self._started:
            return "a body without a start"
        self.ended = not message.get("more_body", False)
        if not self._bodyless and self._length is not None and len(message.get("body", b"")) != self._length:
            return f"not the length {self._length}"
        return "" if isinstance(message.get("body", b""), bytes) else "a body that is no bytes"


class WebSocketCall:
    def __init__(self, scope: Message) -> None:
        self._can_respond = "websocket.http.response" in (scope.get("extensions") or {})
        self._connect = False
        self._state = "new"
        self.ended = False

    def received(self, message: Message) -> None:
        if message["type"] == "websocket.connect":
            self._connect = True
        elif message["type"] == "websocket.disconnect":
            self.ended = True

    def sent(self, message: Message) -> str:
        kind = message["type"].removeprefix("websocket.")
        if not self._connect:
            return "before websocket.connect"
        if kind in ("http.response.start", "http.response.body") and not self._can_respond:
            return "an answer which this server cannot give"
        allowed = {
            "new": {"accept", "close", "http.response.start"},
            "open": {"send", "close"},
            "refusing": {"http.response.body"},
            "closed": set(),
        }
        if kind not in allowed[self._state]:
            return f"{kind} while {self._state}"
        after = {"accept": "open", "close": "closed", "http.response.start": "refusing", "http.response.body": "closed"}
        self._state = after.get(kind, self._state)
        self.ended = self.ended or self._state == "closed"
        if kind == "send":
            text, data = message.get("text"), message.get("bytes")
            if (
                (text is None) == (data is None)
                or not isinstance(text or "", str)
                or not isinstance(data or b"", bytes)
            ):
                return "not one of text and bytes"
        return ""


# uvicorn's older class uses what the websockets package has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::uvicorn.config.UvicornDeprecationWarning")
@pytest.mark.parametrize(("http", "ws"), SERVERS)
@pytest.mark.parametrize("mounted", [False, True])
async def test_every_class_of_uvicorn(http: str, ws: str, mounted: bool) -> None:
    io = make_server()
    watched = Watched(io)
    app: Any = Starlette(routes=[Mount("/socket.io", app=watched)]) if mounted else watched
    async with plain(app, io, http=http, ws=ws) as url:
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert await client.ask("echo", "ä", 1.5, None) == ["ä", 1.5, None]
                assert await client.ask("echo", "x" * 200_000) == ["x" * 200_000]
        await assert_binary(url)
        await assert_refusals(url)
    assert watched.calls > 15
    assert watched.faults == []


async def assert_binary(url: str) -> None:
    """Attachments in both directions, over WebSocket as frames of their own."""
    async with websocket(url, "/socket.io/", {}) as socket, asyncio.timeout(SECONDS):
        assert str(await socket.recv()).startswith("0{")
        await socket.send("40")
        assert str(await socket.recv()).startswith("40{")
        await socket.send('451-1["echo",{"_placeholder":true,"num":0}]')
        await socket.send(b"\x00\xff bytes")
        assert await socket.recv() == '461-1[[{"_placeholder":true,"num":0}]]'
        assert await socket.recv() == b"\x00\xff bytes"


async def assert_refusals(url: str) -> None:
    """The protocol's statuses and bodies, on both transports."""
    foreign = {"Origin": "http://elsewhere.example"}
    status, headers, body = await first_answer(url, "polling", headers=foreign)
    assert (status, json.loads(body)) == (403, {"code": 4, "message": "Forbidden"})
    assert headers["content-type"] == "application/json"
    assert (await first_answer(url, "polling", method="PUT"))[0] == 400
    status, _, body = await first_answer(url, "websocket", headers=foreign)
    assert (status, body) == (400, "Forbidden")


class WithoutResponses:
    """A server that can refuse a WebSocket by its own 403 only, as daphne."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            extensions = dict(scope.get("extensions") or {})
            extensions.pop("websocket.http.response", None)
            scope = {**scope, "extensions": extensions}
        await self.app(scope, receive, send)


class WithoutExtensions(WithoutResponses):
    """The key is optional."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await self.app({key: value for key, value in scope.items() if key != "extensions"}, receive, send)


@pytest.mark.parametrize("less", [WithoutResponses, WithoutExtensions])
async def test_a_server_that_cannot_answer_a_websocket_by_http(host: Host, less: Any) -> None:
    """A refused upgrade is closed before it is accepted; the reason is in the log only."""
    io = make_server()
    watched = Watched(io)
    async with host(less(watched), io) as url:
        foreign = {"Origin": "http://elsewhere.example"}
        status, _, body = await first_answer(url, "websocket", headers=foreign)
        assert (status, body) == (403, "")
        assert (await first_answer(url, "websocket", "/elsewhere/"))[0] == 403
        assert (await first_answer(url, "polling", headers=foreign))[0] == 403
        for transport in TRANSPORTS:
            async with connected(url, transport) as client:
                assert await client.ask("echo", 1) == [1]
    assert watched.faults == []
    assert io.counts["fault.origin"] == 2


# Whatever other servers may do, by the scopes they make.


class Call:
    """One call of an application, with what was sent to it and by it."""

    def __init__(self, io: Server, scope: Message) -> None:
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(io(scope, self._inbox.get, self._outbox.put))

    def give(self, message: Message) -> None:
        self._inbox.put_nowait(message)

    async def next(self) -> Message:
        return await asyncio.wait_for(self._outbox.get(), SECONDS)

    async def end(self) -> None:
        await asyncio.wait_for(self._task, SECONDS)
        assert self._outbox.empty()


def smallest_scope(kind: str, path: str, query: bytes) -> Message:
    """Without a key that the specification makes optional."""
    scope: Message = {"type": kind, "asgi": {"version": "3.0"}, "path": path, "query_string": query, "headers": []}
    return {**scope, "method": "GET", "http_version": "1.1"} if kind == "http" else scope


async def test_the_smallest_scopes() -> None:
    io = make_server()
    call = Call(io, smallest_scope("websocket", "/socket.io/", b"EIO=4&transport=websocket"))
    call.give({"type": "websocket.connect"})
    assert (await call.next())["type"] == "websocket.accept"
    assert (await call.next())["text"].startswith("0{")
    call.give({"type": "websocket.receive", "text": "40", "bytes": None})
    assert (await call.next())["text"].startswith("40{")
    assert next(iter(io.sockets.sockets.values())).handshake.address == ""
    call.give({"type": "websocket.disconnect", "code": 1001})
    await call.end()
    assert io.engine.clients_count == 0
    call = Call(io, smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling"))
    assert (await call.next())["status"] == 200
    sid = json.loads((await call.next())["body"][1:])["sid"].encode()
    await call.end()
    scope = smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling&sid=" + sid)
    call = Call(io, {**scope, "method": "POST"})
    call.give({"type": "http.request"})
    assert (await call.next())["status"] == 400
    await call.next()
    await call.end()
    assert io.engine.clients_count == 0
    await io.close()


async def test_a_path_that_the_framework_has_cut_off() -> None:
    """Before the specification said that a mount leaves the whole path, frameworks handed on the rest of it."""
    io = make_server()
    for path in "/", "", "/socket.io/", "/socket.io":
        scope = smallest_scope("http", path, b"EIO=4&transport=websocket")
        call = Call(io, {**scope, "root_path": "/api/ws"})
        # Found, and only not what can be answered by a request that is no upgrade.
        assert (await call.next())["status"] == 400
        await call.next()
        await call.end()
    await io.close()


async def test_a_client_that_goes_away_in_the_middle_of_its_poll() -> None:
    io = make_server()
    reasons: list[str] = []
    call = Call(io, smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling"))
    await call.next()
    sid = json.loads((await call.next())["body"][1:])["sid"].encode()
    await call.end()
    polling = b"EIO=4&transport=polling&sid=" + sid
    joining = Call(io, {**smallest_scope("http", "/socket.io/", polling), "method": "POST"})
    joining.give({"type": "http.request", "body": b"4", "more_body": True})
    joining.give({"type": "http.request", "body": b"0", "more_body": False})
    assert (await joining.next())["status"] == 200
    await joining.next()
    await joining.end()
    socket = next(iter(io.sockets.sockets.values()))
    socket.on("disconnect", lambda reason, details=None: reasons.append(reason))
    poll = Call(io, smallest_scope("http", "/socket.io/", polling))
    assert (await poll.next())["status"] == 200
    await poll.next()
    await poll.end()
    poll = Call(io, smallest_scope("http", "/socket.io/", polling))
    poll.give({"type": "http.request", "body": b"", "more_body": False})
    poll.give({"type": "http.disconnect"})
    await poll.end()
    await asyncio.wait_for(socket.wait_disconnected(), SECONDS)
    assert io.engine.clients_count == 0
    await asyncio.sleep(0.05)
    assert reasons == ["transport error"]
    await io.close()


@pytest.mark.parametrize("digits", [12, 19, 5000])
async def test_an_announced_length_that_no_body_has(digits: int) -> None:
    """Refused by the head, whatever the server lets through."""
    io = make_server()
    call = Call(io, smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling"))
    await call.next()
    sid = json.loads((await call.next())["body"][1:])["sid"].encode()
    await call.end()
    scope = smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling&sid=" + sid)
    call = Call(io, {**scope, "method": "POST", "headers": [(b"content-length", b"9" * digits)]})
    assert (await call.next())["status"] == 413
    await call.next()
    await call.end()
    assert io.engine.clients_count == 1
    await io.close()


async def test_a_send_that_raises_ends_the_session() -> None:
    """How a server says that the peer is gone: OSError, since version 2.4 of the specification."""
    io = make_server()
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    accepted = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            raise OSError("gone")
        accepted.set()

    scope = smallest_scope("websocket", "/socket.io/", b"EIO=4&transport=websocket")
    task = asyncio.ensure_future(io(scope, inbox.get, send))
    inbox.put_nowait({"type": "websocket.connect"})
    await asyncio.wait_for(accepted.wait(), SECONDS)
    await asyncio.sleep(0.01)
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(task, SECONDS)
    assert io.engine.clients_count == 0
    await io.close()


async def test_a_server_that_sends_no_close_while_a_receive_waits() -> None:
    """As granian: what is waiting has to be given up first."""
    io = make_server(drain_seconds=0)
    waiting = asyncio.Lock()
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    closed = asyncio.Event()

    async def receive() -> Message:
        async with waiting:
            return await inbox.get()

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            async with waiting:
                closed.set()
                inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    scope = smallest_scope("websocket", "/socket.io/", b"EIO=4&transport=websocket")
    task = asyncio.ensure_future(io(scope, receive, send))
    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": "40"})
    await wait_until(lambda: io.sockets.sockets and waiting.locked())
    await io.close()
    await asyncio.wait_for(closed.wait(), SECONDS)
    await asyncio.wait_for(task, SECONDS)


async def test_a_server_that_takes_few_codes_to_close_with() -> None:
    """As daphne, which raises for those that RFC 6455 has for endpoints."""
    io = make_server(max_http_buffer_size=1000)
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    codes: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "websocket.close":
            codes.append(message["code"])
            if message["code"] != 1000:
                raise ValueError("invalid close code")
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})

    scope = smallest_scope("websocket", "/socket.io/", b"EIO=4&transport=websocket")
    task = asyncio.ensure_future(io(scope, inbox.get, send))
    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": "4" * 1001})
    await asyncio.wait_for(task, SECONDS)
    assert codes == [1009, 1000]
    assert io.engine.clients_count == 0
    await io.close()


async def test_a_call_that_is_cancelled_while_it_closes() -> None:
    """The server's own wish to end it is not mistaken for ours."""
    io = make_server()
    inbox: asyncio.Queue[Message] = asyncio.Queue()

    async def send(message: Message) -> None: ...

    scope = smallest_scope("websocket", "/socket.io/", b"EIO=4&transport=websocket")
    task = asyncio.ensure_future(io(scope, inbox.get, send))
    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": "40"})
    await wait_until(lambda: io.sockets.sockets)
    next(iter(io.sockets.sockets.values())).disconnect(close=True)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SECONDS)
    await io.close()


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("the handler is closed")], ids=["ASGI", "uvloop"])
async def test_a_client_that_is_gone_when_its_request_is_answered(error: Exception) -> None:
    """No fault of the application, so nothing that a server would log a traceback for."""
    io = make_server()
    tried: list[str] = []

    async def send(message: Message) -> None:
        tried.append(message["type"])
        raise error

    scope = smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling")
    await asyncio.wait_for(io(scope, asyncio.Queue[Message]().get, send), SECONDS)
    assert tried == ["http.response.start"]
    await io.close()


async def test_a_body_is_refused_by_its_announced_length() -> None:
    """Before any of it was read."""
    io = make_server(max_http_buffer_size=1000)
    call = Call(io, smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling"))
    await call.next()
    sid = json.loads((await call.next())["body"][1:])["sid"].encode()
    await call.end()
    scope = smallest_scope("http", "/socket.io/", b"EIO=4&transport=polling&sid=" + sid)
    call = Call(io, {**scope, "method": "POST", "headers": [(b"content-length", b"1001")]})
    assert (await call.next())["status"] == 413
    assert (await call.next())["body"] == b""
    await call.end()
    await io.close()


async def test_lifespan_messages() -> None:
    io = make_server()
    call = Call(io, {"type": "lifespan", "asgi": {"version": "3.0"}})
    call.give({"type": "lifespan.startup"})
    assert await call.next() == {"type": "lifespan.startup.complete"}
    call.give({"type": "lifespan.shutdown"})
    assert await call.next() == {"type": "lifespan.shutdown.complete"}
    await call.end()


async def test_an_answer_of_every_hosting_is_the_same(host: Host) -> None:
    """Body, status and content type, whichever code has written it."""
    io = make_server()
    questions = [
        ("GET", "EIO=4&transport=polling&sid=unknown"),
        ("POST", "EIO=4&transport=polling"),
        ("GET", "EIO=4&transport=telepathy"),
        ("GET", "EIO=3&transport=polling"),
        ("DELETE", "EIO=4&transport=polling"),
    ]
    async with host(io, io) as url, httpx.AsyncClient(trust_env=False, timeout=SECONDS) as http:
        answers = [await http.request(method, f"http://{url}/socket.io/?{query}") for method, query in questions]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (400, 1),
        (400, 2),
        (400, 0),
        (400, 5),
        (400, 2),
    ]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
