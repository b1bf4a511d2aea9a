"""What kind of function a user gave."""

from __future__ import annotations

import inspect
from typing import Any

from duplexio.errors import ConfigurationError

__all__ = ["is_async", "require_arguments", "require_plain"]


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    call = getattr(type(function), "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def require_plain(function: Any, what: str) -> None:
    """Raises TypeError for an `async def` where the loop could not wait for it."""
    if is_async(function):
        raise TypeError(f"{what} must be a plain def: it is called on the event loop and cannot wait")


def require_arguments(function: Any, count: int, what: str) -> None:
    """Raises ConfigurationError for what cannot be called with so many arguments by position."""
    name = getattr(function, "__qualname__", repr(function))
    if not callable(function):
        raise ConfigurationError(f"it must be a function, not {name}: {what}")
    try:
        inspect.signature(function).bind(*[None] * count)
    except ValueError:
        # A function of C that tells nothing of its arguments.
        return
    except TypeError as error:
        raise ConfigurationError(f"{name} cannot be called ({error}): {what}") from None
