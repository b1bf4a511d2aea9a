"""MessagePack packets, the JavaScript client's dialect of it, and what is checked of any parser's packets."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import time
import uuid
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.protocol import msgpack_javascript
from duplexio.protocol.parser import decode_packet, encode_packet
from duplexio.protocol.parser_msgpack import MsgpackParser
from duplexio.protocol.socket_packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet

from .feeding import outcome, prefixes, refuses

PARSER = MsgpackParser()
UTC = datetime.UTC

keys = st.text(max_size=5).filter(str.isprintable)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=15,
)


def decode(message: str | bytes) -> Packet:
    return decode_packet(PARSER, message, 256)


def encoded(packet: Packet) -> bytes:
    (attachment,) = encode_packet(PARSER, packet).attachments
    return attachment


def event_of(*args: bytes) -> bytes:
    """An event with arguments as they are on the wire."""
    return b"\x83\xa4type\x02\xa4data" + bytes((0x91 + len(args),)) + b"\xa1e" + b"".join(args) + b"\xa3nsp\xa1/"


def arguments(*args: bytes) -> list[Any]:
    data: list[Any] = decode(event_of(*args)).data
    return data[1:]


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (Packet(EVENT, "/", None, ["a", 1]), b"\x83\xa4type\x02\xa4data\x92\xa1a\x01\xa3nsp\xa1/"),
        (Packet(EVENT, "/c", 7, ["a"]), b"\x84\xa4type\x02\xa4data\x91\xa1a\xa2id\x07\xa3nsp\xa2/c"),
        (Packet(ACK, "/", 0, []), b"\x84\xa2id\x00\xa4type\x03\xa4data\x90\xa3nsp\xa1/"),
        (Packet(CONNECT, "/", None, {"sid": "x"}), b"\x83\xa4type\x00\xa4data\x81\xa3sid\xa1x\xa3nsp\xa1/"),
        (Packet(DISCONNECT, "/", None, None), b"\x82\xa4type\x01\xa3nsp\xa1/"),
        (
            Packet(EVENT, "/", None, ["b", b"\x01\x02"]),
            b"\x83\xa4type\x02\xa4data\x92\xa1b\xc4\x02\x01\x02\xa3nsp\xa1/",
        ),
    ],
)
def test_packets_as_the_javascript_parser_writes_them(packet: Packet, message: bytes) -> None:
    assert encoded(packet) == message
    assert decode(message) == packet


def test_the_clients_own_fields_are_passed_over() -> None:
    message = msgpack.packb({"type": 2, "data": ["a"], "options": {"compress": True}, "id": 3, "nsp": "/"})
    assert decode(message) == Packet(EVENT, "/", 3, ["a"])


@given(st.lists(values, max_size=4))
def test_round_trip(args: list[Any]) -> None:
    packet = Packet(EVENT, "/", None, ["event", *args])
    assert decode(encoded(packet)) == packet
    # The slow decoder gives the same.
    assert msgpack_javascript.decode(encoded(packet))["data"] == ["event", *args]


@given(st.lists(values, max_size=3))
def test_cut_short_at_each_byte(args: list[Any]) -> None:
    message = encoded(Packet(EVENT, "/", None, ["event", *args]))
    for cut in prefixes(message):
        refuses(decode, cut, SocketPacketError, "could not decode")
        refuses(msgpack_javascript.decode, cut, ValueError, "ends in the middle")


@given(values, st.binary(min_size=1, max_size=5))
def test_trailing_bytes_are_refused(value: Any, tail: bytes) -> None:
    message = encoded(Packet(EVENT, "/", None, ["event", value]))
    refuses(decode, message + tail, SocketPacketError, "could not decode")
    refuses(msgpack_javascript.decode, message + tail, ValueError, "behind the value")


@given(st.binary(max_size=100))
def test_arbitrary_bytes(message: bytes) -> None:
    outcome(decode, message, SocketPacketError)
    outcome(decode, event_of(message), SocketPacketError)


@given(st.text(max_size=50))
def test_arbitrary_texts(message: str) -> None:
    outcome(lambda data: decode(data.decode()), message.encode(errors="replace"), SocketPacketError)


# The dialect.

DAY = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
BEFORE = datetime.datetime(1969, 12, 31, 23, 59, 0, 5, UTC)
DAY_BYTES = b"\xd7\x00" + (1_709_209_800_000).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"\xd4\x00\x00", None),
        (DAY_BYTES, DAY),
        (b"\xd7\x00" + (-1).to_bytes(8, "big", signed=True), datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        (b"\xd7\x00\x7f" + b"\xff" * 7, 2**63 - 1),
        (b"\xd5\x00ab", [0, b"ab"]),
        # ArrayBuffers, of the lengths that only the first byte tells from the two above, too.
        (b"\xc7\x00\x00", b""),
        (b"\xc7\x01\x00x", b"x"),
        (b"\xc7\x02\x00ab", b"ab"),
        (b"\xc7\x03\x00abc", b"abc"),
        (b"\xc7\x08\x0012345678", b"12345678"),
        (b"\xc8\x00\x08\x0012345678", b"12345678"),
        (b"\xc9\x00\x00\x00\x01\x00x", b"x"),
        # Another's extensions are told with their number, as in JavaScript.
        (b"\xd4\x05x", [5, b"x"]),
        (b"\xd8\xfe" + b"x" * 16, [-2, b"x" * 16]),
        # MessagePack's own date.
        (b"\xd6\xff" + (60).to_bytes(4, "big"), datetime.datetime(1970, 1, 1, 0, 1, tzinfo=UTC)),
        (b"\xd7\xff" + (5_000 << 34 | 60).to_bytes(8, "big"), datetime.datetime(1970, 1, 1, 0, 1, 0, 5, UTC)),
        (b"\xc7\x0c\xff" + (5_000).to_bytes(4, "big") + (-60).to_bytes(8, "big", signed=True), BEFORE),
        (b"\xa1\xff", "\ufffd"),
        (b"\xa3\xed\xa0\xbd", "\ufffd\ufffd\ufffd"),
    ],
)
def test_what_javascript_writes(argument: bytes, value: object) -> None:
    assert arguments(argument) == [value]
    # Beside something that the fast decoder cannot tell, it is the same.
    assert arguments(argument, b"\xd4\x00\x00") == [value, None]


@pytest.mark.parametrize(
    "argument",
    [
        b"\xd5\xffab",
        b"\xd4\x00\x00\xd5\xffab",
        b"\xc1",
        b"\xd9\xffshort",
        b"\xdd\xff\xff\xff\xff",
        b"\x81\x90\x01",
        b"\xd4\x00\x00\x81\x90\x01",
        b"\x81\xd6\xff\x00\x00\x00\x01\x01",
        b"\x91" * 2000 + b"\x01",
        b"\xd4\x00\x00" + b"\x91" * 100_000 + b"\x01",
    ],
    ids=[
        "no date",
        "no date, slowly",
        "no type",
        "short text",
        "huge array",
        "a list as key",
        "the same, slowly",
        "a date as key",
        "deep",
        "deep, slowly",
    ],
)
def test_what_is_no_value_is_refused(argument: bytes) -> None:
    refuses(decode, event_of(argument), SocketPacketError, "could not decode")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"\x01", "1"),
        (b"\xff", "-1"),
        (b"\xcf" + b"\xff" * 8, "18446744073709551615"),
        (b"\xcb\x3f\xf8" + b"\x00" * 6, "1.5"),
        (b"\xcb\x3f\xf0" + b"\x00" * 6, "1"),
        (b"\xc0", "null"),
        (b"\xc3", "true"),
        (b"\xc2", "false"),
        (b"\xc4\x01k", b"k"),
        (b"\xa1k", "k"),
    ],
)
def test_keys_are_texts_as_in_javascript(key: bytes, text: str | bytes) -> None:
    """Numbers as keys of a dict are a client's to choose so that all of them have one hash."""
    assert arguments(b"\x81" + key + b"\x05") == [{text: 5}]
    assert arguments(b"\x91\x81" + key + b"\x05", b"\xd4\x00\x00") == [[{text: 5}], None]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    raw: bytes


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (DAY, DAY),
        (DAY.replace(tzinfo=None), DAY),
        (DAY.astimezone(datetime.timezone(datetime.timedelta(hours=5))), DAY),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.time(12, 30), "12:30:00"),
        (Colour.RED, "red"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Point(1, b"\x02"), {"x": 1, "raw": b"\x02"}),
        ((1, (2,)), [1, [2]]),
        (bytearray(b"a"), b"a"),
        (memoryview(b"ab")[1:], b"b"),
        (math.inf, math.inf),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_what_python_sends(value: Any, arrives: Any) -> None:
    assert decode(encoded(Packet(EVENT, "/", None, ["e", value]))).data == ["e", arrives]


