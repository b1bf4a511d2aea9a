"""From polling to a second transport: each step of it, and each way in which it fails."""

from __future__ import annotations

import asyncio

import pytest

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_session import State

from .clock import run
from .ends import Keeper, Line, counts, engine, polling, request, turns
from .test_polling import keeper_of, poll, post


def offer(server: EngineServer, connection: Connection) -> Line:
    """A second transport for the session."""
    candidate = Line()
    asked = request(f"/socket.io/?EIO=4&transport=websocket&sid={connection.id}")
    server.open_websocket(asked, candidate, "", connection)
    return candidate


async def test_an_upgrade() -> None:
    server = engine()
    connection, _ = polling(server)
    told: list[tuple[str, object]] = []
    connection.on("upgrading", lambda transport: told.append(("upgrading", transport)))
    connection.on("upgrade", lambda transport: told.append(("upgrade", transport)))
    waiting = poll(connection)
    candidate = offer(server, connection)
    assert connection.upgrading
    assert waiting.given == []
    candidate.sink.receive(b"2probe")
    assert candidate.packets == [b"3probe"]
    assert waiting.body == b"6"
    connection.send(b"42[1]")
    await turns()
    assert candidate.packets == [b"3probe"]
    candidate.sink.receive(b"5")
    assert connection.transport is candidate
    assert candidate.packets == [b"3probe", b"42[1]"]
    assert (connection.upgraded, connection.upgrading) == (True, False)
    assert told == [("upgrading", candidate), ("upgrade", candidate)]
    candidate.sink.receive(b"42[2]")
    assert keeper_of(connection).texts == [b"42[2]"]


async def test_a_poll_that_comes_after_the_probe_is_released() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    assert poll(connection).body == b"6"


async def test_a_poll_takes_what_waits_even_after_the_probe() -> None:
    server = engine()
    connection, _ = polling(server)
    connection.send(b"42[1]")
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    assert poll(connection).body == b"42[1]"
    assert poll(connection).body == b"6"


async def test_events_go_on_over_polling_until_the_client_moves() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    assert post(connection, b"42[1]").body == b"ok"
    assert keeper_of(connection).texts == [b"42[1]"]


async def test_an_open_poll_is_answered_when_the_client_moves_without_a_probe() -> None:
    server = engine()
    connection, _ = polling(server)
    waiting = poll(connection)
    candidate = offer(server, connection)
    candidate.sink.receive(b"5")
    assert waiting.body == b"6"
    assert connection.transport is candidate


async def test_a_pause_moves_with_the_session() -> None:
    server = engine()
    connection, _ = polling(server)
    connection.pause_reading()
    held = post(connection, b"42[1]")
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    candidate.sink.receive(b"5")
    assert not candidate.reading
    assert held.body == b"ok"
    connection.resume_reading()
    assert candidate.reading


@pytest.mark.parametrize("packet", [b"4hello", b"2", b"1", b"", b"x"])
async def test_a_candidate_that_says_something_else_is_closed(packet: bytes) -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(packet)
    assert candidate.endings == ["closed"]
    assert (connection.state, connection.upgrading) == (State.OPEN, False)
    assert counts(server)["fault.upgrade"] == 1
    connection.send(b"42[1]")
    assert poll(connection).body == b"42[1]"


async def test_a_candidate_that_sends_binary_is_closed() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive_binary(b"x")
    assert candidate.endings == ["closed"]
    assert connection.state is State.OPEN


async def test_a_candidate_that_goes_away_leaves_the_session() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    candidate.sink.transport_ready()
    candidate.sink.transport_closed(candidate, "transport close", "")
    assert (connection.state, connection.upgrading) == (State.OPEN, False)
    # It may try again.
    again = offer(server, connection)
    again.sink.receive(b"2probe")
    again.sink.receive(b"5")
    assert connection.transport is again


def test_an_upgrade_that_is_not_completed_is_given_up() -> None:
    async def main() -> None:
        server = engine(upgrade_timeout=10)
        connection, _ = polling(server)
        candidate = offer(server, connection)
        candidate.sink.receive(b"2probe")
        await asyncio.sleep(9.5)
        assert candidate.endings == []
        await asyncio.sleep(1)
        assert candidate.endings == ["closed"]
        assert (connection.state, connection.upgrading) == (State.OPEN, False)
        assert counts(server)["upgrade_timeouts"] == 1
        connection.end("forced close", "")

    run(main())


