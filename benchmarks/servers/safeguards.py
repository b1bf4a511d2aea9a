"""What a server under measurement is guarded by, provoked once each: figures with the guards off would say little."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

__all__ = ["Safeguards"]

#: The options of the server are as they come: an interval and a timeout of heartbeats, the largest message.
PING_INTERVAL, PING_TIMEOUT, LARGEST = 25, 20, 1_000_000
#: Seconds that a client waits at the most.
PATIENCE = 20.0
FOREIGN = "http://elsewhere.example"


class Safeguards:
    """Provokes those of the server on a port. One takes 45 s: it begins when this is made, beside what is measured."""

    def __init__(self, port: int, pool: Executor) -> None:
        self._port = port
        self._silent = pool.submit(self._silence)

    def report(self) -> tuple[list[str], bool]:
        """A line for each, and whether all of them are on."""
        lines, on = [], True
        for name, provoke in (
            ("heartbeat", self._silent_client),
            ("size limit", self._too_large),
            ("origin", self._foreign_origin),
            ("observer", self._counted),
        ):
            try:
                lines.append(f"- {name}: {provoke()}")
            except (RuntimeError, ValueError, OSError, http.client.HTTPException, WebSocketException) as error:
                lines.append(f"- {name}: not seen to be on: {error!r}")
                on = False
        return lines, on

    def _silent_client(self) -> str:
        return f"a client that answers no ping was ended after {self._silent.result():.1f} s."

    @contextlib.contextmanager
    def _client(self, **options: Any) -> Iterator[Any]:
        """A socket in the main namespace, without a heartbeat of its own."""
        url = f"ws://127.0.0.1:{self._port}/socket.io/?EIO=4&transport=websocket"
        with connect(url, ping_interval=None, compression=None, proxy=None, **options) as client:
            client.recv(PATIENCE)
            client.send("40")
            client.recv(PATIENCE)
            yield client

    def _silence(self) -> float:
        with self._client() as client:
            begun = time.monotonic()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    client.recv(PING_INTERVAL + PING_TIMEOUT + PATIENCE)
            return time.monotonic() - begun

    def _too_large(self) -> str:
        with self._client() as client:
            client.send("42" + json.dumps(["echo", "x" * LARGEST]))
            try:
                client.recv(PATIENCE)
            except ConnectionClosed as closed:
                code = None if closed.rcvd is None else closed.rcvd.code
            else:
                raise RuntimeError("a message over max_http_buffer_size was taken")
        status = self._post("4" * (LARGEST + 1))
        return f"a message of 1 MB and some bytes closed its WebSocket with {code}, a POST of that size got {status}."

    def _post(self, body: str) -> int:
        requests = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        path = "/socket.io/?EIO=4&transport=polling"
        with contextlib.closing(requests):
            requests.request("GET", path)
            sid = json.loads(requests.getresponse().read()[1:])["sid"]
            # The answer comes before the body is through, and the rest of it may find nobody.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                requests.request("POST", f"{path}&sid={sid}", body, {"Content-Type": "text/plain;charset=UTF-8"})
            return requests.getresponse().status

    def _foreign_origin(self) -> str:
        try:
            with self._client(origin=FOREIGN):
                raise RuntimeError("a foreign origin was let in")
        except InvalidStatus as refused:
            return f"a WebSocket of {FOREIGN} was refused with {refused.response.status_code}."

    def _counted(self) -> str:
        with self._client() as client:
            client.send('420["counts"]')
            answer = client.recv(PATIENCE)
        counts: dict[str, int] = json.loads(answer.removeprefix("430"))[0]
        wanted = ("connections_opened", "fault.ping_timeout", "fault.message_too_big", "fault.origin")
        if not all(counts.get(name) for name in wanted):
            raise RuntimeError(f"the observer has not counted what was done: {counts}")
        return f"it counted {', '.join(f'{name} {counts[name]}' for name in wanted)}."
