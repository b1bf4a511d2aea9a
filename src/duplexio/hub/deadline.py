"""Waiting no longer than one may, and saying what for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["in_time"]

T = TypeVar("T")


async def in_time(awaited: Awaitable[T], timeout: float | None, late: Callable[[], TimeoutError]) -> T:
    """What it gives; after `timeout` seconds, raises what `late` gives: asyncio's own error says nothing."""
    try:
        async with asyncio.timeout(timeout) as waiting:
            return await awaited
    except TimeoutError:
        if not waiting.expired():
            raise
        raise late() from None
