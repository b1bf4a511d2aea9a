"""Each of several workers has its share of the connections, however they come, and none of them waits in vain."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplexio.workers.loads import ABSENT
from tests.hosting.processes import ServerProcess, duplexio_run, running

from .raw import SECONDS, Session, read_response, request_bytes
from .test_supervisor import wait_until

WORKERS = 4
STARTED = "Application startup complete"

SCRIPT = """
import resource
from duplexio import Server

if {files}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
io = Server(drain_seconds=0.5)
io.run(port=0, workers={workers}, loop="{loop}", log_level="info")
"""


@contextlib.contextmanager
def serving(
    folder: Path, loop: str = "auto", workers: int = WORKERS, files: int = 0
) -> Iterator[tuple[ServerProcess, int]]:
    """`files`: how many a worker may open, if not 0."""
    (folder / "script.py").write_text(SCRIPT.format(loop=loop, workers=workers, files=files))
    with running("script.py", folder=folder) as process:
        port = process.wait_listening()
        wait_started(process, workers)
        yield process, port


def wait_started(process: ServerProcess, workers: int) -> None:
    """Until so many have come to serve, since the beginning."""
    process.wait_for(f"(?s)({STARTED}.*){{{workers}}}")


class Connections:
    """Of clients that have not said anything yet."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._all: list[socket.socket] = []

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def open(self, count: int, gap: float = 0.0) -> None:
        """`gap`: seconds between two."""
        for _ in range(count):
            self._all.append(socket.create_connection(("127.0.0.1", self._port), SECONDS))
            time.sleep(gap)

    def by_worker(self) -> collections.Counter[str]:
        """How many each has, by its tag; begins a session on all of them. Those of one that was killed are left out."""
        found: collections.Counter[str] = collections.Counter()
        for connection in self._all:
            with contextlib.suppress(OSError), connection.makefile("rb") as file:
                connection.sendall(request_bytes("GET", "/socket.io/?EIO=4&transport=polling"))
                if file.peek(1):
                    found[json.loads(read_response(file).text.removeprefix("0"))["sid"][:4]] += 1
        return found


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
@pytest.mark.parametrize(("count", "gap"), [(400, 0.0), (100, 0.01)], ids=["at once", "one by one"])
def test_connections_are_spread(loop: str, count: int, gap: float, tmp_path: Path) -> None:
    with serving(tmp_path, loop) as (_, port), Connections(port) as connections:
        connections.open(count, gap)
        found = connections.by_worker()
        assert found.total() == count
        assert len(found) == WORKERS, found
        assert min(found.values()) >= count / 10, found


def test_one_that_is_new_gets_its_share(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, port), Connections(port) as connections:
        connections.open(120)
        os.kill(process.children()[0], signal.SIGKILL)
        wait_started(process, WORKERS + 1)
        before = connections.by_worker()
        assert len(before) == WORKERS - 1
        with Connections(port) as more:
            more.open(60, 0.01)
            found = more.by_worker()
            assert sum(found[tag] for tag in found if tag not in before) >= 20, found


def test_nobody_waits_for_one_that_stands_still(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, port), Connections(port) as connections:
        os.kill(process.children()[0], signal.SIGSTOP)
        # It has none, and so the fewest.
        connections.open(200)
        found = connections.by_worker()
        assert found.total() == 200
        assert len(found) == WORKERS - 1, found
        assert min(found.values()) >= 20, found


def test_workers_that_have_no_descriptor_left_come_back(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2, files=60) as (process, port):
        with Connections(port) as many:
            many.open(150)
            process.wait_for("no connections are taken for 1 s")
        with Connections(port) as connections:
            connections.open(10)
            assert connections.by_worker().total() == 10


UNIX = """
from duplexio import Server

Server(drain_seconds=0.5).run(uds="s.sock", workers=2, log_level="info")
"""


def test_a_unix_socket_that_was_left_behind(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNIX)
    for _ in range(2):
        with running("script.py", folder=tmp_path) as process, contextlib.ExitStack() as stack:
            wait_started(process, 2)
            found = set()
            for _ in range(20):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(SECONDS)
                connection.connect(str(tmp_path / "s.sock"))
                connection.sendall(request_bytes("GET", "/socket.io/?EIO=4&transport=polling"))
                response = read_response(stack.enter_context(connection.makefile("rb")))
                found.add(json.loads(response.text.removeprefix("0"))["sid"][:4])
            assert len(found) == 2
            process.signal(signal.SIGTERM)
            process.wait(15)


TWO = """
from starlette.applications import Starlette
from starlette.routing import Mount
from duplexio import Server

app = Starlette(routes=[Mount("/first", Server(drain_seconds=0.5)), Mount("/second", Server(drain_seconds=0.5))])
"""


def told(process: ServerProcess) -> list[int]:
    """How many connections each worker says it has."""
    descriptors = Path(f"/proc/{process.pid}/fd").iterdir()
    memory = next(descriptor for descriptor in descriptors if "duplexio-loads" in os.readlink(descriptor))
    return [number for number in memoryview(memory.read_bytes()).cast("I") if number != ABSENT]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the numbers are read by way of /proc")
@pytest.mark.parametrize("path", ["/first/", "/second/"])
def test_connections_count_whichever_server_has_them(path: str, tmp_path: Path) -> None:
    """Also those that other workers have passed on, while they stand."""
    (tmp_path / "script.py").write_text(TWO)
    with running(*duplexio_run("script:app", 0, "--workers", "2"), folder=tmp_path) as process:
        port = process.wait_listening()
        wait_started(process, 2)
        with contextlib.ExitStack() as stack:
            for _ in range(12):
                stack.enter_context(Session(port, path).open().upgrade(port))
            wait_until(lambda: sum(told(process)) == 12)
        wait_until(lambda: told(process) == [0, 0])
