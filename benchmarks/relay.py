"""What a poll costs whose session is in another worker: `python benchmarks/relay.py [ROUNDS [REQUESTS]]`.

Two servers of one cluster have a port each. A client of the first posts an event and fetches the echo, over connections
that it keeps: to the first server's port, and to the second's, in turn. Prints the CPU of both servers for a round.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Seconds that a server has to begin in.
PATIENCE = 20.0
EVENT = '42["echo",{"id":12345,"name":"somebody","text":"hello there"}]'
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serving(cluster: str) -> Iterator[tuple[int, int]]:
    """A server of the cluster: its port and process."""
    port = free_port()
    command = [sys.executable, "-m", "duplexio", "run", "--port", str(port), "--cluster-id", cluster]
    command += ["--log-level", "warning", "benchmarks.servers.programs.ours:io"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                Client(port, port)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Client:
    """Opens its session at one port, and asks at another."""

    def __init__(self, home: int, port: int) -> None:
        opening = http.client.HTTPConnection("127.0.0.1", home, timeout=PATIENCE)
        opening.request("GET", "/socket.io/?EIO=4&transport=polling")
        sid = json.loads(opening.getresponse().read()[1:])["sid"]
        opening.close()
        self._path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
        self._posts = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._polls = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.post("40")
        self.poll()

    def post(self, packet: str) -> None:
        self._posts.request("POST", self._path, packet, {"Content-Type": "text/plain;charset=UTF-8"})
        answer = self._posts.getresponse().read()
        assert answer == b"ok", answer

    def poll(self) -> bytes:
        self._polls.request("GET", self._path)
        return self._polls.getresponse().read()

    def round(self) -> None:
        self.post(EVENT)
        answer = self.poll()
        # A ping may be in it.
        assert b"echo" in answer or b"2" in answer, answer


def cpu(pids: list[int]) -> float:
    """Seconds that these processes have used."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICKS


def main(rounds: int = 5, requests: int = 3000) -> None:
    with ExitStack() as stack:
        cluster = secrets.token_hex(8)
        (home, first), (other, second) = [stack.enter_context(serving(cluster)) for _ in range(2)]
        costs: dict[str, list[float]] = {"here": [], "elsewhere": []}
        for _ in range(rounds):
            for where, port in (("here", home), ("elsewhere", other)):
                client = Client(home, port)
                before = cpu([first, second])
                for _ in range(requests):
                    client.round()
                costs[where].append((cpu([first, second]) - before) / requests * 1e6)
    print("| the session is | us of CPU for a POST and a GET, both servers |")
    print("| --- | ---: |")
    for where, found in costs.items():
        print(f"| {where} | **{statistics.median(found):.0f}** ({min(found):.0f}-{max(found):.0f}) |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
