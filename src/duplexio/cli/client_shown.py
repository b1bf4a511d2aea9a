"""Values as a person reads them, and as `jq` does."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_json", "clean", "compact", "compact_all"]

#: Bytes that are shown of a value.
SHOWN_BYTES = 8
#: Characters that a line has at most for an event's arguments.
SHOWN_CHARACTERS = 4000
TOO_DEEP = "<nested too deep>"


def clean(text: str) -> str:
    """The text in one line, and without what would move the cursor of a terminal or colour it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1].replace("\x7f", "\\u007f") for one in text)


def compact_all(args: Sequence[Any]) -> str:
    """An event's arguments, as `emit` would take them; cut where they are very long."""
    text = " ".join(map(compact, args))
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters; --json shows all)"
    return text


def compact(value: Any) -> str:
    """JSON without spaces; bytes as `<bytes 12: 0a0b…>`."""
    try:
        return clean("".join(_pieces(value)))
    except RecursionError:
        return TOO_DEEP


def _pieces(value: Any) -> list[str]:
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return [f"<bytes {len(data)}: {data[:SHOWN_BYTES].hex()}{'…' if len(data) > SHOWN_BYTES else ''}>"]
    pieces: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            pieces += [",", json.dumps(str(key), ensure_ascii=False), ":", *_pieces(item)]
        return ["{", *pieces[1:], "}"]
    if isinstance(value, list | tuple):
        for item in value:
            pieces += [",", *_pieces(item)]
        return ["[", *pieces[1:], "]"]
    return [json.dumps(_leaf(value), ensure_ascii=False)]


def as_json(value: Any, ascii_only: bool = False) -> str:
    """Real JSON in one line; bytes are `{"base64": "…"}`."""
    try:
        return json.dumps(_plain(value), ensure_ascii=ascii_only, separators=(",", ":"))
    except RecursionError:
        return json.dumps(TOO_DEEP)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _leaf(value)


def _leaf(value: Any) -> Any:
    """What MessagePack has and JSON does not is a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
