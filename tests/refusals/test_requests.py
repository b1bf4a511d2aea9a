"""Requests that begin no session, or name none: what each is answered, by HTTP and by WebSocket."""

from __future__ import annotations

import pytest

from .conftest import Start
from .raw import handshake
from .stage import MESSAGES, PATH, Polling, refusal

#: A query, the code it is refused with, the counter, and what the log must say.
ROWS = {
    "unknown transport": ("EIO=4&transport=pigeon", 0, "unknown_transport", ("'pigeon'", "polling, websocket")),
    "no transport": ("EIO=4", 0, "unknown_transport", ("transport=None",)),
    "empty transport": ("EIO=4&transport=", 0, "unknown_transport", ("transport=''",)),
    "a name of the language": ("EIO=4&transport=__class__", 0, "unknown_transport", ("'__class__'",)),
    "a transport of Node's": ("EIO=4&transport=webtransport", 0, "unknown_transport", ("'webtransport'",)),
    "no query": ("", 0, "unknown_transport", ("transport=None",)),
    "unknown sid": ("EIO=4&transport={}&sid=nobody", 1, "unknown_sid", ("'nobody'",)),
    "sid of a line": ("EIO=4&transport={}&sid=a%0d%0ab", 1, "unknown_sid", (r"'a\r\nb'",)),
    "sid of 4 KB": ("EIO=4&transport={}&sid=" + "x" * 4096, 1, "unknown_sid", ("xxx", "…")),
    "sid of bytes": ("EIO=4&transport={}&sid=%ff%00", 1, "unknown_sid", (r"\x00",)),
    "EIO 3": ("EIO=3&transport={}", 5, "unsupported_protocol", ("EIO='3'", "Socket.IO 2 client")),
    "EIO 5": ("EIO=5&transport={}", 5, "unsupported_protocol", ("EIO='5'", "EIO=4 was expected")),
    "EIO abc": ("EIO=abc&transport={}", 5, "unsupported_protocol", ("EIO='abc'", "EIO=4 was expected")),
    "no EIO": ("transport={}", 5, "unsupported_protocol", ("EIO=None", "EIO=4 was expected")),
}


@pytest.mark.hostings("fast", "asgi", "mounted")
@pytest.mark.parametrize(("query", "code", "cause", "said"), ROWS.values(), ids=ROWS)
async def test_a_request_is_refused(start: Start, query: str, code: int, cause: str, said: tuple[str, ...]) -> None:
    stage = await start()
    answer = await stage.get(f"{PATH}?{query.format('polling')}")
    assert answer.brief == refusal(code)
    await stage.one_fault(cause, "127.0.0.1", MESSAGES[code], *said)
    assert "\n" not in stage.log.warnings[0]
    assert len(stage.log.warnings[0]) < 600
    assert stage.others == 0


@pytest.mark.hostings("fast", "asgi", "handover")
@pytest.mark.parametrize(("query", "code", "cause", "said"), ROWS.values(), ids=ROWS)
async def test_a_websocket_is_refused(start: Start, query: str, code: int, cause: str, said: tuple[str, ...]) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await handshake(wire, f"{PATH}?{query.format('websocket')}")
    assert answer.brief == (400, "text/html", MESSAGES[code].encode())
    assert await wire.rest() == b""
    await stage.one_fault(cause, "127.0.0.1", MESSAGES[code], *said)
    assert stage.others == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_session_begins_with_get(start: Start, method: str) -> None:
    stage = await start()
    answer = await stage.get(stage.target(), method=method)
    assert answer.brief == refusal(2)
    await stage.one_fault("bad_handshake_method", f"'{method}'", "begins with GET")
    assert stage.others == 0


async def test_head_is_answered_without_a_body(start: Start) -> None:
    """The next answer on the connection would begin with it otherwise."""
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request("HEAD", stage.target())
    assert answer.status == 400
    await stage.one_fault("bad_handshake_method", "'HEAD'")
    assert (await wire.request("GET", stage.target())).status == 200


async def test_the_websocket_transport_needs_an_upgrade(start: Start) -> None:
    stage = await start()
    answer = await stage.get(stage.target(transport="websocket"))
    assert answer.brief == refusal(3)
    await stage.one_fault("websocket_without_upgrade", "Upgrade", "proxy")


