"""The servers that the client is tried with, as processes: socket.io 4 and 2 on Node, and our own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: Read once: servers are started from threads, too, and pytest writes to this process's own at every test.
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1"}
#: How long a server may take to say that it listens. Two cores may be busy with other tests.
START_SECONDS = 20.0
#: How long it may take to close its sessions.
END_SECONDS = 5.0


@dataclass(frozen=True)
class Peer:
    """A kind of server.

    Attributes:
        eio: the version of Engine.IO's protocol that a client speaks to it.
        options: which it always has.
        recovers: whether it can have `--recovery`.
    """

    name: str
    command: tuple[str, ...]
    eio: Literal[3, 4] = 4
    options: tuple[str, ...] = ()
    recovers: bool = True

    def __str__(self) -> str:
        return self.name


_NODE4 = ("node", str(HERE / "node" / "server4.mjs"))
_DUPLEXIO = (sys.executable, "-m", "tests.client.duplexio_server")

NODE4 = Peer("node4", _NODE4)
NODE2 = Peer("node2", ("node", str(HERE / "node" / "server2.cjs")), eio=3, recovers=False)
DUPLEXIO = Peer("duplexio", _DUPLEXIO)
#: Those of version 4, where they let clients of version 2 in.
NODE4_EIO3 = Peer("node4-eio3", _NODE4, eio=3, options=("--allow-eio3",), recovers=False)
DUPLEXIO_EIO3 = Peer("duplexio-eio3", _DUPLEXIO, eio=3, options=("--allow-eio3",), recovers=False)

PEERS = (NODE4, NODE2, DUPLEXIO)


class PeerProcess:
    """A server that runs.

    Attributes:
        port: where it listens, on 127.0.0.1.
        version: of its library.
        secure: whether it speaks TLS.
    """

    def __init__(self, peer: Peer, *options: str) -> None:
        self.peer = peer
        self.secure = "--ssl-certfile" in options
        self._held = False
        with tempfile.NamedTemporaryFile("w", prefix="peer-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                [*peer.command, *peer.options, *options],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=ENVIRONMENT,
            )
        try:
            line = json.loads(self._first_line())
        except BaseException:
            self.kill()
            self.close()
            raise
        self.port: int = line["port"]
        self.version: str = line["version"]

    def __repr__(self) -> str:
        return f"<PeerProcess {self.peer} {self.pid}>"

    def _first_line(self) -> str:
        output = self._process.stdout
        assert output is not None
        deadline = time.monotonic() + START_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            # Not by the file object: what that has read ahead, `select` does not know of.
            readable, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"{self.peer} does not listen after {START_SECONDS} s:\n{self.log}"
            piece = os.read(output.fileno(), 1000)
            if not piece:
                self._process.wait(END_SECONDS)
                raise AssertionError(f"{self.peer} ended, with {self._process.returncode}:\n{self.log}")
            line += piece
        return line.decode()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it wrote to its standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def hold(self) -> None:
        """Stops it where it is: its connections stay, and nothing is answered."""
        self._held = True
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._held = False
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone at once; the kernel closes its connections."""
        self._process.kill()
        self._process.wait()

    def begin_closing(self) -> None:
        """Tells it to close its sessions, and to end."""
        if self._held and self.running:
            self.go_on()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        """Until it has. Idempotent."""
        self.begin_closing()
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.unlink(missing_ok=True)


@contextlib.contextmanager
def running(peer: Peer, *options: str) -> Iterator[PeerProcess]:
    """A server of the test's own. What it wrote is shown when the test fails."""
    process = PeerProcess(peer, *options)
    try:
        yield process
    except BaseException:
        print(f"{process}:\n{process.log}", file=sys.stderr)
        raise
    finally:
        process.close()


class PeerPool:
    """Servers that tests share: one for each kind and list of options, started when it is first asked for."""

    def __init__(self) -> None:
        self._processes: dict[tuple[Peer, tuple[str, ...]], PeerProcess] = {}

    def get(self, peer: Peer, *options: str) -> PeerProcess:
        process = self._processes.get((peer, options))
        if process is None or not process.running:
            if process is not None:
                process.close()
            process = self._processes[peer, options] = PeerProcess(peer, *options)
        return process

    def logs(self) -> str:
        """What they wrote, all of them."""
        written = [(process, process.log) for process in self._processes.values()]
        return "\n".join(f"{process}:\n{log}" for process, log in written if log)

    def close(self) -> None:
        for process in self._processes.values():
            process.begin_closing()
        for process in self._processes.values():
            process.close()
        self._processes.clear()