def test_a_date_without_a_time_zone_is_in_utc_wherever_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert decode(encoded(Packet(EVENT, "/", None, ["e", DAY.replace(tzinfo=None)]))).data == ["e", DAY]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "type object"),
        ({1, 2}, "type set"),
        (2**64, "more than 64 bits"),
        ("\ud800", "surrogates"),
        (print, "function"),
    ],
)
def test_what_cannot_be_sent(value: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        encode_packet(PARSER, Packet(EVENT, "/", None, ["e", value]))


def test_too_deep_a_value_cannot_be_sent() -> None:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(EncodeError):
        encode_packet(PARSER, Packet(EVENT, "/", None, ["e", value]))


# What is checked of any parser.


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": 7, "nsp": "/"}, "unknown Socket.IO packet type"),
        ({"type": "2", "nsp": "/"}, "unknown Socket.IO packet type"),
        ({"type": True, "nsp": "/"}, "unknown Socket.IO packet type"),
        ({"type": [], "nsp": "/"}, "unknown Socket.IO packet type"),
        ({"nsp": "/"}, "unknown Socket.IO packet type"),
        ({"type": 2, "data": ["a"]}, "a namespace is a text"),
        ({"type": 2, "data": ["a"], "nsp": 1}, "a namespace is a text"),
        ({"type": 0, "nsp": ""}, "a namespace is a text that begins with /"),
        ({"type": 0, "nsp": "chat"}, "a namespace is a text that begins with /"),
        ({"type": 0, "nsp": "/" + "n" * 256}, "a namespace of over 256 bytes"),
        ({"type": 2, "nsp": "/"}, "data of a packet of type 2"),
        ({"type": 2, "nsp": "/", "data": []}, "data of a packet of type 2"),
        ({"type": 2, "nsp": "/", "data": {"0": "a"}}, "data of a packet of type 2"),
        ({"type": 2, "nsp": "/", "data": ["disconnect"]}, "reserved"),
        ({"type": 2, "nsp": "/", "data": ["e" * 257]}, "an event name of over 256 bytes"),
        ({"type": 0, "nsp": "/", "data": "auth"}, "data of a packet of type 0"),
        ({"type": 1, "nsp": "/", "data": {}}, "data of a packet of type 1"),
        ({"type": 3, "nsp": "/", "data": []}, "an acknowledgement id"),
        ({"type": 3, "nsp": "/", "data": [], "id": -1}, "an acknowledgement id"),
        ({"type": 2, "nsp": "/", "data": ["a"], "id": "1"}, "an acknowledgement id"),
        ({"type": 2, "nsp": "/", "data": ["a"], "id": 1.5}, "an acknowledgement id"),
        ({"type": 2, "nsp": "/", "data": ["a"], "id": True}, "an acknowledgement id"),
        ({"type": 2, "nsp": "/", "data": ["a"], "id": 2**53}, "an acknowledgement id"),
        ([2, "/"], "could not decode"),
        (None, "could not decode"),
    ],
)
def test_what_is_no_packet_is_refused(fields: Any, text: str) -> None:
    refuses(decode, msgpack.packb(fields), SocketPacketError, text)


