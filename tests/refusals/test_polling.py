"""Bodies and requests of a polling session that it cannot take."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from .conftest import Start
from .raw import Wire, request_bytes
from .stage import Polling, Stage, refusal, until

#: A body, and what the log must say of it.
BAD_BODIES = {
    "empty": (b"", "begins with a digit from 0 to 6"),
    "not UTF-8": (b'42["echo","\xff"]', "the body is not UTF-8"),
    "UTF-8 cut short": (b'42["echo","\xe2\x82"]', "the body is not UTF-8"),
    "not UTF-8 in the last packet": (b'42["echo",1]\x1e4\xff', "the body is not UTF-8"),
    "an unknown type": (b'7["echo"]', "begins with a digit from 0 to 6"),
    "a letter": (b"x", "begins with a digit from 0 to 6"),
    "a good packet, then a bad one": (b'42["echo",1]\x1e9', "begins with a digit from 0 to 6"),
    "an empty record at the end": (b'42["echo",1]\x1e', "begins with a digit from 0 to 6"),
    "an empty record between": (b'42["echo",1]\x1e\x1e42["echo",2]', "begins with a digit from 0 to 6"),
    "base64 of no such letters": (b"b!!!!", "must be base64"),
    "base64 of one letter": (b"bA", "must be base64"),
    "base64 with padding inside": (b"bAA==AAAA", "must be base64"),
    "base64 of bytes": (b"b\x80\x81", "not UTF-8"),
    "a frame of protocol 3": (b"8:40/chat,", "begins with a digit from 0 to 6"),
    "a line of a log": (b"9\r\n127.0.0.1: all is well", r"\r\n"),
    "a pickle": (b"\x80\x04cposix\nsystem\n(S'true'\ntR.", "not UTF-8"),
}


@pytest.mark.parametrize(("body", "said"), BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_body_that_is_no_payload(start: Start, body: bytes, said: str) -> None:
    """All or nothing: no packet of it is handed on."""
    stage = await start()
    session = await stage.polling()
    await session.send(b"40")
    assert (await session.read()).startswith(b"40")
    poll = await stage.open_poll(session)
    answer = await session.post(body)
    assert answer.brief == (400, None, b"")
    assert (await poll).brief == (200, "text/plain; charset=UTF-8", b"1")
    await stage.one_fault("parse_error", said)
    await stage.gone()
    assert stage.heard == []
    assert (await stage.get(session.target)).brief == refusal(1)


async def test_too_many_packets_in_a_body(start: Start) -> None:
    stage = await start(max_payload_packets=5)
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await session.send(b"\x1e".join([b'42["echo",1]'] * 5))
    assert len(stage.heard) == 5
    answer = await session.post(b"\x1e".join([b'42["echo",2]'] * 6))
    assert answer.brief == (400, None, b"")
    await stage.one_fault("parse_error", "more than 5 packets", "max_payload_packets")
    await stage.gone()
    assert len(stage.heard) == 5


async def test_half_a_million_packets_in_a_body(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    answer = await session.post(b"\x1e".join([b"6"] * 499_999))
    assert answer.brief == (400, None, b"")
    await stage.one_fault("parse_error", "more than 1000 packets")
    await stage.gone()


async def test_a_binary_body(start: Start) -> None:
    """Protocol 3 had them."""
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    answer = await session.post(b'42["echo",1]', [("Content-Type", "application/octet-stream")])
    assert answer.brief == (400, None, b"")
    await stage.one_fault("transport_error", "application/octet-stream")
    await stage.gone()
    assert stage.heard == []


# Size.


async def test_a_body_of_the_limit_is_taken(start: Start) -> None:
    stage = await start(max_http_buffer_size=100_000)
    session = await stage.session("polling")
    await session.send(_event_of(100_000))
    assert [len(args[0]) for args in stage.heard] == [100_000 - 13]
    await stage.no_fault()


def _event_of(size: int) -> bytes:
    return b'42["echo","' + b"x" * (size - 13) + b'"]'


@pytest.mark.hostings("listen", "asgi", "mounted")
@pytest.mark.parametrize("size", [100_001, 3_000_000])
async def test_a_body_over_the_limit(start: Start, size: int) -> None:
    """Sent as clients send it: all of it, before the answer is looked at. The session lives."""
    stage = await start(max_http_buffer_size=100_000)
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    answer = await session.post(_event_of(size))
    assert answer.brief == (413, None, b"")
    await _lives_on(stage, session)


async def test_a_body_that_only_claims_to_be_over_the_limit(start: Start) -> None:
    """No byte of the body is waited for, or kept."""
    stage = await start(max_http_buffer_size=100_000)
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    posts = await stage.wire()
    head = request_bytes("POST", session.target, headers=[("Content-Length", "999999999999")])
    await posts.write(head)
    assert (await posts.answer()).brief == (413, None, b"")
    await _lives_on(stage, session)


async def test_a_chunked_body_over_the_limit(start: Start) -> None:
    stage = await start(max_http_buffer_size=100_000)
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    posts = await stage.wire()
    await posts.write(request_bytes("POST", session.target, headers=[("Transfer-Encoding", "chunked")]))
    for _ in range(101):
        await posts.write(b"3e8\r\n" + b"4" * 1000 + b"\r\n")
    assert (await posts.answer()).brief == (413, None, b"")
    await _lives_on(stage, session)


@pytest.mark.hostings("fast")
async def test_fields_without_end_behind_a_chunked_body(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    posts = await stage.wire()
    await posts.write(request_bytes("POST", session.target, headers=[("Transfer-Encoding", "chunked")]))
    await posts.write(b"1\r\n3\r\n0\r\nfield: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await posts.write(b"x" * 10_000)
            await asyncio.sleep(0.01)
    await until(lambda: stage.faults.get("head_too_large") == 1, "fault.head_too_large")


async def test_the_transport_in_the_query_is_no_transport(start: Start) -> None:
    """A request by HTTP for a session on WebSocket, which says it was one."""
    stage = await start()
    session = await stage.session("websocket")
    sid = next(iter(stage.io.engine.connections))
    for method in "GET", "POST":
        answer = await stage.get(f"/socket.io/?EIO=4&transport=websocket&sid={sid}", method=method)
        assert answer.brief == refusal(3)
    await session.send(b'421["echo",7]')
    assert await session.read() == b"431[7]"


async def test_a_chunked_body_within_the_limit(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await session.posts.write(request_bytes("POST", session.target, headers=[("Transfer-Encoding", "chunked")]))
    for piece in (b"4", b'2["ec', b'ho",1]'):
        await session.posts.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await asyncio.sleep(0.01)
    await session.posts.write(b"0\r\n\r\n")
    assert (await session.posts.answer()).brief == (200, "text/html", b"ok")
    assert stage.heard == [(1,)]
    await stage.no_fault()


async def _lives_on(stage: Stage, session: Polling) -> None:
    await stage.one_fault("message_too_big", "over 100000 bytes", "max_http_buffer_size")
    assert stage.heard == []
    assert stage.others == 1
    session.posts = await stage.wire()
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"


# Requests that overlap.


@pytest.mark.hostings("listen", "asgi", "mounted")
async def test_a_second_poll(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    first = await stage.open_poll(session)
    second = await stage.get(session.target)
    assert second.brief == (400, None, b"")
    assert (await first).brief == (200, "text/plain; charset=UTF-8", b"1")
    await stage.one_fault("transport_error", "second poll")
    await stage.gone()


@pytest.mark.hostings("listen", "asgi", "mounted")
async def test_a_second_post(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    whole = request_bytes("POST", session.target, b'42["echo",1]')
    await session.posts.write(whole[:-4])
    await asyncio.sleep(0.05)
    second = await (await stage.wire()).request("POST", session.target, b'42["echo",2]')
    assert second.brief == (400, None, b"")
    await stage.one_fault("transport_error", "second POST")
    await stage.gone()
    await session.posts.write(whole[-4:])
    assert (await session.posts.answer()).status in (200, 400)
    assert stage.heard == []


@pytest.mark.hostings("fast", "asgi", "mounted")
async def test_a_connection_for_each_request(start: Start) -> None:
    """As proxies have it that speak HTTP/1.0 to what is behind them."""
    stage = await start()

    async def once(method: str, target: str, body: bytes | None = None) -> bytes:
        wire = await stage.wire()
        answer = await wire.request(method, target, body, [("Connection", "close")])
        assert answer.status == 200
        assert await wire.rest() == b""
        return answer.body

    opened = await once("GET", stage.target())
    target = stage.target(sid=opened.decode().split('"')[3])
    assert await once("POST", target, b"40") == b"ok"
    assert (await once("GET", target)).startswith(b'40{"sid":"')
    for number in (b"1", b"2"):
        poll = stage.background(once("GET", target))
        assert await once("POST", target, b'42%b["echo",%b]' % (number, number)) == b"ok"
        assert await poll == b"43%b[%b]" % (number, number)
    await stage.no_fault()


@pytest.mark.hostings("fast", "asgi", "mounted")
async def test_no_cache_keeps_the_answers_of_a_session(start: Start) -> None:
    """Each is true once: a poll that was answered from a cache would repeat its events."""
    stage = await start()
    opened = await stage.get(stage.target())
    target = stage.target(sid=opened.body.decode().split('"')[3])
    posted = await (await stage.wire()).request("POST", target, b"40")
    polled = await stage.get(target)
    assert polled.body.startswith(b"40")
    assert [answer.header("cache-control") for answer in (opened, posted, polled)] == ["no-store"] * 3
    await stage.no_fault()


# Clients that vanish.


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_client_that_vanishes_in_its_poll(start: Start, way: str) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await session.polls.write(request_bytes("GET", session.target))
    await asyncio.sleep(0.05)
    getattr(session.polls, way)()
    await stage.one_fault("transport_error", "poll", "prematurely")
    await stage.gone()


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_client_that_vanishes_in_its_post(start: Start, way: str) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    await session.posts.write(request_bytes("POST", session.target, b'42["echo",1]')[:-4])
    await asyncio.sleep(0.05)
    getattr(session.posts, way)()
    await stage.one_fault("transport_error", "POST", "prematurely")
    await stage.gone()
    assert stage.heard == []


async def test_a_client_that_vanishes_while_it_is_let_in(start: Start) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(request: object) -> None:
        if "witness" not in request.query:  # type: ignore[attr-defined]
            entered.set()
            await leave.wait()

    stage = await start(allow_request=wait)
    wire = await stage.wire()
    await wire.write(request_bytes("GET", stage.target()))
    await asyncio.wait_for(entered.wait(), 5)
    wire.abort()
    await asyncio.sleep(0.05)
    leave.set()
    await asyncio.sleep(0.05)
    await stage.no_fault()
    # Whoever answered it has made a session that its heartbeat ends; whoever saw it go has not.
    assert stage.others <= 1


# One connection, several requests.


async def test_one_connection_for_several_sessions(start: Start) -> None:
    """Browsers and proxies share their connections."""
    stage = await start()
    wire = await stage.wire()
    sessions = []
    for _ in range(3):
        session = await stage.polling()
        session.polls.close()
        session.polls = session.posts = wire
        sessions.append(session)
    for session in sessions:
        await session.send(b"40")
    for session in reversed(sessions):
        assert (await session.read()).startswith(b"40{")
    for number, session in enumerate(sessions):
        await session.send(b'42%d["echo",%d]' % (number, number))
    for number, session in enumerate(sessions):
        assert await session.read() == b"43%d[%d]" % (number, number)
    await stage.no_fault()


async def test_posts_in_one_write(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    requests = [request_bytes("POST", session.target, b'42["echo",%d]' % number) for number in range(10)]
    await session.posts.write(b"".join(requests))
    for _ in requests:
        assert (await session.posts.answer()).brief == (200, "text/html", b"ok")
    assert stage.heard == [(number,) for number in range(10)]
    await stage.no_fault()


async def test_a_post_behind_an_open_poll(start: Start) -> None:
    """Answers go out in the order of the requests, so it has to wait: it is worked off once, or not at all.

    In that case the connection ends without an answer to it, so that the client knows. RFC 9112 §9.3.2.
    """
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    wire = await stage.wire()
    await wire.write(request_bytes("GET", session.target) + request_bytes("POST", session.target, b'42["echo",7]'))
    await asyncio.sleep(0.05)
    assert stage.heard == []
    await session.send(b'421["echo",1]')
    poll = await wire.answer()
    assert poll.brief == (200, "text/plain; charset=UTF-8", b"431[1]")
    if poll.header("connection") == "close":
        assert await wire.rest() == b""
        assert stage.heard == [(1,)]
    else:
        assert (await wire.answer()).brief == (200, "text/html", b"ok")
        assert stage.heard == [(1,), (7,)]
    await stage.no_fault()
    await session.send(b'422["echo",2]')
    assert await session.read() == b"432[2]"


async def test_a_poll_behind_a_post(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    wire = await stage.wire()
    await wire.write(request_bytes("POST", session.target, b'421["echo",7]') + request_bytes("GET", session.target))
    assert (await wire.answer()).brief == (200, "text/html", b"ok")
    assert (await wire.answer()).brief == (200, "text/plain; charset=UTF-8", b"431[7]")
    await stage.no_fault()


async def test_a_post_in_single_bytes(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    for byte in request_bytes("POST", session.target, b'421["echo",7]'):
        await session.posts.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await session.posts.answer()).brief == (200, "text/html", b"ok")
    assert await session.read() == b"431[7]"
    await stage.no_fault()


async def test_a_client_that_asks_whether_to_go_on(start: Start) -> None:
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    body = b'421["echo",7]'
    await _expecting(session.posts, session.target, body)
    assert (await session.posts.answer()).status == 100
    await session.posts.write(body)
    assert (await session.posts.answer()).brief == (200, "text/html", b"ok")
    assert await session.read() == b"431[7]"
    await stage.no_fault()


async def _expecting(wire: Wire, target: str, body: bytes) -> None:
    headers = [("Expect", "100-continue"), ("Content-Length", str(len(body)))]
    await wire.write(request_bytes("POST", target, headers=headers))
