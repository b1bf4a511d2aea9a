"""Where the decoders of Engine.IO are meant to differ from Node's."""

from __future__ import annotations

from duplexio.protocol.engine_packet import Binary

from .rules import ANY, Refusal

__all__ = ["REFUSALS"]

REFUSALS = (
    # Bodies of polling.
    Refusal(
        "payload4",
        "duplexio",
        r"^the body is not UTF-8",
        ANY,
        "Node reads U+FFFD for bytes that are no text; a client that sends them has damaged what it meant",
        (b'42["\xff"]',),
    ),
    Refusal(
        "payload4",
        "duplexio",
        r"^a binary packet must be base64",
        ANY,
        "Node passes over what is not base64, and hands on other bytes than were sent",
        (b"bAQ!=",),
    ),
    Refusal(
        "payload4",
        "duplexio",
        r"^more than 1000 packets in one body",
        rb"(?s)(.*?\x1e){1000}",
        "the limit max_payload_packets",
        (b"\x1e".join([b"2"] * 1001),),
    ),
    # WebSocket messages.
    Refusal(
        "packet4",
        "duplexio",
        r"^a binary packet must be base64",
        rb"^b",
        "as in a body of polling",
        (b"bAQ!=",),
    ),
    # The same of protocol 3.
    Refusal(
        "payload3",
        "duplexio",
        r"^the body is not UTF-8",
        ANY,
        "as in protocol 4",
        (b'7:42["\xff"]',),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a text packet is not UTF-8",
        rb"\xed[\xa0-\xbf]",
        "Node's own decoder takes the three bytes of a lone surrogate; no client writes them, they write U+FFFD's",
        (Binary(b"\0\4\xff4\xed\xa0\x80"),),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a binary packet must be base64",
        ANY,
        "as in protocol 4",
        (b"6:b4AQ!=",),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^more than 1000 packets in one body",
        ANY,
        "the limit max_payload_packets",
        (b"1:2" * 1001,),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a packet begins with its length and ':'",
        ANY,
        "whatever JavaScript's Number reads is a length: 1e0, 0x1, blanks, more than ten digits",
        (b"0x1:2",),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a packet begins with 0 or 1, its length's digits and 255",
        ANY,
        "to Node, all but 0 is 1, and a byte of 12 is the digits 1 and 2",
        (Binary(b"\2\1\xff\4"),),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a packet of length \d+ is announced",
        rb"\A[^0-9]",
        "a binary body that was cut short: Node hands on what is left of its last packet",
        (Binary(b"\1\4\xff\4\1"),),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^a binary packet begins with a byte from 0 to 6",
        ANY,
        "Node passes over a binary packet without a type",
        (Binary(b"\1\1\xff\7"),),
    ),
    Refusal(
        "payload3",
        "duplexio",
        r"^an Engine.IO packet begins with a digit from 0 to 6",
        rb"b",
        "the same in base64",
        (b"2:b7",),
    ),
    Refusal(
        "packet3",
        "duplexio",
        r"^a binary packet must be base64",
        rb"^b",
        "as in protocol 4",
        (b"b4AQ!=",),
    ),
    Refusal(
        "packet3",
        "duplexio",
        r"^a binary packet begins with a byte from 0 to 6",
        ANY,
        "Node passes over a binary packet without a type",
        (Binary(b"\7"),),
    ),
    Refusal(
        "packet3",
        "duplexio",
        r"^an Engine.IO packet begins with a digit from 0 to 6",
        rb"^b",
        "the same in base64",
        (b"b7",),
    ),
)
