"""Servers as processes of their own: started, followed by their log, told to end, and gone when the test is."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
#: How long a server may take to say that it listens. Two cores may be busy with other tests.
START_SECONDS = 20.0


class ServerProcess:
    """`python …` in a session of its own, so that all of it can be ended, and its log."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="hosting-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """All it has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, seconds: float = START_SECONDS, after: int = 0) -> re.Match[str]:
        """Until the log, from its character `after` on, has this in it."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.log[after:])
            if match is not None:
                return match
            assert self._process.poll() is None, f"it ended, with {self._process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {seconds} s:\n{self.log}"
            time.sleep(0.02)

    def wait_listening(self) -> int:
        """Until it takes connections; its port."""
        # uvicorn's words, hypercorn's, granian's, daphne's.
        port = int(self.wait_for(r"(?:running on|Running on|Listening at:|Listening on TCP address) \S+?:(\d+)")[1])
        self.wait_for(
            "Application startup complete|lifespan' protocol appears unsupported"
            "|Running on|Started worker-1|Listening on TCP address"
        )
        return port

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def children(self) -> list[int]:
        """The processes it has started."""
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        except OSError:
            return []
        return [int(pid) for pid in listed.split()]

    def kill(self) -> None:
        """At once; waits until it is gone."""
        self._process.kill()
        self._process.wait(5)

    def wait(self, seconds: float) -> int:
        """Its exit code, once it is out."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.log}") from None

    def end(self) -> None:
        """Whatever is left of it, workers included; some are in groups of their own."""
        for pid in self.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)
        self._log.unlink(missing_ok=True)


@contextlib.contextmanager
def running(
    *arguments: str, folder: Path = HERE, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    process = ServerProcess(arguments, folder, environment or {})
    try:
        yield process
    finally:
        process.end()


def duplexio_run(application: str, port: int, *options: str) -> list[str]:
    return ["-m", "duplexio", "run", application, "--port", str(port), *options]


def plain_uvicorn(application: str, port: int, *options: str) -> list[str]:
    return ["-m", "uvicorn", application, "--port", str(port), "--no-access-log", *options]


def hypercorn(application: str, port: int, *options: str) -> list[str]:
    # Its own worker processes do not hear of signals.
    return ["-m", "hypercorn", application, "--workers", "0", "--bind", f"127.0.0.1:{port}", *options]


def granian(application: str, port: int, *options: str) -> list[str]:
    return ["-m", "granian", application, "--interface", "asgi", "--port", str(port), *options]


def daphne(application: str, port: int, *options: str) -> list[str]:
    return ["-m", "daphne", application, "--port", str(port), *options]


def free_port() -> int:
    """One that stays free while a server is started anew.

    Not of the range the kernel gives to outgoing connections: a hundred clients that knock at a closed port of that
    range sooner or later get it as their own.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


#: What uvicorn's own class says of a WebSocket that an application has answered with a plain HTTP response.
_UVICORN_ON_REFUSALS = "ERROR:    ASGI callable returned without completing handshake.\n"


def assert_quiet(process: ServerProcess) -> None:
    """Nothing went wrong that the log knows of."""
    log = process.log.replace(_UVICORN_ON_REFUSALS, "")
    assert "Traceback" not in log, log[-5000:]
    assert not re.search(r"^(ERROR|CRITICAL)", log, re.MULTILINE), log[-5000:]
