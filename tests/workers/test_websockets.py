"""WebSockets that get to another worker than the one that has their session."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.hosting.crowd import crowd
from tests.hosting.processes import assert_quiet

from .pairs import COMMANDS, Pair, pair
from .raw import SECONDS, Sent, Session, read_response, request_bytes

#: `duplexio` passes connections on, also where it is mounted; the others carry frames: under TLS, nothing else can be
#: done.
KINDS = [*COMMANDS, "mounted", "tls"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], ssl.SSLContext, Path]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return ["--ssl-certfile", str(folder / "both.pem")], context, folder / "ca.pem"


@pytest.fixture(scope="module", params=KINDS)
def workers(
    request: pytest.FixtureRequest, certificate: tuple[list[str], ssl.SSLContext, Path]
) -> Iterator[tuple[Pair, ssl.SSLContext | None, Path | None]]:
    options, context, ca = certificate
    if request.param == "tls":
        with pair("io", "duplexio", *options) as both:
            yield both, context, ca
            assert_quiet(both.owner)
            assert_quiet(both.other)
    else:
        application, command = ("mounted", "duplexio") if request.param == "mounted" else ("io", request.param)
        with pair(application, command) as both:
            yield both, None, None
            assert_quiet(both.owner)
            assert_quiet(both.other)


Workers = tuple[Pair, ssl.SSLContext | None, Path | None]


@contextlib.contextmanager
def moved(workers: Workers) -> Iterator[tuple[Session, ClientConnection]]:
    """A session of the owner, whose WebSocket the other worker was asked for."""
    both, tls, _ = workers
    session = Session(both.owner_port, tls=tls).open()
    with session.upgrade(both.other_port) as websocket:
        yield session, websocket


def call(websocket: ClientConnection, event: str, *args: object) -> object:
    websocket.send(f"421{json.dumps([event, *args], ensure_ascii=False)}")
    return json.loads(expect(websocket).removeprefix("431"))[0]


def expect(websocket: ClientConnection) -> str:
    while (packet := websocket.recv(SECONDS)) == "2":
        websocket.send("3")
    assert isinstance(packet, str)
    return packet


def test_an_upgrade(workers: Workers) -> None:
    both, tls, _ = workers
    here = Session(both.owner_port, tls=tls).open().call(both.owner_port, "pid")
    with moved(workers) as (session, websocket):
        assert call(websocket, "pid") == here
        for text in "short", "é" * 200_000:
            assert call(websocket, "echo", text) == [text]
        # Its polls are over, at every worker.
        for port in both.owner_port, both.other_port:
            assert session.ask(port).status == 400


def test_bytes_both_ways(workers: Workers) -> None:
    with moved(workers) as (_, websocket):
        for size in 0, 1, 70_000:
            websocket.send('451-1["echo",{"_placeholder":true,"num":0}]')
            websocket.send(b"\x00\xff" * size)
            assert expect(websocket) == '461-1[[{"_placeholder":true,"num":0}]]'
            assert websocket.recv(SECONDS) == b"\x00\xff" * size


def test_much_at_once(workers: Workers) -> None:
    """More than any buffer on the way, to a client that reads when it likes."""
    with moved(workers) as (_, websocket):
        websocket.send(f'42["shout","{"x" * 10_000}",200]')
        time.sleep(0.5)
        for _ in range(200):
            assert len(expect(websocket)) > 10_000


def test_who_leaves_has_left(workers: Workers) -> None:
    both, _, _ = workers
    with moved(workers) as (_, websocket):
        assert call(websocket, "echo", 1) == [1]
        here = len(both.owner.log)
    both.owner.wait_for("left: transport close", after=here)


def test_what_was_sent_before_the_end_arrives(workers: Workers) -> None:
    with moved(workers) as (_, websocket):
        websocket.send('42["farewell",50]')
        assert [json.loads(expect(websocket)[2:])[1] for _ in range(50)] == list(range(50))
        # And then the end.
        assert [packet for packet in websocket if packet != "41"] == []


def test_a_session_that_ends(workers: Workers) -> None:
    with moved(workers) as (_, websocket):
        # A packet that is none.
        websocket.send("9")
        with pytest.raises(ConnectionClosed):
            expect(websocket)


def test_a_message_over_the_limit(workers: Workers) -> None:
    both, _, _ = workers
    here = len(both.owner.log)
    with moved(workers) as (_, websocket):
        with contextlib.suppress(ConnectionClosed):
            # It may end while this is still being sent.
            websocket.send("4" + "x" * 1_100_000)
        with pytest.raises(ConnectionClosed) as closed:
            expect(websocket)
        assert closed.value.rcvd is None or closed.value.rcvd.code in (1009, 1000)
    both.owner.wait_for("left: transport error", after=here)


def test_a_second_upgrade_is_closed(workers: Workers) -> None:
    both, tls, _ = workers
    session = Session(both.owner_port, tls=tls).open()
    with (
        session.upgrade(both.other_port),
        pytest.raises(ConnectionClosed),
        session.upgrade(both.other_port),
    ):
        pass


@pytest.mark.parametrize("tag", ["AAAA", None])
def test_a_session_that_is_nowhere(workers: Workers, tag: str | None) -> None:
    both, tls, _ = workers
    session = Session(both.owner_port, tls=tls).open()
    session.sid = (tag or session.sid[:4]) + "x" * 16
    with pytest.raises(InvalidStatus) as refused, session.upgrade(both.other_port):
        pass
    assert refused.value.response.status_code == 400


def test_javascript_clients(workers: Workers) -> None:
    """They poll at one worker, and upgrade at the other."""
    both, _, ca = workers
    scheme = "http" if ca is None else "https"
    url = f"{scheme}://localhost:{both.owner_port}"
    with crowd(url, upgrade=10, ca=ca, websocket_port=both.other_port) as clients:
        report = clients.wait_connected()
        assert report.transports == {"websocket": 10}
        clients.echo()
        clients.echo(length=100_000)
        clients.hear(1000, 50)


# What the fast path does with the connection.


def handshake(session: Session, **headers: str) -> bytes:
    target = session.target(session.query.replace("polling", "websocket"))
    upgrade = {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13"}
    return request_bytes("GET", target, None, **upgrade, sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==", **headers)


def frame(text: str) -> bytes:
    """A client's, masked by nothing."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode()


