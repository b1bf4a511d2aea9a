"""Polling requests that get to another worker than the one that has their session."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.hosting.processes import assert_quiet, duplexio_run, free_port, running

from .pairs import COMMANDS, HERE, Pair, pair
from .raw import Sent, Session, read_response, request_bytes

UNKNOWN = '{"code":1,"message":"Session ID unknown"}'


@pytest.fixture(scope="module", params=list(COMMANDS))
def workers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair("io", request.param) as both:
        yield both
        assert_quiet(both.owner)
        assert_quiet(both.other)


def test_a_session_that_never_meets_its_owner_again(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    pid = session.call(workers.owner_port, "pid")
    for number in range(5):
        assert session.call(workers.other_port, "echo", number) == [number]
    assert session.call(workers.other_port, "pid") == pid
    other = Session(workers.other_port).open()
    assert other.call(workers.owner_port, "pid") not in (pid, None)
    assert other.sid[:4] != session.sid[:4]


def test_a_poll_waits_at_the_other_worker(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    with session.send(workers.other_port) as poll:
        time.sleep(0.3)
        session.post(workers.owner_port, '42["shout","x",1]')
        assert poll.response().text == '42["shouted","x"]'


def test_large_bodies_both_ways(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    text = "é" * 300_000
    assert session.call(workers.other_port, "echo", text) == [text]


def test_a_slow_reader() -> None:
    """Longer than a connection without requests is kept; its session lives meanwhile."""
    with pair("io") as both:
        session = Session(both.owner_port).open()
        # More than all buffers on the way.
        session.post(both.owner_port, '42["shout at length",40000000]')
        with session.send(both.other_port) as poll:
            time.sleep(10)
            assert len(poll.response().body) == 40_000_016


def test_who_goes_away_from_his_poll_has_left(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    here = len(workers.owner.log)
    with session.send(workers.other_port):
        time.sleep(0.3)
    workers.owner.wait_for("left: transport error", after=here)
    assert session.ask(workers.other_port).text == UNKNOWN


def test_a_second_poll_ends_the_session_as_ever(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    with session.send(workers.other_port) as first:
        time.sleep(0.3)
        assert session.ask(workers.owner_port).status == 400
        assert first.response().text == "1"


@pytest.mark.parametrize("sid", ["AAAA" + "x" * 16, "short", "../../../../../../etc", "é" * 20, "AAAA%00" + "x" * 15])
def test_a_tag_that_nobody_claims(workers: Pair, sid: str) -> None:
    session = Session(workers.owner_port, sid=sid.encode().decode("latin-1").replace("Ã©", "%C3%A9"))
    began = time.monotonic()
    response = session.ask(workers.other_port)
    assert (response.status, response.text) == (400, UNKNOWN)
    # At once: nobody is asked. Any time-out would be longer.
    assert time.monotonic() - began < 10


def test_a_session_that_its_owner_has_not(workers: Pair) -> None:
    session = Session(workers.owner_port).open()
    session.sid = session.sid[:4] + "x" * 16
    response = session.ask(workers.other_port)
    assert (response.status, response.text) == (400, UNKNOWN)
    session.sid = session.sid[:4]
    assert session.ask(workers.other_port).text == UNKNOWN


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_another_method(workers: Pair, method: str) -> None:
    session = Session(workers.owner_port).open()
    response = session.ask(workers.other_port, method, b"")
    assert (response.status, response.text) == (400, '{"code":2,"message":"Bad handshake method"}')
    assert session.call(workers.other_port, "echo", 1) == [1]


def test_two_requests_on_one_connection(workers: Pair) -> None:
    """A proxy's connection is many clients': each request finds its own way."""
    first, second = Session(workers.owner_port).open(), Session(workers.other_port).open()
    target = first.target()
    with Sent(workers.other_port, b"") as sent, sent.connection.makefile("rb") as file:
        for session in first, second, first, second:
            body = b'420["echo",1]'
            sent.connection.sendall(request_bytes("POST", session.target(), body))
            assert read_response(file).text == "ok"
            sent.connection.sendall(request_bytes("GET", session.target()))
            assert read_response(file).text == "430[[1]]"
    assert first.target() == target


# What only some applications let in.


@pytest.fixture(scope="module", params=["duplexio", "uvicorn"])
def lenient(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with pair("lenient", request.param) as both:
        yield both


def test_protocol_3(lenient: Pair) -> None:
    session = Session(lenient.owner_port, query="EIO=3&transport=polling&b64=1")
    response = session.ask(lenient.owner_port)
    session.sid = json.loads(response.text.partition("0")[2].partition("}")[0] + "}")["sid"]
    assert session.ask(lenient.other_port).text == "2:40"
    text = '420["echo","é"]'
    assert session.ask(lenient.other_port, "POST", f"{len(text)}:{text}".encode()).text == "ok"
    assert session.ask(lenient.other_port).text == '10:430[["é"]]'


def test_jsonp(lenient: Pair) -> None:
    session = Session(lenient.owner_port, query="EIO=4&transport=polling&j=0").open_by_script()
    posted = b"d=420%5B%22echo%22%2C1%5D"
    headers = {"content_type": "application/x-www-form-urlencoded", "sec_fetch_site": "same-origin"}
    response = session.ask(lenient.other_port, "POST", posted, **headers)
    assert (response.status, response.text) == (200, "ok")
    response = session.ask(lenient.other_port, sec_fetch_site="same-origin")
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.text == '___eio[0]("430[[1]]");'


def test_a_foreign_page(lenient: Pair) -> None:
    """The answer of another worker has the same headers as one's own; who is not let in here is not asked about."""
    session = Session(lenient.owner_port).open()
    session.post(lenient.other_port, '42["shout","x",1]')
    response = session.ask(lenient.other_port, origin="http://page.test")
    assert response.text == '42["shouted","x"]'
    assert response.headers["access-control-allow-origin"] == "http://page.test"
    assert session.ask(lenient.other_port, origin="http://evil.test").status == 403


