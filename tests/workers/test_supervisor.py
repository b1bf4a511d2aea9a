"""`duplexio run --workers` and `io.run(workers=...)`: what keeps the workers there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.hosting.crowd import crowd
from tests.hosting.processes import START_SECONDS, ServerProcess, assert_quiet, duplexio_run, running

from .pairs import HERE
from .raw import Sent, Session, read_response, request_bytes


def wait_until(condition: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def health(port: int) -> dict[str, Any]:
    with Sent(port, request_bytes("GET", "/healthz", connection="close")) as sent:
        return json.loads(sent.response().body)  # type: ignore[no-any-return]


def healths(port: int, number: int) -> list[dict[str, Any]]:
    """Of whoever gets so many connections, which stand until all have: a new one goes to who has fewer."""
    with contextlib.ExitStack() as stack:
        return [health_on(stack, port) for _ in range(number)]


def health_on(stack: contextlib.ExitStack, port: int) -> dict[str, Any]:
    """The same on a connection that is left open."""
    sent = stack.enter_context(Sent(port, request_bytes("GET", "/healthz")))
    return json.loads(read_response(stack.enter_context(sent.connection.makefile("rb"))).body)  # type: ignore[no-any-return]


def is_there(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_all(process: ServerProcess, number: int, port: int) -> list[int]:
    """Until so many workers serve; their ids."""
    seen: set[int] = set()
    with contextlib.ExitStack() as stack:

        def all_seen() -> bool:
            children = process.children()
            seen.intersection_update(children)
            with contextlib.suppress(OSError, AssertionError):
                seen.update(health_on(stack, port)["pid"] for _ in range(4 * number))
            return len(children) == number and seen == set(children)

        wait_until(all_seen)
    return sorted(seen)


def test_all_of_them_serve_one_port() -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "3"), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 3, port)
        with crowd(f"http://127.0.0.1:{port}", polling=10, upgrade=10, websocket=3) as clients:
            clients.wait_connected()
            for _ in range(3):
                clients.echo()
            # Sessions are told apart by their tags.
            tags = {told["tag"] for told in healths(port, 30)}
            assert len(tags) > 1
        process.signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM)
        assert not [pid for pid in pids if is_there(pid)]
        assert_quiet(process)
        assert process.log.count("Application startup complete") == 3
        assert "unknown" not in process.log.lower()
        # Who starts them tells of them: each would tell of each.
        assert "the server" not in process.log


def test_those_that_were_started_apart_tell_of_each_other() -> None:
    environment = {"DUPLEXIO_CLUSTER_ID": secrets.token_hex(8)}
    command = duplexio_run("applications:io", 0)
    with running(*command, folder=HERE, environment=environment) as first:
        first.wait_listening()
        with running(*command, folder=HERE, environment=environment) as second:
            second.wait_for(r"the server \S+ has come; others now: 1")
            first.wait_for(r"the server \S+ has come; others now: 1")
            second.signal(signal.SIGTERM)
            first.wait_for(r"the server \S+ has gone: it is closing; others now: 0")


def test_tls_and_another_family(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost", "::1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    options = ["--workers", "2", "--ssl-certfile", str(tmp_path / "both.pem"), "--host", "::1"]
    with running(*duplexio_run("applications:io", 0, *options), folder=HERE) as process:
        port = int(process.wait_for(r"running on https://\[::1\]:(\d+)")[1])
        process.wait_for("(?s)(Application startup complete.*){2}")
        with crowd(f"https://[::1]:{port}", polling=6, upgrade=6, websocket=2, ca=tmp_path / "ca.pem") as clients:
            clients.wait_connected()
            for _ in range(3):
                clients.echo()
            assert clients.report().reasons == {}
        assert_quiet(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_one_that_is_killed_is_replaced(number: signal.Signals) -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "2"), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        with crowd(f"http://127.0.0.1:{port}", polling=6, upgrade=6) as clients:
            clients.wait_connected()
            os.kill(pids[0], number)
            process.wait_for(rf"worker {pids[0]} was ended by {number.name}; another is started")
            # As C code ends a process that has lost its way: where it was.
            told = re.search(r"Fatal Python error: Aborted\n(.*\n)+?  File ", process.log)
            assert bool(told) is (number is signal.SIGABRT)
            assert pids[1] in wait_all(process, 2, port)
            wait_until(lambda: clients.report().connected == 12)
            clients.echo()


def test_the_workers_are_replaced_one_by_one() -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "2"), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        with crowd(f"http://127.0.0.1:{port}", polling=5, upgrade=5) as clients:
            clients.wait_connected()
            process.signal(signal.SIGHUP)
            for pid in pids:
                process.wait_for(rf"worker {pid} has ended")
            assert not set(wait_all(process, 2, port)) & set(pids)
            report = clients.wait_connected()
            assert set(report.reasons) <= {"transport close", "transport error"}
            clients.echo()
        assert_quiet(process)
        # No time without a worker: the next served before the last was told to end.
        served = [found.start() for found in re.finditer("Application startup complete", process.log)]
        ended = [found.start() for found in re.finditer("Shutting down", process.log)]
        assert served[2] < ended[0] < served[3] < ended[1]


@pytest.mark.parametrize("stop", [False, True])
def test_one_that_stands_still_is_replaced(stop: bool) -> None:
    options = ["--workers", "2", "--worker-timeout", "2"]
    with running(*duplexio_run("applications:io", 0, *options), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        if stop:
            pid = pids[0]
            os.kill(pid, signal.SIGSTOP)
        else:
            session = Session(port).open()
            pid = session.call(port, "pid")
            session.post(port, '42["stand still",600]')
        process.wait_for(rf"worker {pid} has stood still for \d s, and is killed")
        process.wait_for(rf"worker {pid} was ended by SIGKILL")
        assert pid not in wait_all(process, 2, port)
        # Who stops a process stops what would write its stack, too.
        assert ("in stand" in process.log) is not stop


MODULE = """
import os, sys
from duplexio import Server

