"""How connections are spread over the workers of a port, and what taking one costs: `python -m benchmarks.accepting`.

Four workers of `duplexio run`. Connections come at once, one by one, and behind the death of a worker; when all stand,
each of them asks who has it. The cost is that of a request on a connection of its own, which is closed behind it.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import statistics
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .servers.processes import free_port, open_files, process_tree, serving

WORKERS = 4
#: Seconds that a worker has for its answer.
PATIENCE = 20.0
#: Seconds for a worker that is started anew.
RETURN = 3.0
REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
LAST_REQUEST = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
#: Closing does not leave a port of the client's behind.
NO_LINGER = struct.pack("ii", 1, 0)


def connected(port: int, count: int, gap: float) -> list[socket.socket]:
    """Connections on which nothing is said yet; `gap`: seconds between two, 0.0: they do not wait for each other."""
    found = []
    for _ in range(count):
        connection = socket.socket()
        found.append(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection.connect(("127.0.0.1", port))
        time.sleep(gap)
    return found


def owners(connections: list[socket.socket]) -> dict[int, int]:
    """How many each worker has; those of one that was killed are left out."""
    found: collections.Counter[int] = collections.Counter()
    for connection in connections:
        connection.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            connection.sendall(REQUEST)
            with connection.makefile("rb") as file:
                answer = file.read()
            if answer:
                found[json.loads(answer.partition(b"\r\n\r\n")[2])["pid"]] += 1
    for connection in connections:
        connection.close()
    return found


def shares(found: dict[int, int]) -> str:
    return " / ".join(map(str, sorted((*found.values(), *[0] * (WORKERS - len(found))))))


def behind_a_death(port: int, supervisor: int) -> str:
    """Two hundred connections; a worker is killed, and a hundred more come when another is there."""
    first = connected(port, 200, 0.0)
    time.sleep(0.5)
    before = set(process_tree(supervisor))
    os.kill(max(before), signal.SIGKILL)
    time.sleep(RETURN)
    found = owners([*first, *connected(port, 100, 0.01)])
    new = [count for pid, count in found.items() if pid not in before]
    return f"the new one {sum(new)}, the others {shares({pid: n for pid, n in found.items() if pid in before})[4:]}"


def requests(port: int, count: int, at_once: int) -> float:
    """Requests per second."""
    poll, open_ones, begun, done = select.epoll(), dict[int, socket.socket](), 0, 0
    start = time.perf_counter()
    while done < count:
        while begun < count and len(open_ones) < at_once:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            connection.sendall(LAST_REQUEST)
            open_ones[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
            begun += 1
        for descriptor, _ in poll.poll(PATIENCE):
            connection = open_ones.pop(descriptor)
            connection.recv(65_536)
            connection.close()
            done += 1
    return count / (time.perf_counter() - start)


def cpu(supervisor: int) -> float:
    """Seconds that all of them have used."""
    return (
        sum(int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) for pid in process_tree(supervisor)) / 1e9
    )


def spread(found: list[float]) -> str:
    return f"{statistics.median(found):.0f} ({min(found):.0f}-{max(found):.0f})"


@contextlib.contextmanager
def workers() -> Iterator[tuple[int, int]]:
    port = free_port()
    options = ["--port", str(port), "--workers", str(WORKERS), "--log-level", "warning"]
    command = [sys.executable, "-m", "duplexio", "run", *options, "benchmarks.servers.programs.ours:io"]
    with serving(command, port, {"DUPLEXIO_CLUSTER_ID": secrets.token_hex(8)}, None) as supervisor:
        time.sleep(RETURN)
        yield port, supervisor


def main(rounds: int = 3, count: int = 3000) -> None:
    open_files()
    with workers() as (port, supervisor):
        for text, number, gap in (
            ("100 at once", 100, 0.0),
            ("1,000 at once", 1000, 0.0),
            ("400, one each 20 ms", 400, 0.02),
        ):
            print(
                text, *(shares(owners(connected(port, number, gap))) for _ in range(rounds if not gap else 1)), sep=": "
            )
        for at_once in 1, 16, 128:
            rates, costs = [], []
            for _ in range(rounds):
                before = cpu(supervisor)
                rates.append(requests(port, count, at_once))
                costs.append((cpu(supervisor) - before) / count * 1e6)
            print(f"{at_once} at a time: {spread(rates)} connections/s, {spread(costs)} us of CPU")
        print("a worker was killed, 100 more came:", behind_a_death(port, supervisor))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
