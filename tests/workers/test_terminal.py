"""The terminal that a supervisor was started in, and what its end means."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplexio.workers.supervisor import HANGUP_SECONDS
from tests.hosting.processes import duplexio_run

from .pairs import HERE
from .test_supervisor import healths, is_there, wait_until

LISTENING = re.compile(r"http://127.0.0.1:(\d+)")
COMMAND = [sys.executable, *duplexio_run("applications:io", 0, "--workers", "2")]


class Terminal:
    """A supervisor at a terminal of its own, whose output goes to a file."""

    def __init__(self, log: Path, nohup: bool) -> None:
        self._log = log
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.chdir(HERE)
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                os.close(descriptor)
                if nohup:
                    signal.signal(signal.SIGHUP, signal.SIG_IGN)
                os.execv(COMMAND[0], COMMAND)
            os._exit(127)

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def close(self) -> None:
        """As a window is closed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def wait(self) -> None:
        """Until the supervisor has ended."""
        wait_until(lambda: os.waitpid(self.pid, os.WNOHANG)[0] == self.pid)
        self.pid = 0


@contextlib.contextmanager
def at_a_terminal(folder: Path, nohup: bool = False) -> Iterator[Terminal]:
    terminal = Terminal(folder / "log", nohup)
    try:
        wait_until(lambda: terminal.log.count("Application startup complete") == 2)
        yield terminal
    finally:
        terminal.close()
        if terminal.pid:
            os.kill(terminal.pid, signal.SIGTERM)
            os.waitpid(terminal.pid, 0)


def port_in(log: str) -> int:
    return int(LISTENING.findall(log)[0])


def pids_at(port: int) -> set[int]:
    with contextlib.suppress(OSError):
        return {told["pid"] for told in healths(port, 40)}
    return set()


@pytest.mark.parametrize("nohup", [False, True], ids=["", "nohup"])
def test_the_terminal_is_closed(tmp_path: Path, nohup: bool) -> None:
    """As a shell does it: whoever runs there is told by SIGHUP, when the terminal is gone already."""
    with at_a_terminal(tmp_path, nohup) as terminal:
        port = port_in(terminal.log)
        pids = pids_at(port)
        assert len(pids) == 2
        terminal.close()
        os.kill(terminal.pid, signal.SIGHUP)
        if nohup:
            time.sleep(1)
            assert pids_at(port) == pids
            os.kill(terminal.pid, signal.SIGTERM)
        terminal.wait()
        wait_until(lambda: not any(map(is_there, pids)))


def test_no_descriptor_is_left_to_look_at_it(tmp_path: Path) -> None:
    with at_a_terminal(tmp_path) as terminal:
        before = resource.prlimit(terminal.pid, resource.RLIMIT_NOFILE)
        # The three of every process: what it has besides, it keeps.
        resource.prlimit(terminal.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        # It looks at the terminal now and then.
        time.sleep(1)
        os.kill(terminal.pid, signal.SIGHUP)
        wait_until(lambda: "the others stay as they are" in terminal.log)
        resource.prlimit(terminal.pid, resource.RLIMIT_NOFILE, before)
        terminal.close()
        terminal.wait()


def test_a_terminal_that_was_closed_long_ago(tmp_path: Path) -> None:
    """A shell does not tell those that it has disowned; SIGHUP is a wish for new workers then."""
    log = tmp_path / "log"
    shell, terminal = pty.fork()
    if shell == 0:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGHUP, lambda number, frame: os._exit(0))
            with log.open("w") as file:
                job = subprocess.Popen(COMMAND, cwd=HERE, stdout=file, stderr=file, process_group=0)
            (tmp_path / "pid").write_text(f"{job.pid}\n")
            while True:
                signal.pause()
        os._exit(127)
    pid = 0
    try:
        wait_until(lambda: log.exists() and log.read_text().count("Application startup complete") == 2)
        pid = int((tmp_path / "pid").read_text())
        port = port_in(log.read_text())
        os.close(terminal)
        terminal = -1
        os.waitpid(shell, 0)
        shell = 0
        time.sleep(HANGUP_SECONDS + 1)
        before = pids_at(port)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "SIGHUP: the workers are replaced" in log.read_text())
        wait_until(lambda: not any(map(is_there, before)))
        wait_until(lambda: len(pids_at(port)) == 2)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: "has ended" in log.read_text().splitlines()[-1])
        pid = 0
    finally:
        if terminal >= 0:
            os.close(terminal)
        if shell:
            os.kill(shell, signal.SIGKILL)
            os.waitpid(shell, 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
