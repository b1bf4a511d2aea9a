"""What is no HTTP, or no WebSocket handshake, and clients that use a connection in ways that are allowed but rare."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from duplexio.integrations import unread, uvicorn_http

from .conftest import Start
from .raw import Wire, request_bytes
from .stage import Polling, Stage, refusal, until

#: Our own HTTP class beside uvicorn's.
everywhere = pytest.mark.hostings("fast", "fast-asyncio", "asgi")
ours = pytest.mark.hostings("fast", "fast-asyncio")

HEAD = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n"

MALFORMED = {
    "a word": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "bytes": bytes(range(256)),
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP 9": b"GET /socket.io/ HTTP/9.9\r\n\r\n",
    "an unknown method": b"FETCH /socket.io/ HTTP/1.1\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n\r\n",
    "a target of bytes": b"GET /socket.io/\x00\x01 HTTP/1.1\r\n\r\n",
    "a header without a name": HEAD + b": a\r\n\r\n",
    "a header without a colon": HEAD + b"Name\r\n\r\n",
    "a space in a name": HEAD + b"Na me: a\r\n\r\n",
    "a NUL in a value": HEAD + b"Name: a\x00b\r\n\r\n",
    "a length of letters": POST + b"Content-Length: abc\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length of 30 digits": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http(start: Start, sent: bytes) -> None:
    """uvicorn's answer, and its warning."""
    stage = await start()
    wire = await stage.wire()
    await wire.write(sent)
    # Where the head was good, its own answer may come first.
    answers = await wire.rest()
    assert answers.split(b"\r\n")[0] in (b"HTTP/1.1 400 Bad Request", b"")
    assert b"200 OK" not in answers
    assert stage.others == 0
    assert stage.heard == []
    assert stage.errors == []
    assert len(stage.log.warnings) <= 1


