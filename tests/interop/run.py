"""Every client over each of its transports: ``python -m tests.interop.run [NAME ...]``, as `make interop` does.

Names, or parts of them, choose among the clients.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from .clients import CLIENTS, TRANSPORTS
from .report import missing_lines, render, without_tools
from .runs import run

#: Mostly they wait: for heartbeats, and for what never comes. More would keep two cores too busy for heartbeats.
AT_ONCE = 4


def main(parts: list[str]) -> int:
    chosen = [client for client in CLIENTS if not parts or any(part in client.name for part in parts)]
    missing = without_tools(chosen)
    cells = [(client, transport) for client in chosen if client not in missing for transport in TRANSPORTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(cells, pool.map(lambda cell: run(*cell), cells), strict=True))
    print("\n".join([*(render(results) if results else []), *missing_lines(missing)]))
    verdicts = [result.verdict for checks in results.values() for result in checks.values()]
    cannot = verdicts.count("cannot")
    if cannot:
        print(f"{cannot} checks are beyond what these clients can do, for the reasons above")
    passed, failed = verdicts.count("ok"), verdicts.count("FAILED")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
