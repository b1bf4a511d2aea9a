"""The ASGI servers that are commands, and the processes of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.hosting.processes import daphne, free_port, granian, hypercorn

HERE = Path(__file__).parent

COMMANDS = {"hypercorn": hypercorn, "granian": granian, "daphne": daphne}

#: Which application is inside; each server has both.
APPLICATIONS = {
    ("hypercorn", "polling"): "django",
    ("hypercorn", "websocket"): "starlette",
    ("hypercorn", "upgrade"): "django",
    ("granian", "polling"): "starlette",
    ("granian", "websocket"): "django",
    ("granian", "upgrade"): "starlette",
    ("daphne", "polling"): "starlette",
    ("daphne", "websocket"): "starlette",
    ("daphne", "upgrade"): "django",
}

#: Fewer behaviours at once, and more seconds for each, than where our own classes serve: a request costs these servers
#: several times the work.
PACE = ("--concurrency", "4", "--limit", "30")
START_SECONDS = 30.0
END_SECONDS = 5.0

#: Of the servers. Read once: cells run in threads, and pytest writes to this process's own at every test.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
}


@contextmanager
def serving(hosting: str, transport: str, log: IO[str]) -> Iterator[str]:
    """The server as a process, and the line that its stage tells."""
    port = free_port()
    application = f"{HERE.name}.hosted:{APPLICATIONS[hosting, transport]}"
    process = subprocess.Popen(
        [sys.executable, *COMMANDS[hosting](application, port)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        yield _line(process, f"http://127.0.0.1:{port}/stage")
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _line(process: subprocess.Popen[bytes], url: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=START_SECONDS) as answer:
                line: str = answer.read().decode()
                return line
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no server at {url}") from None
            time.sleep(0.1)
