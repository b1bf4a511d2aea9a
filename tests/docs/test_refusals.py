"""Each row of `reference/refusals.md` against a running server: answers, reasons, counters and hints."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from duplexio import ConnectRefused, Server, Socket
from tests.hosting.hosts import Host, fast, plain
from tests.refusals.raw import WebSocket, Wire, frame, handshake

from .pages import DOCS, sections, tables

SECONDS = 10.0
PAGE = (DOCS / "reference" / "refusals.md").read_text(encoding="utf-8")
POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"
#: A cell for what cannot be on that transport.
NOTHING = "\N{EN DASH}"

Row = dict[str, str]

#: What a WebSocket server of another make sees to by itself, where it differs; here uvicorn's.
OTHERS_OWN: dict[str, Row] = {
    "not a WebSocket handshake of version 13": {
        "WebSocket": "`400` `Failed to open a WebSocket connection: invalid Sec-WebSocket-Version header: 8.\n`",
        "Counter": "",
        "Hint": "",
    },
    "a message that is not UTF-8": {
        "Reason": "`transport error`",
        "Counter": "`fault.transport_error`",
        "Hint": "`the WebSocket ended with 1007: text that is not UTF-8`",
    },
    "a compressed message that is corrupt": {
        "WebSocket": "closed, `1002`",
        "Hint": "`the WebSocket ended with 1002: a frame against RFC 6455`",
    },
    "a frame against RFC 6455": {"Hint": "`the WebSocket ended with 1002: a frame against RFC 6455`"},
}

#: Our protocol classes, and any ASGI server's way.
HOSTS: dict[str, Host] = {"fast": fast, "asgi": plain}
_hosting = "fast"


def _host(io: Server) -> contextlib.AbstractAsyncContextManager[str]:
    # What uvicorn compresses of its own accord says nothing of us.
    return HOSTS[_hosting](io, io, **({} if _hosting == "fast" else {"ws_per_message_deflate": False}))


@pytest.fixture(autouse=True, params=HOSTS)
def hosting(request: pytest.FixtureRequest) -> str:
    """Each row is tried in both."""
    global _hosting
    _hosting = str(request.param)
    return _hosting


def rows(heading: str) -> dict[str, Row]:
    """The rows of the table below a heading, by their first cell."""
    (table,) = tables(sections(PAGE)[heading])
    found = {cells[0]: dict(zip(table[0][1:], cells[1:], strict=True)) for cells in table[1:]}
    assert len(found) == len(table) - 1
    if _hosting == "asgi":
        found = {name: {**row, **OTHERS_OWN.get(name, {})} for name, row in found.items()}
    return found


def spans(cell: str) -> list[str]:
    """What is marked as code in a cell."""
    return re.findall(r"`([^`]+)`", cell)


class Stage:
    """A server, and what was seen of it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.io = Server(**{"handle_signals": False, "drain_seconds": 0, "serve_client": False, **options})
        self.reasons: list[str] = []
        self.handled = 0
        self.logged: list[str] = []
        self.port = 0
        self.wires: list[Wire] = []

        @self.io.on("disconnect", inline=True)
        def disconnected(socket: Socket, reason: str) -> None:
            self.reasons.append(reason)

        @self.io.on("large", inline=True)
        def large(socket: Socket) -> None:
            self.handled += 1

        @self.io.on("flood", inline=True)
        def flood(socket: Socket) -> None:
            for _ in range(20):
                socket.emit("drop", "x" * 1_000_000)

    async def wire(self) -> Wire:
        """A connection, closed at the end."""
        self.wires.append(await Wire.connect(self.port))
        return self.wires[-1]

    async def polling(self, join: bool = True) -> str:
        """A session; what its requests ask for."""
        wire = await self.wire()
        answer = await wire.request("GET", POLLING)
        target = f"{POLLING}&sid={json.loads(answer.body[1:])['sid']}"
        if join:
            await wire.request("POST", target, b"40")
            await wire.request("GET", target)
        return target

    async def websocket(self, join: bool = True) -> WebSocket:
        client = await WebSocket.open(await self.wire(), WEBSOCKET)
        await client.read()
        if join:
            await client.send(b"40")
            await client.read()
        return client

    def counted(self) -> set[str]:
        """The counters that tell of something; that sessions come and go is none of it."""
        counts = self.io.counts.snapshot()
        return {name for name in counts if not name.startswith("connections_")}


