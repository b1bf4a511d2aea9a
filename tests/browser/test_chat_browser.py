"""The examples in a real browser: two people chat, exchange pictures, and outlive a restart of the server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples"
NODE_MODULES = HERE.parent / "node" / "node_modules"
ARTEFACTS = Path(os.environ.get("DUPLEXIO_ARTEFACTS") or ROOT / "artefacts")

START_WITHIN = 15.0
STOP_WITHIN = 25.0  # connections are closed spread over drain_seconds
SCENARIO_WITHIN = 240.0


def program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.fail(f"{names[0]} is needed for these tests, and is not there")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


class Served:
    """A server as a process of its own, on one port over all its starts; what it prints goes to a file."""

    def __init__(self, command: list[str], folder: Path, port: int, output: Path) -> None:
        self.command = command
        self.folder = folder
        self.base = f"http://127.0.0.1:{port}"
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=environment(), stdout=output, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_WITHIN
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                pytest.fail(f"the server did not start:\n{self.printed()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.base, timeout=2) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the server did not stop within {STOP_WITHIN:g} s:\n{self.printed()}")

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def printed(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """The examples as they are once `npm ci` has run in them, with the modules of the tests."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    (folder / "node_modules").symlink_to(NODE_MODULES)
    return folder


@pytest.fixture
def chat(examples: Path, tmp_path: Path) -> Iterator[Served]:
    port = free_port()
    command = [sys.executable, "-m", "duplexio", "run", "app:app", "--host", "127.0.0.1", "--port", str(port)]
    served = Served(command, examples / "chat", port, tmp_path / "chat.txt")
    served.start()
    try:
        yield served
    finally:
        served.kill()


@pytest.fixture
def request_response(examples: Path, tmp_path: Path) -> Iterator[Served]:
    served = Served([sys.executable, "server.py"], examples / "request_response", 20111, tmp_path / "server.txt")
    served.start()
    try:
        yield served
    finally:
        served.kill()


def drive(scenario: str, served: Served) -> list[dict[str, object]]:
    """Runs a scenario of drive.mjs, doing with the server what it asks for; gives what held."""
    command = [program("node"), str(HERE / "drive.mjs"), scenario, served.base, str(ARTEFACTS)]
    chromium = program("chromium", "chromium-browser", "google-chrome")
    actions: dict[str, Callable[[], None]] = {"stop": served.stop, "start": served.start}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "CHROMIUM": chromium},
        text=True,
    ) as process:
        deadline = threading.Timer(SCENARIO_WITHIN, process.kill)
        deadline.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith('{"please":'):
                    what = json.loads(line)["please"]
                    actions[what]()
                    process.stdin.write(f"{what}\n")
                    process.stdin.flush()
            process.wait()
        finally:
            deadline.cancel()
            process.kill()
    assert process.returncode == 0, f"{''.join(lines)}\nthe server printed:\n{served.printed()}"
    return [json.loads(line) for line in lines if line.startswith('{"held":')]


def no_error_printed(served: Served) -> None:
    printed = served.printed()
    assert "Traceback" not in printed, printed
    assert "ERROR" not in printed, printed


def test_two_people_and_a_node_client_chat(chat: Served) -> None:
    held = drive("chat", chat)
    assert held[-1] == {"held": "no page complained"}
    no_error_printed(chat)


def test_pages_outlive_a_restart_of_the_server(chat: Served) -> None:
    drive("restart", chat)
    no_error_printed(chat)


def test_keyboard_alone_is_enough(chat: Served) -> None:
    drive("keyboard", chat)
    no_error_printed(chat)


def test_screenshots(chat: Served) -> None:
    started = time.time() - 1
    drive("screenshots", chat)
    for name in ("chat-wide-light", "chat-wide-dark", "chat-narrow-light", "chat-narrow-dark"):
        picture = ARTEFACTS / f"{name}.png"
        assert picture.stat().st_mtime > started
        assert picture.read_bytes().startswith(b"\x89PNG")
    no_error_printed(chat)


def test_request_response_page(request_response: Served) -> None:
    held = drive("request_response", request_response)
    expected = [
        f"Listening on {request_response.base}/",
        f"Connect client by Socket.io {held[0]['id']}",
        "Receive event \"request\": {'data': 'Send Request'}",
        "Receive event \"request\": {'data': 'Send Request'}",
    ]
    assert request_response.printed().splitlines() == expected


def test_request_response_client(request_response: Served) -> None:
    command = [program("node"), "client.mjs", request_response.base]
    done = subprocess.run(command, cwd=request_response.folder, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *others = done.stdout.splitlines()
    words, socket_id = first.rsplit(" ", 1)
    assert words == "Connect to server by Socket.io"
    assert others == [
        "Send event \"request\": { data: 'Send Request' }",
        "Receive event \"response\": { data: 'Receive Respond' }",
        "Disconnect from server: io client disconnect",
    ]
    assert request_response.printed().splitlines() == [
        f"Listening on {request_response.base}/",
        f"Connect client by Socket.io {socket_id}",
        "Receive event \"request\": {'data': 'Send Request'}",
    ]


@pytest.mark.parametrize("path", ["/", "/chat.js", "/chat.css", "/icon.svg"])
def test_pages_are_kept_by_the_browser_and_asked_about(chat: Served, path: str) -> None:
    with urllib.request.urlopen(chat.base + path, timeout=5) as response:
        assert response.headers["cache-control"] == "no-cache"
        tag = response.headers["etag"]
        assert len(response.read()) == int(response.headers["content-length"])
    again = urllib.request.Request(chat.base + path, headers={"If-None-Match": tag})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(again, timeout=5)
    assert raised.value.code == 304
    raised.value.close()


@pytest.mark.parametrize("path", ["/app.py", "/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/index.html"])
def test_only_the_files_of_the_table_are_served(chat: Served, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(chat.base + path, timeout=5)
    assert raised.value.code == 404
    raised.value.close()
