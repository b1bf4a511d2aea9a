"""Clients side by side: `python -m benchmarks.client [ROUNDS [PART OF A ROW'S NAME]]`, as `make bench-client` does.

Prints a table in Markdown, and writes it with all measurements to `artefacts/bench-client.md` and `.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from .meter import Measured, Plan
from .report import Rounds, render
from .scenarios import CLIENTS, ROOT, SCENARIOS, SERVERS, Scenario, missing

ROUNDS = 5
#: Seconds and events of one measurement.
WARM_UP, SECONDS, MOST = 0.5, 0.8, 100_000
#: Seconds that a process has to start or to end in.
PATIENCE = 30.0
ARTEFACTS = ROOT / "artefacts"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def await_server(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen")


@contextlib.contextmanager
def servers(names: set[str]) -> Iterator[dict[str, str]]:
    """The servers' URLs. One process of each for all measurements."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for name in sorted(names):
            (program, more), port = SERVERS[name], free_port()
            process = stack.enter_context(subprocess.Popen([*program, str(port), *more], cwd=ROOT))
            stack.callback(process.terminate)
            await_server(port, process)
            urls[name] = f"http://127.0.0.1:{port}"
        yield urls


def measure(client: str, scenario: Scenario, url: str) -> Measured:
    """One client, in a process of its own."""
    plan: Plan = {
        "url": url,
        "transport": scenario.transport,
        "window": scenario.window,
        "event": scenario.event,
        "payload": scenario.payload,
        "binary": scenario.binary,
        "warm_up": WARM_UP,
        "seconds": SECONDS,
        "most": MOST,
    }
    program, more = CLIENTS[client]
    command = [*program, json.dumps(plan), *more]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    measured: Measured = json.loads(ended.stdout)
    return measured


def run(scenarios: list[Scenario], rounds: int) -> Rounds:
    """Every client once in a round, in turn, each round beginning with another one."""
    found: Rounds = {scenario.name: {client: [] for client in CLIENTS} for scenario in scenarios}
    names = list(CLIENTS)
    with servers({scenario.server for scenario in scenarios}) as urls:
        for number in range(rounds):
            first = number % len(names)
            for scenario in scenarios:
                for client in (*names[first:], *names[:first]):
                    found[scenario.name][client].append(measure(client, scenario, urls[scenario.server]))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def conditions(rounds: Rounds, count: int) -> list[str]:
    """When, where and of what."""
    versions: dict[str, set[str]] = {}
    for clients in rounds.values():
        for measurements in clients.values():
            for measured in measurements:
                for name, version in measured["versions"].items():
                    versions.setdefault(name, set()).add(version)
    named = ", ".join(f"{name} {' and '.join(sorted(found))}" for name, found in versions.items())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        f"{date.today()}; {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()};"
        f" load {load} at the end.",
        f"{named}.",
        f"{count} rounds; the median, and in brackets the least and the most of them.",
    ]


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def main(arguments: list[str]) -> None:
    count = int(arguments[0]) if arguments else ROUNDS
    part = arguments[1] if len(arguments) > 1 else ""
    scenarios = []
    for scenario in SCENARIOS:
        lacks = missing(scenario)
        if lacks is not None:
            print(f"{scenario.name}: not measured, {lacks}", file=sys.stderr)
        elif part in scenario.name:
            scenarios.append(scenario)
    rounds = run(scenarios, count)
    about = conditions(rounds, count)
    text = "\n".join([*about, "", *render(rounds)])
    print(text)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "bench-client.md").write_text(text + "\n", encoding="utf-8")
    raw = json.dumps({"conditions": about, "measured": rounds}, indent=1)
    (ARTEFACTS / "bench-client.json").write_text(raw + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
