"""What kind of function a user gave."""

from __future__ import annotations

import inspect
from typing import Any

from duplexio.errors import ConfigurationError

__all__ = ["UNBOUNDED", "is_async", "positional_range", "require_arguments", "require_plain"]

#: More arguments than any event has.
UNBOUNDED = 1 << 30


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


def positional_range(function: Any, what: str) -> tuple[int, int]:
    """The fewest and the most arguments that it can be called with by position.

    Raises ConfigurationError for what needs others.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        # A function of C that tells nothing of its arguments.
        return 0, UNBOUNDED
    least = most = 0
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = UNBOUNDED
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            name = getattr(function, "__qualname__", repr(function))
            raise ConfigurationError(f"{name} needs {parameter.name!r} by name: {what}")
    return least, most