@everywhere
async def test_half_a_head_and_then_nothing_more(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    await wire.write(HEAD[:-10])
    wire.end_writing()
    await asyncio.sleep(0.05)
    await stage.no_fault()


@ours
@pytest.mark.parametrize("pieces", [1, 100])
@pytest.mark.parametrize("size", [70_000, 200_000, 1_000_000])
async def test_a_head_without_end(start: Start, size: int, pieces: int) -> None:
    """Refused at 64 KB, in however many pieces it came."""
    stage = await start()
    wire = await stage.wire()
    head = HEAD + b"X-Long: " + b"x" * (size - len(HEAD) - 12)
    try:
        for at in range(0, len(head), len(head) // pieces):
            await wire.write(head[at : at + len(head) // pieces])
            await asyncio.sleep(0)
        await wire.write(b"\r\n\r\n")
    except ConnectionError:
        pass  # refused before all of it was sent
    answer = await wire.answer()
    assert (answer.status, answer.body) == (400, b"Request head too large.")
    assert stage.others == 0
    await stage.one_fault("head_too_large", "127.0.0.1", "65536")


@everywhere
async def test_a_head_of_60_kilobytes(start: Start) -> None:
    """Cookies of large sites."""
    stage = await start()
    headers = {f"X-{number}": "x" * 6000 for number in range(10)}
    assert (await stage.get(stage.target(), headers)).status == 200
    await stage.no_fault()


@everywhere
async def test_the_client_vanishes_behind_its_handshake(start: Start) -> None:
    stage = await start(witness=False)
    for _ in range(20):
        wire = await stage.wire()
        await wire.write(request_bytes("GET", stage.target()))
        wire.abort()
    await asyncio.sleep(0.1)
    assert stage.errors == []
    assert stage.log.warnings == []


@everywhere
async def test_the_client_vanishes_behind_its_websocket_handshake(start: Start) -> None:
    stage = await start(witness=False)
    for _ in range(20):
        wire = await stage.wire()
        await wire.write(request_bytes("GET", stage.target(transport="websocket"), headers=UPGRADE.items()))
        wire.abort()
    await stage.gone()
    assert stage.errors == []
    assert stage.log.warnings == []


# WebSocket handshakes.

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}

BAD_HANDSHAKES = {
    "no key": {"Sec-WebSocket-Key": ""},
    "a key that is not base64": {"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="},
    "a key of 15 bytes": {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA"},
    "a key of 17 bytes": {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAAA="},
    "a key of 4 KB": {"Sec-WebSocket-Key": "A" * 4096},
    "no version": {"Sec-WebSocket-Version": ""},
    "version 8": {"Sec-WebSocket-Version": "8"},
    "version abc": {"Sec-WebSocket-Version": "abc"},
}


@pytest.mark.hostings("fast", "fast-asyncio", "asgi", "handover")
@pytest.mark.parametrize("changed", BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
async def test_a_handshake_against_the_rules(start: Start, changed: dict[str, str]) -> None:
    """RFC 6455 §4.2.1; where the WebSocket class is another's, so are its words."""
    stage = await start()
    answer = await stage.knock(changed)
    if stage.our_http:
        assert (answer.status, answer.body) == (400, b"Not a WebSocket handshake of version 13.")
        assert answer.header("sec-websocket-version") == "13"
        await stage.one_fault("bad_websocket_handshake", "127.0.0.1", "Sec-WebSocket")
    else:
        assert answer.status in (400, 426)
        await stage.no_fault()
    assert stage.others == 0


@pytest.mark.hostings("fast", "handover")
@pytest.mark.parametrize("session", ["new", "upgrade"])
async def test_a_websocket_handshake_with_a_body(start: Start, session: str) -> None:
    """There is none in RFC 6455. It is no packet, and nobody waits for what will never come."""
    stage = await start()
    query = {"sid": (await stage.polling()).sid} if session == "upgrade" else {}
    wire = await stage.wire()
    await wire.write(request_bytes("GET", stage.target(transport="websocket", **query), b"test", UPGRADE.items()))
    answers = await wire.rest()
    assert answers.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 400 "))
    assert stage.heard == []
    assert stage.errors == []
    assert stage.others == len(query)


@pytest.mark.hostings("fast", "handover")
async def test_a_websocket_handshake_with_a_large_cookie(start: Start) -> None:
    """Let in or refused, but answered."""
    stage = await start()
    answer = await stage.knock({"Cookie": "a=" + "x" * 10_000})
    if stage.our_http:
        assert answer.status == 101
    else:
        assert (answer.status, answer.body) == (400, b"Not a WebSocket request.")
    assert stage.errors == []


@everywhere
async def test_a_handshake_by_post(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request("POST", stage.target(transport="websocket"), b"", UPGRADE.items())
    assert answer.status in (400, 405, 426)
    assert stage.others == 0


@everywhere
@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket2"])
async def test_an_upgrade_to_another_protocol(start: Start, protocol: str) -> None:
    """It may be passed over, and the request answered as if nobody had asked. RFC 9110 §7.8."""
    stage = await start()
    headers = {"Connection": "Upgrade", "Upgrade": protocol}
    assert (await stage.get(stage.target(), headers)).status == 200
    assert (await stage.get(stage.target(sid="nobody"), headers)).brief == refusal(1)
    await stage.one_fault("unknown_sid")


@everywhere
@pytest.mark.parametrize("protocol", ["IRC/6.9", "h2c"])
async def test_an_upgrade_to_another_protocol_elsewhere(start: Start, protocol: str) -> None:
    """Nobody is here who could take the connection: it is answered, and left waiting for nothing."""
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request("GET", "/", headers=[("Connection", "Upgrade"), ("Upgrade", protocol)])
    assert answer.status == 404
    assert stage.errors == []
    assert stage.others == 0


@everywhere
async def test_an_extension_that_is_offered(start: Start) -> None:
    """Compressed or not, a session works."""
    stage = await start()
    answer = await stage.knock({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    assert answer.status == 101
    await stage.no_fault()


# One connection.


@everywhere
async def test_http_1_0(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    await wire.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n")
    answer = await wire.answer()
    assert answer.status == 200
    assert await wire.rest() == b""
    await stage.no_fault()


@everywhere
async def test_a_client_that_wants_no_more(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request("GET", stage.target(), headers=[("Connection", "close")])
    assert answer.status == 200
    assert answer.header("connection") == "close"
    assert await wire.rest() == b""


@everywhere
async def test_refusals_in_one_write(start: Start) -> None:
    """Each request gets its own answer, in order."""
    stage = await start()
    wire = await stage.wire()
    targets = [stage.target(sid="nobody"), stage.target(EIO="3"), stage.target(transport="pigeon")]
    await wire.write(b"".join(request_bytes("GET", target) for target in targets))
    assert [(await wire.answer()).brief for _ in targets] == [refusal(1), refusal(5), refusal(0)]
    assert stage.faults == {"unknown_sid": 1, "unsupported_protocol": 1, "unknown_transport": 1}
    assert len(stage.log.warnings) == 3


@everywhere
async def test_a_refused_post_and_its_body(start: Start) -> None:
    """What follows the body is the next request, not the body itself."""
    stage = await start()
    wire = await stage.wire()
    smuggled = request_bytes("GET", stage.target())
    answer = await wire.request("POST", stage.target(sid="nobody"), smuggled)
    assert answer.brief == refusal(1)
    answer = await wire.request("GET", stage.target(sid="nobody"))
    assert answer.brief == refusal(1)
    await stage.one_fault("unknown_sid", times=2)
    assert stage.others == 0


@everywhere
async def test_a_handshake_with_a_body(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request("GET", stage.target(), b'42["echo",1]')
    assert answer.status == 200
    assert (await wire.request("GET", stage.target())).status == 200
    assert stage.heard == []
    await stage.no_fault()


@everywhere
async def test_a_poll_with_a_body(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    poll = stage.background(session.polls.request("GET", session.target, b'42["echo",1]'))
    await asyncio.sleep(0.02)
    await session.send(b'421["echo",2]')
    assert (await poll).body == b"431[2]"
    assert stage.heard == [(2,)]
    await stage.no_fault()


@ours
async def test_a_handshake_has_its_scope_whatever_its_query_holds(start: Start) -> None:
    """Requests of a session are spared one, and `sid=` in the query is what tells them."""
    stage = await start(witness=False)
    polling = await stage.polling(classid="7")
    assert b"&classid=7" in stage.io.engine.connections[polling.sid].scope["query_string"]
    wire = await stage.wire()
    await stage.websocket(wire, classid="8")
    (other,) = [connection for sid, connection in stage.io.engine.connections.items() if sid != polling.sid]
    assert b"&classid=8" in other.scope["query_string"]


# Requests that never end, and connections on which nothing is asked.


@ours
@pytest.mark.parametrize("of_a_session", [False, True])
async def test_a_get_that_announces_a_body_and_never_sends_it(
    start: Start, monkeypatch: pytest.MonkeyPatch, of_a_session: bool
) -> None:
    stage = await start()
    target = (await stage.polling()).target if of_a_session else stage.target()
    wire = await stage.wire()
    monkeypatch.setattr(uvicorn_http, "BODY_TIMEOUT", 0.1)
    await wire.write(request_bytes("GET", target, headers=[("Content-Length", "5")]) + b"42")
    assert await wire.rest() == b""
    await stage.no_fault()


@ours
@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_refused_post_whose_body_does_not_end(
    start: Start, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    stage = await start()
    wire = await stage.wire()
    monkeypatch.setattr(uvicorn_http, "BODY_TIMEOUT", 0.1)
    await wire.write(request_bytes("POST", stage.target(sid="nobody"), headers=[("Content-Length", "9")]))
    assert (await wire.answer()).brief == refusal(1)
    for _ in range(pieces):
        await wire.write(b"4")
    assert await wire.rest() == b""
    await stage.one_fault("unknown_sid")


@ours
@pytest.mark.parametrize("length", [0, 9])
async def test_nothing_asked_behind_an_answer(start: Start, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """Line ends, and the rest of a refused body, begin no request; uvicorn's clock for one stops at any byte."""
    stage = await start()
    wire = await stage.wire()
    await wire.write(request_bytes("POST", stage.target(sid="nobody"), headers=[("Content-Length", str(length))]))
    assert (await wire.answer()).brief == refusal(1)
    monkeypatch.setattr(uvicorn_http, "HEADER_TIMEOUT", 0.1)
    await wire.write(b"x" * length or b"\r\n")
    assert await wire.rest() == b""
    await stage.one_fault("unknown_sid")


@ours
async def test_line_ends_in_front_of_a_request(start: Start) -> None:
    """RFC 9112 §2.2."""
    stage = await start()
    wire = await stage.wire()
    for _ in range(3):
        await wire.write(b"\r\n")
        assert (await wire.request("GET", stage.target())).status == 200
        await wire.write(b"\r\n\r\n")
    await stage.no_fault()


@ours
async def test_a_slow_post_has_the_time_of_its_session(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    monkeypatch.setattr(uvicorn_http, "BODY_TIMEOUT", 0.05)
    packet = b'421["echo",1]'
    await session.posts.write(request_bytes("POST", session.target, headers=[("Content-Length", str(len(packet)))]))
    for byte in packet[:-1]:
        await session.posts.write(bytes((byte,)))
        await asyncio.sleep(0.02)
    await session.posts.write(packet[-1:])
    assert (await session.posts.answer()).body == b"ok"
    assert await session.read() == b"431[1]"
    # With the session goes what it was waited for: a second POST that overlaps ends it.
    await session.posts.write(request_bytes("POST", session.target, headers=[("Content-Length", "9")]) + b"42")
    other = await stage.wire()
    await until(lambda: stage.io.engine.connections[session.sid].transport._post is not None, "the POST is open")  # type: ignore[attr-defined]
    assert (await other.request("POST", session.target, b"3")).status == 400
    await stage.gone()
    assert await session.posts.rest() == b""
    await stage.one_fault("transport_error")


# Answers that nobody reads.

#: More than the kernel's buffers hold.
LARGE = 8_000_000


async def large_answer(stage: Stage, headers: list[tuple[str, str]]) -> tuple[Polling, Wire]:
    """A session, and a connection on which the large answer to its poll waits to be read."""
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    wire = await stage.wire(receive_buffer=4096)
    await wire.write(request_bytes("GET", session.target, headers=headers))
    connection = stage.io.engine.connections[session.sid]
    await until(lambda: connection.transport.writable, "the poll is open")
    connection.send(b"4" + b"x" * LARGE)
    await until(lambda: not connection.transport.writable, "the poll is answered")
    return session, wire


async def aborted(wire: Wire) -> None:
    """Waits for the server's end without reading: what it sent is still in the way."""
    try:
        async with asyncio.timeout(10):
            while True:
                await wire.write(b"\r\n")
                await asyncio.sleep(0.01)
    except ConnectionError:
        pass


@ours
async def test_an_answer_nobody_reads_is_dropped_behind_its_session(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "CLOSE_GRACE", 0.1)
    stage = await start()
    session, wire = await large_answer(stage, [("Connection", "close")])
    await session.send(b"1")
    await stage.gone()
    await aborted(wire)
    await stage.no_fault()


@ours
async def test_a_slow_reader_has_the_time_of_its_session(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "CLOSE_GRACE", 0.05)
    stage = await start()
    session, wire = await large_answer(stage, [("Connection", "close")])
    await asyncio.sleep(0.3)
    assert (await wire.answer()).body == b"4" + b"x" * LARGE
    assert await wire.rest() == b""
    await session.send(b"1")
    await stage.no_fault()


@pytest.mark.hostings("fast")
async def test_an_answer_nobody_reads_on_a_connection_that_is_kept(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn closes it when nothing was asked for five seconds."""
    monkeypatch.setattr(unread, "CLOSE_GRACE", 0.1)
    stage = await start()
    session, wire = await large_answer(stage, [])
    await session.send(b"1")
    await stage.gone()
    await aborted(wire)
    await stage.no_fault()


@ours
async def test_a_client_that_asks_and_never_reads(start: Start) -> None:
    """Its answers wait in memory, so it is not read while they do."""
    stage = await start(witness=False)
    wire = await stage.wire(receive_buffer=4096)
    # Some 30 MB, of which the kernel holds a part. A busy machine may take long to come to rest.
    requests = request_bytes("GET", stage.target(sid="nobody")) * 300_000
    writing = stage.background(wire.write(requests, within=60))
    seen = -1
    async with asyncio.timeout(60):
        while (seen < 1 or stage.faults["unknown_sid"] != seen) and not writing.done():
            seen = stage.faults.get("unknown_sid", 0)
            await asyncio.sleep(0.3)
    assert not writing.done()
    assert stage.others == 0
    writing.cancel()


@ours
async def test_a_client_that_pipelines_behind_its_poll_for_ever(start: Start) -> None:
    """What it sends there is passed over, and kept nowhere."""
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await session.polls.write(request_bytes("GET", session.target))
    requests = request_bytes("POST", session.target, b"4" + b"x" * 10_000)
    tracemalloc.start()
    try:
        for _ in range(100):
            await session.polls.write(requests * 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    await session.send(b'421["echo",1]')
    assert (await session.polls.answer()).body == b"431[1]"
    assert stage.heard == [(1,)]
    await stage.no_fault()


@everywhere
async def test_many_connections_that_send_nothing(start: Start) -> None:
    stage = await start()
    wires = [await stage.wire() for _ in range(100)]
    for wire in wires[:50]:
        await wire.write(b"G")
    session = await stage.session("polling")
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    await stage.no_fault()


# Our own faults, and those of the functions that we were given, are not the client's.


@ours
async def test_a_listener_that_breaks_an_answer_is_told_from_a_bad_request(start: Start) -> None:
    stage = await start(witness=False)
    stage.expects_errors = True
    stage.io.engine.on("headers", lambda headers, request: headers.update({"x-number": 5}))
    wire = await stage.wire()
    answer = await wire.request("GET", "/socket.io/?EIO=4&transport=polling")
    assert answer.status == 500
    assert stage.counts["handler_errors"] == 1
    assert any("a request could not be handled" in text for text in stage.errors)
    assert not stage.faults


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_data_that_cannot_be_made_is_told_from_a_bad_packet(start: Start, transport: str) -> None:
    def failing() -> dict[str, str]:
        raise RuntimeError("no database")

    stage = await start(witness=False, data=failing)
    stage.expects_errors = True
    session = await stage.engine(transport)
    await session.send(b"40")
    assert await session.read() == b'44{"message":"Internal error"}'
    assert stage.counts["handler_errors"] == 1
    assert any("a socket of '/' could not be made" in text for text in stage.errors)
