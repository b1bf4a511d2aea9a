"""Whoever gets at the sockets of workers: strangers, garbage, and peers that do not read."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplexio.protocol.engine_handshake import UNKNOWN_SID, Refusal
from duplexio.workers.relay_message import Hello, Kind, hello, pack, pack_refusal, unpack, write_frames

from .pairs import Pair, pair
from .raw import SECONDS, Sent, Session, request_bytes
from .test_supervisor import wait_until

UNKNOWN = '{"code":1,"message":"Session ID unknown"}'
#: A tag of nobody that a test claims.
TAG = "ZZZZ"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def workers(place: Path) -> Iterator[Pair]:
    with pair("io", place=place) as both:
        yield both


@pytest.fixture
def folder(workers: Pair, place: Path) -> Path:
    (found,) = (place / "duplexio").iterdir()
    return found


def socket_of(folder: Path, session: Session) -> Path:
    return folder / f"{session.sid[:4]}.sock"


@contextlib.contextmanager
def dialled(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(os.fspath(path))
        yield connection


def ends(connection: socket.socket) -> bool:
    """Whether the other end closes it."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# Strangers.

STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
try:
    connection.connect(sys.argv[1])
    print("connected")
    connection.sendall(b"dpx1\\x01")
    print("ended" if connection.recv(1) == b"" else "heard")
except (PermissionError, ConnectionResetError, BrokenPipeError) as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(workers: Pair, folder: Path) -> None:
    session = Session(workers.owner_port).open()
    path = socket_of(folder, session)

    def stranger() -> str:
        command = [sys.executable, "-c", STRANGER, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd="/").stdout

    assert stranger() == "PermissionError\n"
    # Somebody opens all of it.
    closed = [each for each in (*folder.parents, folder) if not each.stat().st_mode & 0o001]
    before = {each: each.stat().st_mode for each in closed}
    try:
        told = ""
        # Each worker looks once a second, and closes it again.
        for _ in range(20):
            for each in closed:
                each.chmod(0o755)
            path.chmod(0o777)
            if (told := stranger()) != "PermissionError\n":
                break
        assert told in ("connected\nended\n", "connected\nConnectionResetError\n", "connected\nBrokenPipeError\n")
    finally:
        for each, mode in before.items():
            each.chmod(mode & 0o7777)
    workers.owner.wait_for("was refused: it runs as another user")
    assert session.call(workers.other_port, "echo", 1) == [1]


