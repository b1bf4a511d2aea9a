"""MessagePack as JavaScript clients write it, decoded to the letter: slowly, where the fast decoder cannot tell.

A table of what each first byte means. https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import datetime
import math
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["DATE", "FIXED_LENGTHS", "decode"]

#: A date's milliseconds since 1970.
DATE = struct.Struct(">q")
#: Of the data of a fixext; an ext may be as long.
FIXED_LENGTHS = frozenset((1, 2, 4, 8, 16))
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

_LENGTHS = {1: struct.Struct(">B"), 2: struct.Struct(">H"), 4: struct.Struct(">I")}
_SIGNED = struct.Struct(">b")
_TOO_SHORT = "it ends in the middle of a value"
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}


def decode(data: bytes) -> Any:
    """The value. Raises ValueError for what is none, RecursionError for too deep a nesting."""
    reader = _Reader(data)
    value = reader.value()
    if reader.position != len(data):
        raise ValueError(f"{len(data) - reader.position} bytes behind the value")
    return value


def _date_of(data: bytes) -> datetime.datetime | int:
    """A JavaScript date; outside the years 1 to 9999, which Python counts, its milliseconds."""
    milliseconds: int = DATE.unpack(data)[0]
    try:
        return _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return milliseconds


class _Reader:
    __slots__ = ("_data", "position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def value(self) -> Any:
        position = self.position
        try:
            first = self._data[position]
        except IndexError:
            raise ValueError(_TOO_SHORT) from None
        self.position = position + 1
        if first < 0x80:
            return first
        if first > 0xDF:
            return first - 0x100
        if first < 0xC0:
            kind, length = _FIX[first >> 4], first & (0x1F if first >= 0xA0 else 0x0F)
            return kind(self, length)
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            return self._number(_NUMBERS[first])
        if first in _FIXEXT:
            return self._fixext(_FIXEXT[first])
        if first in _SIZED:
            kind, width = _SIZED[first]
            return kind(self, self._number(_LENGTHS[width]))
        raise ValueError(f"0x{first:02x} begins nothing")

    def _take(self, count: int) -> bytes:
        taken = self._data[self.position : self.position + count]
        if len(taken) < count:
            raise ValueError(_TOO_SHORT)
        self.position += count
        return taken

    def _number(self, form: struct.Struct) -> Any:
        return form.unpack(self._take(form.size))[0]

    def map(self, length: int) -> dict[str | bytes, Any]:
        found: dict[str | bytes, Any] = {}
        for _ in range(length):
            key = self.value()
            found[key if type(key) is str else _as_key(key)] = self.value()
        return found

    def array(self, length: int) -> list[Any]:
        return [self.value() for _ in range(length)]

    def text(self, length: int) -> str:
        # As Node: what is not UTF-8, such as a lone surrogate, becomes U+FFFD.
        return self._take(length).decode(errors="replace")

    def ext(self, length: int) -> Any:
        code = self._number(_SIGNED)
        data = self._take(length)
        return data if code == 0 else _other_extension(code, data)

    def _fixext(self, length: int) -> Any:
        code = self._number(_SIGNED)
        data = self._take(length)
        if code == 0 and length == 1:
            return None
        if code == 0 and length == DATE.size:
            return _date_of(data)
        return _other_extension(code, data)


_WORDS = {None: "null", True: "true", False: "false"}


def _as_key(key: Any) -> str | bytes:
    """A key that is no text as one, as objects of JavaScript have no others; bytes may stay.

    Hashes of numbers are no secret in Python: a client could choose such as fall on one another, and half a megabyte of
    them took 9 s.
    """
    if isinstance(key, bytes):
        return key
    if key is None or isinstance(key, bool):
        return _WORDS[key]
    if isinstance(key, float) and not math.isfinite(key):
        return "NaN" if math.isnan(key) else "Infinity" if key > 0 else "-Infinity"
    if isinstance(key, int | float):
        return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)
    raise ValueError("a key that is a list, a map or a date")


def _other_extension(code: int, data: bytes) -> Any:
    """MessagePack's own date, or another's extension with its number."""
    if code != -1:
        return [code, data]
    if len(data) not in (4, 8, 12):
        raise ValueError("a date of a length that is none")
    nanoseconds, seconds = 0, int.from_bytes(data[-8:], "big", signed=len(data) == 12)
    if len(data) == 8:
        nanoseconds, seconds = seconds >> 34, seconds & (2**34 - 1)
    elif len(data) == 12:
        nanoseconds = int.from_bytes(data[:4], "big")
    try:
        return _EPOCH + datetime.timedelta(seconds=seconds, microseconds=nanoseconds // 1000)
    except OverflowError as error:
        raise ValueError("a date that is none") from error


_Kind = Callable[[_Reader, int], Any]
_FIX: dict[int, _Kind] = {8: _Reader.map, 9: _Reader.array, 10: _Reader.text, 11: _Reader.text}
_FIXEXT = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_SIZED: dict[int, tuple[_Kind, int]] = {
    0xC4: (_Reader._take, 1),
    0xC5: (_Reader._take, 2),
    0xC6: (_Reader._take, 4),
    0xC7: (_Reader.ext, 1),
    0xC8: (_Reader.ext, 2),
    0xC9: (_Reader.ext, 4),
    0xD9: (_Reader.text, 1),
    0xDA: (_Reader.text, 2),
    0xDB: (_Reader.text, 4),
    0xDC: (_Reader.array, 2),
    0xDD: (_Reader.array, 4),
    0xDE: (_Reader.map, 2),
    0xDF: (_Reader.map, 4),
}
