"""Clients that ask for namespaces they cannot have, or ask in a way they may not."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from duplexio import ConnectRefused, Socket

from .conftest import Start
from .stage import Session, join

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def lives(session: Session) -> None:
    """The session is none the worse."""
    await session.send(b'429["echo","still here"]')
    assert await session.read() == b'439["still here"]'


#: Names as they stand in the packet, and what comes behind them.
NOBODY = {
    "a name": (b"/nobody", b","),
    "auth": (b"/nobody", b',{"token":"a"}'),
    "no comma": (b"/nobody", b""),
    "a path": (b"/../../etc/passwd", b","),
    "a query": (b"/nobody?a=b", b","),
    "two slashes": (b"//", b","),
    "a character": ("/ünïcode".encode(), b","),
    "a NUL": (b"/\x00", b","),
    "256 bytes": (b"/" + b"x" * 255, b","),
    "an attribute": (b"/__class__", b","),
}


@transports
@pytest.mark.parametrize(("name", "rest"), NOBODY.values(), ids=NOBODY)
async def test_a_namespace_nobody_serves(start: Start, transport: str, name: bytes, rest: bytes) -> None:
    stage = await start()
    session = await stage.session(transport)
    await session.send(b"40" + name + rest)
    assert await session.read() == b"44" + name + b',{"message":"Invalid namespace"}'
    await stage.one_fault("invalid_namespace", "refused the namespace", "Invalid namespace")
    await lives(session)


async def test_a_namespace_asked_for_again_and_again(start: Start) -> None:
    """Refused ones do not add up to the limit."""
    stage = await start(max_namespaces_per_client=5)
    session = await stage.session("websocket")
    for _ in range(50):
        await session.send(b"40/nobody,")
        assert await session.read() == b'44/nobody,{"message":"Invalid namespace"}'
    await stage.one_fault("invalid_namespace", times=50)
    await lives(session)


@transports
@pytest.mark.parametrize("end", [b",", b""])
async def test_a_namespace_of_10_megabytes(start: Start, transport: str, end: bytes) -> None:
    stage = await start(max_http_buffer_size=20_000_000)
    stage.io.of(re.compile("."))
    session = await stage.session(transport)
    await stage.refused(session, b"40/" + b"x" * 10_000_000 + end)
    await stage.one_fault("parse_error", "a namespace of over 256 bytes", "max_name_length")
    assert len(stage.log.warnings[0]) < 600


async def test_a_namespace_that_is_not_utf8(start: Start) -> None:
    stage = await start()
    session = await stage.session("websocket")
    await stage.refused(session, b"40/\xff,", code=1007)
    await stage.one_fault("parse_error" if stage.our_frames else "transport_error")


@transports
async def test_a_second_connect(start: Start, transport: str) -> None:
    stage = await start()
    stage.io.of("/chat")
    session = await stage.session(transport)
    await join(session, "/chat")
    await stage.refused(session, b"40/chat,")
    await stage.one_fault("parse_error", "second CONNECT", "'/chat'")


@transports
async def test_a_second_connect_while_the_first_is_decided(start: Start, transport: str) -> None:
    stage = await start()
    called: list[Socket] = []

    @stage.io.of("/slow").use
    async def wait(socket: Socket) -> None:
        called.append(socket)
        await asyncio.sleep(60)

    session = await stage.session(transport)
    await session.send(b"40/slow,")
    await stage.refused(session, b"40/slow,")
    await stage.one_fault("parse_error", "second CONNECT", "'/slow'")
    assert len(called) == 1


@transports
async def test_connect_again_after_leaving(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.session(transport)
    await session.send(b"41")
    first = await join(session)
    await session.send(b"41")
    assert await join(session) != first
    await lives(session)
    await stage.no_fault()


@transports
async def test_too_many_namespaces(start: Start, transport: str) -> None:
    stage = await start(max_namespaces_per_client=3)
    for number in range(5):
        stage.io.of(f"/{number}")
    session = await stage.session(transport)
    await join(session, "/0")
    await join(session, "/1")
    for name in (b"/2", b"/3"):
        await session.send(b"40" + name + b",")
        assert await session.read() == b"44" + name + b',{"message":"Too many namespaces"}'
    await stage.one_fault("too_many_namespaces", "'/2'", "Too many namespaces", times=2)
    await session.send(b"41/1,")
    await join(session, "/2")
    await lives(session)


@transports
async def test_too_many_namespaces_that_clients_make(start: Start, transport: str) -> None:
    stage = await start(max_dynamic_namespaces=2)
    stage.io.of(re.compile("^/made-"))
    session = await stage.session(transport)
    await join(session, "/made-0")
    await join(session, "/made-1")
    await session.send(b"40/made-2,")
    assert await session.read() == b'44/made-2,{"message":"Too many namespaces"}'
    await stage.one_fault("too_many_namespaces", "'/made-2'")
    await session.send(b"41/made-0,")
    await join(session, "/made-3")
    await lives(session)


async def test_a_pattern_is_asked_about_no_packet_but_connect(start: Start) -> None:
    stage = await start()
    asked: list[str] = []

    def allow(name: str, auth: Any) -> bool:
        asked.append(name)
        return True

    stage.io.of(allow)
    session = await stage.session("websocket")
    await stage.refused(session, b'42/made,["echo"]')
    await stage.one_fault("parse_error", "which was not joined")
    assert asked == []


@transports
async def test_too_many_pending_connects(start: Start, transport: str) -> None:
    stage = await start(max_pending_connects=2)
    running = 0
    go_on = asyncio.Event()

    @stage.io.of(re.compile("^/slow-")).use
    async def wait(socket: Socket) -> None:
        nonlocal running
        running += 1
        await go_on.wait()

    session = await stage.session(transport)
    for number in range(4):
        await session.send(b"40/slow-%d," % number)
    for number in (2, 3):
        assert await session.read() == b'44/slow-%d,{"message":"Too many pending connections"}' % number
    assert running == 2
    await stage.one_fault("too_many_connects", "'/slow-2'", times=2)
    await lives(session)
    go_on.set()
    assert {(await session.read())[:9] for _ in range(2)} == {b"40/slow-0", b"40/slow-1"}


@transports
async def test_a_middleware_that_refuses(start: Start, transport: str) -> None:
    stage = await start()

    @stage.io.of("/members").use
    async def refuse(socket: Socket) -> None:
        raise ConnectRefused("members only", {"status": 401})

    session = await stage.session(transport)
    await session.send(b"40/members,")
    assert await session.read() == b'44/members,{"message":"members only","data":{"status":401}}'
    await stage.one_fault("connect_refused", "'/members'", "members only")
    await lives(session)


@transports
async def test_a_middleware_that_refuses_with_what_the_client_said(start: Start, transport: str) -> None:
    """It cannot write lines of the log."""
    stage = await start()

    @stage.io.of("/members").use
    async def refuse(socket: Socket) -> None:
        raise ConnectRefused(f"no member called {socket.handshake.auth['name']}")

    session = await stage.session(transport)
    await session.send(b'40/members,{"name":"a\\r\\nWARNING all is well"}')
    assert await session.read() == b'44/members,{"message":"no member called a\\r\\nWARNING all is well"}'
    await stage.one_fault("connect_refused", "'/members'", "all is well")
    assert len(stage.log.warnings[0].splitlines()) == 1


@transports
async def test_a_middleware_that_raises(start: Start, transport: str) -> None:
    """The client learns nothing of the exception's text."""
    stage = await start()
    stage.expects_errors = True

    @stage.io.of("/broken").use
    async def fail(socket: Socket) -> None:
        raise RuntimeError("the password is 1234")

    session = await stage.session(transport)
    await session.send(b"40/broken,")
    assert await session.read() == b'44/broken,{"message":"Internal error"}'
    await stage.no_fault()
    assert len(stage.log.errors) == 1
    await lives(session)


