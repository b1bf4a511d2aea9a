"""Packets in MessagePack: valid ones in every spelling of the format, and such that only look so."""

from __future__ import annotations

import math
import re
import struct
from random import Random

from duplexio.protocol.engine_packet import Binary

__all__ = ["HUGE", "msgpack_packet"]

TEXTS = ("", "a", "message", "é", "😀", "日本", "\0", "news", "type", "nsp", "toString", "1", "a" * 32)
LONG = ("a" * 255, "a" * 256, "é" * 128, "é" * 129, "a" * 70_000)
#: No UTF-8: a lone surrogate as JavaScript writes it, and worse.
DAMAGED = (b"\xed\xa0\x80", b"a\xff", b"\xc3", b"\xf0\x9f\x98", b"\xc0\x80")
FLOATS = (0.0, -0.0, 1.0, 1.5, -2.25, 1e300, math.inf, -math.inf, math.nan, 2.0**53, 0.1)
#: The first byte, the form of the number, and whether it fits.
INTEGERS = (
    *((0xCC, ">B", 0, 2**8), (0xCD, ">H", 0, 2**16), (0xCE, ">I", 0, 2**32), (0xCF, ">Q", 0, 2**64)),
    *((0xD0, ">b", -(2**7), 2**7), (0xD1, ">h", -(2**15), 2**15), (0xD2, ">i", -(2**31), 2**31)),
    (0xD3, ">q", -(2**63), 2**63),
)
NUMBERS = (
    0,
    1,
    127,
    128,
    255,
    256,
    65_536,
    2**32,
    2**53 - 1,
    2**53,
    2**53 + 1,
    2**63,
    2**64 - 1,
    -1,
    -32,
    -33,
    -(2**63),
)
MOMENTS = (0, 1, -1, 1_700_000_000_123, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**62, -(2**63))

#: Room for so many items, or bytes, is made by Node before it looks whether they are there: seconds for each input.
HUGE = re.compile(rb"[\xc9\xdd](?:[^\0]|\0[^\0])")


def msgpack_packet(rng: Random) -> list[bytes]:
    """One packet, which is one message."""
    fields = [(_text(rng, b"type"), _kind(rng)), (_text(rng, b"nsp"), _namespace(rng))]
    kind = fields[0][1][-1]
    if kind == 3 or rng.random() < 0.3:
        fields.append((_text(rng, b"id"), _identifier(rng)))
    if kind in (2, 3, 5, 6):
        fields.append((_text(rng, b"data"), _data(rng, kind)))
    elif kind != 1 or rng.random() < 0.05:
        fields.append((_text(rng, b"data"), _map(rng, 2) if rng.random() < 0.9 else _value(rng, 1)))
    if rng.random() < 0.05:
        fields.append((_text(rng, rng.choice((b"options", b"data", b"type"))), _value(rng, 1)))
    if rng.random() < 0.05:
        del fields[rng.randrange(len(fields))]
    rng.shuffle(fields)
    return [Binary(_sized(rng, 0x80, (0xDE, 0xDF), 16, len(fields)) + b"".join(map(b"".join, fields)))]


def _kind(rng: Random) -> bytes:
    chance = rng.random()
    if chance < 0.9:
        return bytes((rng.choice((0, 1, 2, 2, 2, 2, 3, 3, 4)),))
    if chance < 0.95:
        return _integer(rng, rng.randrange(7))
    return rng.choice(
        (_float(2.0), _float(2.5), b"\xc0", b"\xa12", _integer(rng, -1), _integer(rng, 5), _value(rng, 1))
    )


def _namespace(rng: Random) -> bytes:
    chance = rng.random()
    if chance < 0.9:
        return _text(rng, rng.choice(("/", "/", "/", "/chat", "/é", "a", "")).encode())
    return _text(rng, b"/" + rng.choice(LONG).encode()) if chance < 0.93 else _value(rng, 1)


def _identifier(rng: Random) -> bytes:
    if rng.random() < 0.9:
        return _integer(rng, rng.randrange(300))
    return rng.choice(
        (b"\xc0", b"\xd4\0\0", _integer(rng, rng.choice(NUMBERS)), _float(rng.choice(FLOATS)), _string(rng))
    )


def _data(rng: Random, kind: int) -> bytes:
    if rng.random() < 0.03:
        return _value(rng, 2)
    first = [_string(rng) if rng.random() < 0.9 else _value(rng, 1)] if kind in (2, 5) else []
    items = first + [_value(rng, 3) for _ in range(rng.randrange(4))]
    return _sized(rng, 0x90, (0xDC, 0xDD), 16, len(items)) + b"".join(items)


