"""What a poll costs whose session is in another worker: `python -m benchmarks.relay [ROUNDS [REQUESTS]]`.

Two servers of one cluster have a port each. A client of the first posts an event and fetches the echo, over connections
that it keeps: to the first server's port, and to the second's, in turn. Prints the CPU of both servers for a round.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

from .servers.processes import PATIENCE, free_port, serving

EVENT = '42["echo",{"id":12345,"name":"somebody","text":"hello there"}]'
TICKS = os.sysconf("SC_CLK_TCK")


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


def command(cluster: str, port: int) -> list[str]:
    """What starts a server of the cluster."""
    options = ["--port", str(port), "--cluster-id", cluster, "--log-level", "warning"]
    return [sys.executable, "-m", "duplexio", "run", *options, "benchmarks.servers.programs.ours:io"]


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
        home, other = free_port(), free_port()
        first, second = [stack.enter_context(serving(command(cluster, port), port, {}, None)) for port in (home, other)]
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
