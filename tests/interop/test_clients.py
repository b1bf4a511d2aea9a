"""The clients that are quick to build, over each of their transports. `make interop` runs the others, too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from .clients import CHECKS, CLIENTS, ROOT, TRANSPORTS, Client
from .conftest import RESULTS
from .run import AT_ONCE
from .runs import Result, run

HERE = [client for client in CLIENTS if client.in_suite and not client.missing()]
CELLS = [(client, transport) for client in HERE for transport in TRANSPORTS]
CAN = [(*cell, check) for cell in CELLS for check in CHECKS if cell[0].limit(check, cell[1]) is None]
CANNOT = [(*cell, check) for cell in CELLS for check in CHECKS if cell[0].limit(check, cell[1]) is not None]

Cell = tuple[Client, str]


class Runs:
    """Each runs when the first of its checks is asked for, together with the next one that is selected."""

    def __init__(self, cells: list[Cell]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._runs: dict[Cell, Future[dict[str, Result]]] = {cell: self._pool.submit(run, *cell) for cell in cells}

    def result(self, cell: Cell, check: str) -> Result:
        return self._runs[cell].result()[check]

    def close(self) -> dict[Cell, dict[str, Result]]:
        self._pool.shutdown(cancel_futures=True)
        done = {cell: future for cell, future in self._runs.items() if not future.cancelled()}
        return {cell: future.result() for cell, future in done.items() if future.exception() is None}


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Of what was selected, and of nothing else."""
    selected: list[dict[str, Any]] = [
        dict(item.callspec.params)
        for item in request.session.items
        if isinstance(item, pytest.Function) and "runs" in item.fixturenames
    ]
    cells: list[Cell] = [(parameters["client"], parameters["transport"]) for parameters in selected]
    runs = Runs(list(dict.fromkeys(cells)))
    yield runs
    request.config.stash[RESULTS] = runs.close()


def _each(cells: list[tuple[Client, str, str]]) -> pytest.MarkDecorator:
    ids = [f"{client.name}-{transport}-{check}".replace(" ", "-") for client, transport, check in cells]
    return pytest.mark.parametrize(("client", "transport", "check"), cells, ids=ids)


# A run has a limit of its own, and the first check of one may wait for others in front of it.
@pytest.mark.timeout(600)
@_each(CAN)
def test_check(runs: Runs, client: Client, transport: str, check: str) -> None:
    result = runs.result((client, transport), check)
    assert result.verdict == "ok", result.error


@pytest.mark.timeout(600)
@_each(CANNOT)
def test_limit_of_the_client(runs: Runs, client: Client, transport: str, check: str) -> None:
    """What a client's own code is in the way of fails just so; what it loses in a race may pass."""
    result = runs.result((client, transport), check)
    limit = client.limit(check, transport)
    assert limit is not None
    assert result.verdict == "cannot" or (limit.sometimes and result.verdict == "ok"), result.error


def test_the_page_names_each_client_and_version() -> None:
    page = (ROOT / "docs" / "reference" / "clients.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    for client in CLIENTS:
        makers_name, version = client.library.split(",")[0].rsplit(" ", 1)
        assert any(f"`{makers_name}`" in row and f"| {version} | {client.protocol} |" in row for row in rows), (
            client.name
        )


def test_the_table_names_what_there_is() -> None:
    for client in CLIENTS:
        assert set(client.cannot) <= set(CHECKS)
    assert {client.protocol for client in HERE} == {4, 5}
