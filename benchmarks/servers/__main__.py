"""Servers side by side: `python -m benchmarks.servers [--quick] [ROUNDS [ROW]]`, as `make bench` does.

ROW is a row's letter, a part of its title, or one of `main`, `further`, `workers` and `growth`. Prints a table in
Markdown; writes it to `artefacts/bench.md`, all measurements to `artefacts/bench.json`, the picture of the ratios to
`artefacts/bench.svg`, and that of growth to `artefacts/bench-growth.svg`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from . import generator
from .curves import draw_growth
from .peers import CERTIFICATES, PEERS, Peer, make_certificates, versions, workers_of
from .plot import draw
from .processes import ARTEFACTS, await_workers, cores, free_port, open_files, serving
from .report import Rounds, render
from .rows import FULL, QUICK, Row, rows
from .safeguards import Safeguards

ROUNDS = 3
#: Seconds between two measurements: a server ends what its clients have left.
BETWEEN = 0.15

Found = dict[str, dict[str, list[generator.Steps | None]]]
Missing = dict[str, dict[str, str]]


@contextlib.contextmanager
def started(peer: Peer, setting: str) -> Iterator[tuple[int, int]]:
    """A peer's server: its port and process."""
    port = free_port()
    environment = {"BENCHMARK_SETTING": setting, "BENCHMARK_CERTIFICATES": str(CERTIFICATES), **peer.environment}
    with serving(peer.command(str(port), setting), port, environment, cores()[0]) as pid:
        if workers_of(setting) > 1:
            await_workers(pid, workers_of(setting))
        yield port, pid


class Running:
    """The servers of a round: each is started when it is first asked for, and serves all rows of its setting."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._servers: dict[tuple[str, str], tuple[int, int]] = {}

    def measure(self, peer: Peer, row: Row) -> generator.Steps:
        server_core, generator_core = cores()
        core = server_core if row.one_core else generator_core
        if row.fresh:
            with started(peer, row.setting) as (port, pid):
                return generator.run(row.script, port, pid, core)
        key = (peer.name, row.setting)
        if key not in self._servers:
            self._servers[key] = self._stack.enter_context(started(peer, row.setting))
        return generator.run(row.script, *self._servers[key], core)


def watched(stack: contextlib.ExitStack) -> Safeguards:
    """The safeguards of a server that runs beside those that are measured."""
    # The server ends first, and with it the client that waits for it.
    pool = stack.enter_context(ThreadPoolExecutor(1))
    port, _ = stack.enter_context(started(PEERS[0], "plain"))
    return Safeguards(port, pool)


def run(chosen: Sequence[Row], count: int) -> tuple[Found, Missing]:
    """Every server once in a row, one right after the other, each round beginning with another one."""
    found: Found = {row.key: {} for row in chosen}
    missing: Missing = {row.key: {} for row in chosen}
    for row in chosen:
        for peer in PEERS:
            if row.part not in peer.parts:
                continue
            reason = peer.missing(row.setting, row.key)
            if reason is None and row.setting == "tls" and not generator.has_tls():
                reason = "the generator was built without OpenSSL"
            if reason is None:
                found[row.key][peer.name] = []
            else:
                missing[row.key][peer.name] = reason
    for number in range(count):
        first = number % len(PEERS)
        with contextlib.ExitStack() as stack:
            servers = Running(stack)
            for row in chosen:
                if row.once and number:
                    continue
                for peer in (*PEERS[first:], *PEERS[:first]):
                    if peer.name not in found[row.key]:
                        continue
                    try:
                        steps = servers.measure(peer, row)
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        print(f"{row.key}, {peer.name}: {error}", file=sys.stderr)
                        missing[row.key].setdefault(peer.name, str(error))
                        steps = None
                    found[row.key][peer.name].append(steps)
                    time.sleep(BETWEEN)
        print(f"round {number + 1} of {count}", file=sys.stderr)
    return found, missing


def conditions(rounds: Rounds, count: int, files: int) -> list[str]:
    """When, where and of what."""
    named = ", ".join(f"{name} {number}" for name, number in versions().items())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    places = "on one core" if cores() == (None, None) else "each on a core of its own"
    steps = [
        step
        for servers in rounds.values()
        for found in servers.values()
        for steps in filter(None, found)
        for step in steps.values()
    ]
    others = sum(step["others_cpu"] for step in steps) / sum(step["seconds"] for step in steps)
    return [
        f"{date.today()}; {processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()};"
        f" load {load} at the end. Other processes used {others:.2f} cores.",
        f"{named}.",
        f"Server and load generator ran {places}; a process may open {files:,} files.",
        "1 round." if count == 1 else f"{count} rounds; the median, and in brackets the least and the most of them.",
    ]


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def chosen_of(all_rows: Sequence[Row], part: str, quick: bool) -> list[Row]:
    if part:
        named = [row for row in all_rows if part in (row.key, row.part)]
        return named or [row for row in all_rows if part in row.title]
    return [row for row in all_rows if row.part == "main" or not quick]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers")
    parser.add_argument("rounds", nargs="?", type=int, help=f"{ROUNDS}, or 1 with --quick")
    parser.add_argument(
        "row", nargs="?", default="", help="a row's letter, a part of its title, or main, further, workers, growth"
    )
    parser.add_argument("--quick", action="store_true", help="the main rows, shorter")
    given = parser.parse_args(arguments)
    count = given.rounds or (1 if given.quick else ROUNDS)
    files = open_files()
    chosen = chosen_of(rows(QUICK if given.quick else FULL, files), given.row, given.quick)
    if not chosen:
        parser.error(f"no row is {given.row!r}")
    generator.build()
    make_certificates()
    guarded: list[str] = []
    on = True
    with contextlib.ExitStack() as stack:
        # What takes less time than a heartbeat's timeout is for trying things out.
        guards = watched(stack) if any(row.part == "main" for row in chosen) and len(chosen) > 1 else None
        found, missing = run(chosen, count)
        if guards is not None:
            guarded, on = guards.report()
    about = conditions(found, count, files)
    lines = "\n".join(["\n\n".join(about), "", *guarded, "", *render(chosen, found, missing)])
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "bench.md").write_text(lines + "\n", encoding="utf-8")
    for name, picture in (("bench.svg", draw(chosen, found)), ("bench-growth.svg", draw_growth(chosen, found))):
        if picture:
            (ARTEFACTS / name).write_text(picture + "\n", encoding="utf-8")
    raw = {"conditions": about, "safeguards": guarded, "missing": missing, "measured": found}
    (ARTEFACTS / "bench.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    print(lines)
    return 0 if on else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
