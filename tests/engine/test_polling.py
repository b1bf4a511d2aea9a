"""Long-polling without HTTP: polls and posts as exchanges in memory, each answered once."""

from __future__ import annotations

import asyncio
import base64

import pytest

from duplexio.engine.connection import Connection
from duplexio.engine.polling import PollingTransport
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_packet import Message
from duplexio.protocol.engine_session import State

from .clock import run
from .ends import Answer, Keeper, counts, engine, polling, turns

TEXT = b"text/plain; charset=UTF-8"
HTML = b"text/html"


def transport_of(connection: Connection) -> PollingTransport:
    assert isinstance(connection.transport, PollingTransport)
    return connection.transport


def keeper_of(connection: Connection) -> Keeper:
    assert isinstance(connection.owner, Keeper)
    return connection.owner


def poll(connection: Connection) -> Answer:
    answer = Answer()
    transport_of(connection).poll(answer)
    return answer


def post(connection: Connection, body: bytes) -> Answer:
    answer = Answer()
    if transport_of(connection).begin_post(answer):
        transport_of(connection).end_post(body)
    return answer


@pytest.fixture
async def server() -> EngineServer:
    return engine()


async def test_the_first_poll_brings_the_handshake(server: EngineServer) -> None:
    connection, first = polling(server)
    ((status, body, content_type),) = first.given
    assert (status, content_type) == (200, TEXT)
    assert body.startswith(b'0{"sid":"' + connection.id.encode())
    assert b'"upgrades":["websocket"]' in body


async def test_a_poll_is_answered_at_once_where_packets_wait(server: EngineServer) -> None:
    connection, _ = polling(server)
    connection.send(b"42[1]")
    connection.send(b"42[2]")
    await turns()
    assert poll(connection).given == [(200, b"42[1]\x1e42[2]", TEXT)]


