"""`duplexio run`: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from .crowd import crowd
from .processes import HERE, START_SECONDS, assert_quiet, duplexio_run, free_port, running


def run(*arguments: str, folder: Path = HERE) -> subprocess.CompletedProcess[str]:
    """The command, to its end; a server that begins to listen is none of these."""
    command = [sys.executable, "-m", "duplexio", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=15)


def opens_a_session(port: int, path: str = "/socket.io/") -> bool:
    """And ends it, so that nobody has to wait for it."""
    url = f"http://127.0.0.1:{port}{path}?EIO=4&transport=polling"
    with httpx.Client(trust_env=False, timeout=5) as http:
        response = http.get(url)
        if response.status_code != 200:
            return False
        sid = json.loads(response.text.removeprefix("0"))["sid"]
        return http.post(f"{url}&sid={sid}", content="1").text == "ok"


# What cannot be served.


@pytest.mark.parametrize(
    ("application", "message"),
    [
        ("applications", "duplexio: 'applications': expected MODULE:ATTRIBUTE, such as applications:io"),
        ("applications.py:io", "duplexio: 'applications.py:io': expected a module, so without .py"),
        ("nosuch:io", 'duplexio: Could not import module "nosuch".'),
        ("applications:nosuch", 'duplexio: Attribute "nosuch" not found in module "applications".'),
        ("applications:io.nosuch", 'duplexio: Attribute "io.nosuch" not found in module "applications".'),
        (":io", "duplexio: "),
        ("applications:", "duplexio: "),
    ],
)
def test_what_is_not_there(application: str, message: str) -> None:
    """One line that says what to look at, and the exit code of wrong usage."""
    ended = run("run", application, "--port", "0")
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["applications:not_an_application"], "not_an_application"),
        (["applications:make_application"], "--factory"),
        (["applications:make_nothing", "--factory"], "make_nothing"),
        (["applications:io", "--factory"], "factory"),
    ],
)
def test_what_is_no_application(arguments: list[str], word: str) -> None:
    """Said at the start, rather than by an error for each request."""
    with running("-m", "duplexio", "run", *arguments, "--port", "0") as process:
        assert process.wait(5) in (2, 3)
        assert word in process.log
        assert "running on" not in process.log
        assert "Traceback" not in process.log


def test_an_error_in_the_module_is_shown_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import duplexio\n\nio = duplexio.Server(pth='/x')\n")
    ended = run("run", "broken:io", "--port", "0", folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("duplexio: broken.py line 3: Server has no option pth")
    assert "Traceback" not in ended.stderr


def test_a_module_that_the_module_misses(tmp_path: Path) -> None:
    """Not "could not import the application": it is another one that is missing."""
    (tmp_path / "missing.py").write_text("import nosuch_package\n")
    ended = run("run", "missing:io", "--port", "0", folder=tmp_path)
    assert ended.returncode != 0
    assert "No module named 'nosuch_package'" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["run"], "MODULE:ATTRIBUTE"),
        (["run", "applications:io", "--port", "many"], "argument --port: 'many' is no port: 0 to 65535"),
        (["run", "applications:io", "--port=65536"], "argument --port: '65536' is no port"),
        (["run", "applications:io", "--port=-1"], "argument --port: '-1' is no port"),
        (["run", "applications:io", "--nosuch"], "unrecognized arguments: --nosuch"),
        (["run", "applications:io", "--log-level", "loud"], "invalid choice: 'loud'"),
        (["walk"], "invalid choice: 'walk'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_version_and_help() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"duplexio {metadata.version('duplexio')}\n")
    ended = run("run", "--help")
    assert ended.returncode == 0
    for option in "--host", "--port", "--reload", "--factory", "--root-path", "--ssl-certfile", "--app-dir":
        assert option in ended.stdout


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options in [], ["--reload"]:
            ended = run("run", "applications:io", "--port", str(port), *options)
            assert ended.returncode == 3
            assert "address already in use" in ended.stderr.lower()
            assert "Traceback" not in ended.stderr


# What can.


def test_the_log_of_a_short_life() -> None:
    """Its lines, and none for each client or request."""
    with running(*duplexio_run("applications:io", 0)) as process:
        port = process.wait_listening()
        with crowd(f"http://127.0.0.1:{port}", polling=3, websocket=3, upgrade=3) as clients:
            clients.wait_connected()
            clients.echo()
        time.sleep(0.2)
        process.signal(signal.SIGTERM)
        assert process.wait(13) in (0, -signal.SIGTERM)
        lines = [re.sub(r"\d+", "N", line) for line in process.log.splitlines()]
        # Where the machine is busy, the end of a client's poll may be seen in front of what it said by another request.
        lines = [line for line in lines if "the poll's connection closed prematurely" not in line]
        assert lines == [
            "INFO:     Started server process [N]",
            "INFO:     Waiting for application startup.",
            "INFO:     Application startup complete.",
            "INFO:     Uvicorn running on http://N.N.N.N:N (Press CTRL+C to quit)",
            "INFO:     Shutting down",
            "INFO:     Waiting for application shutdown.",
            "INFO:     Application shutdown complete.",
            "INFO:     Finished server process [N]",
        ]


def test_what_clients_do_wrong_is_among_the_lines() -> None:
    with running(*duplexio_run("applications:io", 0)) as process:
        port = process.wait_listening()
        url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=carrier-pigeon"
        for _ in range(3):
            assert httpx.get(url, trust_env=False).status_code == 400
        process.wait_for(r"WARNING: +127\.0\.0\.1: refused \(Transport unknown\): .*carrier-pigeon")
        assert process.log.count("carrier-pigeon") == 1


def test_log_level() -> None:
    port = free_port()
    with running(*duplexio_run("applications:io", port, "--log-level", "error")) as process:
        deadline = time.monotonic() + START_SECONDS
        with socket.socket() as knocking:
            while knocking.connect_ex(("127.0.0.1", port)) != 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.signal(signal.SIGTERM)
        assert process.wait(5) in (0, -signal.SIGTERM)
        assert process.log == ""


def test_access_log_is_for_who_asks() -> None:
    with running(*duplexio_run("applications:wrapped_app", 0, "--access-log")) as process:
        port = process.wait_listening()
        assert httpx.get(f"http://127.0.0.1:{port}/page", trust_env=False).status_code == 404
        process.wait_for(r'"GET /page HTTP/1.1" 404')


def test_factory() -> None:
    with running(*duplexio_run("applications:make_application", 0, "--factory")) as process:
        assert opens_a_session(process.wait_listening())
        assert_quiet(process)


def test_app_dir(tmp_path: Path) -> None:
    """The folder of the module need not be the current one."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "away.py").write_text("from duplexio import Server\n\nio = Server()\n")
    with running(*duplexio_run("away:io", 0, "--app-dir", "inside"), folder=tmp_path) as process:
        assert opens_a_session(process.wait_listening())


