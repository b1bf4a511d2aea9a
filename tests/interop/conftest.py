"""Prints the table after the tests, and what could not be run for want of its tools."""

from __future__ import annotations

import pytest

from .clients import CLIENTS, Client
from .report import missing_lines, render, without_tools
from .runs import Result

RESULTS = pytest.StashKey[dict[tuple[Client, str], dict[str, Result]]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results = terminalreporter.config.stash.get(RESULTS, {})
    if not results:
        return
    terminalreporter.section("clients of other makers")
    missing = without_tools([client for client in CLIENTS if client.in_suite])
    for line in [*render(results), *missing_lines(missing)]:
        terminalreporter.write_line(line)
