"""Waiting for what others do, so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LIMIT = 10.0


async def until(true: Callable[[], object], limit: float = LIMIT) -> None:
    """Waits for a condition; `limit` in seconds of the loop's clock."""
    async with asyncio.timeout(limit):
        while not true():  # noqa: ASYNC110 - whoever makes it true knows of no event
            await asyncio.sleep(0.001)