@pytest.mark.parametrize("removed", ["Connection", "Upgrade"])
async def test_a_proxy_that_removes_a_header(start: Start, removed: str) -> None:
    stage = await start()
    answer = await stage.knock({removed: ""})
    assert answer.brief == refusal(3)
    await stage.one_fault("websocket_without_upgrade", "Upgrade", "proxy")


async def test_a_session_outlives_an_upgrade_that_a_proxy_has_made_a_plain_request(start: Start) -> None:
    """The client stays on polling."""
    stage = await start()
    session = await stage.session("polling")
    assert isinstance(session, Polling)
    answer = await stage.get(stage.target(transport="websocket", sid=session.sid), {"Connection": "close"})
    assert answer.brief == refusal(3)
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    await stage.one_fault("websocket_without_upgrade", "Upgrade", "proxy")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_session_knows_get_and_post(start: Start, method: str) -> None:
    stage = await start()
    session = await stage.polling()
    answer = await session.posts.request(method, session.target, b"4abc")
    assert answer.brief == refusal(2)
    await stage.one_fault("bad_handshake_method", method, "GET and POST")
    await session.send(b"40")
    assert (await session.read()).startswith(b"40")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_polling_for_a_session_on_websocket(start: Start, method: str) -> None:
    stage = await start()
    session = await stage.websocket()
    sid = (await session.read()).decode().split('"')[3]
    answer = await (await stage.wire()).request(method, stage.target(sid=sid), b'42["echo"]')
    assert answer.brief == refusal(3)
    await stage.one_fault("transport_mismatch", "the session is on websocket", "for polling")
    await session.send(b"40")
    assert (await session.read()).startswith(b"40")
    assert stage.heard == []


async def test_polling_after_an_upgrade(start: Start) -> None:
    stage = await start()
    session = await stage.polling()
    upgrade = await stage.websocket(sid=session.sid)
    await upgrade.send(b"2probe")
    assert await upgrade.read() == b"3probe"
    await upgrade.send(b"5")
    await upgrade.send(b"40")
    assert (await upgrade.read()).startswith(b"40")
    answer = await session.poll()
    assert answer.brief == refusal(3)
    await stage.one_fault("transport_mismatch", "the session is on websocket")
    await upgrade.send(b'421["echo",1]')
    assert await upgrade.read() == b"431[1]"


@pytest.mark.hostings("listen", "asgi", "handover")
async def test_a_websocket_for_the_polling_transport(start: Start) -> None:
    """Let in, it would be a way around `transports`."""
    stage = await start(transports=["polling"])
    answer = await stage.knock(transport="polling")
    assert answer.brief == (400, "text/html", b"Bad request")
    assert stage.others == 0
    await stage.one_fault("transport_mismatch", "polling")


async def test_a_transport_that_is_not_offered(start: Start) -> None:
    stage = await start(transports=["polling"])
    answer = await stage.knock()
    assert answer.brief == (400, "text/html", b"Transport unknown")
    await stage.one_fault("unknown_transport", "this server offers polling", "transports=")


async def test_polling_is_not_offered(start: Start) -> None:
    stage = await start(transports=["websocket"])
    answer = await stage.get(stage.target())
    assert answer.brief == refusal(0)
    await stage.one_fault("unknown_transport", "this server offers websocket")


async def test_a_cause_is_said_once_per_address_and_counted_each_time(start: Start) -> None:
    stage = await start()
    for number in range(5):
        assert (await stage.get(stage.target(sid=f"nobody{number}"))).brief == refusal(1)
    await stage.one_fault("unknown_sid", "'nobody0'", "once per cause and address", times=5)


async def test_the_hint_is_in_the_answer_where_the_server_debugs(start: Start) -> None:
    stage = await start(debug=True)
    answer = await stage.get(stage.target(EIO="3"))
    assert answer.brief == refusal(5)
    hint = answer.header("duplexio-hint") or ""
    assert "Socket.IO 2 client" in hint
    assert "duplexio-hint" not in dict((await stage.knock(EIO="4", sid="")).headers)
    await stage.one_fault("unsupported_protocol", hint)


async def test_the_hint_is_nobody_elses(start: Start) -> None:
    stage = await start()
    assert (await stage.get(stage.target(EIO="3"))).header("duplexio-hint") is None


async def test_the_connection_outlives_a_refusal(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    for _ in range(3):
        assert (await wire.request("GET", stage.target(sid="nobody"))).brief == refusal(1)
    assert (await wire.request("GET", stage.target())).status == 200
    await stage.one_fault("unknown_sid", times=3)
