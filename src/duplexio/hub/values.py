"""One rule between argument lists and Python values: none is `None`, one is itself, several are a tuple."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

__all__ = ["snapshot", "to_arguments", "to_value"]


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


def snapshot(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """A copy that later changes do not reach: of what is emitted in one thread, and sent in another."""
    memo: dict[int, Any] = {}
    _copy_views(arguments, memo)
    return tuple(copy.deepcopy(argument, memo) for argument in arguments)


def _copy_views(value: Any, memo: dict[int, Any]) -> None:
    """`deepcopy` cannot copy a view of a buffer; told what to take for it, it need not."""
    if isinstance(value, memoryview):
        memo[id(value)] = bytes(value)
    elif isinstance(value, dict):
        for item in value.values():
            _copy_views(item, memo)
    elif isinstance(value, list | tuple):
        for item in value:
            _copy_views(item, memo)
