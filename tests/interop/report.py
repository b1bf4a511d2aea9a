"""The results as a table: checks as rows, clients and transports as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .clients import CHECKS, CLIENTS, Client
from .runs import Result

Results = Mapping[tuple[Client, str], Mapping[str, Result]]

_WIDTH = 11


def render(results: Results) -> list[str]:
    runs = list(results)
    width = max(map(len, CHECKS)) + 2
    lines = []
    for number, client in enumerate(dict.fromkeys(client for client, _ in runs), start=1):
        lines.append(f"{number}: {client.library}, Socket.IO protocol {client.protocol}")
    numbers = {client: number for number, client in enumerate(dict.fromkeys(client for client, _ in runs), start=1)}
    heads = [f"{numbers[client]} {transport}" for client, transport in runs]
    lines += ["", " " * width + "".join(f"{head:<{_WIDTH + 1}}" for head in heads)]
    for check in CHECKS:
        verdicts = [results[run][check].verdict if check in results[run] else "" for run in runs]
        lines.append(f"{check:<{width}}" + "".join(f"{verdict:<{_WIDTH + 1}}" for verdict in verdicts))
    for verdict in ("cannot", "FAILED"):
        lines += [
            f"{verdict} {client.name}, {transport}: {check}: {result.error}"
            for (client, transport), checks in results.items()
            for check, result in checks.items()
            if result.verdict == verdict
        ]
    return [line.rstrip() for line in lines]


def without_tools(clients: Sequence[Client] = CLIENTS) -> list[Client]:
    return [client for client in clients if client.missing()]


def missing_lines(clients: Sequence[Client]) -> list[str]:
    """How many clients cannot be built here, and why."""
    lines = [f"NOT RUN {client.name}: {' and '.join(client.missing())} not installed" for client in clients]
    return [*lines, f"{len(clients)} without toolchain"] if clients else []
