"""A client that cannot connect says what it tried, what it saw and what may help; at once, and without secrets."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
import traceback
from collections.abc import Iterator
from typing import Any, Literal

import pytest

import duplexio
from duplexio.errors import ConfigurationError, ConnectError, ConnectRefused, ConnectTimeout
from tests.engine.waiting import until

from .answering import SID, Answering, Handle, answer, frame, http, open_packet, switching
from .peers import DUPLEXIO, NODE2, NODE4, PEERS, Peer, PeerPool
from .wire import Wire, deaf_port

Transport = Literal["polling", "websocket"]
TRANSPORTS: tuple[Transport, ...] = ("polling", "websocket")
#: No attempt takes longer, but those that are to be given up.
SECONDS = 10.0
SHORT = 0.3
SECRETS = ("sesame", "hush", SID)
PAGE = b"<!doctype html><html><body>Welcome</body></html>"

pytestmark = pytest.mark.usefixtures("tidy")


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG, "duplexio")
    yield
    assert not [secret for secret in SECRETS if secret in caplog.text]


def with_secrets(url: str) -> str:
    return url.replace("//", "//anna:sesame@") + "/?token=hush"


async def refusal(url: str, transport: Transport, **options: Any) -> ConnectError:
    """What the client says of this server. In each case alike are checked here."""
    given = {"timeout": SECONDS, "transports": [transport], **options}
    socket = duplexio.connect(with_secrets(url), force_new=True, **given)
    told: list[Exception] = []
    socket.on("connect_error", told.append, inline=True)
    begun = time.monotonic()
    with pytest.raises(ConnectError) as caught:
        async with socket:
            raise AssertionError("it connected")
    assert time.monotonic() - begun < given["timeout"] + 2.0
    error = caught.value
    assert told == [error]
    assert error.transport == transport
    assert error.url.startswith(url)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    text = f"{error}{error!r}{error.url}" + "".join(traceback.format_exception_only(error))
    assert not [secret for secret in SECRETS if secret in text]
    assert text.isprintable() or "\n" in text
    assert len(str(error)) < 500
    return error


# Servers of another kind, or version.

#: What an HTTP server without Socket.IO says, by transport.
ELSEWHERE = "Is the server's endpoint elsewhere? path=... says where"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("peer", PEERS, ids=str)
async def test_a_plain_http_server(pool: PeerPool, peer: Peer, transport: Transport) -> None:
    error = await refusal(pool.get(peer, "--http").url, transport, eio=peer.eio)
    assert (error.status, error.message, error.hint) == (404, "the server answered 404", ELSEWHERE)
    assert error.body == "<html><body><h1>404 Not Found</h1></body></html>"


@pytest.mark.parametrize("peer", PEERS, ids=str)
async def test_a_wrong_path(pool: PeerPool, peer: Peer) -> None:
    error = await refusal(pool.get(peer).url, "polling", path="/elsewhere", eio=peer.eio)
    assert (error.status, error.hint) == (404, ELSEWHERE)
    assert error.url.endswith("/elsewhere/")


async def test_a_wrong_path_for_a_websocket(pool: PeerPool) -> None:
    """Ours says so; a server on Node leaves the handshake unanswered."""
    error = await refusal(pool.get(DUPLEXIO).url, "websocket", path="/elsewhere")
    assert (error.status, error.hint) == (404, ELSEWHERE)
    assert error.message == "the server answered 404 Not found. Socket.IO answers at /socket.io/ here"
    error = await refusal(pool.get(NODE4).url, "websocket", path="/elsewhere", timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    assert "path=..." in error.hint


async def test_an_old_server(pool: PeerPool) -> None:
    url = pool.get(NODE2).url
    error = await refusal(url, "polling", eio=4)
    assert (error.status, error.hint) == (200, "eio=3 speaks it")
    assert error.message == "the server speaks Engine.IO 3, which is Socket.IO 2"
    error = await refusal(url, "websocket", eio=4)
    assert (error.message, error.hint) == ("the server speaks Socket.IO 2", "eio=3 speaks it")


async def test_a_new_server_asked_in_the_old_way(pool: PeerPool) -> None:
    hint = "eio=4 speaks the version that this server does"
    for peer, transport in ((NODE4, "polling"), (DUPLEXIO, "polling"), (DUPLEXIO, "websocket")):
        error = await refusal(pool.get(peer).url, transport, eio=3)  # type: ignore[arg-type]
        assert (error.status, error.hint) == (400, hint)
        assert error.message == "the server answered 400 Unsupported protocol version"
    # Node's opens the WebSocket, and writes an answer of HTTP into it.
    error = await refusal(pool.get(NODE4).url, "websocket", eio=3)
    assert error.message.startswith("the WebSocket was opened, and no session on it: ")
    assert "eio=4 is the other one" in error.hint


@pytest.mark.parametrize("peer", PEERS, ids=str)
async def test_a_transport_that_is_not_offered(pool: PeerPool, peer: Peer) -> None:
    error = await refusal(pool.get(peer, "--transports", "polling").url, "websocket", eio=peer.eio)
    assert error.status == 400
    assert "transports=" in error.hint
    error = await refusal(pool.get(peer, "--transports", "websocket").url, "polling", eio=peer.eio)
    assert (error.status, error.message) == (400, "the server answered 400 Transport unknown")
    assert "transports=" in error.hint


# What answers an HTTP request: by name the answer, status, what the message says, what the hint says. In the second
# table the same of a handshake for a WebSocket, where it differs.

Row = tuple[bytes, int | None, str, str]
POLLING: dict[str, Row] = {
    "page": (http(200, PAGE), 200, "the answer is not Engine.IO's, but a web page", ELSEWHERE),
    "text": (http(200, b"hello"), 200, "this one is b'hello'", ELSEWHERE),
    "empty": (http(200), 200, "the answer is not Engine.IO's (it is empty)", ELSEWHERE),
    "json": (http(200, b'{"ok":true}'), 200, "the answer is not Engine.IO's", ELSEWHERE),
    "malformed": (http(200, b"0{nope"), 200, "malformed JSON in an open packet", ELSEWHERE),
    "no sid": (http(200, open_packet(sid=None)), 200, "an open packet has a sid, this one has none", ELSEWHERE),
    "no ping": (http(200, open_packet(pingInterval="x")), 200, "a number as its pingInterval: 'x'", ELSEWHERE),
    "endless": (http(200, open_packet(pingTimeout=0)), 200, "whose pingTimeout is not above 0: 0", ELSEWHERE),
    "message": (http(200, b"4hello"), 200, "this one began with b'4hello'", ELSEWHERE),
    "large": (http(200, bytes(5000)), None, "a body of over 1000 bytes; max_message_bytes=... changes it", ""),
    "half": (http(200, b"0" * 100)[:-50], None, "the answer broke off before its end", ""),
    "redirects": (http(302, b"", "location: ?again", "connection: close"), None, "more than 10 redirects", ""),
    "to a file": (http(302, b"", "location: file:///hush"), None, "redirects to what is no URL of HTTP", ""),
    "to nowhere": (http(302, b"", "location: http://["), None, "redirects to what is no URL of HTTP", ""),
    "garbage": (b"\x00\xff garbage\r\n\r\n", None, r"the answer is not HTTP: b'\x00\xff garbage'", "Another service"),
    "ssh": (b"SSH-2.0-OpenSSH\r\n", None, "the answer is not HTTP: b'SSH-2.0-OpenSSH'", "Another service"),
    "nothing": (b"", None, "the connection was closed before an answer came", "begins with https://"),
    "half a head": (b"HTTP/1.1 200 OK\r\ncont", None, "the connection was closed before an answer came", "https://"),
    "401": (http(401, b"who?"), 401, "the server answered 401 who?", "extra_headers="),
    "403": (http(403, PAGE), 403, "the server answered 403", "does not let this client in"),
    "404": (http(404, PAGE), 404, "the server answered 404", ELSEWHERE),
    "407": (http(407), 407, "the proxy answered 407", "proxy='http://user:password@host:port'"),
    "426": (http(426), 426, "the server answered 426", "transports=['websocket']"),
    "500": (http(500), 500, "the server answered 500", "its log says why"),
    "502": (http(502), 502, "the server answered 502", "cannot reach it"),
    "503": (http(503), 503, "the server answered 503", "overloaded"),
    "closing": (
        http(503, b'{"code":3,"message":"Server closing"}'),
        503,
        "answered 503 Server closing",
        "about to close",
    ),
    "code 3": (http(400, b'{"code":3,"message":"Bad request"}'), 400, "answered 400 Bad request", "could not read"),
    "code 4": (http(403, b'{"code":4,"message":"no"}'), 403, "the server answered 403 no", "does not let this client"),
    "code 1": (http(400, b'{"code":1,"message":"?"}'), 400, "the server answered 400 ?", "sticky sessions"),
}
NO_WEBSOCKET = "the server answered as if it were no WebSocket that was asked for"
WEBSOCKET: dict[str, Row] = {
    "page": (http(200, PAGE), 200, "the server answered with a web page", "lets no WebSocket pass"),
    "text": (http(200, b"hello"), 200, NO_WEBSOCKET, "lets no WebSocket pass"),
    "half": (http(200, b"0" * 100)[:-50], 200, NO_WEBSOCKET, "lets no WebSocket pass"),
    "redirects": (http(302, b"", "location: ?again"), 302, "the server answered 302", "elsewhere"),
    "garbage": (b"\x00\xff garbage\r\n\r\n", None, "the answer is not HTTP: ", "Another service"),
    **{
        name: POLLING[name]
        for name in ("nothing", "half a head", "401", "403", "404", "407", "500", "502", "503", "closing")
    },
}
CASES = [("polling", *each) for each in POLLING.items()] + [("websocket", *each) for each in WEBSOCKET.items()]


@pytest.mark.parametrize(
    ("transport", "row"), [(case[0], case[2]) for case in CASES], ids=[f"{c[0]} {c[1]}" for c in CASES]
)
async def test_an_answer_that_is_none(transport: Transport, row: Row) -> None:
    data, status, message, hint = row
    async with Answering(answer(data)) as server:
        error = await refusal(server.url, transport, max_message_bytes=1000)
    assert error.status == status
    assert message in error.message
    assert hint in error.hint
    assert str(error).startswith(f"cannot connect to {server.url}/socket.io/ by {transport}: {error.message}")
    assert error.body == ("" if status is None else data.partition(b"\r\n\r\n")[2].decode().replace(SID, "…"))


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_redirect_to_another_server(transport: Transport, scheme: str) -> None:
    """Polling follows it, without what is the first server's alone; a WebSocket does not."""
    heads: list[bytes] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head.lower())
            if head.startswith(b"POST"):
                await reader.readexactly(int(heads[-1].partition(b"content-length: ")[2].partition(b"\r")[0]))
                writer.write(http(200, b"ok"))
            elif b"transport=websocket" in head:
                writer.write(http(400))
            elif b"sid=" in head:
                await asyncio.sleep(0.02)
                writer.write(http(200, b'40{"sid":"mine"}'))
            else:
                writer.write(http(200, open_packet(upgrades=["websocket"])))

    async with Answering(other) as target:
        there = f"location: {scheme}://localhost:{target.port}/socket.io/?EIO=4&transport={transport}"
        async with Answering(answer(http(307, b"", there, "connection: close"))) as server:
            if transport == "websocket" or scheme == "ws":
                await refusal(server.url, transport, extra_headers={"Cookie": "sesame"})
                assert heads == []
                return
            options: dict[str, Any] = {"force_new": True, "extra_headers": {"cookie": "sesame", "x-other": "kept"}}
            async with asyncio.timeout(SECONDS), duplexio.connect(with_secrets(server.url), **options):
                await until(lambda: any(b"transport=websocket" in head for head in heads))
    assert len(heads) >= 3
    assert not [head for head in heads if b"authorization" in head or b"sesame" in head]
    assert all(b"x-other: kept" in head for head in heads[1:])