def test_a_namespace_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(SocketPacketError, match="not UTF-8"):
        decode_packet(Fixed(Packet(CONNECT, "/\ud800", None, None)), "x", 256)


def test_an_id_may_be_a_whole_float() -> None:
    assert decode(msgpack.packb({"type": 2, "nsp": "/", "data": ["a"], "id": 7.0})).id == 7


@pytest.mark.parametrize(("kind", "as_kind"), [(5, EVENT), (6, ACK)])
def test_old_clients_types_for_bytes(kind: int, as_kind: int) -> None:
    assert decode(msgpack.packb({"type": kind, "nsp": "/", "data": ["a"], "id": 1})).type == as_kind


def test_old_clients_write_the_rest_as_json() -> None:
    assert decode('{"type":0,"nsp":"/chat?token=1","query":"token=1"}') == Packet(CONNECT, "/chat?token=1", None, None)


def test_what_comes_as_json_can_be_sent_on() -> None:
    """As from JSON's own parser: a lone surrogate is replaced, and what is no JSON is refused."""
    packet = decode('{"type":2,"nsp":"/","data":["e\\ud800",["\\udc00"]]}')
    assert packet == Packet(EVENT, "/", None, ["e\ufffd", ["\ufffd"]])
    assert decode(encoded(packet)) == packet
    for text in ('{"type":2,"nsp":"/","data":["e",NaN]}', '{"type":2,"nsp":"/","data":["e",1e400]}', "[" * 5000):
        with pytest.raises(SocketPacketError, match="the parser could not decode"):
            decode(text)


