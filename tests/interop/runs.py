"""Runs a client over a transport: a server process and a client process for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from .clients import CHECKS, ROOT, Client

#: Every check of a client that hangs in all of them, and no more: a run takes some ten seconds.
RUN_SECONDS = 240.0
#: The server waits for what is gone to be noticed, and closes.
SERVER_SECONDS = 30.0
#: Of the server. Read once: runs are in threads, and pytest writes to this process's own at every test.
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1"}

#: What the server counts in a run where nothing went wrong: a client may come back while it is still closing.
_EXPECTED = {"connections_opened", "connections_closed", "fault.connect_refused", "fault.closing"}
#: On polling, and before the upgrade, a client that is gone leaves a poll behind or falls silent, and one that was sent
#: away may ask once more.
_EXPECTED_ON_POLLING = {"fault.transport_error", "fault.ping_timeout", "fault.unknown_sid"}
#: Why a client that is gone is gone: as its transport shows it, or by its silence where polling has no poll open.
_GONE = {
    "polling": ("transport error", "ping timeout"),
    "websocket": ("transport close",),
    "upgrade": ("transport close", "transport error", "ping timeout"),
}


@dataclass(frozen=True)
class Result:
    """Of a check: `verdict` is `ok`, `FAILED`, or `cannot`, which is the client's limit as it is known."""

    verdict: str
    error: str = ""


def run(client: Client, transport: str) -> dict[str, Result]:
    """Every check's result."""
    found = {check: Result("FAILED", "it did not run") for check in CHECKS}
    if not client.built.exists():
        return dict.fromkeys(CHECKS, Result("FAILED", f"it is not built: run `make {client.target}`"))
    with tempfile.TemporaryFile("w+") as log:
        errors, at_end = _run(client, transport, log)
        unknown = errors.keys() - found.keys()
        assert not unknown, f"checks that are not in the table: {unknown}"
        for check, error in {**errors, **_at_end(transport, at_end, errors)}.items():
            found[check] = _judged(client, check, transport, error)
        if any(result.verdict == "FAILED" for result in found.values()):
            log.seek(0)
            print(f"{client.name}, {transport}:", "".join(log.readlines()[-60:]), sep="\n", file=sys.stderr)
    return found


def _run(client: Client, transport: str, log: IO[str]) -> tuple[dict[str, str | None], dict[str, Any]]:
    """The error of each check, or None, and what the server says at its end."""
    with _server(log) as server:
        port = json.loads(_line(server))["port"]
        command = [*client.command, transport, f"http://127.0.0.1:{port}"]
        try:
            output = subprocess.run(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, timeout=RUN_SECONDS
            ).stdout
        except subprocess.TimeoutExpired as expired:
            log.write(f"the client was ended after {RUN_SECONDS} s\n")
            output = expired.stdout or b""
        lines = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
        answer, _ = server.communicate(timeout=SERVER_SECONDS)
    errors = {line["name"]: None if line["ok"] else str(line["error"]) for line in lines}
    return errors, json.loads(answer or "{}")


@contextmanager
def _server(log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.interop.server"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise RuntimeError("the server did not start")
    return line


def _at_end(transport: str, answer: dict[str, Any], errors: dict[str, str | None]) -> dict[str, str | None]:
    """What the server saw: why the client that is gone is gone, and that it counted no fault."""
    if not answer:
        return {"gone": "the server said nothing at its end", "counts": "the server said nothing at its end"}
    reasons = _GONE[transport]
    reason = answer["ends"].get("gone")
    gone = errors.get("gone", "it did not run") or (None if reason in reasons else f"{reason}, not one of {reasons}")
    expected = _EXPECTED | (set() if transport == "websocket" else _EXPECTED_ON_POLLING)
    faults = {name: total for name, total in answer["counts"].items() if name not in expected}
    return {"gone": gone, "counts": f"counted: {faults}" if faults else None}


def _judged(client: Client, check: str, transport: str, error: str | None) -> Result:
    limit = client.limit(check, transport)
    if limit is None:
        return Result("FAILED", error) if error else Result("ok")
    if error is None and limit.sometimes:
        return Result("ok")
    if error is None:
        return Result("FAILED", f"it passed, though tests/interop/clients.py says that this client {limit.because}")
    return Result("cannot", limit.because) if limit.shows in error else Result("FAILED", error)