@contextlib.asynccontextmanager
async def staged(options: dict[str, Any]) -> AsyncIterator[Stage]:
    stage = Stage(options)
    with collected(stage.logged):
        async with asyncio.timeout(3 * SECONDS), _host(stage.io) as address:
            stage.port = int(address.rpartition(":")[2])
            try:
                yield stage
            finally:
                for wire in stage.wires:
                    wire.close()


@contextlib.contextmanager
def collected(lines: list[str]) -> Iterator[None]:
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("duplexio")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


def check_log(stage: Stage, row: Row) -> None:
    """A hint's `…` stands for what differs each time."""
    for hint in spans(row["Hint"]):
        pattern = ".*".join(re.escape(part) for part in hint.split("…"))
        assert any(re.search(pattern, line, re.DOTALL) for line in stage.logged), (hint, stage.logged)
    if not spans(row["Hint"]):
        assert stage.logged == []


# Requests.


@dataclass
class Request:
    """What is asked for: the same on both transports, unless it is for one alone."""

    query: str = "EIO=4&transport=T"
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Stage], Awaitable[Any]] | None = None


async def never(request: Any) -> None:
    await asyncio.sleep(SECONDS)


def broken(_: Any) -> bool:
    raise RuntimeError("broken")


async def begin_closing(stage: Stage) -> None:
    stage.io.engine.begin_closing()


REQUESTS = {
    "a transport that is not offered": Request("EIO=4&transport=pigeon"),
    "a page from another origin": Request(headers={"Origin": "https://evil.example"}),
    "a cross-site request without `Origin`": Request(headers={"Sec-Fetch-Site": "cross-site"}),
    "`cors_allowed_origins` raises": Request(
        headers={"Origin": "https://evil.example"}, options={"cors_allowed_origins": broken}
    ),
    "a session that is not there": Request("EIO=4&transport=T&sid=abc"),
    "no session, and not `GET`": Request(method="POST"),
    "WebSocket without `Upgrade`, for a session or none": Request("EIO=4&transport=websocket"),
    "a Socket.IO 2 client: `EIO=3`": Request("EIO=3&transport=T"),
    "no `EIO`, or another": Request("transport=T"),
    "JSONP: `j=0`": Request("EIO=4&transport=T&j=0"),
    "JSONP by a page that is not shown to be this server's": Request(
        "EIO=4&transport=T&j=0", headers={"Referer": "https://evil.example/"}, options={"jsonp": True}
    ),
    "`allow_request` says `False`": Request(options={"allow_request": lambda request: False}),
    "`allow_request` says `No room`": Request(options={"allow_request": lambda request: "No room"}),
    "`allow_request` takes too long": Request(options={"allow_request": never, "allow_request_timeout": 0.05}),
    "`allow_request` raises": Request(options={"allow_request": broken}),
    "`max_connections` are open": Request(options={"max_connections": 1}, prepare=Stage.polling),
    "the server is closing": Request(prepare=begin_closing),
}
ONE_TRANSPORT = {
    "a session on WebSocket, asked for by polling",
    "a session, and neither `GET` nor `POST`",
    "not a WebSocket handshake of version 13",
    "not the endpoint's path",
}


def test_every_request_is_tried() -> None:
    assert set(rows("Requests")) == set(REQUESTS) | ONE_TRANSPORT


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(name: str) -> None:
    row, case = rows("Requests")[name], REQUESTS[name]
    async with staged(case.options) as stage:
        if case.prepare is not None:
            await case.prepare(stage)
        wire = await stage.wire()
        target = f"/socket.io/?{case.query.replace('=T', '=polling')}"
        answer = await wire.request(case.method, target, None, case.headers.items())
        assert [str(answer.status), answer.body.decode()] == spans(row["Polling"])
        if spans(row["WebSocket"]):
            target = f"/socket.io/?{case.query.replace('=T', '=websocket')}"
            answer = await handshake(await stage.wire(), target, case.headers.items())
            assert [str(answer.status), answer.body.decode()] == spans(row["WebSocket"])
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)


async def test_requests_by_another_transport_or_method() -> None:
    row = rows("Requests")["a session on WebSocket, asked for by polling"]
    async with staged({}) as stage:
        await stage.websocket()
        (sid,) = stage.io.engine.connections
        answer = await (await stage.wire()).request("GET", f"{POLLING}&sid={sid}")
        assert [str(answer.status), answer.body.decode()] == spans(row["Polling"])
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)
    row = rows("Requests")["a session, and neither `GET` nor `POST`"]
    async with staged({}) as stage:
        answer = await (await stage.wire()).request("PUT", await stage.polling())
        assert [str(answer.status), answer.body.decode()] == spans(row["Polling"])
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)
        assert stage.reasons == []


