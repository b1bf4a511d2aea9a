from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.engine.loops import LOOPS


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Runs a test's coroutine on each loop."""
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as running:
        yield running
