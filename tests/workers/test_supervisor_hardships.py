"""What happens to a supervisor itself: it is stopped, has no descriptors left, is told again while it is at work."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from pathlib import Path

from duplexio.workers.supervisor import delay_before
from tests.hosting.processes import ServerProcess, duplexio_run, running

from .pairs import HERE
from .test_supervisor import health, is_there, wait_all, wait_until


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
