"""Prints the matrix after the tests, and keeps it as a file when it is whole."""

from __future__ import annotations

import pytest

from .matrix import Behaviour, Cell, Result, artefacts, is_complete, render

RESULTS = pytest.StashKey[tuple[tuple[Behaviour, ...], dict[Cell, dict[str, Result]]]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    table, results = terminalreporter.config.stash.get(RESULTS, ((), {}))
    if not results:
        return
    lines = render(table, results)
    terminalreporter.section("behaviours")
    for line in lines:
        terminalreporter.write_line(line)
    if is_complete(table, results):
        folder = artefacts()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "matrix.txt").write_text("\n".join(lines) + "\n")