def test_compression(lenient: Pair) -> None:
    session = Session(lenient.owner_port).open()
    session.post(lenient.other_port, f'42["shout","{"x" * 5000}",1]')
    response = session.ask(lenient.other_port, accept_encoding="gzip")
    assert response.headers["content-encoding"] == "gzip"
    session.post(lenient.other_port, f'42["hush","{"x" * 5000}"]')
    assert "content-encoding" not in session.ask(lenient.other_port, accept_encoding="gzip").headers


@pytest.mark.parametrize("command", ["duplexio", "uvicorn"])
def test_a_body_over_the_limit(command: str) -> None:
    with pair("small", command) as both:
        session = Session(both.owner_port).open()
        assert session.ask(both.other_port, "POST", b"4" + b"x" * 20_000).status == 413
        chunk = b"1388\r\n" + b"x" * 5000 + b"\r\n"
        head = request_bytes("POST", session.target(), transfer_encoding="chunked")
        with Sent(both.other_port, head + chunk * 3) as sent:
            assert sent.response().status == 413
        assert session.call(both.other_port, "echo", 1) == [1]


def test_a_mounted_server() -> None:
    """Its requests go through the application, in every worker."""
    with pair("mounted") as both:
        session = Session(both.owner_port).open()
        assert session.call(both.other_port, "echo", 1) == [1]


def test_a_page_that_something_around_the_server_lets_in() -> None:
    """It is told what it asked about, and not that it may not ask."""
    with pair("admitting") as both:
        session = Session(both.owner_port).open()
        assert session.ask(both.other_port, "POST", b"3", origin="http://page.test").status == 200
        session.sid = session.sid[:4] + "x" * 16
        assert session.ask(both.other_port, origin="http://page.test").text == UNKNOWN
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(
                f"ws://127.0.0.1:{both.other_port}{session.target('EIO=4&transport=websocket')}",
                origin=Origin("http://page.test"),
                proxy=None,
            ),
        ):
            pass
        assert refused.value.response.body == b"Session ID unknown"


# The end of the owner.


def test_the_death_of_the_owner_is_told_at_once() -> None:
    with pair("io") as both:
        session = Session(both.owner_port).open()
        with session.send(both.other_port) as poll:
            time.sleep(0.3)
            both.owner.kill()
            response = poll.response()
        assert (response.status, response.text) == (400, UNKNOWN)
        # And its socket, which is still there, is nobody's.
        assert session.ask(both.other_port).text == UNKNOWN


def test_the_log_says_that_the_owner_has_ended() -> None:
    """And not what those would have to do that do not know of each other."""
    with pair("io") as both:
        session = Session(both.owner_port).open()
        both.owner.kill()
        assert session.ask(both.other_port).text == UNKNOWN
        hint = r"no session '\S+' here: it was another process', and that one has ended, or is none of those that"
        both.other.wait_for(hint)
        assert "cluster_id" not in both.other.log


def test_the_log_of_one_that_knows_of_no_others() -> None:
    with running(*duplexio_run("applications:io", free_port()), folder=HERE) as process:
        port = process.wait_listening()
        session = Session(port).open()
        session.sid = "x" * 20
        assert session.ask(port).text == UNKNOWN
        process.wait_for("find each other's sessions by one cluster_id")


@pytest.mark.parametrize("command", ["duplexio", "asyncio"])
def test_the_death_of_an_owner_whose_children_live_on(command: str) -> None:
    """A fork has what its parent had open, and hears nothing of it."""
    with pair("io", command) as both:
        session = Session(both.owner_port).open()
        assert session.call(both.other_port, "echo", 1) == [1]
        session.post(both.owner_port, '42["fork",120]')
        with session.send(both.other_port) as poll:
            time.sleep(0.3)
            both.owner.kill()
            assert poll.response().text == UNKNOWN
        assert session.ask(both.other_port).text == UNKNOWN
        # Nor does anybody wait for what it would say of its sockets.
        both.other.wait_for("has gone: it has closed its connection")


def test_an_owner_that_stands_still() -> None:
    """Whoever waits for it is answered when his session would have ended."""
    with pair("impatient") as both:
        session = Session(both.owner_port).open()
        session.post(both.owner_port, '42["stand still",3]')
        time.sleep(0.2)
        response = session.ask(both.other_port)
        assert response.status == 503
        assert response.headers["retry-after"] == "1"


def test_the_polls_of_a_worker_that_ends_go_on_elsewhere() -> None:
    """It answers them with nothing, and the session, which is not its own, lives."""
    with pair("io") as both:
        session = Session(both.owner_port).open()
        with session.send(both.other_port) as poll:
            time.sleep(0.3)
            both.other.signal(signal.SIGTERM)
            response = poll.response()
        assert (response.status, response.text) == (200, "6")
        assert session.call(both.owner_port, "echo", 1) == [1]
        both.other.wait(10)
