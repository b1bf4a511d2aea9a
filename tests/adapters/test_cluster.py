"""Several servers on one bus in memory are one."""

from __future__ import annotations

import pytest

from duplexio.testing import ADAPTER_CHECKS, MemoryCluster


@pytest.mark.parametrize("name", ADAPTER_CHECKS)
async def test_the_contract(name: str) -> None:
    await ADAPTER_CHECKS[name](MemoryCluster().bus)