# WebSockets that are opened, and no session on them.


def opens(*frames: bytes, hold: bool = True) -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")) + b"".join(frames))
        await writer.drain()
        if hold:
            await reader.read()

    return handle


@pytest.mark.parametrize("change", [(b"Accept: ", b"Accept: x"), (b"Upgrade: websocket", b"Upgrade: h2")])
async def test_an_answer_that_opens_no_websocket(change: tuple[bytes, bytes]) -> None:
    """What comes behind it is not shown: a session's id is in it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = switching(await reader.readuntil(b"\r\n\r\n"))
        writer.write(opening.replace(*change) + frame(open_packet()))
        await writer.drain()
        await reader.read()

    async with Answering(handle) as server:
        error = await refusal(server.url, "websocket")
    assert (error.status, error.message, error.body) == (101, "the server's answer opens no WebSocket", "")
    assert "transports=['polling']" in error.hint


OPENED: dict[str, tuple[Handle, str]] = {
    "closed": (opens(hold=False), "the connection was lost"),
    "close frame": (opens(frame(b"\x03\xe8", 8)), "the connection was lost"),
    "text": (opens(frame(b"hello")), "this one began with b'hello'"),
    "binary": (opens(frame(b"hello", 2)), "this one began with a binary message"),
    "malformed": (opens(frame(b"0{nope")), "malformed JSON in an open packet"),
    "no sid": (opens(frame(open_packet(sid=""))), "an open packet whose sid is no text of 1 to"),
    "odd sid": (opens(frame(open_packet(sid=5))), "an open packet whose sid is no text of 1 to"),
    "large": (opens(frame(bytes(5000))), "a WebSocket message of over 1000 bytes; max_message_bytes=... changes it"),
    "huge": (opens(frame(b"", length=1 << 60)), "a WebSocket"),
    "masked": (opens(frame(open_packet(), masked=True)), "a WebSocket frame against RFC 6455"),
    "reserved": (opens(frame(open_packet(), bits=0x40)), "a WebSocket frame against RFC 6455"),
    "garbage": (opens(bytes(range(256))), "a WebSocket frame against RFC 6455"),
    "continuation": (opens(frame(b"", 0)), "a WebSocket frame against RFC 6455"),
}


@pytest.mark.parametrize("name", OPENED)
async def test_a_websocket_without_a_session(name: str) -> None:
    handle, message = OPENED[name]
    async with Answering(handle) as server:
        error = await refusal(server.url, "websocket", max_message_bytes=1000)
    assert error.status is None
    assert error.message.startswith("the WebSocket was opened, and no session on it: ")
    assert message in error.message
    assert error.hint == "Is it a Socket.IO server, and of this version? eio=3 is the other one"


# Nobody, and nothing.


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_listens(transport: Transport, host: str) -> None:
    async with Wire(1) as wire, wire.refusing():
        error = await refusal(f"http://{host}:{wire.port}", transport)
    assert error.message == "nobody listens there: the server is not running, or on another port"
    assert (error.status, error.body) == (None, "")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_name_that_is_none(transport: Transport) -> None:
    error = await refusal("http://nowhere.invalid:3000", transport)
    assert error.message == "the name of the host cannot be resolved"
    assert error.hint


SILENT: dict[str, Handle] = {
    "nothing": answer(b"", hold=True),
    "half a head": answer(b"HTTP/1.1 200 OK\r\ncontent-len", hold=True),
    "half a body": answer(http(200, b"0" * 100)[:-50], hold=True),
    "no session": opens(),
}


@pytest.mark.parametrize(
    ("transport", "name"),
    [
        *((t, n) for t in TRANSPORTS for n in ("nothing", "half a head")),
        ("polling", "half a body"),
        ("websocket", "no session"),
    ],
)
async def test_silence(transport: Transport, name: str) -> None:
    async with Answering(SILENT[name]) as server:
        error = await refusal(server.url, transport, timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    seen = "the WebSocket was opened, and no session on it" if name == "no session" else "no answer came"
    assert error.message == f"{seen} within 0.3 s (timeout)"
    assert "firewall" in error.hint


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_connecting_that_neither_succeeds_nor_fails(transport: Transport) -> None:
    with deaf_port() as port:
        error = await refusal(f"http://127.0.0.1:{port}", transport, timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    assert error.message == "no answer came within 0.3 s (timeout)"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_request_that_takes_too_long(transport: Transport) -> None:
    async with Answering(answer(b"", hold=True)) as server:
        error = await refusal(server.url, transport, timeout=SHORT * 2, request_timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    said = {"polling": "within 0.3 s (request_timeout)", "websocket": "within 0.6 s (timeout)"}
    assert error.message == f"no answer came {said[transport]}"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_connecting_is_cancelled(transport: Transport) -> None:
    """Nothing is left of it, at once."""
    async with Answering(answer(b"", hold=True)) as server:
        socket = duplexio.connect(server.url, transports=[transport], force_new=True)
        connecting = asyncio.create_task(socket.connect())
        await until(lambda: server.connections)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await socket.io.close()
        assert not socket.active


# Namespaces.


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("peer", PEERS, ids=str)
async def test_a_refused_namespace(pool: PeerPool, peer: Peer, transport: Transport) -> None:
    told: list[ConnectRefused] = []
    for name, message, data in (
        ("/refused", "nobody comes in here", {"code": "closed", "retry": False}),
        ("/auth", "not authorized", {"code": "token", "given": "wrong"}),
        ("/nowhere", "Invalid namespace", None),
    ):
        url, auth = pool.get(peer).url + name, {"token": "wrong"}
        socket = duplexio.connect(url, transports=[transport], eio=peer.eio, auth=auth, force_new=True)
        socket.on("connect_error", told.append, inline=True)
        with pytest.raises(ConnectRefused) as caught:
            await socket.connect()
        error = caught.value
        if peer.eio == 3 and data is not None:
            # Its servers send the data in place of the message.
            message = f"the server does not let this client into {name}"
        assert (str(error), error.message, error.data) == (message, message, data)
        assert told.pop() is error
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.data) == (message, data)
        assert not socket.active
        await socket.io.close()


def joins_nobody(packets: bytes = b"") -> Handle:
    """Opens sessions of polling, and never answers CONNECT."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
                writer.write(http(200, b"ok"))
            elif b"sid=" not in head:
                writer.write(http(200, open_packet()))
            else:
                await reader.read()

    return handle


