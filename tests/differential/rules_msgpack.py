"""Where the decoder of MessagePack is meant to differ from `socket.io-msgpack-parser`."""

from __future__ import annotations

import re

from duplexio.protocol.engine_packet import Binary

from .rules import ANY, Reading, Refusal

__all__ = ["READINGS", "REFUSALS"]


def packet(kind: int, data: bytes, more: bytes = b"") -> Binary:
    """A packet of the main namespace with this data; `more`: one more field."""
    count = 3 + bool(more)
    return Binary(bytes((0x80 | count,)) + b"\xa4type" + bytes((kind,)) + b"\xa3nsp\xa1/" + b"\xa4data" + data + more)


REFUSALS = (
    Refusal(
        "msgpack",
        "duplexio",
        r"^a namespace is a text that begins with /",
        ANY,
        "Node's parser takes any text; no namespace has such a name",
        (Binary(b"\x82\xa4type\0\xa3nsp\xa1a"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^a namespace of over 256 bytes",
        ANY,
        "the limit max_name_length",
        (Binary(b"\x82\xa4type\0\xa3nsp\xda\1\1" + b"/" * 257),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^an event name of over 256 bytes",
        ANY,
        "the limit max_name_length",
        (packet(2, b"\x91\xda\1\1" + b"a" * 257),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^the event name '\w+' is reserved",
        ANY,
        "Node's parser does not look at names; that of JSON refuses these",
        (packet(2, b"\x91\xa7connect"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^the data of a packet of type 2 cannot be \[",
        ANY,
        "Node's parser does not look for a name; that of JSON refuses an event without one",
        (packet(2, b"\x90"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^an acknowledgement id is a whole number from 0, this one is None",
        ANY,
        "nobody waits for it: Node looks it up under undefined and drops it",
        (packet(3, b"\x90"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^an acknowledgement id is a whole number from 0, this one is [-\d]",
        ANY,
        "ids are counted from 0, and exactly, which JavaScript does up to 2**53",
        (packet(3, b"\x90", b"\xa2id\xff"),),
    ),
    Refusal(
        "msgpack",
        "Node",
        r"^invalid packet type$",
        rb"type(?:[\5\6]|[\xc0-\xdf].*[\5\6])",
        "the types of packets with bytes, which parsers of Socket.IO 2 leave as they are",
        (packet(5, b"\x91\xa1a"),),
    ),
    Refusal(
        "msgpack",
        "Node",
        r"^invalid packet id$",
        rb"id\xc0",
        "nil is as good as no id",
        (packet(2, b"\x91\xa1a", b"\xa2id\xc0"),),
    ),
    Refusal(
        "msgpack",
        "Node",
        r"^invalid payload$",
        rb"data\xc0",
        "nil is as good as no data",
        (packet(1, b"\xc0"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r": (?:invalid timestamp data|a date .*is none|nanoseconds must be|.*out of range|.*too large to convert)",
        rb"(?s)[\xd4-\xd8\xc7-\xc9].*\xff",
        "MessagePack's own dates, malformed; they are pairs of a number and bytes to Node",
        (packet(2, b"\x92\xa1a\xc7\0\xff"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"^the data of a packet of type \d cannot be datetime",
        rb"(?s)data(?:[\xd6\xd7]\xff|\xc7.\xff)",
        "dates; Node makes pairs of a number and bytes of MessagePack's own, and a list is data",
        (packet(3, b"\xd6\xff\0\0\0\0", b"\xa2id\1"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r": (?:StackError|maximum recursion depth exceeded)",
        ANY,
        "the codec's limit of nesting",
        (packet(2, b"\x92\xa1a" + b"\x91" * 1100 + b"\1"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r": (?:unhashable type: '\w+'|a key that is a list, a map or a date)$",
        ANY,
        "a list or a map is no key; JavaScript makes a text of it",
        (packet(2, b"\x92\xa1a\x81\x90\1"),),
    ),
    Refusal(
        "msgpack",
        "Node",
        r"",
        rb"__proto__",
        "a value whose prototype is bytes is no object to Node; here it is a key like others",
        (packet(4, b"\x81\xa9__proto__\xc7\1\0\1"),),
    ),
    Refusal(
        "msgpack",
        "duplexio",
        r"",
        rb"__proto__",
        "it becomes a value's prototype to Node; here it is a key like others",
        (Binary(b"\x81\xa9__proto__" + packet(2, b"\x91\xa1a")),),
    ),
)

#: A date, or what Node makes of MessagePack's own.
_DATES = re.compile(r"@-?\d+|\[-1,<[0-9a-f]*>\]")

READINGS = (
    Reading(
        "msgpack",
        rb"(?s)[\xd6\xd7]\xff|\xc7.\xff",
        lambda text: _DATES.sub("@", text),
        "MessagePack's own dates are dates; Node makes pairs of a number and bytes of them",
        (packet(2, b"\x92\xa1a\xd6\xff\0\0\0\0"),),
    ),
    Reading(
        "msgpack",
        rb"(?s)\xd7\0(?!\0\0[\0-\xe5]|\xff\xff[\xc8-\xff])",
        lambda text: re.sub(r"@(?:NaN|-?\d+)?|#[0-9a-f]{16}|-?\b\d+\b", "N", text),
        "Python counts the years from 1 to 9999: another date is its milliseconds",
        (packet(2, b"\x92\xa1a\xd7\0\x7f" + b"\0" * 7),),
    ),
    Reading(
        "msgpack",
        rb"(?<!id)[\xca\xcb\xcf\xd3]",
        lambda text: re.sub(r'"-?(?:\d{16,}|\d(?:\.\d+)?e[+-]?\d+)":', '"N":', text),
        "a number as a key is written in full; JavaScript rounds it, and has a form of its own for large ones",
        (packet(2, b"\x92\xa1a\x81\xcf\x80" + b"\0" * 7 + b"\1"),),
    ),
    Reading(
        "msgpack",
        rb"id[\xca\xcb]\x80",
        lambda text: re.sub(r"^(\d) #8000000000000000 ", r"\1 0 ", text),
        "an id is an integer here, which has no negative zero",
        (packet(3, b"\x90", b"\xa2id\xcb\x80" + b"\0" * 7),),
    ),
    Reading(
        "msgpack",
        rb"__proto__",
        lambda text: "",
        "it becomes a value's prototype to Node; here it is a key like others",
        (packet(2, b"\x92\xa1a\x81\xa9__proto__\x80"),),
    ),
    Reading(
        "msgpack",
        rb"\xd4\0",
        lambda text: text.replace("undefined", "null"),
        "undefined is None here, as null is",
        (packet(2, b"\x92\xa1a\xd4\0\0"),),
    ),
)