async def test_requests_off_the_protocol() -> None:
    row = rows("Requests")["not a WebSocket handshake of version 13"]
    async with staged({}) as stage:
        answer = await handshake(await stage.wire(), WEBSOCKET, {"Sec-WebSocket-Version": "8"}.items())
        assert [str(answer.status), answer.body.decode()] == spans(row["WebSocket"])
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)
    row = rows("Requests")["not the endpoint's path"]
    async with staged({}) as stage:
        answer = await (await stage.wire()).request("GET", "/elsewhere?EIO=4&transport=polling")
        assert str(answer.status) in spans(row["Polling"])
        answer = await handshake(await stage.wire(), "/elsewhere?EIO=4&transport=websocket")
        assert str(answer.status) in spans(row["WebSocket"])
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)


# Sessions: what is sent on one, as the body of a POST or as a message.


@dataclass
class Sent:
    body: bytes
    options: dict[str, Any] = field(default_factory=dict)
    #: What precedes it, as a message of its own, or in front of it in the body.
    before: bytes = b""
    binary: bool = False


def named(size: int) -> bytes:
    return json.dumps(["x" * size]).encode()


SENT = {
    "an unknown packet type: `9`": Sent(b"9"),
    "an empty packet": Sent(b""),
    "a body that is not UTF-8": Sent(b'42["\xff"]'),
    "bytes that are not base64: `b!`": Sent(b"b!"),
    "more than `max_payload_packets` packets in a body": Sent(
        b"\x1e".join([b'42["x"]'] * 4), {"max_payload_packets": 3}
    ),
    "a message that is not UTF-8": Sent(b'42["\xff"]'),
    "a ping: `2`": Sent(b"2"),
    "an unknown Socket.IO type: `49`": Sent(b"49"),
    'JSON that is none: `42["x"`': Sent(b'42["x"'),
    "data of another shape: `42{}`": Sent(b"42{}"),
    'a reserved event: `42["connect"]`': Sent(b'42["connect"]'),
    "an event's name of over `max_name_length` bytes": Sent(b"42" + named(300)),
    "a namespace's name of over `max_name_length` bytes": Sent(b"40/" + b"x" * 300 + b","),
    "an acknowledgement without its id: `43[]`": Sent(b"43[]"),
    'a namespace that was not joined: `42/news,["x"]`': Sent(b'42/news,["x"]'),
    "a second CONNECT: `40`": Sent(b"40"),
    'a CONNECT_ERROR: `44{"message":"x"}`': Sent(b'44{"message":"x"}'),
    "more than `max_attachments` announced": Sent(b'4599-["x"]'),
    "attachments that do not come within `attachment_timeout`": Sent(
        b'451-["x",{"_placeholder":true,"num":0}]', {"attachment_timeout": 0.05}
    ),
    "another packet in front of an attachment": Sent(b'42["x"]', before=b'451-["x",{"_placeholder":true,"num":0}]'),
    "bytes that were not announced": Sent(b"abc", binary=True),
    "a placeholder without its attachment": Sent(b'450-["x",{"_placeholder":true,"num":0}]'),
}


def test_everything_sent_is_tried() -> None:
    assert set(rows("Packets")) == set(SENT)


@pytest.mark.parametrize("name", [name for name, row in rows("Packets").items() if row["Polling"] != NOTHING])
async def test_packets_on_polling(name: str) -> None:
    row, sent = rows("Packets")[name], SENT[name]
    async with staged(sent.options) as stage:
        target = await stage.polling()
        poll = asyncio.create_task((await stage.wire()).request("GET", target))
        body = b"b" + b"AAAA" if sent.binary else sent.body
        if sent.before:
            body = sent.before + b"\x1e" + body
        answer = await (await stage.wire()).request("POST", target, body)
        observed = [str(answer.status), *filter(None, [answer.body.decode()]), (await poll).body.decode()]
        assert observed == spans(row["Polling"])
        check_session(stage, row)


@pytest.mark.parametrize("name", [name for name, row in rows("Packets").items() if row["WebSocket"] != NOTHING])
async def test_packets_on_websocket(name: str) -> None:
    row, sent = rows("Packets")[name], SENT[name]
    async with staged(sent.options) as stage:
        client = await stage.websocket()
        if sent.before:
            await client.send(sent.before)
        await (client.send_binary if sent.binary else client.send)(sent.body)
        assert await closed(client) == row["WebSocket"]
        check_session(stage, row)


