"""Processes that are measured: on which core they run, how they begin and end, and what belongs to them."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

__all__ = ["ARTEFACTS", "ROOT", "await_workers", "cores", "free_port", "open_files", "pin", "process_tree", "serving"]

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "artefacts"
#: Seconds that a server has to begin and to end in.
PATIENCE = 20.0
#: Seconds that workers have to load what they serve, and to find each other.
WORKERS_BEGIN = 3.0


def cores() -> tuple[int | None, int | None]:
    """The server's and the generator's, which do not take them from each other; None where there is one alone."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (there[0], there[1]) if len(there) > 1 else (None, None)


def pin(core: int | None) -> Callable[[], None] | None:
    """What makes a process that is being started stay on a core."""
    return None if core is None else partial(os.sched_setaffinity, 0, {core})


def open_files() -> int:
    """Raises the limit of open files as far as it goes, for the processes that follow. How many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Who may raise it further, may raise it to what a row needs.
    for wanted in (max(hard, 65_536), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def process_tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                found += map(int, children.read_text(encoding="ascii").split())
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def await_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"does not listen, see {log.relative_to(ROOT)}")


def await_workers(pid: int, count: int) -> None:
    """Until so many processes have come of one that starts them, and have had time to begin."""
    until = time.monotonic() + PATIENCE
    while len(process_tree(pid)) <= count:
        if time.monotonic() > until:
            raise RuntimeError(f"{len(process_tree(pid)) - 1} of {count} workers have begun")
        time.sleep(0.05)
    time.sleep(WORKERS_BEGIN)


@contextlib.contextmanager
def serving(command: list[str], port: int, environment: dict[str, str], core: int | None) -> Iterator[int]:
    """A server, from when it listens; its process. What it prints goes to a file among the artefacts."""
    ARTEFACTS.mkdir(exist_ok=True)
    log = ARTEFACTS / "bench-servers.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            preexec_fn=pin(core),
        )
    try:
        await_listening(port, process, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