def test_an_upgrade_that_was_completed_is_not_given_up() -> None:
    async def main() -> None:
        server = engine(upgrade_timeout=1)
        connection, _ = polling(server)
        candidate = offer(server, connection)
        candidate.sink.receive(b"2probe")
        candidate.sink.receive(b"5")
        await asyncio.sleep(5)
        assert candidate.endings == []
        connection.end("forced close", "")

    run(main())


# The four obstacles: such a WebSocket is accepted and closed.


async def test_a_second_upgrade_at_the_same_time() -> None:
    server = engine()
    connection, _ = polling(server)
    first, second = offer(server, connection), offer(server, connection)
    assert second.endings == ["closed"]
    first.sink.receive(b"2probe")
    first.sink.receive(b"5")
    assert connection.transport is first


async def test_a_second_upgrade_afterwards() -> None:
    server = engine()
    connection, _ = polling(server)
    first = offer(server, connection)
    first.sink.receive(b"5")
    second = offer(server, connection)
    assert second.endings == ["closed"]
    assert connection.transport is first
    assert counts(server)["fault.upgrade"] == 1


async def test_an_upgrade_that_is_not_allowed() -> None:
    server = engine(allow_upgrades=False)
    connection, first = polling(server)
    assert first.body is not None
    assert b'"upgrades":[]' in first.body
    assert offer(server, connection).endings == ["closed"]


@pytest.mark.parametrize("closing", [True, False])
async def test_an_upgrade_of_a_session_that_has_ended(closing: bool) -> None:
    server = engine()
    connection, _ = polling(server)
    if closing:
        connection.close()
        assert connection.state is State.CLOSING
    else:
        connection.end("forced close", "")
    assert offer(server, connection).endings == ["closed"]


# The session ends in the middle of it.


async def test_the_session_ends_before_the_probe() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    connection.end("ping timeout", "")
    assert candidate.endings == ["closed"]
    assert not connection.upgrading


async def test_the_session_ends_after_the_probe() -> None:
    """The client waits for this transport alone by then: it is closed when the client has moved to it."""
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    connection.end("ping timeout", "")
    assert candidate.endings == []
    candidate.sink.receive(b"5")
    assert candidate.endings == ["closed"]
    assert keeper_of(connection).closings == [("ping timeout", "")]
    assert "fault.upgrade" not in counts(server)


async def test_the_candidate_goes_away_after_the_end() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    connection.end("ping timeout", "")
    candidate.sink.transport_closed(candidate, "transport close", "")
    assert keeper_of(connection).closings == [("ping timeout", "")]


async def test_closing_goes_on_over_the_new_transport() -> None:
    server = engine()
    connection, _ = polling(server)
    candidate = offer(server, connection)
    candidate.sink.receive(b"2probe")
    connection.send(b"41")
    connection.close("forced server close")
    assert connection.state is State.CLOSING
    candidate.sink.receive(b"5")
    assert candidate.packets == [b"3probe", b"41"]
    assert candidate.endings == ["closed"]
    assert [reason for reason, _ in keeper_of(connection).closings] == ["forced server close"]


def test_an_upgrade_after_the_end_is_given_up_in_time() -> None:
    async def main() -> None:
        server = engine(upgrade_timeout=5)
        connection, _ = polling(server)
        candidate = offer(server, connection)
        candidate.sink.receive(b"2probe")
        connection.end("ping timeout", "")
        await asyncio.sleep(6)
        assert candidate.endings == ["closed"]

    run(main())


async def test_a_new_session_over_websocket_needs_no_upgrade() -> None:
    server = engine()
    line = Line()
    sid = server.new_sid()
    server.open_websocket(request("/socket.io/?EIO=4&transport=websocket"), line, sid, None)
    connection = server.connections[sid]
    assert connection.transport is line
    assert isinstance(connection.owner, Keeper)
    (first,) = line.packets
    assert isinstance(first, bytes)
    assert b'"upgrades":[]' in first
