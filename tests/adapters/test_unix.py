"""The bus between workers of one host, on both loops."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from duplexio.adapters.unix import UnixBus
from duplexio.testing import ADAPTER_CHECKS, BUS_CHECKS


@pytest.mark.parametrize("name", BUS_CHECKS)
def test_the_contract(name: str, tmp_path: Path, runner: asyncio.Runner) -> None:
    _run(BUS_CHECKS[name], tmp_path / "run", runner)


@pytest.mark.parametrize("name", ADAPTER_CHECKS)
def test_the_contract_of_a_cluster(name: str, tmp_path: Path, runner: asyncio.Runner) -> None:
    _run(ADAPTER_CHECKS[name], tmp_path / "run", runner)


def _run(check: object, directory: Path, runner: asyncio.Runner) -> None:
    runner.run(check(lambda: UnixBus(directory)))  # type: ignore[operator]
    assert list(directory.iterdir()) == [], "who closes takes its socket away"
