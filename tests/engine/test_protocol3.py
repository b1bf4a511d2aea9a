"""Sessions of protocol 3: who pings, how bodies and frames are written, and JSONP."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from duplexio.engine.connection import OPENING_DELAY, Connection
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import Refusal
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.protocol.engine_session import State

from .clock import run
from .ends import Answer, Keeper, Line, counts, engine, request, turns
from .test_polling import keeper_of, poll
from .waiting import until

BYTES = Message(b'451-["a"]', (b"\x01",))
TARGET = "/socket.io/?EIO=3&transport="


def old_engine(**options: Any) -> EngineServer:
    return engine(allow_eio3=True, **options)


def polling(server: EngineServer, query: str = "") -> tuple[Connection, Answer]:
    """A session over polling, and its handshake."""
    first = Answer()
    sid = server.new_sid()
    server.open_polling(request(f"{TARGET}polling{query}"), first, sid)
    return server.connections[sid], first


def websocket(server: EngineServer, query: str = "") -> tuple[Connection, Line, Keeper]:
    line = Line()
    sid = server.new_sid()
    server.open_websocket(request(f"{TARGET}websocket{query}"), line, sid, None)
    connection = server.connections[sid]
    assert isinstance(connection.owner, Keeper)
    return connection, line, connection.owner


def plain(packets: list[Outgoing]) -> list[bytes | tuple[bytes, tuple[bytes, ...]]]:
    return [packet if isinstance(packet, bytes) else (packet.text, packet.attachments) for packet in packets]


# Letting in.


@pytest.mark.parametrize(
    ("query", "options", "refused"),
    [
        ("EIO=3&transport=polling", {"allow_eio3": True}, None),
        ("EIO=3&transport=polling", {}, "Server(allow_eio3=True) lets it in"),
        ("EIO=4&transport=polling", {"allow_eio3": True}, None),
        ("EIO=2&transport=polling", {"allow_eio3": True}, "EIO=4 was expected"),
        ("EIO=&transport=polling", {"allow_eio3": True}, "EIO=4 was expected"),
        ("transport=polling", {"allow_eio3": True}, "EIO=4 was expected"),
        ("EIO=3&transport=polling&j=0", {"allow_eio3": True}, "Server(jsonp=True) offers"),
    ],
)
async def test_who_is_let_in(query: str, options: dict[str, Any], refused: str | None) -> None:
    verdict = engine(**options).check(request(f"/socket.io/?{query}"))
    if refused is None:
        assert verdict is None
    else:
        assert isinstance(verdict, Refusal)
        assert refused in verdict.hint


# The heartbeat.


def test_the_client_pings_and_is_answered() -> None:
    async def main() -> None:
        server = old_engine(ping_interval=25, ping_timeout=20)
        connection, line, keeper = websocket(server)
        await asyncio.sleep(OPENING_DELAY * 2)
        line.sent.clear()
        for _ in range(4):
            await asyncio.sleep(40)
            connection.receive(b"2")
            connection.receive(b"2probe")
        await turns()
        assert line.packets == [b"3", b"3probe"] * 4
        assert keeper.closings == []
        connection.end("forced close", "")

    run(main())


def test_a_client_that_does_not_ping_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = old_engine(ping_interval=25, ping_timeout=20)
        connection, _, keeper = websocket(server)
        await asyncio.sleep(44.5)
        assert connection.still_open()
        await asyncio.sleep(1)
        assert connection.state is State.CLOSED
        assert keeper.closings == [("ping timeout", "no ping came in time")]
        assert counts(server)["fault.ping_timeout"] == 1

    with caplog.at_level(logging.WARNING, "duplexio"):
        run(main())
    assert "no ping came within 45 s" in caplog.text


def test_a_ping_that_we_do_not_read_is_waited_for() -> None:
    async def main() -> None:
        server = old_engine(ping_interval=25, ping_timeout=20)
        connection, _, keeper = websocket(server)
        connection.pause_reading()
        await asyncio.sleep(500)
        assert connection.still_open()
        connection.resume_reading()
        connection.receive(b"2")
        await asyncio.sleep(44)
        assert keeper.closings == []
        connection.end("forced close", "")

    run(main())


async def test_a_pong_is_the_wrong_way_round() -> None:
    server = old_engine()
    connection, _, keeper = websocket(server)
    connection.receive(b"3")
    assert [reason for reason, _ in keeper.closings] == ["transport error"]


# Polling.


async def test_bodies_have_their_lengths_in_front() -> None:
    server = old_engine()
    connection, first = polling(server)
    assert first.body is not None
    length, _, packet = first.body.partition(b":")
    assert int(length) == len(packet)
    assert packet.startswith(b'0{"sid"')
    waiting = poll(connection)
    connection.send(b"42[1]")
    connection.send("42[🎉]".encode())
    await turns()
    assert waiting.body == "5:42[1]6:42[🎉]".encode()


async def test_bytes_go_as_bytes_or_as_base64() -> None:
    server = old_engine()
    for query, body, content_type in (
        ("", b'\x00\x09\xff451-["a"]\x01\x02\xff\x04\x01', b"application/octet-stream"),
        ("&b64=1", b'9:451-["a"]6:b4AQ==', b"text/plain; charset=UTF-8"),
    ):
        connection, _ = polling(server, query)
        waiting = poll(connection)
        connection.send(BYTES)
        await turns()
        assert waiting.given == [(200, body, content_type)]


async def test_bodies_that_come() -> None:
    server = old_engine()
    connection, _ = polling(server)
    transport: Any = connection.transport
    for body, binary in ((b"6:42[12]6:b4AQ==", False), (b"\x00\x06\xff42[34]\x01\x02\xff\x04\x02", True)):
        answer = Answer()
        assert transport.takes_binary
        assert transport.begin_post(answer, binary)
        transport.end_post(body)
        assert answer.body == b"ok"
    assert keeper_of(connection).texts == [b"42[12]", b"42[34]"]
    assert keeper_of(connection).binaries == [b"\x01", b"\x02"]


async def test_a_bad_body_ends_the_session() -> None:
    server = old_engine()
    for body, binary in ((b"4:4", False), (b"\x05", True)):
        connection, _ = polling(server)
        transport: Any = connection.transport
        answer = Answer()
        assert transport.begin_post(answer, binary)
        transport.end_post(body)
        assert answer.status == 400
        assert [reason for reason, _ in keeper_of(connection).closings] == ["parse error"]


async def test_the_end_of_a_session() -> None:
    server = old_engine()
    connection, _ = polling(server)
    waiting = poll(connection)
    connection.close()
    assert waiting.body == b"1:1"


# WebSocket.


async def test_frames_have_their_type_in_front() -> None:
    server = old_engine()
    connection, line, keeper = websocket(server)
    connection.send(BYTES)
    connection.send_shared(Message(b"", (b"\x02",)))
    await until(lambda: len(line.packets) == 3)
    assert plain(line.packets)[1:] == [(b'451-["a"]', (b"\x04\x01",)), (b"", (b"\x04\x02",))]
    line.sink.receive_binary(b"\x04\x07")
    line.sink.receive(b"b4CA==")
    line.sink.receive(b"4text")
    line.sink.receive_binary(b"\x02")
    assert keeper.binaries == [b"\x07", b"\x08"]
    assert keeper.texts == [b"4text"]
    await turns()
    assert line.packets[-1] == b"3"


async def test_a_client_without_binary_frames() -> None:
    server = old_engine()
    connection, line, _ = websocket(server, "&b64=1")
    connection.send(BYTES)
    await until(lambda: len(line.packets) == 3)
    connection.send_shared(BYTES)
    await turns()
    assert line.packets[1:] == [b'451-["a"]', b"b4AQ=="] * 2


async def test_a_frame_without_its_type_ends_the_session() -> None:
    server = old_engine()
    for frame in (b"", b"\x09"):
        connection, line, keeper = websocket(server)
        line.sink.receive_binary(frame)
        assert connection.state is State.CLOSED
        assert [reason for reason, _ in keeper.closings] == ["parse error"]
        assert "closed" in line.endings
    assert counts(server)["fault.parse_error"] == 2


async def test_the_handshake_waits_for_a_client_that_listens_late() -> None:
    server = old_engine()
    connection, line, _ = websocket(server)
    connection.send(b"40")
    # Not for the next turn of the loop, in which the answer to the WebSocket's handshake may still be unread.
    await turns()
    assert line.packets == []
    await until(lambda: line.packets)
    (together,) = line.sent
    assert [packet for packet in together if isinstance(packet, bytes)][1:] == [b"40"]


async def test_an_upgrade() -> None:
    server = old_engine()
    connection, _ = polling(server, "&b64=1")
    waiting = poll(connection)
    candidate = Line()
    server.open_websocket(request(f"{TARGET}websocket&sid={connection.id}"), candidate, "", connection)
    candidate.sink.receive(b"2probe")
    assert candidate.packets == [b"3probe"]
    assert waiting.body == b"1:6"
    candidate.sink.receive(b"5")
    connection.send(BYTES)
    await turns()
    # What its WebSocket takes is another question than what its polling does.
    assert plain(candidate.packets)[1:] == [(b'451-["a"]', (b"\x04\x01",))]
    candidate.sink.receive_binary(b"\x04\x07")
    assert keeper_of(connection).binaries == [b"\x07"]
    connection.pause_reading()
    assert not candidate.reading
    connection.resume_reading()
    assert candidate.reading


@pytest.mark.parametrize(("session", "upgrade"), [(3, 4), (4, 3)])
async def test_an_upgrade_speaks_as_its_session_does(session: int, upgrade: int) -> None:
    server = old_engine()
    sid = server.new_sid()
    server.open_polling(request(f"/socket.io/?EIO={session}&transport=polling"), Answer(), sid)
    connection, candidate = server.connections[sid], Line()
    server.open_websocket(
        request(f"/socket.io/?EIO={upgrade}&transport=websocket&sid={sid}"), candidate, "", connection
    )
    candidate.sink.receive(b"2probe")
    candidate.sink.receive(b"5")
    connection.send(BYTES)
    await turns()
    expected = b"\x04\x01" if session == 3 else b"\x01"
    assert plain(candidate.packets)[1:] == [(b'451-["a"]', (expected,))]


async def test_a_bad_frame_ends_the_upgrade_and_not_the_session() -> None:
    server = old_engine()
    connection, _ = polling(server)
    candidate = Line()
    server.open_websocket(request(f"{TARGET}websocket&sid={connection.id}"), candidate, "", connection)
    candidate.sink.receive_binary(b"")
    assert candidate.endings == ["closed"]
    assert connection.state is State.OPEN
    assert not connection.upgrading


# JSONP.


@pytest.mark.parametrize(
    ("headers", "options", "let_in"),
    [
        ({"sec_fetch_site": "same-origin"}, {}, True),
        ({"sec_fetch_site": "same-site"}, {}, False),
        ({"sec_fetch_site": "cross-site"}, {}, False),
        ({"sec_fetch_site": "none"}, {}, False),
        ({"referer": "https://example.com/page"}, {}, True),
        ({"referer": "https://evil.example/page"}, {}, False),
        ({"referer": "https://[evil"}, {}, False),
        ({"referer": "https://example.com/", "sec_fetch_site": "cross-site"}, {}, False),
        ({}, {}, False),
        ({}, {"cors_allowed_origins": "*"}, True),
        ({"sec_fetch_site": "cross-site"}, {"cors_allowed_origins": "*"}, True),
        # An origin that may read answers is not told from any other that includes a script.
        ({"referer": "https://app.example/"}, {"cors_allowed_origins": ["https://app.example"]}, False),
    ],
)
@pytest.mark.parametrize("version", [3, 4])
async def test_which_pages_may_use_jsonp(
    headers: dict[str, str], options: dict[str, Any], let_in: bool, version: int
) -> None:
    server = old_engine(jsonp=True, **options)
    asked = request(f"/socket.io/?EIO={version}&transport=polling&j=0", host="example.com", **headers)
    verdict = server.check(asked)
    assert (verdict is None) is let_in
    if isinstance(verdict, Refusal):
        assert (verdict.code, verdict.cause) == (4, "origin")


async def test_jsonp_for_a_session_without_it() -> None:
    """Not offered is not offered: nor for requests that name a session."""
    server = old_engine()
    connection, _ = polling(server)
    verdict = server.check(request(f"{TARGET}polling&sid={connection.id}&j=0"))
    assert isinstance(verdict, Refusal)
    assert verdict.cause == "jsonp"
    assert connection.state is State.OPEN


async def test_a_session_by_jsonp() -> None:
    server = old_engine(jsonp=True)
    connection, first = polling(server, "&j=7")
    assert first.body is not None
    assert first.body.startswith(b'___eio[7]("')
    waiting = poll(connection)
    connection.send(BYTES)
    await turns()
    assert waiting.given == [(200, b'___eio[7]("9:451-[\\"a\\"]6:b4AQ==");', b"text/javascript; charset=UTF-8")]
    answer = Answer()
    transport: Any = connection.transport
    assert not transport.takes_binary
    assert transport.begin_post(answer)
    transport.end_post(b"d=5%3A42%5B1%5D")
    assert answer.body == b"ok"
    assert keeper_of(connection).texts == [b"42[1]"]