async def test_a_poll_waits_for_the_first_packet_and_takes_all_of_its_turn(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    await turns()
    assert waiting.given == []
    connection.send(b"42[1]")
    connection.send(b"42[2]")
    assert waiting.given == []
    await turns()
    assert waiting.body == b"42[1]\x1e42[2]"


async def test_binary_is_base64(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    connection.send_shared(Message(b"451-[]", (b"\xff\x00",)))
    await turns()
    assert waiting.body == b"451-[]\x1eb" + base64.b64encode(b"\xff\x00")


async def test_a_single_packet_may_be_written(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    transport_of(connection).write_one(b"42[]")
    assert waiting.body == b"42[]"
    again = poll(connection)
    transport_of(connection).write_shared(Message(b"42[]"))
    assert again.body == b"42[]"
    transport_of(connection).write((b"42[2]",))


async def test_a_post_brings_packets(server: EngineServer) -> None:
    connection, _ = polling(server)
    answer = post(connection, b"42[1]\x1ebAQI=\x1e42[2]")
    assert answer.given == [(200, b"ok", HTML)]
    assert keeper_of(connection).texts == [b"42[1]", b"42[2]"]
    assert keeper_of(connection).binaries == [b"\x01\x02"]
    assert type(keeper_of(connection).binaries[0]) is bytes


@pytest.mark.parametrize("body", [b"", b"x", b"42[1]\x1e", b"4\xff", b"b*"])
async def test_a_body_that_is_none_ends_the_session(server: EngineServer, body: bytes) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    answer = post(connection, body)
    assert answer.status == 400
    assert waiting.body == b"1"
    assert [reason for reason, _ in keeper_of(connection).closings] == ["parse error"]
    assert keeper_of(connection).texts == []


async def test_a_second_poll_ends_the_session(server: EngineServer) -> None:
    connection, _ = polling(server)
    first, second = poll(connection), poll(connection)
    assert first.body == b"1"
    assert second.given == [(400, b"", b"")]
    assert [reason for reason, _ in keeper_of(connection).closings] == ["transport error"]


async def test_a_second_post_ends_the_session(server: EngineServer) -> None:
    connection, _ = polling(server)
    first, second = Answer(), Answer()
    assert transport_of(connection).begin_post(first)
    assert not transport_of(connection).begin_post(second)
    assert second.given == [(400, b"", b"")]
    assert [reason for reason, _ in keeper_of(connection).closings] == ["transport error"]
    transport_of(connection).end_post(b"42[]")
    assert first.status is not None
    assert keeper_of(connection).texts == []


@pytest.mark.parametrize("status", [400, 413])
async def test_a_body_that_is_not_taken_leaves_the_session(server: EngineServer, status: int) -> None:
    connection, _ = polling(server)
    answer = Answer()
    transport_of(connection).begin_post(answer)
    transport_of(connection).refuse_post(status)
    transport_of(connection).refuse_post(status)
    assert answer.given == [(status, b"", b"")]
    assert connection.state is State.OPEN
    assert post(connection, b"42[]").body == b"ok"


async def test_a_poll_whose_client_goes_away_ends_the_session(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    transport_of(connection).lost(Answer())
    assert connection.state is State.OPEN
    transport_of(connection).lost(waiting)
    assert keeper_of(connection).closings == [("transport error", "the poll's connection closed prematurely")]


async def test_a_post_whose_client_goes_away_ends_the_session(server: EngineServer) -> None:
    connection, _ = polling(server)
    answer = Answer()
    transport_of(connection).begin_post(answer)
    transport_of(connection).lost(answer)
    assert keeper_of(connection).closings == [("transport error", "the POST's connection closed prematurely")]


async def test_a_paused_session_does_not_answer_its_post(server: EngineServer) -> None:
    connection, _ = polling(server)
    connection.pause_reading()
    answer = post(connection, b"42[1]")
    assert keeper_of(connection).texts == [b"42[1]"]
    assert answer.given == []
    connection.resume_reading()
    assert answer.body == b"ok"
    connection.resume_reading()
    assert len(answer.given) == 1


async def test_a_pause_between_two_posts_holds_nothing_up(server: EngineServer) -> None:
    connection, _ = polling(server)
    connection.pause_reading()
    connection.resume_reading()
    assert post(connection, b"42[1]").body == b"ok"


async def test_the_end_answers_a_post_that_was_held(server: EngineServer) -> None:
    connection, _ = polling(server)
    connection.pause_reading()
    answer = post(connection, b"42[1]")
    connection.end("ping timeout", "")
    assert answer.body == b"ok"


async def test_volatile_asks_whether_a_poll_is_open(server: EngineServer) -> None:
    connection, _ = polling(server)
    assert connection.congested
    waiting = poll(connection)
    assert not connection.congested
    connection.send(b"42[1]")
    assert not connection.congested
    await turns()
    assert waiting.body == b"42[1]"
    assert connection.congested


# The end of a session on polling.


async def test_close_from_the_client_answers_its_poll(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    assert post(connection, b"1").body == b"ok"
    assert waiting.body == b"6"
    assert keeper_of(connection).closings == [("transport close", "the client closed the session")]


async def test_close_from_the_server_answers_an_open_poll(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    connection.close("server shutting down")
    assert waiting.body == b"1"
    assert [reason for reason, _ in keeper_of(connection).closings] == ["server shutting down"]


async def test_the_end_comes_behind_what_waits(server: EngineServer) -> None:
    """In a body of its own: clients would see the end before what is in front of it."""
    connection, _ = polling(server)
    connection.send(b"42[1]")
    connection.send(b"41")
    connection.close()
    assert connection.state is State.CLOSING
    first = poll(connection)
    assert first.body == b"42[1]\x1e41"
    second = poll(connection)
    assert second.body == b"1"
    assert [reason for reason, _ in keeper_of(connection).closings] == ["forced close"]


def test_a_client_that_never_polls_again_is_not_waited_for() -> None:
    async def main() -> None:
        connection, _ = polling(engine())
        connection.close()
        await asyncio.sleep(4)
        assert connection.state is State.CLOSED

    run(main())


async def test_the_last_words_of_a_refusal_and_the_end_in_one_body(server: EngineServer) -> None:
    connection, _ = polling(server)
    waiting = poll(connection)
    connection.send(b'44{"message":"no"}')
    connection.end("parse error", "")
    assert waiting.body == b'44{"message":"no"}\x1e1'


async def test_an_overflow_ends_the_session_and_its_poll(server: EngineServer) -> None:
    small = engine(max_outbox_packets=2)
    connection, _ = polling(small)
    for number in range(3):
        connection.send(b"42[%d]" % number)
    assert [reason for reason, _ in keeper_of(connection).closings] == ["transport error"]
    assert counts(small)["fault.outbox_overflow"] == 1
    transport_of(connection).pause_reading()
    transport_of(connection).resume_reading()


def test_a_ping_waits_for_its_poll() -> None:
    async def main() -> None:
        connection, _ = polling(engine(ping_interval=10, ping_timeout=10))
        await asyncio.sleep(11)
        assert poll(connection).body == b"2"
        post(connection, b"3")
        await asyncio.sleep(9)
        waiting = poll(connection)
        await asyncio.sleep(2)
        assert waiting.body == b"2"
        connection.end("forced close", "")

    run(main())