if os.path.exists("broken"):
    sys.exit("broken, says the program")
io = Server()
"""


def test_one_that_cannot_start_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(MODULE)
    with running(*duplexio_run("fragile:io", 0, "--workers", "2"), folder=tmp_path) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        (tmp_path / "broken").touch()
        os.kill(pids[0], signal.SIGKILL)
        for delay in 2, 4:
            process.wait_for(rf"worker \d+ has ended with 1; another is started in {delay} s")
        assert health(port)["pid"] == pids[1]
        # Nor does a new version that is broken get in.
        process.signal(signal.SIGHUP)
        process.wait_for(r"worker \d+, which was to replace another, has ended with 1; the others stay as they are")
        assert health(port)["pid"] == pids[1]
        (tmp_path / "broken").unlink()
        assert pids[1] in wait_all(process, 2, port)


@pytest.mark.parametrize(
    ("application", "code", "message"),
    [
        ("nosuch:io", 2, 'Could not import module "nosuch"'),
        ("applications:not_an_application", 2, "not found in module"),
        ("fragile:io", 1, "broken, says the program"),
    ],
)
def test_what_cannot_be_served_is_said_once(application: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(MODULE)
    (tmp_path / "applications.py").write_text("")
    (tmp_path / "broken").touch()
    with running(*duplexio_run(application, 0, "--workers", "4"), folder=tmp_path) as process:
        assert process.wait(START_SECONDS) == code
        assert process.log.count(message) == 1
        assert "the first worker has ended with" in process.log
        assert "Traceback" not in process.log


def test_an_address_that_is_taken() -> None:
    with running(*duplexio_run("applications:io", 0), folder=HERE) as first:
        port = first.wait_listening()
        with running(*duplexio_run("applications:io", port, "--workers", "2"), folder=HERE) as process:
            assert process.wait(START_SECONDS) == 3
            assert "address already in use" in process.log.lower()
            assert f"cannot listen on 127.0.0.1:{port}" in process.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "0"], "'0' is no number of workers"),
        (["--workers", "many"], "'many' is no number of workers"),
        (["--workers", "2", "--reload"], "--reload serves with one process"),
        (["--workers", "2", "--worker-timeout", "0"], "worker_timeout=0.0: expected at least 2 s"),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    command = [sys.executable, *duplexio_run("applications:io", 0, *options)]
    ended = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=START_SECONDS)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_workers_whose_supervisor_is_killed_end() -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "2"), folder=HERE) as process:
        pids = wait_all(process, 2, process.wait_listening())
        process.kill()
        wait_until(lambda: not any(map(is_there, pids)))


def test_who_is_told_twice_ends_at_once() -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "2"), folder=HERE) as process:
        port = process.wait_listening()
        wait_all(process, 2, port)
        session = Session(port).open()
        session.post(port, '42["stand still",600]')
        time.sleep(0.5)
        process.signal(signal.SIGTERM)
        time.sleep(0.5)
        process.signal(signal.SIGTERM)
        process.wait(10)
        assert "SIGTERM again: the workers are killed" in process.log


def test_nothing_is_left_in_the_run_directory(tmp_path: Path) -> None:
    command = duplexio_run("applications:io", 0, "--workers", "2")
    with running(*command, folder=HERE, environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as process:
        port = process.wait_listening()
        pids = wait_all(process, 2, port)
        (folder,) = (tmp_path / "duplexio").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sorted(path.stem for path in folder.glob("*.sock")) == sorted(
            {told["tag"] for told in healths(port, 40)}
        )
        os.kill(pids[0], signal.SIGKILL)
        assert pids[1] in wait_all(process, 2, port)
        # What a dead one has left is gone when the next has started.
        assert len(list(folder.glob("*.sock"))) == 2
        process.signal(signal.SIGINT)
        assert process.wait(15) == 0
        assert list((tmp_path / "duplexio").iterdir()) == []


SCRIPT = """
from duplexio import Server

io = Server(drain_seconds=0.5)
io.run(port=0, workers=2, log_level="info")
print("after")
"""


def test_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    for number in signal.SIGINT, signal.SIGTERM:
        with running("script.py", folder=tmp_path) as process:
            port = process.wait_listening()
            # Nothing serves `/healthz` here.
            wait_until(lambda process=process: len(process.children()) == 2)  # type: ignore[misc]
            process.wait_for("(?s)(Application startup complete.*){2}")
            with crowd(f"http://127.0.0.1:{port}", polling=3, upgrade=3) as clients:
                clients.wait_connected()
                process.signal(number)
                assert process.wait(15) in (0, -signal.SIGTERM)
            # Not in its workers: they end by the signal that they are told by.
            assert process.log.count("after") == (number == signal.SIGINT)
            assert_quiet(process)


@pytest.mark.parametrize(("workers", "message"), [("0", "at least 1"), ("True", "at least 1"), ("2", "into a file")])
def test_a_script_that_cannot(workers: str, message: str) -> None:
    program = f"from duplexio import Server\nServer().run(port=0, workers={workers})\n"
    ended = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=START_SECONDS)
    assert ended.returncode == 1
    assert "ConfigurationError" in ended.stderr
    assert message in ended.stderr
