"""Telling the offset that ends an event from an argument that only looks like one.

With connection state recovery, servers end events in an offset, which clients send back. Node's leave it out of
volatile events, and of those that want an acknowledgement: a text at the end of one is then the user's.
"""

from __future__ import annotations

import re

__all__ = ["is_offset"]

#: Of Node's memory (a time, in 64 digits), of Redis streams (milliseconds, a number), of this library (epoch, number).
_SHAPE = re.compile(r"[0-9A-Za-z_-]{6,40}(\.[0-9A-Za-z_-]{1,16})?")
_EPOCH = 8
_OURS = re.compile(rf"[0-9A-Za-z_-]{{{_EPOCH}}}\.[0-9A-Za-z_-]{{1,16}}")
_STREAM = re.compile(r"[0-9]{13}-[0-9]+")
#: Leading digits of a time that stay the same for twelve days.
_SAME_TIME = 2


def is_offset(text: str, last: str, moved: bool = False) -> bool:
    """Whether this is an offset.

    `last`: the one before it, or nothing, when all that looks like one has to be. `moved`: whether the client has come
    back since, maybe to another server of the same cluster.
    """
    if _SHAPE.fullmatch(text) is None:
        return False
    if not last:
        return True
    if _OURS.fullmatch(last):
        # Each server has an epoch of its own.
        return _OURS.fullmatch(text) is not None and (moved or text[:_EPOCH] == last[:_EPOCH])
    if _STREAM.fullmatch(last):
        return _STREAM.fullmatch(text) is not None
    return text[:_SAME_TIME] == last[:_SAME_TIME]