@pytest.mark.parametrize("application", ["io", "mounted"])
@pytest.mark.parametrize("cut", [None, 10, 100])
def test_bytes_behind_the_handshake(application: str, cut: int | None) -> None:
    """They were read by the wrong worker, and reach the right one; in pieces or at once."""
    with pair(application) as both:
        session = Session(both.owner_port).open()
        data = handshake(session) + frame("2probe")
        with Sent(both.other_port, data[:cut]) as sent, sent.connection.makefile("rb") as file:
            if cut is not None:
                time.sleep(0.2)
                sent.connection.sendall(data[cut:])
            assert read_response(file).status == 101
            assert file.read(8) == b"\x81\x063probe"


@pytest.mark.parametrize("application", ["io", "mounted"])
def test_one_connection_that_polls_and_then_upgrades(application: str) -> None:
    with pair(application) as both:
        session = Session(both.owner_port).open()
        with Sent(both.other_port, b"") as sent, sent.connection.makefile("rb") as file:
            sent.connection.sendall(request_bytes("POST", session.target(), b'420["echo",1]'))
            assert read_response(file).text == "ok"
            sent.connection.sendall(handshake(session) + frame("2probe"))
            assert read_response(file).status == 101
            assert file.read(8) == b"\x81\x063probe"


def test_a_head_that_is_too_long_to_pass_on_is_carried() -> None:
    """Where it is mounted, the server that reads the head takes none of that size."""
    with pair("io") as both:
        session = Session(both.owner_port).open()
        data = handshake(session, cookie="x" * 60_000, x_more="y" * 4_000) + frame("2probe")
        with Sent(both.other_port, data) as sent, sent.connection.makefile("rb") as file:
            assert read_response(file).status == 101
            assert file.read(8) == b"\x81\x063probe"


@pytest.mark.parametrize("application", ["io", "mounted"])
def test_the_worker_that_was_asked_may_end(application: str) -> None:
    """The connection is the session's worker's, and stays."""
    with pair(application) as both:
        session = Session(both.owner_port).open()
        with session.upgrade(both.other_port) as websocket:
            both.other.signal(signal.SIGTERM)
            both.other.wait(10)
            assert call(websocket, "echo", 1) == [1]
            both.owner.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                expect(websocket)
            assert closed.value.rcvd is not None
            both.owner.wait_for("left: server shutting down")
            both.owner.wait(10)


