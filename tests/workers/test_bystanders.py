"""What one client asks of another worker is no concern of all the others whose requests go the same way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from .pairs import Pair, pair
from .raw import Response, Sent, Session


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
