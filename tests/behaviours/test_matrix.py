"""Every behaviour in every cell: clients, transports, hostings, parsers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

import pytest

from .conftest import RESULTS
from .matrix import CELLS, Behaviour, Cell, Matrix, is_complete, read_table
from .struck import STRUCK

TABLE = read_table()
RUNS = [(cell, behaviour) for cell, behaviour in itertools.product(CELLS, TABLE) if not cell.struck(behaviour.name)]


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Iterator[Matrix]:
    """Runs what was selected, and nothing else."""
    wanted: defaultdict[Cell, list[str]] = defaultdict(list)
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if item.name.startswith("test_behaviour["):
            wanted[parameters["cell"]].append(parameters["behaviour"].name)
    matrix = Matrix(dict(wanted))
    yield matrix
    request.config.stash[RESULTS] = (TABLE, matrix.finished())
    matrix.close()


@pytest.mark.parametrize(
    ("cell", "behaviour"),
    [pytest.param(cell, behaviour, id=f"{cell}-{behaviour.name}") for cell, behaviour in RUNS],
)
def test_behaviour(matrix: Matrix, cell: Cell, behaviour: Behaviour) -> None:
    results = matrix.results(cell)
    assert behaviour.name in results, "it did not run"
    result = results[behaviour.name]
    assert result.ok, result.error


def test_every_cell_ran(matrix: Matrix, request: pytest.FixtureRequest) -> None:
    """Nothing is skipped; of what was selected, where only a part was."""
    assert len(TABLE) >= 90
    assert len({behaviour.name for behaviour in TABLE}) == len(TABLE)
    selected = [item for item in request.session.items if item.name.startswith("test_behaviour[")]
    if len(selected) == len(RUNS):
        assert is_complete(TABLE, {cell: matrix.results(cell) for cell in CELLS})


def test_what_is_struck_is_there() -> None:
    """Each strike is of behaviours that exist, and of some cell."""
    for strike in STRUCK:
        for name in strike.behaviours:
            assert name in {behaviour.name for behaviour in TABLE}
            assert any(cell.struck(name) == strike.reason for cell in CELLS)
    assert len(RUNS) > len(CELLS) * len(TABLE) * 0.95