@pytest.mark.parametrize("application", ["io", "mounted", "surrounded"])
def test_nothing_is_carried_where_the_connection_can_be_passed_on(application: str) -> None:
    with pair(application) as both:
        counts = Session(both.other_port).open()
        with Session(both.owner_port).open().upgrade(both.other_port) as websocket:
            assert call(websocket, "echo", 1) == [1]
            found = counts.call(both.other_port, "counts")
            assert (found.get("passed_websockets"), found.get("relayed_websockets")) == (1, None)


def test_what_is_around_the_server_has_its_say() -> None:
    with pair("surrounded") as both:
        for port in both.owner_port, both.other_port:
            with Session(both.owner_port).open().upgrade(port) as websocket:
                assert websocket.response is not None
                assert websocket.response.headers.get_all("x-added") == ["around"]
                assert len(websocket.response.headers.get_all("date")) == 1
                assert call(websocket, "echo", 1) == [1]
            session = Session(both.owner_port).open()
            session.query += "&refuse"
            with pytest.raises(InvalidStatus) as refused, session.upgrade(port):
                pass
            assert refused.value.response.status_code == 403
        assert_quiet(both.owner)
        assert_quiet(both.other)


def test_what_is_around_the_server_closes_with_a_code() -> None:
    """What it accepts for that is not taken for a session's."""
    with pair("denying") as both:
        for port in both.owner_port, both.other_port:
            session = Session(both.owner_port).open()
            with pytest.raises(ConnectionClosed) as closed, session.upgrade(port):
                pass
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4001


def test_what_is_around_the_server_chooses_the_subprotocol() -> None:
    with pair("surrounded") as both:
        for port in both.owner_port, both.other_port:
            data = handshake(Session(both.owner_port).open(), sec_websocket_protocol="first, second")
            with Sent(port, data) as sent, sent.connection.makefile("rb") as file:
                response = read_response(file)
                assert (response.status, response.headers.get("sec-websocket-protocol")) == (101, "second")


@pytest.mark.parametrize("application", ["io", "surrounded"])
def test_more_behind_the_handshake_than_can_be_passed_on(application: str) -> None:
    """What is around the server has its say then, too."""
    with pair(application) as both:
        counts = Session(both.other_port).open()
        session = Session(both.owner_port).open()
        # Pongs that nobody has asked for. They wait in the kernel, so that they are read at once.
        pongs = (b"\x8a\xfd" + bytes(4 + 125)) * 600
        both.other.signal(signal.SIGSTOP)
        with Sent(both.other_port, b"") as sent, sent.connection.makefile("rb") as file:
            sending = threading.Thread(
                target=sent.connection.sendall, args=(handshake(session) + pongs + frame("2probe"),)
            )
            sending.start()
            time.sleep(0.3)
            both.other.signal(signal.SIGCONT)
            response = read_response(file)
            assert (response.status, response.headers.get("x-added")) == (
                101,
                "around" if application == "surrounded" else None,
            )
            assert file.read(8) == b"\x81\x063probe"
            sending.join()
        found = counts.call(both.other_port, "counts")
        assert found.get("passed_websockets", 0) + found.get("relayed_websockets", 0) == 1


def test_a_connection_whose_handshake_cannot_be_answered_ends() -> None:
    with pair("faulty") as both:
        for port in both.owner_port, both.other_port:
            session = Session(both.owner_port).open()
            session.query += "&number=1"
            with Sent(port, handshake(session)) as sent:
                assert sent.connection.recv(1) == b""
        both.owner.wait_for("the handshake of a WebSocket was not answered")


def test_the_worker_that_carries_ends(certificate: tuple[list[str], ssl.SSLContext, Path]) -> None:
    options, tls, _ = certificate
    with pair("io", "duplexio", *options) as both:
        session = Session(both.owner_port, tls=tls).open()
        with session.upgrade(both.other_port) as websocket:
            assert call(websocket, "echo", 1) == [1]
            both.other.kill()
            both.owner.wait_for("left: transport close")


def test_the_sessions_worker_ends(certificate: tuple[list[str], ssl.SSLContext, Path]) -> None:
    options, tls, _ = certificate
    with pair("io", "duplexio", *options) as both:
        session = Session(both.owner_port, tls=tls).open()
        with session.upgrade(both.other_port) as websocket:
            both.owner.kill()
            with pytest.raises(ConnectionClosed):
                expect(websocket)
        with socket.create_connection(("127.0.0.1", both.other_port)):
            pass
