"""Telling the offset that ends an event from an argument that only looks like one.

With connection state recovery, servers end events in an offset, which clients send back. Node's leave it out of
volatile events, and of those that want an acknowledgement: a text at the end of one is then the user's.
"""

from __future__ import annotations

import re

__all__ = ["is_offset"]

#: Of Node's memory (a time, in 64 digits), of Redis streams (milliseconds, a number), of this library (epoch, number).
_SHAPE = re.compile(r"[0-9A-Za-z_-]{6,40}(\.[0-9A-Za-z_-]{1,16})?")
_STREAM = re.compile(r"[0-9]{13}-[0-9]+")
#: Leading digits of a time that stay the same for twelve days.
_SAME_TIME = 2


def is_offset(text: str, last: str) -> bool:
    """Whether this is an offset. `last`: the one before it, or nothing, when all that looks like one has to be."""
    if _SHAPE.fullmatch(text) is None:
        return False
    if not last:
        return True
    if "." in last and len(last.partition(".")[0]) == 8:
        return text.partition(".")[0] == last.partition(".")[0]
    if _STREAM.fullmatch(last):
        return _STREAM.fullmatch(text) is not None
    return text[:_SAME_TIME] == last[:_SAME_TIME]