async def closed(client: WebSocket) -> str:
    code = (await client.closing()).code
    if _hosting == "asgi":
        # A server that closes for its application gives a code, and hears of the client's before it ends.
        await client.wire.write(frame(8, b"" if code is None else code.to_bytes(2, "big")))
        code = None if code == 1000 else code
    await client.wire.rest()
    return "closed" if code is None else f"closed, `{code}`"


def check_session(stage: Stage, row: Row) -> None:
    assert stage.reasons == spans(row["Reason"])
    assert stage.counted() == set(spans(row["Counter"]))
    check_log(stage, row)


# Transports.


async def second_poll(stage: Stage) -> list[str]:
    target = await stage.polling()
    first = asyncio.create_task((await stage.wire()).request("GET", target))
    await asyncio.sleep(0.1)
    answer = await (await stage.wire()).request("GET", target)
    return [str(answer.status), (await first).body.decode()]


async def second_post(stage: Stage) -> list[str]:
    target = await stage.polling()
    first = await stage.wire()
    await first.write(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4".encode())
    await asyncio.sleep(0.1)
    return [str((await (await stage.wire()).request("POST", target, b'42["x"]')).status)]


async def octet_stream(stage: Stage) -> list[str]:
    headers = {"Content-Type": "application/octet-stream"}.items()
    return [str((await (await stage.wire()).request("POST", await stage.polling(), b"4", headers)).status)]


async def large_body(stage: Stage) -> list[str]:
    body = b'42["large","' + b"x" * 2000 + b'"]'
    wire = await stage.wire()
    await wire.write(
        f"POST {await stage.polling()} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    return [str((await wire.answer()).status)]


async def lost_poll(stage: Stage) -> list[str]:
    target = await stage.polling()
    wire = await stage.wire()
    await wire.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await asyncio.sleep(0.1)
    wire.close()
    await asyncio.sleep(0.1)
    return []


async def silent_poll(stage: Stage) -> list[str]:
    wire, target = await stage.wire(), await stage.polling()
    assert (await wire.request("GET", target)).body == b"2"
    return [(await wire.request("GET", target)).body.decode()]


async def joins_nothing(stage: Stage) -> list[str]:
    return [(await (await stage.wire()).request("GET", await stage.polling(join=False))).body.decode()]


async def reads_nothing(stage: Stage) -> list[str]:
    target = await stage.polling()
    wire = await stage.wire()
    await wire.request("POST", target, b'42["flood"]')
    answer = await wire.request("GET", target)
    return [str(answer.status), answer.body.decode()]


ON_POLLING: dict[str, Callable[[Stage], Awaitable[list[str]]]] = {
    "a second `GET` while one waits": second_poll,
    "a second `POST` while one is going on": second_post,
    "a `POST` of `application/octet-stream`": octet_stream,
    "a message of over `max_http_buffer_size` bytes": large_body,
    "the connection is lost": lost_poll,
    "a ping that is not answered": silent_poll,
    "no namespace is joined within `connect_timeout`": joins_nothing,
    "a full outbox": reads_nothing,
}


async def large_message(stage: Stage) -> str:
    client = await stage.websocket()
    await client.send(b'42["large","' + b"x" * 2000 + b'"]')
    outcome = await closed(client)
    assert stage.handled == 0, "a message over the limit reached its handler"
    return outcome


async def bad_frame(stage: Stage) -> str:
    client = await stage.websocket()
    await client.wire.write(frame(1, b'42["x"]', masked=False))
    return await closed(client)


async def corrupt_message(stage: Stage) -> str:
    wire = await stage.wire()
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    assert (await handshake(wire, WEBSOCKET, offer.items())).status == 101
    client = WebSocket(wire)
    await client.read()
    await client.send(b"40")
    await client.read()
    await wire.write(frame(1, b"\xff\xff\xff", reserved=4))
    return await closed(client)


async def lost_websocket(stage: Stage) -> str:
    (await stage.websocket()).wire.abort()
    await asyncio.sleep(0.1)
    return NOTHING


async def silent_websocket(stage: Stage) -> str:
    return await closed(await stage.websocket())


async def websocket_joins_nothing(stage: Stage) -> str:
    return await closed(await stage.websocket(join=False))


async def websocket_reads_nothing(stage: Stage) -> str:
    client = await stage.websocket()
    await client.send(b'42["flood"]')
    return await closed(client)


ON_WEBSOCKET: dict[str, Callable[[Stage], Awaitable[str]]] = {
    "a message of over `max_http_buffer_size` bytes": large_message,
    "a compressed message that is corrupt": corrupt_message,
    "a frame against RFC 6455": bad_frame,
    "the connection is lost": lost_websocket,
    "a ping that is not answered": silent_websocket,
    "no namespace is joined within `connect_timeout`": websocket_joins_nothing,
    "a full outbox": websocket_reads_nothing,
}

#: How each transport is made to fail soon.
TRANSPORT_OPTIONS: dict[str, dict[str, Any]] = {
    "a message of over `max_http_buffer_size` bytes": {"max_http_buffer_size": 1000},
    "a ping that is not answered": {"ping_interval": 0.1, "ping_timeout": 0.1},
    "no namespace is joined within `connect_timeout`": {"connect_timeout": 0.1},
    "a full outbox": {"max_outbox_bytes": 100_000},
    "a compressed message that is corrupt": {"per_message_deflate": True},
}
TRANSPORTS = rows("Transports")


def test_every_fault_of_a_transport_is_tried() -> None:
    assert set(TRANSPORTS) == set(ON_POLLING) | set(ON_WEBSOCKET)
    assert {name for name in TRANSPORTS if TRANSPORTS[name]["Polling"] != NOTHING} <= set(ON_POLLING)


@pytest.mark.parametrize("name", ON_POLLING)
async def test_polling(name: str) -> None:
    async with staged(TRANSPORT_OPTIONS.get(name, {})) as stage:
        row = rows("Transports")[name]
        assert await ON_POLLING[name](stage) == spans(row["Polling"])
        check_transport(stage, row, "polling")


@pytest.mark.parametrize("name", ON_WEBSOCKET)
async def test_websocket(name: str) -> None:
    async with staged(TRANSPORT_OPTIONS.get(name, {})) as stage:
        row = rows("Transports")[name]
        assert await ON_WEBSOCKET[name](stage) == row["WebSocket"]
        check_transport(stage, row, "WebSocket")


def check_transport(stage: Stage, row: Row, transport: str) -> None:
    """A cell with `;` says one thing for polling, then one for WebSocket; within code it is but a character."""
    chosen = dict(row)
    for column in ("Reason", "Counter", "Hint"):
        parts = row[column].split("; ")
        if len(parts) == 2 and not any(part.count("`") % 2 for part in parts):
            chosen[column] = parts[transport == "WebSocket"]
    assert stage.reasons == spans(chosen["Reason"])
    # What is emitted to a socket that has just ended is counted, too: it is the test's flood.
    assert stage.counted() - {"emits_after_disconnect", "fault.unknown_sid"} == set(spans(chosen["Counter"]))
    for hint in spans(chosen["Hint"]):
        pattern = ".*".join(re.escape(part) for part in hint.split("…"))
        assert any(re.search(pattern, line) for line in stage.logged), (hint, stage.logged)


# Older protocols and other parsers.

OLD_POLLING, OLD_WEBSOCKET = (target.replace("EIO=4", "EIO=3") for target in (POLLING, WEBSOCKET))


@dataclass
class Other:
    """What is sent on a session of another kind; nothing: it is waited for what comes by itself."""

    options: dict[str, Any]
    body: bytes = b""
    message: bytes = b""
    binary: bool = False
    target: str = POLLING
    content_type: str = "text/plain"


OLD = {"allow_eio3": True}
MSGPACK = {"parser": "msgpack"}
OTHERS = {
    "protocol 3: no length: `abc`": Other(OLD, b"abc", target=OLD_POLLING),
    "protocol 3: a length too long: `9:4`": Other(OLD, b"9:4", target=OLD_POLLING),
    "protocol 3: bytes that begin with no type": Other(
        OLD, b"\x01\x01\xff\x09", b"\x09", True, OLD_POLLING, "application/octet-stream"
    ),
    "protocol 3: a pong: `3`": Other(OLD, b"1:3", b"3", target=OLD_POLLING),
    "protocol 3: no ping within `ping_interval` and `ping_timeout`": Other(
        {**OLD, "ping_interval": 0.1, "ping_timeout": 0.1}, target=OLD_POLLING
    ),
    "JSONP: a form without `d`": Other({"jsonp": True, "cors_allowed_origins": "*"}, b"x=1", target=f"{POLLING}&j=0"),
    "MessagePack: bytes that are none": Other(MSGPACK, b"bwQ==", b"\xc1", True),
    'MessagePack: a client with JSON: `42["x"]`': Other(MSGPACK, b'42["x"]', b'42["x"]'),
    "MessagePack: a map that is no packet": Other(MSGPACK, b"bgA==", b"\x80", True),
}
OTHER_ROWS = rows("Older protocols and other parsers")
JOIN_MSGPACK = b"\x82\xa4type\x00\xa3nsp\xa1/"


def test_everything_of_other_protocols_is_tried() -> None:
    assert set(OTHER_ROWS) == set(OTHERS)


async def other_polling(stage: Stage, other: Other) -> str:
    wire = await stage.wire()
    answer = await wire.request("GET", other.target)
    found = re.search(rb"sid[^\w]+([\w-]{20})", answer.body)
    assert found is not None, answer
    target = f"{other.target}&sid={found[1].decode()}"
    if "parser" in other.options:
        await wire.request("POST", target, b"b" + base64.b64encode(JOIN_MSGPACK))
    elif "jsonp" in other.options:
        await wire.request("POST", target, b"d=40")
    await wire.request("GET", target)
    return target


@pytest.mark.parametrize("name", OTHERS)
async def test_others_on_polling(name: str) -> None:
    row, other = OTHER_ROWS[name], OTHERS[name]
    async with staged(other.options) as stage:
        target = await other_polling(stage, other)
        poll = asyncio.create_task((await stage.wire()).request("GET", target))
        observed: list[str] = []
        if other.body:
            headers = {"Content-Type": other.content_type}.items()
            answer = await (await stage.wire()).request("POST", target, other.body, headers)
            observed = [str(answer.status), *filter(None, [answer.body.decode()])]
        assert [*observed, (await poll).body.decode()] == spans(row["Polling"])
        check_session(stage, row)


@pytest.mark.parametrize("name", [name for name, row in OTHER_ROWS.items() if row["WebSocket"] != NOTHING])
async def test_others_on_websocket(name: str) -> None:
    row, other = OTHER_ROWS[name], OTHERS[name]
    async with staged(other.options) as stage:
        target = other.target.replace("polling", "websocket")
        client = await WebSocket.open(await stage.wire(), target)
        await client.read()
        if "parser" in other.options:
            await client.send_binary(JOIN_MSGPACK)
        await client.frame()
        if other.message:
            await (client.send_binary if other.binary else client.send)(other.message)
        assert await closed(client) == row["WebSocket"]
        check_session(stage, row)


# Namespaces.


async def refuse(socket: Socket) -> None:
    raise ConnectRefused("Who are you?", {"retry": False})


async def wait(socket: Socket) -> None:
    await asyncio.sleep(SECONDS)


async def fail(socket: Socket) -> None:
    raise RuntimeError("broken")


#: The option that is met, the middleware, and what is sent for `/news` to be refused.
JOINING: dict[str, tuple[dict[str, Any], Any, bytes]] = {
    "a namespace that does not exist": ({}, None, b"40/news,"),
    "a middleware raises `ConnectRefused`": ({}, refuse, b"40/news,"),
    "a middleware raises anything else": ({}, fail, b"40/news,"),
    "the middlewares take over `middleware_timeout`": ({"middleware_timeout": 0.05}, wait, b"40/news,"),
    "`max_namespaces_per_client` are joined": ({"max_namespaces_per_client": 1}, refuse, b"40/news,"),
    "`max_pending_connects` wait for their middlewares": ({"max_pending_connects": 1}, wait, b"40/news,"),
}


def test_every_refusal_of_a_namespace_is_tried() -> None:
    assert set(rows("Namespaces")) == set(JOINING)


@pytest.mark.parametrize("name", JOINING)
async def test_namespaces(name: str) -> None:
    row, (options, middleware, packet) = rows("Namespaces")[name], JOINING[name]
    async with staged(options) as stage:
        if middleware is not None:
            stage.io.of("/news").use(middleware)
        if "max_pending_connects" in options:
            stage.io.of("/slow").use(wait)
        client = await stage.websocket()
        if "max_pending_connects" in options:
            await client.send(b"40/slow,")
        await client.send(packet)
        assert (await client.read()).decode() == "44/news," + spans(row["Answer"])[0]
        await client.send(b"41")
        assert stage.counted() == set(spans(row["Counter"]))
        check_log(stage, row)
