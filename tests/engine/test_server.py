"""The table of sessions: who is let in, what is told about it, and closing."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest

from duplexio.engine.server import EngineServer
from duplexio.errors import ConfigurationError
from duplexio.observe import Counts, Reporter
from duplexio.options import Options
from duplexio.protocol.engine_handshake import Refusal, Request
from duplexio.protocol.engine_session import State

from .clock import run
from .ends import Answer, counts, engine, polling, request, session

GOOD = "/socket.io/?EIO=4&transport=polling"


def refused(server: EngineServer, asked: Request) -> Refusal:
    verdict = server.check(asked)
    assert isinstance(verdict, Refusal), verdict
    return verdict


# Checking.


async def test_a_new_session_is_let_in() -> None:
    assert engine().check(request(GOOD)) is None
    assert engine().check(request(GOOD + "&sid=")) is None


async def test_a_request_finds_its_session() -> None:
    server = engine()
    connection, _ = polling(server)
    assert server.check(request(f"{GOOD}&sid={connection.id}")) is connection
    assert server.check(request(f"{GOOD}&sid={connection.id}", "POST")) is connection


@pytest.mark.parametrize(
    ("target", "method", "code", "cause"),
    [
        ("/socket.io/?EIO=4&transport=foo", "GET", 0, "unknown_transport"),
        (GOOD + "&sid=nobody", "GET", 1, "unknown_sid"),
        (GOOD, "POST", 2, "bad_handshake_method"),
        ("/socket.io/?EIO=4&transport=websocket", "GET", 3, "websocket_without_upgrade"),
        ("/socket.io/?EIO=3&transport=polling", "GET", 5, "unsupported_protocol"),
    ],
)
async def test_refusals(target: str, method: str, code: int, cause: str) -> None:
    refusal = refused(engine(), request(target, method))
    assert (refusal.code, refusal.cause) == (code, cause)


async def test_a_request_for_another_transport_than_the_sessions() -> None:
    server = engine()
    over_websocket, _, _ = session(server)
    refusal = refused(server, request(f"{GOOD}&sid={over_websocket.id}"))
    assert (refusal.code, refusal.cause) == (3, "transport_mismatch")


async def test_an_upgrade_finds_its_session() -> None:
    server = engine()
    connection, _ = polling(server)
    asked = request(f"/socket.io/?EIO=4&transport=websocket&sid={connection.id}")
    asked.websocket = True
    assert server.check(asked) is connection


async def test_an_origin_is_asked_for_before_the_session() -> None:
    server = engine()
    connection, _ = polling(server)
    refusal = refused(server, request(f"{GOOD}&sid={connection.id}", origin="http://evil.example", host="a.example"))
    assert refusal.code == 4


async def test_a_function_for_origins_that_raises_refuses(caplog: pytest.LogCaptureFixture) -> None:
    def failing(origin: str) -> bool:
        raise RuntimeError("of the user's")

    server = engine(cors_allowed_origins=failing)
    with caplog.at_level(logging.ERROR, "duplexio"):
        refusal = refused(server, request(GOOD, origin="http://a.example"))
        # The answer is asked for its headers, too.
        server.response_headers(request(GOOD, origin="http://a.example"))
    assert (refusal.code, refusal.http_status) == (4, 403)
    assert "cors_allowed_origins raised" in caplog.text


async def test_a_function_for_origins_that_raises_gives_no_preflight(caplog: pytest.LogCaptureFixture) -> None:
    def failing(origin: str) -> bool:
        raise RuntimeError("of the user's")

    server = engine(cors_allowed_origins=failing)
    with caplog.at_level(logging.ERROR, "duplexio"):
        assert not server.preflight_headers(request(GOOD, "OPTIONS", origin="http://a.example"))
    assert "cors_allowed_origins raised" in caplog.text
    fine = engine(cors_allowed_origins="*")
    assert fine.preflight_headers(request(GOOD, "OPTIONS", origin="http://a.example"))
    assert fine.preflight_headers(request(GOOD, "OPTIONS")) is None


async def test_an_origin_that_is_no_url_is_a_refusal_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    server = engine(cors_allowed_origins=["http://a.example"])
    with caplog.at_level(logging.ERROR, "duplexio"):
        asked = request(GOOD, origin="http://[", host="a.example")
        assert refused(server, asked).code == 4
        assert server.response_headers(asked) == [(b"vary", b"Origin")]
    assert caplog.text == ""
    assert "handler_errors" not in counts(server)


async def test_so_many_sessions_and_no_more() -> None:
    server = engine(max_connections=2)
    first, _, _ = session(server)
    session(server)
    refusal = refused(server, request(GOOD))
    assert (refusal.cause, refusal.http_status) == ("too_many_connections", 503)
    assert json.loads(refusal.body)["message"] == "Too many connections"
    first.end("forced close", "")
    assert server.check(request(GOOD)) is None


# allow_request.


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (None, None),
        (True, None),
        (False, "Forbidden"),
        ("banned", "banned"),
        ("", "Forbidden"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_allow_request(answer: Any, refusal: str | None, asynchronous: bool) -> None:
    asked: list[Request] = []

    def plain(given: Request) -> Any:
        asked.append(given)
        return answer

    async def waiting(given: Request) -> Any:
        await asyncio.sleep(0)
        return plain(given)

    server = engine(allow_request=waiting if asynchronous else plain)
    assert not server.admits_at_once
    handshake = request(GOOD)
    verdict = await server.admit(handshake)
    assert asked == [handshake]
    if refusal is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert (verdict.code, verdict.http_status, verdict.text) == (4, 403, refusal)


async def test_nobody_is_asked_where_there_is_nobody() -> None:
    server = engine()
    assert server.admits_at_once
    assert await server.admit(request(GOOD)) is None


async def test_allow_request_that_raises_refuses(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(given: Request) -> bool:
        raise RuntimeError("of the user's")

    server = engine(allow_request=failing)
    with caplog.at_level(logging.ERROR, "duplexio"):
        verdict = await server.admit(request(GOOD))
    assert verdict is not None
    assert (verdict.code, verdict.text) == (4, "Forbidden")
    assert "allow_request raised" in caplog.text


def test_allow_request_has_its_time_and_no_more() -> None:
    async def main() -> None:
        async def slow(given: Request) -> bool:
            await asyncio.sleep(60)
            return True

        server = engine(allow_request=slow, allow_request_timeout=10)
        start = asyncio.get_running_loop().time()
        verdict = await server.admit(request(GOOD))
        assert asyncio.get_running_loop().time() - start == pytest.approx(10, abs=1)
        assert verdict is not None
        assert (verdict.code, verdict.cause) == (4, "allow_request_timeout")

    run(main())


async def test_while_allow_request_was_asked_the_place_was_taken() -> None:
    server = engine(max_connections=1, allow_request=lambda given: True)
    assert server.check(request(GOOD)) is None
    session(server)
    verdict = await server.admit(request(GOOD))
    assert verdict is not None
    assert verdict.cause == "too_many_connections"


# What is told.


async def test_listeners_of_headers() -> None:
    server = engine(cookie=True, cors_allowed_origins="*")
    told: list[str] = []

    def initial(headers: dict[str, str], asked: Request) -> None:
        headers["X-First"] = "1"
        told.append("initial")

    def every(headers: dict[str, str], asked: Request) -> None:
        headers["X-Every"] = asked.query["EIO"]
        told.append("every")

    assert server.on("headers", every) is every
    assert server.on("initial_headers")(initial) is initial
    asked = request(GOOD, origin="http://a.example")
    first = dict(server.response_headers(asked, "SID"))
    later = dict(server.response_headers(asked))
    assert first == {
        b"access-control-allow-origin": b"*",
        b"set-cookie": b"io=SID; Path=/; SameSite=Lax; HttpOnly",
        b"x-first": b"1",
        b"x-every": b"4",
    }
    assert later == {b"access-control-allow-origin": b"*", b"x-every": b"4"}
    assert told == ["initial", "every", "every"]


async def test_a_cookie_of_a_listener_is_beside_the_sessions() -> None:
    server = engine(cookie=True)

    @server.on("headers")
    def every(headers: dict[str, str], asked: Request) -> None:
        headers["Set-Cookie"] = "mine=1"

    def cookies(sid: str = "") -> list[bytes]:
        return [value for name, value in server.response_headers(request(GOOD), sid) if name == b"set-cookie"]

    assert cookies("SID") == [b"io=SID; Path=/; SameSite=Lax; HttpOnly", b"mine=1"]
    assert cookies() == [b"mine=1"]


async def test_no_cors_headers_where_a_middleware_around_writes_them() -> None:
    server = engine(cors_allowed_origins="*")
    asked = request(GOOD, origin="http://a.example")
    asked.surrounding_origins = ("http://a.example",)
    assert server.response_headers(asked) == []


async def test_a_listener_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    server = engine()

    def failing(headers: dict[str, str], asked: Request) -> None:
        headers["x-a"] = "1"
        raise RuntimeError

    server.on("headers", failing)
    with caplog.at_level(logging.ERROR, "duplexio"):
        assert server.response_headers(request(GOOD)) == [(b"x-a", b"1")]
    assert "engine's 'headers' raised" in caplog.text


async def test_listeners_of_refusals() -> None:
    server = engine()
    errors: list[dict[str, Any]] = []
    server.on("connection_error", errors.append)
    asked = request("/socket.io/?EIO=3&transport=polling")
    refusal = refused(server, asked)
    assert server.refuse(asked, refusal) is refusal
    ((error),) = errors
    assert error["req"] is asked
    assert (error["code"], error["message"]) == (5, "Unsupported protocol version")
    assert error["context"] == {"name": "unsupported_protocol", "hint": refusal.hint}
    assert counts(server)["fault.unsupported_protocol"] == 1


async def test_what_cannot_listen() -> None:
    server = engine()

    async def waiting(*args: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="no event 'connection'"):
        server.on("connection", lambda: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="plain def"):
        server.on("headers", waiting)


# Ids.


async def test_session_ids() -> None:
    server = engine()
    ids = {server.new_sid() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", sid) for sid in ids)
    assert len({sid[:4] for sid in ids}) == 1, "the first four characters say whose they are"


async def test_two_servers_have_two_tags() -> None:
    assert len({engine().new_sid()[:4] for _ in range(20)}) > 15


async def test_the_handshake_says_what_the_options_say() -> None:
    server = engine(ping_interval=1.5, ping_timeout=0.25, max_http_buffer_size=5000, transports=["polling"])
    _, first = polling(server)
    assert first.body is not None
    handshake = json.loads(first.body[1:])
    assert handshake | {"sid": ""} == {
        "sid": "",
        "upgrades": [],
        "pingInterval": 1500,
        "pingTimeout": 250,
        "maxPayload": 5000,
    }


# Starting and closing.


async def test_starting_twice_is_starting_once() -> None:
    server = engine()
    wheel = server.wheel
    server.start()
    assert server.wheel is wheel


def test_one_server_serves_one_loop() -> None:
    async def first() -> EngineServer:
        server = engine()
        session(server)
        return server

    server = asyncio.run(first())

    async def second() -> None:
        with pytest.raises(ConfigurationError, match="one event loop"):
            server.start()

    asyncio.run(second())


def test_a_server_without_sessions_may_move_to_another_loop() -> None:
    async def first() -> EngineServer:
        return engine()

    server = asyncio.run(first())

    async def second() -> None:
        server.start()
        assert server.loop is asyncio.get_running_loop()

    asyncio.run(second())


async def test_a_server_that_was_never_started_closes() -> None:
    server = EngineServer(Options({}), Reporter(Counts(), logging.getLogger("duplexio")), lambda connection: None)  # type: ignore[arg-type, return-value]
    server.begin_closing()
    await server.close(1)
    assert not server.closing


async def test_no_new_sessions_while_closing() -> None:
    server = engine()
    connection, line, _ = session(server)
    line.writable = False
    server.begin_closing()
    server.begin_closing()
    refusal = refused(server, request(GOOD))
    assert (refusal.cause, refusal.http_status) == ("closing", 503)
    connection.end("forced close", "")


async def test_closing_without_sessions() -> None:
    server = engine()
    await asyncio.wait_for(server.close(10), 5)
    assert (server.closing, server.closed) == (True, True)
    server.start()
    assert (server.closing, server.closed) == (False, False)
    assert server.check(request(GOOD)) is None


async def test_polls_end_at_once_and_websockets_spread() -> None:
    server = engine()
    connection, _ = polling(server)
    waiting = Answer()
    connection.transport.poll(waiting)  # type: ignore[attr-defined]
    _, line, keeper = session(server)
    server.begin_closing()
    assert waiting.body == b"1"
    assert line.endings == []
    await asyncio.wait_for(server.close(10), 5)
    assert line.endings == ["closed"]
    assert keeper.closings == [("server shutting down", "closed by the server")]
    assert server.connections == {}


def test_closings_are_spread_over_the_time_that_there_is() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = engine()
        ended: list[float] = []
        for _ in range(100):
            connection, _, _ = session(server)
            connection.on("close", lambda reason, details: ended.append(loop.time()))
        start = loop.time()
        await server.close(1.0)
        assert len(ended) == 100
        assert ended[-1] - start == pytest.approx(1.0, abs=0.3)
        middle = ended[50] - start
        assert 0.3 < middle < 0.7

    run(main())


def test_few_sessions_are_closed_sooner() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = engine()
        for _ in range(3):
            session(server)
        start = loop.time()
        await server.close(100.0)
        assert loop.time() - start < 1

    run(main())


def test_no_time_is_no_waiting() -> None:
    async def main() -> None:
        server = engine()
        for _ in range(3):
            session(server)
        await server.close(0.0)
        assert server.connections == {}

    run(main())


def test_a_session_that_cannot_be_told_is_ended_all_the_same() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = engine()
        connection, _ = polling(server)
        _, line, keeper = session(server)
        line.writable = False
        start = loop.time()
        await server.close(10)
        assert loop.time() - start < 9
        assert connection.state is State.CLOSED
        assert [reason for reason, _ in keeper.closings] == ["server shutting down"]
        assert server.connections == {}

    run(main())


def test_a_session_that_begins_while_closing_is_ended_last() -> None:
    """Its handshake was let in before."""

    async def main() -> None:
        server = engine()
        _, slow, first = session(server)
        slow.writable = False
        closing = asyncio.create_task(server.close(1))
        await asyncio.sleep(0.5)
        late, _, keeper = session(server)
        await closing
        assert late.state is State.CLOSED
        assert [reason for reason, _ in first.closings + keeper.closings] == ["server shutting down"] * 2

    run(main())
