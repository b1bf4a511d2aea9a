"""Where the decoder of Socket.IO's packets as JSON is meant to differ from Node's."""

from __future__ import annotations

import re

from duplexio.protocol.engine_packet import Binary

from .rules import ANY, Reading, Refusal, well_formed

__all__ = ["READINGS", "REFUSALS"]

# What is blank to JavaScript, in UTF-8.
_BLANK = rb"(?:\s|\xc2\xa0|\xe1\x9a\x80|\xe2\x80[\x80-\xaf]|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf)"
#: The head of a Socket.IO packet up to a blank, which JavaScript's `Number` passes over.
_BLANK_IN_HEAD = rb"^\d(?:\d+-)?(?:/[^,]*,)?\d*" + _BLANK

REFUSALS = (
    Refusal(
        "socket5",
        "duplexio",
        r"^unknown Socket.IO packet type",
        b"^" + _BLANK,
        "a blank is the number 0 to JavaScript, hence a CONNECT",
        (b" /chat",),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^a binary packet begins with its number of attachments",
        ANY,
        "whatever JavaScript's Number reads is a number of attachments: 1e0, 0x1, blanks, ten digits",
        (b'51e0-["a",{"_placeholder":true,"num":0}]',),
    ),
    Refusal(
        "socket5",
        "Node",
        r"^Illegal attachments$",
        rb"^[56]0+-",
        "a binary packet of no attachments: Node took it until socket.io-parser 4.2.6, and nothing speaks against it",
        (b'50-["a"]',),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^a namespace of over 256 bytes",
        rb"(?s)/.{256}",
        "the limit max_name_length",
        (b"0/" + b"a" * 256,),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^an event name of over 256 bytes",
        ANY,
        "the limit max_name_length",
        (b'2["' + b"a" * 257 + b'"]',),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^an acknowledgement id of more than 16 digits",
        rb"\d{17}",
        "JavaScript counts exactly up to 2**53, which has 16 digits; what is longer no client has counted",
        (b'211111111111111111["a"]',),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^an acknowledgement without its id",
        rb"^[36]",
        "nobody waits for it: Node looks it up under undefined and drops it",
        (b"3[]",),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^the data of a packet of type [23456] cannot be None",
        rb"^[23456](?:\d+-)?(?:/[^,]*,?)?\d*$",
        "the protocol asks for data; Node looks at its shape only where there is some, and emits undefined",
        (b"2",),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^(?:malformed JSON|the data of a packet|an acknowledgement without its id|the event name)",
        _BLANK_IN_HEAD,
        "blanks in front of the JSON are of the JSON here; to Node they are digits of the acknowledgement's id",
        (b"1 ",),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^malformed JSON: (?:number is infinity|Out of range float)",
        rb"\d",
        "a number beyond a double is Infinity to JavaScript, which no JSON can carry on",
        (b'2["a",1e400]',),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^malformed JSON: (?:Recursion limit reached|depth limit exceeded|maximum recursion depth exceeded)",
        rb"(?s)[\[{].{900}",
        "the codec's limit of nesting",
        (b'2["a",' + b"[" * 1100 + b"]" * 1100 + b"]",),
    ),
    Refusal(
        "socket5",
        "duplexio",
        r"^placeholder \d[\d.e-]* among",
        ANY,
        "no attachment has a fraction as its number; Node puts undefined in its place",
        (b'52-["a",{"_placeholder":true,"num":0.5}]', Binary(b"x"), Binary(b"y")),
    ),
)

_NEGATIVE_ZERO = "#8000000000000000"


def _without_id(packet: str) -> str:
    return re.sub(r"^(\d) \S+ ", r"\1 ", packet)


READINGS = (
    Reading(
        "socket5",
        rb"\\u[dD][89a-fA-F]",
        well_formed,
        "a lone surrogate is no text in Python; it becomes U+FFFD, and the packet lives",
        (b'2["\\ud800"]',),
    ),
    Reading(
        "socket5",
        rb"-0",
        lambda packet: packet.replace(_NEGATIVE_ZERO, "0"),
        "an integer of Python has no negative zero",
        (b'2["a",-0]',),
    ),
    Reading(
        "socket5",
        _BLANK_IN_HEAD,
        _without_id,
        "blanks in front of the JSON are of the JSON here; to Node they are an acknowledgement's id of 0, or NaN",
        (b'2 ["a"]',),
    ),
)
