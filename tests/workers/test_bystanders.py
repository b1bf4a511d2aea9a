"""What one client asks of another worker is no concern of all the others whose requests go the same way."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .pairs import Pair, pair
from .raw import Response, Sent, Session, read_response
from .test_websockets import handshake


@contextlib.contextmanager
def bystander(workers: Pair) -> Iterator[None]:
    """A poll that waits at the other worker, and is answered as if nothing had been."""
    session = Session(workers.owner_port).open()
    with session.send(workers.other_port) as poll:
        time.sleep(0.3)
        yield
        session.post(workers.owner_port, '42["shout","x",1]')
        assert poll.response().text == '42["shouted","x"]'


def poll_with(session: Session, port: int, fields: bytes) -> Response:
    head = f"GET {session.target()} HTTP/1.1\r\nhost: localhost\r\n".encode()
    return Sent(port, head + fields + b"\r\n").response()


@pytest.mark.parametrize("command", ["duplexio", "uvicorn"])
def test_a_head_of_many_small_fields(command: str) -> None:
    """As many as its host lets in."""
    with pair("io", command) as workers:
        session = Session(workers.owner_port).open()
        session.post(workers.owner_port, '42["shout","y",1]')
        with bystander(workers):
            answer = poll_with(session, workers.other_port, b"a:\r\n" * 12_000)
            assert (answer.status, answer.text) == (200, '42["shouted","y"]')


def test_a_head_that_is_too_large_to_hand_on() -> None:
    """uvicorn's own class takes one of any size."""
    with pair("io", "uvicorn") as workers:
        session = Session(workers.owner_port).open()
        with bystander(workers):
            answer = poll_with(session, workers.other_port, b"a: %b\r\n" % (b"x" * 1_400_000))
            assert answer.status == 431
        assert session.call(workers.other_port, "echo", 1) == [1]


@pytest.mark.parametrize("command", ["duplexio", "uvicorn"])
def test_a_large_message_to_all(command: str) -> None:
    """More than any buffer between two workers, in one turn of the loop: nobody is slow."""
    with pair("io", command) as workers, ThreadPoolExecutor(80) as readers:
        sessions = [Session(workers.owner_port).open() for _ in range(80)]
        polls = [session.send(workers.other_port) for session in sessions]
        answers = [readers.submit(poll.response) for poll in polls]
        time.sleep(0.5)
        packet = f'42["tell everybody","{"x" * 900_000}"]'
        Session(workers.owner_port).open().post(workers.owner_port, packet)
        for answer in answers:
            assert (answer.result().status, len(answer.result().body)) == (200, 900_013)
        assert "has not read" not in workers.owner.log


def test_many_upgrades_at_once() -> None:
    """Whoever asks for them is busy with all of them before it says a word to the sessions' worker."""
    with pair("io", "uvicorn") as workers, contextlib.ExitStack() as stack:
        sessions = [Session(workers.owner_port).open() for _ in range(180)]
        connections = [stack.enter_context(Sent(workers.other_port, b"")).connection for _ in sessions]
        workers.other.signal(signal.SIGSTOP)
        for connection, session in zip(connections, sessions, strict=True):
            connection.sendall(handshake(session))
        workers.other.signal(signal.SIGCONT)
        for connection in connections:
            with connection.makefile("rb") as file:
                assert read_response(file).status == 101
        assert "was refused" not in workers.owner.log


def test_an_answer_of_any_size() -> None:
    """Nothing bounds the packet that an application sends: that of one does not end the others' polls."""
    with pair("io") as workers:
        session = Session(workers.owner_port).open()
        session.post(workers.owner_port, '42["shout at length",140000000]')
        with bystander(workers):
            assert len(session.ask(workers.other_port).body) == 140_000_016
