"""Behind nginx, which hands requests round and lets many clients share a connection; other requests are among them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.hosting.processes import ServerProcess, duplexio_run, free_port, running

from .pairs import HERE
from .stress import Clients
from .test_supervisor import wait_until

CONFIGURATION = HERE / "nginx.conf"
SERVERS = 4
#: That poll, and as many that move to WebSocket.
COUNT = int(os.environ.get("DUPLEXIO_STRESS", "8 0").split()[0])
SECONDS = float(os.environ.get("DUPLEXIO_STRESS", "0 6").split()[1])


@contextlib.contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[int]:
    """Its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert program is not None, "nginx is not installed: `make test` installs it with apt, where it may"
    port = free_port()
    servers = "\n".join(f"server 127.0.0.1:{one} max_fails=0;" for one in ports)
    text = CONFIGURATION.read_text(encoding="utf-8")
    for name, value in (("FOLDER", str(folder)), ("SERVERS", servers), ("PORT", str(port))):
        text = text.replace(name, value)
    written = folder / "nginx.conf"
    written.write_text(text, encoding="utf-8")
    log = folder / "nginx.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen([program, "-p", str(folder), "-c", str(written)], stderr=stderr)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/rest", timeout=5) as answer:
            return bool(answer.read() == b"at rest")
    except OSError:
        return False


class Resting:
    """Other requests, all the time: they take turns with the clients' on the balancer's connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = self.failed = 0

    def _run(self) -> None:
        while not self._stopped.wait(0.03):
            if answers(self._port):
                self.answered += 1
            else:
                self.failed += 1

    def __enter__(self) -> Resting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(20)


def test_requests_that_go_round(tmp_path: Path) -> None:
    environment = {"DUPLEXIO_CLUSTER_ID": secrets.token_hex(8)}
    ports = [free_port() for _ in range(SERVERS)]

    def start(port: int) -> contextlib.AbstractContextManager[ServerProcess]:
        return running(*duplexio_run("applications:resting", port), folder=HERE, environment=environment)

    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(start(port)) for port in ports]
        for process in processes:
            process.wait_listening()
        port = stack.enter_context(nginx(tmp_path, ports))
        resting = stack.enter_context(Resting(port))
        clients = stack.enter_context(Clients(port, COUNT))
        time.sleep(SECONDS / 2)
        killed = processes[0]
        killed.signal(signal.SIGKILL)
        again = stack.enter_context(start(ports[0]))
        again.wait_listening()
        time.sleep(SECONDS / 2)
        report = clients.stop()
    assert resting.answered > 2 * SECONDS
    assert len(report) == 2 * COUNT
    assert len({client["pids"][0] for client in report}) > 1
    for client in report:
        assert client["connected"], client
        assert client["wrong"] == client["unanswered"] == 0, client
        assert client["answered"] > 2, client
        if killed.pid not in client["pids"]:
            # A request that nginx had handed to the one that was killed is lost with it; its session is not.
            assert client["unknown"] == 0, client
        assert client["unknown"] <= 1, client
    assert max(max(client["absences"], default=0) for client in report) < 10_000
