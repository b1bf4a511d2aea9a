"""The blocking client in programs of its own: how they are interrupted, how they end, and how they fork."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .peers import DUPLEXIO, ENVIRONMENT, PeerPool, PeerProcess

#: No program takes longer; two cores may be busy with other tests.
SECONDS = 30.0


@pytest.fixture
def server(pool: PeerPool) -> PeerProcess:
    return pool.get(DUPLEXIO)


def begin(program: str, url: str) -> subprocess.Popen[str]:
    head = "import os, sys, threading, time\nfrom duplexio import errors, sync\nURL = sys.argv[1]\n"
    return subprocess.Popen(
        [sys.executable, "-W", "always", "-c", head + program, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """What it printed, to its error output too, and its exit code."""
    try:
        printed, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it does not end: {process.communicate()}") from None
    return printed, errors, process.returncode


def run(program: str, url: str) -> str:
    printed, errors, code = finish(begin(program, url))
    assert (errors, code) == ("", 0)
    return printed


WAITS = {
    "receive": "socket.receive('nothing')",
    "receive with a timeout": "socket.receive('nothing', timeout=60)",
    "events": "list(socket.events())",
    "emit_with_ack": "socket.emit_with_ack('never')",
    "wait_disconnected": "socket.wait_disconnected()",
}


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_the_waiting(server: PeerProcess, wait: str) -> None:
    program = f"""
with sync.connect(URL) as socket:
    try:
        print("waiting", flush=True)
        {WAITS[wait]}
    except KeyboardInterrupt:
        print("interrupted")
    # Nothing of it is left on the loop, and the socket is as before.
    assert socket.emit_with_ack("echo", 5) == 5
    assert socket._socket._acks is None or not len(socket._socket._acks)
    assert not socket.io._calls
    assert socket.connected
"""
    process = begin(program, server.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert finish(process) == ("interrupted\n", "", 0)


def test_an_interrupt_while_connecting_gives_up() -> None:
    program = """
import socket as sockets
with sockets.create_server(("127.0.0.1", 0)) as listener:
    socket = sync.connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threading.Timer(0.2, lambda: print("connecting", flush=True)).start()
    try:
        socket.connect()
    except KeyboardInterrupt:
        print("interrupted")
    while socket.active:
        time.sleep(0.01)
"""
    process = begin(program, "")
    assert process.stdout is not None
    assert process.stdout.readline() == "connecting\n"
    process.send_signal(signal.SIGINT)
    assert finish(process) == ("interrupted\n", "", 0)


def test_an_interrupt_that_nobody_catches_ends_the_program(server: PeerProcess) -> None:
    program = """
with sync.connect(URL) as socket:
    print("waiting", flush=True)
    socket.wait_disconnected()
"""
    process = begin(program, server.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    printed, errors, code = finish(process)
    assert (printed, code) == ("", -signal.SIGINT)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1


@pytest.mark.parametrize("transports", ["polling", "polling,websocket", "websocket"])
def test_a_program_ends_without_a_close_and_the_server_is_told(server: PeerProcess, transports: str) -> None:
    label = f"no close {transports}"
    program = f"""
socket = sync.connect(URL, transports={transports.split(",")!r}).connect()
socket.emit_with_ack("label", {label!r})
socket.on("disconnect", lambda reason: print("disconnected:", reason))
socket.emit("request", 1)
print(socket.receive("response"))
"""
    assert run(program, server.url) == "1\ndisconnected: io client disconnect\n"
    ended = f"""
with sync.connect(URL) as socket:
    print(socket.emit_with_ack("ended", {label!r}, timeout=20))
"""
    assert run(ended, server.url) == "client namespace disconnect\n"


def test_handlers_that_wait_do_not_keep_a_program(server: PeerProcess) -> None:
    program = """
socket = sync.connect(URL).connect()
begun = threading.Event()

@socket.on("response")
def wait(*args):
    begun.set()
    try:
        socket.receive("nothing")
    except errors.Disconnected as error:
        print(error)

socket.emit("request")
begun.wait()
"""
    assert run(program, server.url) == "the socket has disconnected (io client disconnect)\n"


def test_threads_of_the_program_go_on_after_its_main_thread(server: PeerProcess) -> None:
    program = """
def work():
    threading.main_thread().join()
    with sync.connect(URL) as socket:
        socket.on("question", lambda number: socket.emit_with_ack("echo", number + 1))
        print(socket.emit_with_ack("ask", "question", 1))

threading.Thread(target=work).start()
"""
    assert run(program, server.url) == "[2]\n"


def test_a_server_that_hangs_does_not_keep_a_program(server: PeerProcess) -> None:
    program = """
import signal
socket = sync.connect(URL, transports=["polling"]).connect()
print("connected", flush=True)
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom duplexio import sync\nURL = sys.argv[1]\n" + program, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    server.hold()
    try:
        printed, errors = process.communicate("\n", timeout=SECONDS)
    finally:
        server.go_on()
    assert (printed, errors, process.returncode) == ("", "", 0)


def test_a_forked_child_connects_anew(server: PeerProcess) -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, since 3.12
socket = sync.connect(URL).connect()
unused = sync.connect(URL, force_new=True)
sys.stdout.flush()
child = os.fork()
if not child:
    for call in (lambda: socket.emit("request"), lambda: socket.emit_with_ack("echo"), lambda: socket.on("a", print)):
        try:
            call()
        except errors.ConfigurationError as error:
            assert "before this process was forked" in str(error)
        else:
            print("not refused")
    with sync.connect(URL) as own, unused:
        assert own.io is not socket.io
        assert own.id != socket.id
        print("child", own.emit_with_ack("echo", 1), unused.emit_with_ack("echo", 2), flush=True)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("parent", socket.emit_with_ack("echo", 3))
socket.io.close()
"""
    assert run(program, server.url) == "child 1 2\nparent 3\n"


def test_without_uvloop_it_is_the_standard_loop(server: PeerProcess) -> None:
    program = """
sys.modules["uvloop"] = None
with sync.connect(URL) as socket:
    print(socket._socket._loop.__class__.__module__.partition(".")[0], socket.emit_with_ack("echo", 1))
while any(thread.name.startswith("duplexio") for thread in threading.enumerate()):
    time.sleep(0.01)
print(threading.active_count())
"""
    assert run(program, server.url) == "asyncio 1\n1\n"


EXAMPLES = Path(__file__).parents[2] / "examples" / "request_response"


@pytest.mark.parametrize("example", ["client.py", "client_blocking.py"])
def test_the_examples(server: PeerProcess, example: str) -> None:
    process = subprocess.run(
        [sys.executable, str(EXAMPLES / example), server.url],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=ENVIRONMENT,
        check=True,
    )
    connected, *rest = process.stdout.splitlines()
    assert connected.startswith("Connect to server by Socket.io ")
    assert rest == [
        "Send event \"request\": {'data': 'Send Request'}",
        "Receive event \"response\": {'data': 'Send Request'}",
        "Disconnect from server: io client disconnect",
    ]
    assert process.stderr == ""


@pytest.mark.parametrize("example", ["client.py", "client_blocking.py"])
def test_the_examples_without_a_server(example: str) -> None:
    process = subprocess.run(
        [sys.executable, str(EXAMPLES / example), "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=ENVIRONMENT,
        check=False,
    )
    assert process.stdout == ""
    assert process.stderr.startswith("Connect error: cannot connect to http://127.0.0.1:9")
    assert len(process.stderr.splitlines()) == 1
    assert process.returncode == 1