def test_a_folder_that_is_not_ours_is_not_used(tmp_path: Path) -> None:
    """A link to somewhere else, in the place where the folder would be."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "duplexio").symlink_to(tmp_path / "elsewhere")
    with pair("io", place=tmp_path) as both:
        session = Session(both.owner_port).open()
        # The next place is taken: the temporary folder.
        assert session.call(both.other_port, "echo", 1) == [1]
        assert list((tmp_path / "elsewhere").iterdir()) == []


# Garbage.

_HEAD = struct.Struct("!IBI")


def frames(kind: int, payload: bytes) -> bytes:
    return b"".join(write_frames(Kind(kind), 1, payload))


GARBAGE = {
    "noise": bytes(range(256)) * 40,
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "another version": b"dpx9\x01",
    "another purpose": b"dpx1\x63",
    "half a greeting": b"dpx",
    "noise behind the greeting": hello(Hello.ASKING) + b"\xff" * 1000,
    "a frame too large": hello(Hello.ASKING) + _HEAD.pack(0xFFFF_FFFF, 1, 1),
    "a frame of no kind": hello(Hello.ASKING) + _HEAD.pack(0, 77, 1),
    "an answer among requests": hello(Hello.ASKING) + frames(Kind.ANSWER, b""),
    "an empty request": hello(Hello.ASKING) + frames(Kind.ASK, b""),
    "words that are cut": hello(Hello.ASKING) + frames(Kind.ASK, b"\x00\x00\xff\xff"),
    "too few words": hello(Hello.ASKING) + frames(Kind.ASK, pack([b"GET", b"/"])),
    "a WebSocket among requests": hello(Hello.ASKING)
    + frames(Kind.ASK, pack([b"GET", b"/", b"sid=x", b"", b"", b"\2\1", b""])),
    "odd headers": hello(Hello.ASKING) + frames(Kind.ASK, pack([b"GET", b"/", b"", b"", b"", b"\0\1", b"", b"x"])),
    "a message without an end": hello(Hello.ASKING) + (_HEAD.pack(65_536, 0x81, 1) + b"x" * 65_536) * 25,
    "a WebSocket without a handshake": hello(Hello.BRIDGE) + frames(Kind.TEXT, b"2probe"),
    "a WebSocket of noise": hello(Hello.BRIDGE) + frames(Kind.OPEN, b"\xff" * 100),
    "a descriptor that is not there": hello(Hello.DESCRIPTOR) + frames(Kind.ADOPT, b""),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(workers: Pair, folder: Path, name: str) -> None:
    """The connection ends, and nothing else."""
    session = Session(workers.owner_port).open()
    before = descriptors(workers.owner.pid)
    here = len(workers.owner.log)
    for _ in range(3):
        with dialled(socket_of(folder, session)) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(GARBAGE[name])
            assert ends(connection)
    assert session.call(workers.other_port, "echo", 1) == [1]
    workers.owner.wait_for("not understood|was refused", after=here)
    assert "Traceback" not in workers.owner.log
    wait_until(lambda: descriptors(workers.owner.pid) <= before + 3)


def test_garbage_with_descriptors(workers: Pair, folder: Path) -> None:
    session = Session(workers.owner_port).open()
    before = descriptors(workers.owner.pid)
    adopt = frames(Kind.ADOPT, pack([b"GET", b"/", b"", b"", b"", b"\0\1", b""]))
    no_header = pack([b"GET", b"/", b"", b"", b"", b"\0\2", b"", pack([b"alone"])])
    one, other = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    with one, other, listening, open(os.devnull, "rb") as file:
        for data, passed in (
            (hello(Hello.ASKING), [one.fileno()]),
            (hello(Hello.DESCRIPTOR), [file.fileno()]),
            (hello(Hello.DESCRIPTOR), [one.fileno(), other.fileno()]),
            (hello(Hello.DESCRIPTOR) + b"\xff" * 100, [one.fileno()]),
            (hello(Hello.DESCRIPTOR) + frames(Kind.TEXT, b""), [one.fileno()]),
            (hello(Hello.DESCRIPTOR) + frames(Kind.ADOPT_WITH, no_header), [one.fileno()]),
            (hello(Hello.DESCRIPTOR) + adopt, [listening.fileno()]),
            (hello(Hello.DESCRIPTOR) + adopt, [one.fileno()]),
        ):
            with dialled(socket_of(folder, session)) as connection:
                socket.send_fds(connection, [data], passed)
                connection.shutdown(socket.SHUT_WR)
                ends(connection)
        # The last is a connection, and a request that has no session: it is refused like any other.
        other.settimeout(SECONDS)
        assert other.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert session.call(workers.other_port, "echo", 1) == [1]
    assert "Traceback" not in workers.owner.log
    wait_until(lambda: descriptors(workers.owner.pid) <= before + 3)


def test_who_says_nothing(workers: Pair, folder: Path) -> None:
    """There is room for a hundred; others come in all the same when these have been cut off."""
    session = Session(workers.owner_port).open()
    assert session.call(workers.other_port, "echo", 1) == [1]
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(dialled(socket_of(folder, session))) for _ in range(150)]
        assert session.call(workers.other_port, "echo", 1) == [1]
        assert all(map(ends, silent))


# Peers that do not read, or do not answer.


@contextlib.contextmanager
def pretender(folder: Path, backlog: int = 128) -> Iterator[socket.socket]:
    """Who claims a tag."""
    path = folder / f"{TAG}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(SECONDS)
        listener.bind(os.fspath(path))
        listener.listen(backlog)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def heard(connection: socket.socket) -> bytes:
    """The greeting, and the first frame behind it."""
    connection.settimeout(SECONDS)
    data = b""
    while (head := len(data) - 5) < _HEAD.size or head < _HEAD.size + _HEAD.unpack_from(data, 5)[0]:
        piece = connection.recv(10_000)
        assert piece, "it has ended"
        data += piece
    return data


def counts(port: int) -> dict[str, int]:
    session = Session(port).open()
    return dict(session.call(port, "counts"))


def test_a_worker_that_reads_nothing(workers: Pair, folder: Path) -> None:
    session = Session(workers.owner_port).open()
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    body = b"4" + b"x" * 900_000
    with pretender(folder), contextlib.ExitStack() as stack:
        sent = [stack.enter_context(theirs.send(workers.other_port, "POST", body)) for _ in range(25)]
        by_connection = {each.connection: each for each in sent}
        answered, _, _ = select.select(by_connection, [], [], SECONDS)
        response = by_connection[answered[0]].response()
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
        assert json.loads(response.body) == {"code": 3, "message": "Too many relayed requests"}
        # Nobody else waits for that.
        assert session.call(workers.other_port, "echo", 1) == [1]
        assert counts(workers.other_port)["fault.relay_overload"] >= 1


def test_a_thousand_requests_wait(workers: Pair, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    before = counts(workers.other_port)
    try:
        with pretender(folder), contextlib.ExitStack() as stack:
            for _ in range(1000):
                stack.enter_context(theirs.send(workers.other_port))
            wait_until(
                lambda: counts(workers.other_port)["relayed_requests"] >= before.get("relayed_requests", 0) + 1000
            )
            after = counts(workers.other_port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert after.get("fault.relay_overload", 0) == before.get("fault.relay_overload", 0)


def test_no_more_wait_than_the_option_has() -> None:
    with pair("unhelpful") as workers:
        theirs = Session(workers.owner_port).open()
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                session = Session(workers.owner_port).open()
                stack.enter_context(session.send(workers.other_port))
            wait_until(lambda: theirs.ask(workers.other_port, "POST", b"3").status == 503)
            # Its own sessions are none of that.
            session = Session(workers.other_port).open()
            assert session.call(workers.other_port, "echo", 1) == [1]
        # All have gone away; nothing counts them any more.
        wait_until(lambda: theirs.ask(workers.other_port, "POST", b"3").status == 200)


def test_a_worker_that_takes_no_connections(workers: Pair, folder: Path) -> None:
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    with pretender(folder, 0) as listener, contextlib.ExitStack() as stack:
        path = listener.getsockname()
        while True:
            filler = stack.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            try:
                filler.connect(path)
            except BlockingIOError:
                break
        response = theirs.ask(workers.other_port)
        assert (response.status, response.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("answer", [b"", b"\xff" * 100, frames(Kind.ASK, b""), frames(Kind.ANSWER, b"\xff")])
def test_a_worker_that_answers_nonsense(workers: Pair, folder: Path, answer: bytes) -> None:
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    with pretender(folder) as listener, theirs.send(workers.other_port) as sent:
        with listener.accept()[0] as connection:
            heard(connection)
            connection.sendall(answer)
        response = sent.response()
        assert (response.status, response.text) == (400, UNKNOWN)


def test_a_poll_that_is_given_up_is_taken_back(workers: Pair, folder: Path) -> None:
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    with pretender(folder) as listener:
        sent = theirs.send(workers.other_port)
        with listener.accept()[0] as connection:
            connection.settimeout(SECONDS)
            asked = heard(connection)
            number = _HEAD.unpack_from(asked, 5)[2]
            sent.connection.close()
            assert connection.recv(10_000) == b"".join(write_frames(Kind.CANCEL, number, b""))


def test_what_is_refused_there_is_refused_here(workers: Pair, folder: Path) -> None:
    """With the session's worker's words, and this worker's log."""
    theirs = Session(workers.other_port, sid=TAG + "x" * 16)
    refusal = Refusal(UNKNOWN_SID, "unknown_sid", "for a reason of its own")
    with pretender(folder) as listener, theirs.send(workers.other_port) as sent, listener.accept()[0] as connection:
        asked = heard(connection)
        assert unpack(asked[5 + _HEAD.size :])[0] == b"GET"
        connection.sendall(b"".join(write_frames(Kind.REFUSE, _HEAD.unpack_from(asked, 5)[2], pack_refusal(refusal))))
        assert sent.response().text == UNKNOWN