def test_root_path() -> None:
    with running(*duplexio_run("applications:fastapi_app", 0, "--root-path", "/behind")) as process:
        port = process.wait_listening()
        assert opens_a_session(port)
        with crowd(f"http://127.0.0.1:{port}", polling=1, websocket=1, upgrade=1) as clients:
            clients.wait_connected()
            clients.echo()


def test_host_of_version_six() -> None:
    with running(*duplexio_run("applications:io", 0, "--host", "::1")) as process:
        port = int(process.wait_for(r"running on http://\[::1\]:(\d+)")[1])
        with crowd(f"http://[::1]:{port}", polling=1, websocket=1) as clients:
            clients.wait_connected()
            clients.echo()


def test_health_path() -> None:
    with running(*duplexio_run("applications:fastapi_app", 0, "--health-path", "/state")) as process:
        port = process.wait_listening()
        response = httpx.get(f"http://127.0.0.1:{port}/state", trust_env=False)
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 404


def test_forwarded_addresses_count_only_from_named_proxies() -> None:
    """The address in the log is the client's, where a trusted proxy says it."""
    for trusted, shown in ("127.0.0.1", "10.1.2.3"), ("192.0.2.1", "127.0.0.1"):
        with running(*duplexio_run("applications:io", 0, "--forwarded-allow-ips", trusted)) as process:
            url = f"http://127.0.0.1:{process.wait_listening()}/socket.io/?EIO=4&transport=none"
            httpx.get(url, headers={"X-Forwarded-For": "10.1.2.3"}, trust_env=False)
            process.wait_for(rf"WARNING: +{re.escape(shown)}: refused")


def test_a_script_that_runs_a_server(tmp_path: Path) -> None:
    """`io.run()` ends at Ctrl+C as the command does."""
    (tmp_path / "script.py").write_text(
        "from duplexio import Server\n\nio = Server()\nio.run(port=0, log_level='info')\nprint('after')\n"
    )
    for number in signal.SIGINT, signal.SIGTERM:
        with running("script.py", folder=tmp_path) as process:
            port = process.wait_listening()
            with crowd(f"http://127.0.0.1:{port}", polling=2, websocket=2) as clients:
                clients.wait_connected()
                process.signal(number)
                assert process.wait(5) in (0, -signal.SIGTERM)
                assert set(clients.report().reasons) <= {"transport close", "transport error"}
            assert_quiet(process)
            assert ("after" in process.log) == (number == signal.SIGINT)


def test_a_script_whose_address_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "script.py").write_text(f"from duplexio import Server\n\nServer().run(port={port})\n")
        with running("script.py", folder=tmp_path) as process:
            assert process.wait(5) == 3
            assert "address already in use" in process.log.lower()
            assert "Traceback" not in process.log


# --reload. The watcher begins a little after the server, and says nothing of it.

WATCHING_SECONDS = 0.8


def test_reload_waits_for_the_mistake_to_be_mended(tmp_path: Path) -> None:
    module = tmp_path / "mended.py"
    module.write_text("from duplexio import Server\n\nio = Server()\n")
    with running(*duplexio_run("mended:io", 0, "--reload"), folder=tmp_path) as process:
        port = process.wait_listening()
        assert opens_a_session(port)
        time.sleep(WATCHING_SECONDS)
        module.write_text("from duplexio import Server\n\nserver = Server()\n")
        process.wait_for('Attribute "io" not found in module "mended"')
        assert "Traceback" not in process.log
        here = len(process.log)
        time.sleep(WATCHING_SECONDS)
        module.write_text("from duplexio import Server\n\nio = Server(path='/mended')\n")
        process.wait_for("Application startup complete", after=here)
        assert opens_a_session(port, "/mended/")
        process.signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_reload_of_another_folder_only(tmp_path: Path) -> None:
    (tmp_path / "watched").mkdir()
    (tmp_path / "quiet.py").write_text("from duplexio import Server\n\nio = Server()\n")
    options = ["--reload", "--reload-dir", "watched"]
    with running(*duplexio_run("quiet:io", 0, *options), folder=tmp_path) as process:
        process.wait_listening()
        time.sleep(WATCHING_SECONDS)
        os.utime(tmp_path / "quiet.py")
        (tmp_path / "watched" / "page.py").write_text("")
        process.wait_for("detected changes in 'watched/page.py'")
        process.wait_for("Application startup complete", after=len(process.log) - 10)
