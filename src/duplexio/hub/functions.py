"""What kind of function a user gave."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["is_async", "require_plain"]


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    call = getattr(type(function), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def require_plain(function: Any, what: str) -> None:
    """Raises TypeError for an `async def` where the loop could not wait for it."""
    if is_async(function):
        raise TypeError(f"{what} must be a plain def: it is called on the event loop and cannot wait")
