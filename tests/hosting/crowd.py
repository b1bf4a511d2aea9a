"""The JavaScript clients of `crowd.mjs`, in one Node process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

SCRIPT = Path(__file__).with_name("crowd.mjs")
#: Back by themselves after so long at the most.
BACK_SECONDS = 10.0


@dataclass(frozen=True)
class Report:
    """What became of the clients."""

    clients: int
    connected: int
    transports: dict[str, int]
    connects: list[int]
    reasons: dict[str, int]
    errors: dict[str, int]


class Crowd:
    def __init__(
        self,
        url: str,
        *,
        polling: int = 0,
        websocket: int = 0,
        upgrade: int = 0,
        path: str = "/socket.io/",
        ca: Path | None = None,
        websocket_port: int | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "url": url,
            "polling": polling,
            "websocket": websocket,
            "upgrade": upgrade,
            "path": path,
        }
        if ca is not None:
            options["ca"] = str(ca)
        if websocket_port is not None:
            # An upgrade goes there, and polls to the URL's port.
            options["websocketPort"] = websocket_port
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._times = 0

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)

    def _ask(self, seconds: float, command: str, **parameters: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, "seconds": seconds, **parameters}) + "\n")
        self._process.stdin.flush()
        try:
            return json.loads(self._answers.get(timeout=seconds + 10))
        except Empty:
            raise AssertionError(f"the clients did not answer {command!r}") from None

    def wait_connected(self, seconds: float = BACK_SECONDS) -> Report:
        """Until all are connected, once more than at the call before."""
        self._times += 1
        report = Report(**self._ask(seconds, "connected", times=self._times))
        assert report.connected == report.clients, report
        assert min(report.connects) >= self._times, report
        return report

    def report(self) -> Report:
        return Report(**self._ask(5.0, "report"))

    def echo(self, length: int = 10, seconds: float = 10.0) -> None:
        """Every client is answered: a text of that length, and as many bytes, there and back."""
        answer = self._ask(seconds, "echo", length=length)
        assert answer["answered"] == answer["clients"], answer

    def hear(self, length: int, count: int, seconds: float = 10.0) -> None:
        """Every client gets `count` events of that length which the server sends in one go."""
        answer = self._ask(seconds, "shouted", length=length, count=count)
        assert answer["answered"] == answer["clients"], answer

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
            raise
        finally:
            self._reader.join(5)
            self._process.stdout.close()


@contextlib.contextmanager
def crowd(url: str, **options: Any) -> Iterator[Crowd]:
    """The clients, in `with`; for servers in processes of their own."""
    clients = Crowd(url, **options)
    try:
        yield clients
    finally:
        clients.end()


class LocalCrowd:
    """The same for a server in the loop of the test, which must not be held up."""

    def __init__(self, url: str, **options: Any) -> None:
        self._crowd = Crowd(url, **options)

    async def wait_connected(self, seconds: float = BACK_SECONDS) -> Report:
        return await asyncio.to_thread(self._crowd.wait_connected, seconds)

    async def report(self) -> Report:
        return await asyncio.to_thread(self._crowd.report)

    async def echo(self, length: int = 10) -> None:
        await asyncio.to_thread(self._crowd.echo, length)

    async def __aenter__(self) -> LocalCrowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._crowd.end)
