"""Values as one line of ASCII that `parsers.mjs` writes to the byte the same for the same value in JavaScript."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import struct
from collections.abc import Sequence
from operator import itemgetter

__all__ = ["UNDEFINED", "canonical"]


class _Undefined:
    """What JavaScript has in place of a field that is not there."""


UNDEFINED = _Undefined()

# JavaScript counts exactly below it: what is larger is written as the bits of its double.
_EXACT = 2**53
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class _Token(str):
    """Text that is written as it is."""


_COMMA, _LIST_ENDS, _OBJECT_ENDS = _Token(","), _Token("]"), _Token("}")


def canonical(value: object) -> str:
    """Keys sorted, numbers as JavaScript has them, bytes marked. Decoders nest deeper than recursion goes."""
    written: list[str] = []
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Token):
            written.append(item)
        elif isinstance(item, dict):
            written.append("{")
            fields = sorted({_key(key): member for key, member in item.items()}.items(), key=itemgetter(0))
            waiting += _reversed_members([(_Token(key + ":"), member) for key, member in fields], _OBJECT_ENDS)
        elif isinstance(item, list | tuple):
            written.append("[")
            waiting += _reversed_members([(member,) for member in item], _LIST_ENDS)
        else:
            written.append(_scalar(item))
    return "".join(written)


def _reversed_members(members: Sequence[tuple[object, ...]], end: _Token) -> list[object]:
    waiting: list[object] = []
    for member in members:
        if waiting:
            waiting.append(_COMMA)
        waiting += member
    waiting.append(end)
    waiting.reverse()
    return waiting


def _key(key: object) -> str:
    """JavaScript's keys are texts."""
    if isinstance(key, str):
        return json.dumps(key)
    if isinstance(key, bytes):
        return json.dumps(key.decode(errors="replace"))
    return json.dumps(_decimal(key) if isinstance(key, int | float) and not isinstance(key, bool) else _scalar(key))


def _decimal(value: int | float) -> str:
    """A number as JavaScript writes it."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    number = decimal.Decimal(repr(float(value))).normalize()
    if value == 0 or 1e-7 < abs(value) < 1e21:
        return format(abs(number) if value == 0 else number, "f")
    return re.sub(r"E([+-])0*", r"e\1", f"{number:E}")


def _scalar(item: object) -> str:
    if isinstance(item, str):
        return json.dumps(item)
    if item is UNDEFINED:
        return "undefined"
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return _number(item)
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{bytes(item).hex()}>"
    if isinstance(item, datetime.datetime):
        return f"@{(item - _EPOCH) // _MILLISECOND}"
    raise TypeError(f"no canonical form for {type(item).__qualname__}")


def _number(value: int | float) -> str:
    if -_EXACT < value < _EXACT and value == int(value) and (value or math.copysign(1, value) > 0):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    return "#" + struct.pack(">d", value).hex()