def test_a_neighbour_that_reads_no_answers(workers: Pair, folder: Path) -> None:
    """It is cut off when it has not read so much that it must be stuck; nobody else has noticed."""
    session = Session(workers.owner_port).open()
    other = Session(workers.owner_port).open()
    with dialled(socket_of(folder, session)) as connection:
        connection.sendall(hello(Hello.ASKING))
        target = session.target()
        words = [b"GET", b"/socket.io/", target.partition("?")[2].encode(), b"127.0.0.1", b"", b"\0\1", b""]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(100):
                session.ask(session.port, "POST", b'42["shout","' + b"x" * 900_000 + b'",1]')
                connection.sendall(b"".join(write_frames(Kind.ASK, number, pack(words))))
                if number % 20 == 0:
                    assert other.call(workers.owner_port, "echo", number) == [number]
        workers.owner.wait_for("has not read \\d+ bytes of answers")
    assert other.call(workers.owner_port, "echo", 1) == [1]


def test_an_upgrade_to_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    """Refused when an upgrade would have been given up."""
    with pair("hasty", "uvicorn", place=tmp_path) as both:
        (folder,) = (tmp_path / "duplexio").iterdir()
        theirs = Session(both.other_port, query="EIO=4&transport=websocket", sid=TAG + "x" * 16)
        upgrade = {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13"}
        data = request_bytes("GET", theirs.target(), None, **upgrade, sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==")
        with pretender(folder), Sent(both.other_port, data) as sent:
            began = time.monotonic()
            assert sent.response().status == 503
            assert time.monotonic() - began >= 0.3
