"""Content codings of HTTP: which one a client takes, and a body in it. RFC 9110 §8.4 and §12.5.3."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

try:
    import brotli
except ImportError:
    brotli = None

__all__ = ["CODINGS", "PIECE", "choose", "in_pieces", "varying"]

Headers = list[tuple[bytes, bytes]]

#: A body is compressed on the event loop, so speed counts: 1 takes a third of the time of 6 for a megabyte of JSON, and
#: makes it a quarter larger, a fourth of what it was instead of a fifth.
LEVEL = 1
#: brotli's level of the same speed.
QUALITY = 1
#: How much of a body is compressed before the loop may do something else: 1 ms of JSON, 3 of base64.
PIECE = 65_536

#: More codings than any client names; what is behind them is not read. A head full of them is 10 ms for each poll.
_MAX_MEMBERS = 50

_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Brotli:
    """See `Compressor`."""

    __slots__ = ("_compressor", "compress")

    def __init__(self) -> None:
        self._compressor: Any = brotli.Compressor(quality=QUALITY)
        self.compress: Callable[[bytes], bytes] = self._compressor.process

    def flush(self) -> bytes:
        rest: bytes = self._compressor.finish()
        return rest


_GZIP, _ZLIB = 31, 15

#: What is offered, the best first: it decides where the client has no preference.
CODINGS: dict[bytes, Callable[[], Compressor]] = {
    **({b"br": _Brotli} if brotli is not None else {}),
    b"gzip": lambda: zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP),
    b"deflate": lambda: zlib.compressobj(LEVEL, zlib.DEFLATED, _ZLIB),
}


def choose(accept: bytes | None) -> bytes:
    """The coding for a client with this Accept-Encoding; empty where the body goes out as it is.

    Never raises: a member that is malformed counts as not there. Without the header anything would be allowed, but who
    does not ask may not be able to read it.
    """
    if not accept:
        return b""
    weights: dict[bytes, float] = {}
    for member in accept.lower().split(b",", _MAX_MEMBERS)[:_MAX_MEMBERS]:
        name, _, parameter = member.partition(b";")
        weight = _weight(parameter)
        if weight is not None:
            # §8.4.1.3: the old name of the same.
            name = name.strip()
            weights[b"gzip" if name == b"x-gzip" else name] = weight
    others = weights.get(b"*", 0.0)
    best, most = b"", 0.0
    for coding in CODINGS:
        weight = weights.get(coding, others)
        if weight > most:
            best, most = coding, weight
    # As it is only where the client likes that better; unnamed, it is merely allowed.
    return b"" if weights.get(b"identity", 0.0) > most else best


def _weight(parameter: bytes) -> float | None:
    name, equals, value = parameter.strip().partition(b"=")
    if not name and not equals:
        return 1.0
    return float(value) if name.strip() == b"q" and _QVALUE.fullmatch(value.strip()) else None


def in_pieces(body: bytes, coding: bytes) -> Iterator[bytes]:
    """The body in this coding. Each step takes `PIECE` bytes of it, so that other work may go on in between."""
    compressor = CODINGS[coding]()
    for start in range(0, len(body), PIECE):
        yield compressor.compress(body[start : start + PIECE])
    yield compressor.flush()


def varying(headers: Headers) -> Headers:
    """These headers, and Vary with Accept-Encoding: in one field with what the answer depends on already."""
    others = [value for name, value in headers if name == b"vary"]
    if any(b"*" in value for value in others):
        return [*headers]
    rest = [header for header in headers if header[0] != b"vary"]
    return [*rest, (b"vary", b", ".join([*others, b"Accept-Encoding"]))]