@pytest.mark.parametrize("handle", [joins_nobody(), opens(frame(open_packet()))], ids=TRANSPORTS)
async def test_a_connect_that_is_never_answered(handle: Handle, request: pytest.FixtureRequest) -> None:
    transport = request.node.callspec.id
    async with Answering(handle) as server:
        socket = duplexio.connect(server.url, transports=[transport], timeout=SHORT, force_new=True)
        with pytest.raises(
            ConnectTimeout, match=r"no answer to the CONNECT of the namespace / within 0.3 s.*parser="
        ) as e:
            await socket.connect()
        assert e.value.url == server.url
        await socket.io.close()


# The upgrade.


def polls(websocket: bytes) -> Handle:
    """A session of polling that offers a WebSocket, which is answered like this."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"transport=websocket" in head:
                writer.write(websocket or switching(head))
                await writer.drain()
                return
            if head.startswith(b"POST"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.partition(b":")[2]))
                writer.write(http(200, b"ok"))
            elif b"sid=" not in head:
                writer.write(http(200, open_packet(upgrades=["websocket"]) + b'\x1e40{"sid":"mine"}'))
            else:
                await asyncio.sleep(0.05)
                writer.write(http(200, b'42["tick"]'))

    return handle


@pytest.mark.parametrize(
    "data",
    [http(400, b"Bad request"), http(200, PAGE), b"", b"\0garbage\r\n\r\n"],
    ids=["400", "page", "closed", "garbage"],
)
async def test_an_upgrade_that_fails(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The session stays on polling, goes on, and the log says why."""
    async with (
        Answering(polls(data)) as server,
        duplexio.connect(server.url, force_new=True, timeout=SECONDS) as socket,
    ):
        await until(lambda: "stays on polling" in caplog.text)
        for _ in range(3):
            assert await socket.receive("tick", timeout=SECONDS) is None
        engine = socket.io.engine
        assert engine is not None
        assert engine.transport.name == "polling"
    record = next(record for record in caplog.records if "stays on polling" in record.getMessage())
    assert record.levelno == logging.INFO
    assert f"{server.url} stays on polling: " in record.getMessage()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    "url",
    [
        "http//anna:sesame@host",
        "ftp://anna:sesame@host",
        "http://anna:sesame@host:port",
        "http://anna:sesame@host/socket.io",
        "http://anna:sesame@host/a,b",
    ],
)
def test_a_url_that_is_none_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        duplexio.connect(url)
    assert "sesame" not in str(caught.value)
    assert "host" in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        duplexio.connect("http://host", proxy="anna:sesame@host")
    assert "sesame" not in str(caught.value)
