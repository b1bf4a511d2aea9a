"""A worker that has no descriptors left: it asks again later, and says so to whoever it cannot serve."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from .pairs import pair
from .raw import Sent, Session, read_response, request_bytes


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_worker_that_has_no_descriptor_left_for_another(tmp_path: Path) -> None:
    """It does not ask for one without a pause, and who waits is served when there are some again."""
    with pair("io", place=tmp_path) as workers:
        session = Session(workers.owner_port).open()
        pid = workers.owner.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        with session.send(workers.other_port) as poll:
            used = cpu_seconds(pid)
            time.sleep(2)
            used = cpu_seconds(pid) - used
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            # Half of what it takes to turn for all of it.
            assert used < 1
            session.post(workers.owner_port, '42["shout","x",1]')
            assert poll.response().text == '42["shouted","x"]'


@pytest.mark.parametrize("command", ["duplexio", "uvicorn"])
def test_a_worker_that_has_no_descriptor_left_to_ask_with(tmp_path: Path, command: str) -> None:
    with pair("io", command, place=tmp_path) as workers:
        session, own = Session(workers.owner_port).open(), Session(workers.other_port).open()
        pid = workers.other.pid
        with Sent(workers.other_port, b"") as sent, sent.connection.makefile("rb") as file:
            sent.connection.sendall(request_bytes("POST", own.target(), b"3"))
            assert read_response(file).status == 200
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
            sent.connection.sendall(request_bytes("POST", session.target(), b"3"))
            response = read_response(file)
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            sent.connection.sendall(request_bytes("POST", session.target(), b"3"))
            assert read_response(file).status == 200
        assert "Traceback" not in workers.other.log