class Fixed:
    """A parser that gives what it was made with."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def encode(self, packet: Packet) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given

    def decode(self, message: str | bytes) -> Any:
        return self.encode(Packet(0, "/", None, None))


PACKET = Packet(EVENT, "/", None, ["a"])


def test_a_parser_s_message_may_be_text_or_bytes() -> None:
    text = encode_packet(Fixed("é"), PACKET)
    assert (text.text, text.attachments, text.event) == ("4é".encode(), (), True)
    octets = encode_packet(Fixed(bytearray(b"a")), Packet(CONNECT_ERROR, "/", None, "no"))
    assert (octets.text, octets.attachments, octets.event) == (b"", (b"a",), False)


@pytest.mark.parametrize(
    ("given_answer", "text"),
    [
        (None, "returned a NoneType"),
        (KeyError("x"), "could not encode it: 'x'"),
        ("\ud800", "could not encode it: .* surrogates"),
    ],
)
def test_a_parser_s_failure_to_encode(given_answer: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        encode_packet(Fixed(given_answer), PACKET)


@pytest.mark.parametrize(
    ("given_answer", "text"),
    [
        (None, "the parser's decode returned a NoneType; a Packet was expected"),
        ({}, "the parser's decode returned a dict; a Packet was expected"),
        ((2, "/"), "the parser's decode returned a tuple; a Packet was expected"),
        (KeyError("x"), "the parser could not decode 'x': KeyError: 'x'"),
        (ZeroDivisionError(), "the parser could not decode 'x': ZeroDivisionError"),
    ],
)
def test_a_parser_s_failure_to_decode(given_answer: Any, text: str) -> None:
    with pytest.raises(SocketPacketError, match=text):
        decode_packet(Fixed(given_answer), "x", 256)


def test_who_was_not_given_the_parser_is_told_from_others() -> None:
    for message, hint in (('2["x"]', True), ("0", True), ("x", False)):
        with pytest.raises(SocketPacketError) as raised:
            decode(message)
        assert ("so writes a client that was not given this parser" in str(raised.value)) is hint
