"""One rule between argument lists and Python values: none is `None`, one is itself, several are a tuple."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["to_arguments", "to_value"]


def to_arguments(value: Any) -> list[Any]:
    """The arguments that a returned value stands for. A list is one argument; `(None,)` is one that is null."""
    if value is None:
        return []
    if type(value) is tuple:
        return list(value)
    return [value]


def to_value(arguments: Sequence[Any]) -> Any:
    """The value that stands for these arguments."""
    if not arguments:
        return None
    return arguments[0] if len(arguments) == 1 else tuple(arguments)