def _value(rng: Random, depth: int) -> bytes:
    chance = rng.random()
    if chance < 0.25:
        return _string(rng)
    if chance < 0.4:
        return _integer(rng, rng.choice(NUMBERS))
    if chance < 0.5:
        return _float(rng.choice(FLOATS)) if rng.random() < 0.8 else b"\xca" + struct.pack(">f", rng.random())
    if chance < 0.6:
        return rng.choice((b"\xc0", b"\xc2", b"\xc3", b"\xd4\0\0"))
    if chance < 0.7:
        data = _some_bytes(rng, (0, 1, 2, 4, 8, 16, 300))
        return _sized(rng, 0, (0xC4, 0xC5, 0xC6), 0, len(data)) + data
    if chance < 0.76:
        return _extension(rng)
    if chance < 0.765:
        levels = rng.choice((10, 100, 400, 500, 520, 900, 1100))
        return rng.choice((b"\x91", b"\x81\xa1a")) * levels + b"\1"
    if depth == 0:
        return b"\xc0"
    if chance < 0.88:
        items = [_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        return _sized(rng, 0x90, (0xDC, 0xDD), 16, len(items)) + b"".join(items)
    return _map(rng, depth)


def _map(rng: Random, depth: int) -> bytes:
    count = rng.randrange(4)
    keys = [_string(rng) if rng.random() < 0.98 else _odd_key(rng) for _ in range(count)]
    return _sized(rng, 0x80, (0xDE, 0xDF), 16, count) + b"".join(key + _value(rng, depth - 1) for key in keys)


def _odd_key(rng: Random) -> bytes:
    number = rng.choice((_integer(rng, rng.choice(NUMBERS)), _float(rng.choice(FLOATS)), _float(rng.random())))
    return rng.choice((number, number, b"\xc0", b"\xc3", b"\xc4\2ab", b"\x90", b"\x80"))


def _string(rng: Random) -> bytes:
    chance = rng.random()
    if chance < 0.01:
        return _text(rng, rng.choice(DAMAGED))
    if chance < 0.02:
        return _text(rng, rng.choice(LONG).encode())
    if chance < 0.03:
        return _text(rng, rng.choice((b"__proto__", b"connect", b"disconnect")))
    return _text(rng, rng.choice(TEXTS).encode())


def _text(rng: Random, data: bytes) -> bytes:
    return _sized(rng, 0xA0, (0xD9, 0xDA, 0xDB), 32, len(data)) + data


def _sized(rng: Random, fixed: int, firsts: tuple[int, ...], fits: int, length: int) -> bytes:
    """The shortest spelling of a length, mostly."""
    forms = [bytes((fixed | length,))] if length < fits else []
    widths = {0xD9: 1, 0xC4: 1, 0xC5: 2, 0xDA: 2, 0xDC: 2, 0xDE: 2}
    for first in firsts:
        width = widths.get(first, 4)
        if length < 256**width:
            forms.append(bytes((first,)) + length.to_bytes(width, "big"))
    return forms[0] if rng.random() < 0.95 else rng.choice(forms)


def _integer(rng: Random, value: int) -> bytes:
    if -32 <= value < 128 and rng.random() < 0.8:
        return bytes((value & 0xFF,))
    first, form, _, _ = rng.choice([spelling for spelling in INTEGERS if spelling[2] <= value < spelling[3]])
    return bytes((first,)) + struct.pack(form, value)


def _float(value: float) -> bytes:
    return b"\xcb" + struct.pack(">d", value)


def _extension(rng: Random) -> bytes:
    if rng.random() < 0.4:
        return b"\xd7\0" + struct.pack(">q", rng.choice(MOMENTS))
    code = rng.choice((0, 0, 0, -1, 1, 127))
    data = _some_bytes(rng, (0, 1, 2, 4, 8, 12, 16, 17, 300))
    length = len(data)
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    if length in fixed and rng.random() < 0.5:
        head = bytes((fixed[length],))
    else:
        head = bytes((0xC7, length)) if length < 256 else b"\xc8" + length.to_bytes(2, "big")
    return head + struct.pack(">b", code) + data


def _some_bytes(rng: Random, lengths: tuple[int, ...]) -> bytes:
    length = rng.choice(lengths)
    return rng.randbytes(length) if length < 20 else b"\1" * length
