"""A session over a line in memory: heartbeat, sending, receiving, and its end, in each of its states."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from duplexio.protocol.engine_packet import Message
from duplexio.protocol.engine_session import State

from .clock import run
from .ends import Answer, Keeper, Line, counts, engine, polling, session, turns
from .waiting import until

# The heartbeat.


def test_a_session_is_pinged_and_lives_while_it_answers() -> None:
    async def main() -> None:
        server = engine(ping_interval=25, ping_timeout=20)
        connection, line, keeper = session(server)
        loop = asyncio.get_running_loop()
        line.sent.clear()
        start = loop.time()
        for beat in range(1, 4):
            await until(lambda: len(line.packets) >= beat, limit=60)  # noqa: B023
            assert loop.time() - start == pytest.approx(25, abs=0.5)
            start = loop.time()
            connection.receive(b"3")
        assert line.packets == [b"2"] * 3
        assert keeper.closings == []
        connection.end("forced close", "")

    run(main())


def test_a_session_that_does_not_answer_its_ping_ends() -> None:
    async def main() -> None:
        server = engine(ping_interval=25, ping_timeout=20)
        connection, _, keeper = session(server)
        await asyncio.sleep(44.5)
        assert keeper.closings == []
        await asyncio.sleep(1)
        assert connection.state is State.CLOSED
        assert [reason for reason, _ in keeper.closings] == ["ping timeout"]
        assert counts(server)["fault.ping_timeout"] == 1

    run(main())


def test_a_pong_that_we_do_not_read_is_waited_for() -> None:
    async def main() -> None:
        server = engine(ping_interval=25, ping_timeout=20)
        connection, _, keeper = session(server)
        connection.pause_reading()
        await asyncio.sleep(500)
        assert connection.still_open()
        connection.resume_reading()
        connection.receive(b"3")
        await asyncio.sleep(44)
        assert keeper.closings == []
        await asyncio.sleep(2)
        assert [reason for reason, _ in keeper.closings] == ["ping timeout"]

    run(main())


def test_messages_are_no_pongs() -> None:
    async def main() -> None:
        server = engine(ping_interval=1, ping_timeout=1)
        connection, _, keeper = session(server)
        for _ in range(30):
            await asyncio.sleep(0.1)
            connection.receive(b'42["a"]')
        assert [reason for reason, _ in keeper.closings] == ["ping timeout"]

    run(main())


def test_a_pong_that_nobody_asked_for_moves_the_next_ping() -> None:
    async def main() -> None:
        server = engine(ping_interval=10, ping_timeout=5)
        connection, line, _ = session(server)
        line.sent.clear()
        await asyncio.sleep(8)
        connection.receive(b"3")
        await asyncio.sleep(8)
        assert line.packets == []
        await asyncio.sleep(3)
        assert line.packets == [b"2"]
        connection.end("forced close", "")

    run(main())


def test_a_request_for_a_session_whose_ping_is_overdue_finds_none() -> None:
    async def main() -> None:
        server = engine(ping_interval=0.1, ping_timeout=0.1)
        connection, _, keeper = session(server)
        assert connection.still_open()
        loop = asyncio.get_running_loop()
        # The loop is kept busy beyond the deadline, so that the wheel had no turn.
        connection._beat()
        while loop.time() < connection._deadline:
            pass
        assert not connection.still_open()
        assert [reason for reason, _ in keeper.closings] == ["ping timeout"]
        assert not connection.still_open()

    run(main())


# Sending.


async def test_a_packet_goes_at_once_where_the_transport_works_off_its_last_frame() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    line.direct = True
    connection.send(b"43[]")
    assert line.sent == [[b"43[]"]]
    assert not line.direct
    connection.send(b"43[1]")
    assert line.sent == [[b"43[]"]]
    await turns()
    assert line.sent == [[b"43[]"], [b"43[1]"]]


async def test_a_message_of_several_frames_goes_at_once_too() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    line.direct = True
    message = Message(b"451-[]", (b"x",))
    connection.send(message)
    assert line.sent == [[message]]
    assert not line.direct
    connection.send(message)
    assert line.sent == [[message]]
    await turns()
    assert line.sent == [[message], [message]]


async def test_a_shared_message_is_written_at_once_where_nothing_waits() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    message = Message(b"42[]")
    connection.send_shared(message)
    assert line.sent == [[message]]
    connection.send(b"42[1]")
    connection.send_shared(message)
    assert line.sent == [[message]]
    await turns()
    assert line.packets == [message, b"42[1]", message]


@pytest.mark.parametrize("end", ["close", "end"])
async def test_nothing_is_sent_after_the_end(end: str) -> None:
    connection, line, _ = session(engine())
    getattr(connection, end)(*([] if end == "close" else ["forced close", ""]))
    line.sent.clear()
    connection.send(b"42[]")
    connection.send_shared(Message(b"42[]"))
    await turns()
    assert line.sent == []
    assert connection.congested


async def test_congested() -> None:
    connection, line, _ = session(engine())
    assert not connection.congested
    connection.send(b"42[]")
    assert not connection.congested, "it goes out in this turn"
    await turns()
    line.full = True
    assert connection.congested
    line.full = False
    line.writable = False
    assert connection.congested
    line.writable = True
    connection.outbox.append(b"42[]")
    assert connection.congested


# Waiting for a slow receiver.


async def test_drain_waits_for_a_transport_that_takes_nothing() -> None:
    connection, line, _ = session(engine())
    await asyncio.wait_for(connection.drain(), 1)
    line.writable = False
    await asyncio.wait_for(connection.drain(), 1)
    connection.send(b"42[]")
    first, second = asyncio.create_task(connection.drain()), asyncio.create_task(connection.drain())
    await turns()
    assert not first.done()
    first.cancel()
    await turns()
    line.writable = True
    connection.transport_ready()
    await asyncio.wait_for(second, 1)
    assert first.cancelled()


async def test_drain_returns_when_the_session_ends() -> None:
    connection, line, _ = session(engine())
    line.writable = False
    connection.send(b"42[]")
    waiting = asyncio.create_task(connection.drain())
    await turns()
    connection.end("transport close", "")
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(connection.drain(), 1)


async def test_drain_on_polling_waits_for_the_next_poll() -> None:
    connection, _ = polling(engine())
    connection.send(b"42[]")
    waiting = asyncio.create_task(connection.drain())
    await turns()
    assert not waiting.done()
    poll = Answer()
    connection.transport.poll(poll)  # type: ignore[attr-defined]
    await asyncio.wait_for(waiting, 1)
    assert poll.body == b"42[]"


# Receiving.


async def test_messages_go_to_the_owner() -> None:
    connection, _, keeper = session(engine())
    connection.receive(b'42["a"]')
    connection.receive(b"4")
    connection.receive_binary(b"\x01")
    assert keeper.texts == [b'42["a"]', b"4"]
    assert keeper.binaries == [b"\x01"]


async def test_base64_is_a_binary_message_on_a_websocket_too() -> None:
    """JavaScript clients made with `forceBase64` send all they have as text, whatever the transport."""
    connection, _, keeper = session(engine())
    connection.receive(b"bAQID")
    connection.receive(b"b")
    assert (keeper.texts, keeper.binaries) == ([], [b"\1\2\3", b""])


@pytest.mark.parametrize("packet", [b"0{}", b"5", b"6", b"6x"])
async def test_packets_that_say_nothing_to_a_server(packet: bytes) -> None:
    connection, line, keeper = session(engine())
    line.sent.clear()
    connection.receive(packet)
    await turns()
    assert connection.state is State.OPEN
    assert (keeper.texts, line.sent) == ([], [])


@pytest.mark.parametrize("packet", [b"2", b"2probe"])
async def test_a_ping_from_the_client_ends_the_session(packet: bytes) -> None:
    """Only the server pings in protocol 4; a client that does speaks another one."""
    server = engine()
    connection, _, keeper = session(server)
    connection.receive(packet)
    assert [reason for reason, _ in keeper.closings] == ["transport error"]
    assert counts(server)["fault.transport_error"] == 1


@pytest.mark.parametrize("packet", [b"", b"7", b"hello", b"b!"])
async def test_what_is_no_packet_ends_the_session(packet: bytes) -> None:
    server = engine()
    connection, line, keeper = session(server)
    connection.receive(packet)
    assert [reason for reason, _ in keeper.closings] == ["parse error"]
    assert line.endings == ["closed"]
    assert counts(server)["fault.parse_error"] == 1


async def test_what_is_not_utf8_is_told_so() -> None:
    connection, line, keeper = session(engine())
    connection.receive(b"\xff")
    assert line.endings[0] == "1007 not UTF-8"
    assert [reason for reason, _ in keeper.closings] == ["parse error"]


async def test_close_from_the_client() -> None:
    connection, line, keeper = session(engine())
    connection.receive(b"1")
    assert keeper.closings == [("transport close", "the client closed the session")]
    assert line.endings == ["closed"]


async def test_nothing_is_received_after_the_end() -> None:
    server = engine()
    connection, _, keeper = session(server)
    connection.end("forced close", "")
    for packet in (b"42[]", b"3", b"1", b"7", b"2"):
        connection.receive(packet)
    connection.receive_binary(b"x")
    connection.reject("parse error", "late")
    connection.end("ping timeout", "late")
    connection.close()
    connection.transport_closed(connection.transport, "transport close", "late")
    assert (keeper.texts, keeper.binaries) == ([], [])
    assert keeper.closings == [("forced close", "")]
    assert counts(server)["connections_closed"] == 1


async def test_nothing_is_delivered_while_closing() -> None:
    connection, line, keeper = session(engine())
    line.writable = False
    connection.close()
    connection.receive(b"42[]")
    connection.receive_binary(b"x")
    assert (keeper.texts, keeper.binaries) == ([], [])
    connection.receive(b"1")
    assert keeper.closings == [("transport close", "the client closed the session")]


async def test_reading_is_paused_as_often_as_it_is_resumed() -> None:
    server = engine()
    connection, line, _ = session(server)
    connection.pause_reading()
    connection.pause_reading()
    assert not line.reading
    connection.resume_reading()
    assert not line.reading
    connection.resume_reading()
    assert line.reading
    assert counts(server)["reading_paused"] == 1


# Ending.


async def test_close_writes_what_waits_first() -> None:
    connection, line, keeper = session(engine())
    line.sent.clear()
    connection.send(b"42[1]")
    connection.close("server shutting down")
    assert line.packets == [b"42[1]"]
    assert line.endings == ["closed"]
    assert keeper.closings == [("server shutting down", "closed by the server")]


async def test_close_waits_for_a_transport_that_takes_nothing() -> None:
    connection, line, keeper = session(engine())
    line.writable = False
    line.sent.clear()
    connection.send(b"42[1]")
    connection.close()
    connection.close()
    assert connection.state is State.CLOSING
    assert keeper.closings == []
    line.writable = True
    connection.transport_ready()
    assert line.packets == [b"42[1]"]
    assert keeper.closings == [("forced close", "closed by the server")]


def test_close_waits_so_long_and_no_longer() -> None:
    async def main() -> None:
        connection, line, keeper = session(engine())
        line.writable = False
        connection.close("forced server close")
        await asyncio.sleep(2.5)
        assert connection.state is State.CLOSING
        await asyncio.sleep(1)
        assert keeper.closings == [("forced server close", "closed by the server")]
        assert line.endings == ["closed"]

    run(main())


async def test_the_last_words_of_a_refusal_go_out_before_the_end() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    connection.send(b'44{"message":"no"}')
    connection.end("parse error", "")
    assert line.packets == [b'44{"message":"no"}']
    assert line.endings == ["closed"]


async def test_nothing_is_written_to_a_transport_that_failed() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    connection.send(b"42[]")
    connection.end("transport error", "")
    assert line.packets == []


@pytest.mark.parametrize(
    ("reason", "fault"),
    [("transport close", None), ("transport error", "fault.transport_error"), ("parse error", "fault.parse_error")],
)
async def test_the_transports_report_ends_the_session(reason: Any, fault: str | None) -> None:
    server = engine()
    connection, line, keeper = session(server)
    connection.transport_closed(Line(), reason, "of another transport")
    assert keeper.closings == []
    connection.transport_closed(line, reason, "details")
    assert keeper.closings == [(reason, "details")]
    assert [name for name in counts(server) if name.startswith("fault.")] == ([fault] if fault else [])


# What a user sees of it.


async def test_listeners_of_a_connection() -> None:
    connection, _, _ = session(engine())
    told: list[Any] = []
    connection.on("close", lambda reason, details: told.append((reason, details)))
    connection.on("close", lambda reason, details: told.append("second"))
    connection.end("ping timeout", "why")
    assert told == [("ping timeout", "why"), "second"]


async def test_listeners_hear_that_the_client_has_answered() -> None:
    connection, _, _ = session(engine())
    beats: list[str] = []
    connection.on("heartbeat", lambda: beats.append("heartbeat"))
    connection.receive(b'42["e"]')
    assert beats == []
    connection.receive(b"3")
    assert beats == ["heartbeat"]
    connection.end("forced close", "")


async def test_a_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = engine()
    connection, _, keeper = session(server)
    told: list[str] = []

    def failing(reason: str, details: str) -> None:
        raise RuntimeError("listener")

    connection.on("close", failing)
    connection.on("close", lambda reason, details: told.append(reason))
    with caplog.at_level(logging.ERROR, "duplexio"):
        connection.end("forced close", "")
    assert told == ["forced close"]
    assert keeper.closings
    assert "'close' raised" in caplog.text
    assert counts(server)["handler_errors"] == 1


async def test_what_a_connection_tells_of_itself() -> None:
    connection, _, _ = session(engine())
    assert connection.protocol == 4
    assert connection.remote_address == "192.0.2.1"
    assert connection.scope == {}
    assert connection.upgraded is False
    assert connection.upgrading is False
    assert len(connection.id) == 20


async def test_the_owner_is_told_once_and_the_table_is_empty_then() -> None:
    server = engine()
    connection, line, keeper = session(server)
    assert server.connections == {connection.id: connection}
    line.sink.transport_closed(line, "transport close", "")
    assert server.connections == {}
    assert len(keeper.closings) == 1
    assert isinstance(connection.owner, Keeper)


async def test_a_scheduled_flush_finds_the_session_ended() -> None:
    connection, line, _ = session(engine())
    line.sent.clear()
    connection.send(b"42[]")
    connection.end("transport error", "")
    await turns()
    assert line.sent == []