@transports
async def test_a_middleware_that_takes_too_long(start: Start, transport: str) -> None:
    stage = await start(middleware_timeout=0.1)
    stage.expects_errors = True

    @stage.io.of("/slow").use
    async def wait(socket: Socket) -> None:
        await asyncio.sleep(60)

    session = await stage.session(transport)
    await session.send(b"40/slow,")
    assert await session.read() == b'44/slow,{"message":"Internal error"}'
    assert stage.counts["middleware_timeouts"] == 1
    await stage.no_fault()
    await lives(session)


@transports
@pytest.mark.parametrize("packet", [b'42/slow,["echo",1]', b'421["echo",1]', b"43/slow,1[1]"])
async def test_a_packet_while_connect_is_decided(start: Start, transport: str, packet: bytes) -> None:
    """It came before the namespace was joined, so it is a packet for one that was not."""
    stage = await start()

    @stage.io.use
    async def root(socket: Socket) -> None:
        if "witness" not in socket.handshake.query:
            await asyncio.sleep(60)

    @stage.io.of("/slow").use
    async def wait(socket: Socket) -> None:
        await asyncio.sleep(60)

    session = await stage.engine(transport)
    await session.send(b"40")
    await session.send(b"40/slow,")
    await stage.refused(session, packet)
    await stage.one_fault("parse_error", "which was not joined")
    assert stage.heard == []


@transports
async def test_a_client_that_joins_nothing(start: Start, transport: str) -> None:
    stage = await start(connect_timeout=0.2)
    session = await stage.engine(transport)
    await stage.refused(session)
    await stage.one_fault("connect_timeout", "no namespace was joined within 0.2 s", "connect_timeout")


async def test_a_client_that_only_asks_for_what_it_cannot_have(start: Start) -> None:
    """Being refused is not joining."""
    stage = await start(connect_timeout=0.3)
    session = await stage.engine("websocket")
    await session.send(b"40/nobody,")
    assert await session.read() == b'44/nobody,{"message":"Invalid namespace"}'
    await stage.refused(session)
    assert stage.faults == {"invalid_namespace": 1, "connect_timeout": 1}
    assert len(stage.log.warnings) == 2
