"""What happens to a supervisor itself: it is stopped, has no descriptors left, is told again while it is at work."""

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
from pathlib import Path

import pytest

from duplexio.workers.supervisor import HANGUP_SECONDS, delay_before
from tests.hosting.processes import ServerProcess, duplexio_run, running

from .pairs import HERE
from .test_supervisor import health, healths, is_there, wait_all, wait_until


def test_a_worker_that_fails_for_days_is_still_tried() -> None:
    assert [delay_before(failures) for failures in (1, 2, 3, 6, 7, 2000)] == [1, 2, 4, 30, 30, 30]


def test_all_that_stood_still_together_go_on() -> None:
    """A container is paused, or its host: nobody has beaten in the meantime, and nobody has listened."""
    options = ["--workers", "2", "--worker-timeout", "2"]
    with running(*duplexio_run("applications:io", 0, *options), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        everybody = [process.pid, *pids]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
            # Whoever listens is awake first.
            time.sleep(0.3)
        time.sleep(1)
        assert "stood still" not in process.log
        assert wait_all(process, 2, port) == pids


def test_a_worker_that_cannot_be_started_is_tried_again_later() -> None:
    """Its failing is no reason to end the others."""
    with running(*duplexio_run("applications:io", 0, "--workers", "2"), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        # No more than the three of every process, its socket, and what wakes it.
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (6, before[1]))
        os.kill(pids[0], signal.SIGKILL)
        process.wait_for(r"a worker could not be started: .*Too many open files.*; it is tried again in 2 s")
        process.signal(signal.SIGHUP)
        process.wait_for(r"a worker could not be started: .*; the others stay as they are")
        assert health(port)["pid"] == pids[1]
        used = len(os.listdir(f"/proc/{process.pid}/fd"))
        process.wait_for(r"it is tried again in 4 s")
        assert len(os.listdir(f"/proc/{process.pid}/fd")) == used
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
        assert pids[1] in wait_all(process, 2, port)


VERSIONS = """
import os, sys, time
from pathlib import Path
from duplexio import Server

version = Path("version").read_text()
print("version", version, "is served by", os.getpid(), flush=True)
time.sleep(60 if version == "2" else 0)
io = Server(drain_seconds=0.2)
"""


def test_what_is_told_during_a_replacement_counts(tmp_path: Path) -> None:
    """Whoever has begun to start by then is of the version before."""
    (tmp_path / "versions.py").write_text(VERSIONS)
    (tmp_path / "version").write_text("1")

    def told(process: ServerProcess, version: str) -> None:
        (tmp_path / "version").write_text(version)
        process.signal(signal.SIGHUP)

    with running(*duplexio_run("versions:io", 0, "--workers", "2"), folder=tmp_path) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        told(process, "2")
        process.wait_for("version 2 is served by")
        told(process, "3")
        wait_until(lambda: not any(map(is_there, pids)))
        for pid in wait_all(process, 2, port):
            assert re.search(rf"version 3 is served by {pid}\b", process.log), process.log


LISTENING = re.compile(r"http://127.0.0.1:(\d+)")


def pids_at(port: int) -> set[int]:
    with contextlib.suppress(OSError):
        return {told["pid"] for told in healths(port, 40)}
    return set()


@pytest.mark.parametrize("under_nohup", [False, True], ids=["", "nohup"])
def test_the_terminal_is_closed(tmp_path: Path, under_nohup: bool) -> None:
    """As a shell does it: whoever runs there is told by SIGHUP, when the terminal is gone already."""
    log = tmp_path / "log"
    pid, terminal = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.chdir(HERE)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            if under_nohup:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            command = [sys.executable, *duplexio_run("applications:io", 0, "--workers", "2")]
            os.execv(command[0], command)
        os._exit(127)
    try:
        wait_until(lambda: log.exists() and LISTENING.search(log.read_text()) is not None)
        port = int(LISTENING.findall(log.read_text())[0])
        wait_until(lambda: len(pids_at(port)) == 2)
        pids = pids_at(port)
        os.close(terminal)
        terminal = -1
        os.kill(pid, signal.SIGHUP)
        if under_nohup:
            time.sleep(1)
            assert pids_at(port) == pids
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
        pid = 0
        wait_until(lambda: not any(map(is_there, pids)))
    finally:
        if terminal >= 0:
            os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_a_terminal_that_was_closed_long_ago(tmp_path: Path) -> None:
    """A shell does not tell those that it has disowned; SIGHUP is a wish for new workers then."""
    log = tmp_path / "log"
    shell, terminal = pty.fork()
    if shell == 0:
        with contextlib.suppress(BaseException):
            signal.signal(signal.SIGHUP, lambda number, frame: os._exit(0))
            with log.open("w") as file:
                command = [sys.executable, *duplexio_run("applications:io", 0, "--workers", "2")]
                job = subprocess.Popen(command, cwd=HERE, stdout=file, stderr=file, process_group=0)
            (tmp_path / "pid").write_text(f"{job.pid}\n")
            while True:
                signal.pause()
        os._exit(127)
    pid = 0
    try:
        wait_until(lambda: log.exists() and log.read_text().count("Application startup complete") == 2)
        pid = int((tmp_path / "pid").read_text())
        port = int(LISTENING.findall(log.read_text())[0])
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


def test_no_descriptor_is_left_to_look_at_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    pid, terminal = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.chdir(HERE)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.close(descriptor)
            command = [sys.executable, *duplexio_run("applications:io", 0, "--workers", "2")]
            os.execv(command[0], command)
        os._exit(127)
    try:
        wait_until(lambda: log.exists() and log.read_text().count("Application startup complete") == 2)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # The three of every process: what it has besides, it keeps.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
        # It looks at the terminal now and then.
        time.sleep(1)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "the others stay as they are" in log.read_text())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        os.close(terminal)
        terminal = -1
        wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
        pid = 0
    finally:
        if terminal >= 0:
            os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
