"""Runs the table of behaviours in every cell: a server process and a Node process for each."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.hosting.processes import free_port

from .others import APPLICATIONS, COMMANDS, ENVIRONMENT, PACE, serving
from .struck import reason_to_strike

HERE = Path(__file__).parent
RUN = HERE / "run.mjs"

# Cells which run at the same time. Each keeps a server and a client process busy, and some behaviours are about time.
AT_ONCE = 2
CELL_SECONDS = 240.0
#: Hostings that `workers.py` knows.
WORKERS = ("workers", "uvicorn-workers")


@dataclass(frozen=True)
class Cell:
    client: str
    transport: str
    hosting: str
    parser: str = "json"

    def struck(self, behaviour: str) -> str:
        """Why it is not run here; "" where it is."""
        return reason_to_strike(behaviour, self.client, self.transport, self.hosting, self.parser)

    def __str__(self) -> str:
        return f"client{self.client}-{self.transport}-{self.hosting}-{self.parser}"


@dataclass(frozen=True)
class Behaviour:
    name: str
    subject: str


@dataclass(frozen=True)
class Result:
    ok: bool
    ms: int
    error: str | None


#: Hosting and parser: how packets are written makes no difference to how they travel.
WAYS = (("fast", "json"), ("asgi", "json"), ("fast", "msgpack"))
TRANSPORTS = ("polling", "websocket", "upgrade")
CELLS = (
    *(Cell(client, transport, *way) for way, client, transport in itertools.product(WAYS, ("4", "3", "2"), TRANSPORTS)),
    # Where uvloop is not installed.
    *(Cell("4", transport, "asyncio") for transport in TRANSPORTS),
    *(Cell("4", transport, hosting) for hosting, transport in APPLICATIONS),
    # Four processes as one server, and a client that meets any of them.
    *(Cell(client, transport, "workers") for client, transport in itertools.product(("4", "3", "2"), TRANSPORTS)),
    *(Cell("4", transport, "uvicorn-workers") for transport in TRANSPORTS),
)


def read_table() -> tuple[Behaviour, ...]:
    """The behaviours in the order of the table."""
    if not (HERE.parent / "node" / "node_modules").is_dir():
        raise RuntimeError("the JavaScript clients are missing: run `npm ci` in tests/node")
    listed = subprocess.run(["node", RUN, "--list"], capture_output=True, text=True, check=True)
    return tuple(Behaviour(**json.loads(line)) for line in listed.stdout.splitlines())


class Matrix:
    """The results, cell by cell; a cell runs when it is first asked for."""

    def __init__(self, wanted: dict[Cell, Collection[str]]) -> None:
        """Run in each cell the behaviours of these names."""
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._runs: dict[Cell, Future[dict[str, Result]]] = {
            cell: self._pool.submit(run_cell, cell, names) for cell, names in wanted.items()
        }

    def results(self, cell: Cell) -> dict[str, Result]:
        """What came out in this cell, once it has run."""
        return self._runs[cell].result()

    def finished(self) -> dict[Cell, dict[str, Result]]:
        """The cells that ran to their end."""
        return {
            cell: run.result()
            for cell, run in self._runs.items()
            if run.done() and not run.cancelled() and run.exception() is None
        }

    def close(self) -> None:
        """Wait for what runs; what has not begun never will."""
        self._pool.shutdown(cancel_futures=True)


def run_cell(cell: Cell, names: Collection[str]) -> dict[str, Result]:
    """One server, one client process, every behaviour of these names."""
    with tempfile.TemporaryFile("w+") as log, _serving(cell, log) as server:
        command = ["node", str(RUN), "--client", cell.client, "--transport", cell.transport]
        command += ["--parser", cell.parser, "--hosting", cell.hosting, "--server", server, "--only", ",".join(names)]
        if cell.hosting in COMMANDS:
            command += PACE
        finished = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, timeout=CELL_SECONDS
        )
        if finished.returncode != 0:
            raise RuntimeError(f"{cell}: the driver ended with {finished.returncode}\n{_tail(log)}")
    records = [json.loads(line) for line in finished.stdout.splitlines()]
    return {record["name"]: Result(record["ok"], record["ms"], record["error"]) for record in records}


def _serving(cell: Cell, log: IO[str]) -> AbstractContextManager[str]:
    return serving(cell.hosting, cell.transport, log) if cell.hosting in COMMANDS else _server(cell, log)


@contextmanager
def _server(cell: Cell, log: IO[str]) -> Iterator[str]:
    """The server process, and the line which it printed."""
    arguments = [f"{HERE.name}.server", cell.hosting, cell.parser]
    if cell.hosting in WORKERS:
        arguments = [f"{HERE.name}.workers", cell.hosting, cell.parser, str(free_port())]
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            process.wait(10)
            raise RuntimeError(f"the server of {cell} did not start\n{_tail(log)}")
        yield line
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _tail(log: IO[str]) -> str:
    log.flush()
    log.seek(0)
    return "".join(log.readlines()[-30:])


def render(table: tuple[Behaviour, ...], results: dict[Cell, dict[str, Result]]) -> list[str]:
    """Behaviours as rows, cells as columns; failures and their reasons below."""
    cells = [cell for cell in CELLS if cell in results]
    table = tuple(behaviour for behaviour in table if any(behaviour.name in results[cell] for cell in cells))
    width = max(len(behaviour.name) for behaviour in table) + 2
    heads = [(cell.parser, f"{cell.hosting} {cell.client}", cell.transport) for cell in cells]
    columns = [max(map(len, head)) + 2 for head in heads]
    lines = [" " * width + _row(words, columns) for words in zip(*heads, strict=True)]
    for subject, rows in itertools.groupby(table, key=lambda behaviour: behaviour.subject):
        lines += ["", subject]
        for row in rows:
            marks = [_mark(cell, row.name, results[cell]) for cell in cells]
            lines.append(f"{row.name:<{width}}{_row(marks, columns)}")
    ran = [(cell, name, result) for cell in cells for name, result in results[cell].items()]
    failed = [(cell, name, result) for cell, name, result in ran if not result.ok]
    struck = [(cell, row.name, cell.struck(row.name)) for row in table for cell in cells if cell.struck(row.name)]
    lines += ["", f"{len(ran) - len(failed)} of {len(ran)} passed in {len(cells)} cells, {len(struck)} struck"]
    for (name, reason), cells_of_it in itertools.groupby(sorted(struck, key=_by_reason), key=_by_reason):
        where = ", ".join(sorted({_where(cell) for cell, _, _ in cells_of_it}))
        lines.append(f"struck {name} ({where}): {reason}")
    lines += [f"FAILED {cell}-{name}: {' '.join((result.error or '').split())}" for cell, name, result in failed]
    return [line.rstrip() for line in lines]


def _row(words: Iterable[str], widths: list[int]) -> str:
    return "".join(f"{word:<{width}}" for word, width in zip(words, widths, strict=True))


def _by_reason(struck: tuple[Cell, str, str]) -> tuple[str, str]:
    return struck[1:]


def _where(cell: Cell) -> str:
    return f"{cell.hosting} {cell.client} {cell.parser}"


def _mark(cell: Cell, name: str, results: dict[str, Result]) -> str:
    result = results.get(name)
    if result is None:
        return "-" if cell.struck(name) else ""
    return "ok" if result.ok else "FAILED"


def artefacts() -> Path:
    """Where the rendered matrix is kept."""
    return Path(os.environ.get("DUPLEXIO_ARTEFACTS") or HERE.parent.parent / "artefacts")


def is_complete(table: tuple[Behaviour, ...], results: dict[Cell, dict[str, Any]]) -> bool:
    """Every behaviour ran in every cell in which it is not struck."""
    names = {behaviour.name for behaviour in table}
    return all(set(results.get(cell, ())) == {name for name in names if not cell.struck(name)} for cell in CELLS)
