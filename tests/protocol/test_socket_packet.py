"""Socket.IO packets: the protocol's examples, round trips, and all that is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.protocol.codec_json import Codec, JsonCodec, UserCodec
from duplexio.protocol.engine_packet import Message
from duplexio.protocol.socket_packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
    Packet,
    decode,
    encode,
    head_of,
    with_attachments,
)

from .feeding import outcome, prefixes, refuses

CODECS: dict[str, Codec] = {
    "json": JsonCodec(),
    "user": UserCodec(lambda value: json.dumps(value, separators=(",", ":")).encode(), json.loads),
}
JSON = CODECS["json"]


def read(text: bytes, codec: Codec = JSON, attachments: int = 10, name: int = 256) -> Packet:
    return decode(text, codec, attachments, name)


def hole(number: int) -> dict[str, Any]:
    return {"_placeholder": True, "num": number}


def parts(packet: bytes | Message) -> tuple[bytes, tuple[bytes, ...]]:
    return (packet, ()) if isinstance(packet, bytes) else (packet.text, packet.attachments)


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]


# What is sent, and as what packet it is read: the examples of the protocol's text, each with its engine digit.
EXAMPLES: list[tuple[int, str, Any, int | None, bytes, tuple[bytes, ...]]] = [
    (CONNECT, "/", None, None, b"40", ()),
    (CONNECT, "/admin", {"sid": "oSO0"}, None, b'40/admin,{"sid":"oSO0"}', ()),
    (CONNECT, "/admin", None, None, b"40/admin,", ()),
    (CONNECT_ERROR, "/", {"message": "Not authorized"}, None, b'44{"message":"Not authorized"}', ()),
    (CONNECT_ERROR, "/a", {"message": "x", "data": {"n": 1}}, None, b'44/a,{"message":"x","data":{"n":1}}', ()),
    (EVENT, "/", ["foo"], None, b'42["foo"]', ()),
    (EVENT, "/admin", ["bar"], None, b'42/admin,["bar"]', ()),
    (EVENT, "/", ["baz", b"\1\2\3\4"], None, b'451-["baz",{"_placeholder":true,"num":0}]', (b"\1\2\3\4",)),
    (
        EVENT,
        "/admin",
        ["baz", b"\1\2", b"\3\4"],
        None,
        b'452-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        (b"\1\2", b"\3\4"),
    ),
    (EVENT, "/", ["foo"], 12, b'4212["foo"]', ()),
    (EVENT, "/", ["foo"], 0, b'420["foo"]', ()),
    (ACK, "/admin", ["bar"], 13, b'43/admin,13["bar"]', ()),
    (ACK, "/", [], 12, b"4312[]", ()),
    (ACK, "/", ["bar", b"\1\2\3\4"], 15, b'461-15["bar",{"_placeholder":true,"num":0}]', (b"\1\2\3\4",)),
    (DISCONNECT, "/", None, None, b"41", ()),
    (DISCONNECT, "/admin", None, None, b"41/admin,", ()),
]


@pytest.mark.parametrize(("kind", "namespace", "data", "number", "text", "attachments"), EXAMPLES)
def test_examples_of_the_protocol(
    kind: int,
    namespace: str,
    data: Any,
    number: int | None,
    text: bytes,
    attachments: tuple[bytes, ...],
    codec: Codec,
) -> None:
    assert parts(encode(kind, namespace, data, codec, number)) == (text, attachments)
    packet = read(text, codec)
    assert packet.type == kind + (BINARY_EVENT - EVENT if attachments else 0)
    assert (packet.namespace, packet.id, packet.attachments) == (namespace, number, len(attachments))
    assert with_attachments(packet.data, attachments) == data


# Other spellings that clients use, and what they mean.
READ_ONLY = [
    (b"40/chat", Packet(CONNECT, "/chat", None, None)),
    (b"41/chat", Packet(DISCONNECT, "/chat", None, None)),
    (b"401", Packet(CONNECT, "/", 1, None)),
    (b"40{}", Packet(CONNECT, "/", None, {})),
    (b'450-["a"]', Packet(BINARY_EVENT, "/", None, ["a"])),
    (b"460-3[]", Packet(BINARY_ACK, "/", 3, [])),
    (b'42 ["a" , 1]', Packet(EVENT, "/", None, ["a", 1])),
    (b"42[5]", Packet(EVENT, "/", None, [5])),
    (b"42[1.5]", Packet(EVENT, "/", None, [1.5])),
    (b'42["a",null]', Packet(EVENT, "/", None, ["a", None])),
    (b'42/,["a"]', Packet(EVENT, "/", None, ["a"])),
    (b'429007199254740991["a"]', Packet(EVENT, "/", 2**53 - 1, ["a"])),
    ('42/é,1["ü"]'.encode(), Packet(EVENT, "/é", 1, ["ü"])),
    (b'42/a?b=c,["d"]', Packet(EVENT, "/a?b=c", None, ["d"])),
    (b'44"why"', Packet(CONNECT_ERROR, "/", None, "why")),
]


@pytest.mark.parametrize(("text", "expected"), READ_ONLY)
def test_other_spellings(text: bytes, expected: Packet, codec: Codec) -> None:
    assert read(text, codec) == expected


MALFORMED = [
    # The type.
    b"4",
    b"47",
    b"49[]",
    b"4a",
    b"4\xff",
    b"4-1",
    # The number of attachments.
    b'45["a"]',
    b"45",
    b'45-["a"]',
    b'45a-["a"]',
    b'451["a"]',
    b'45 1-["a"]',
    b'451.0-["a"]',
    b'45-1-["a"]',
    b"4611-[]",
    b'459999999999-["a"]',
    b'45\xc2\xb9-["a"]',
    # The namespace.
    b'42/\xff,["a"]',
    b'42/\xed\xa0\x80,["a"]',
    # The acknowledgement's id.
    b'4212345678901234567["a"]',
    b"43[]",
    b"431234567890123456789[]",
    b"460-[]",
    # JSON.
    b"42",
    b"42[",
    b'42["a"',
    b'42["a"]]',
    b'42["a",]',
    b"42['a']",
    b'42["a",NaN]',
    b'42["a",Infinity]',
    b'42["a",1e400]',
    b'42["\xff"]',
    b'42["\\ud800"',
    b'42["a"]\x00',
    b"42\x00",
    b'42["a",undefined]',
    b'42["a",\\u0041]',
    # Its shape.
    b"42[]",
    b"42{}",
    b'42"a"',
    b"42null",
    b"42[null]",
    b"42[true]",
    b"42[false]",
    b"42[[]]",
    b"42[{}]",
    b"421",
    b"43",
    b"431",
    b'431{"a":1}',
    b"431null",
    b'431"a"',
    b"40[]",
    b'40"a"',
    b"40null",
    b"40true",
    b"41{}",
    b'41["a"]',
    b"41null",
    b"41/a,[]",
    b"44",
    b"44[]",
    b"441",
    b"44null",
    # So deep that it can be decoded, and not be written.
    b"40" + b"[" * 1020 + b"]" * 1020,
    b"42[" + b"[" * 1020 + b"]" * 1020 + b"]",
    b"41" + b'{"a":' * 1020 + b"1" + b"}" * 1020,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed(text: bytes) -> None:
    refuses(read, text, SocketPacketError)


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
@pytest.mark.parametrize("head", [b"42", b"421", b"42/a,", b"450-"])
def test_reserved_names(name: str, head: bytes) -> None:
    refuses(read, head + json.dumps([name]).encode(), SocketPacketError, "reserved")


def test_the_six_reserved_names() -> None:
    assert {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    } == RESERVED_EVENTS


@pytest.mark.parametrize("name", ["connection", "error", "message", "new_namespace", "", "Connect"])
def test_names_that_a_client_may_use(name: str) -> None:
    assert read(b"42" + json.dumps([name]).encode()).data == [name]


def test_limits_hold_exactly() -> None:
    assert read(b'452-["a"]', attachments=2).attachments == 2
    refuses(lambda text: read(text, attachments=1), b'452-["a"]', SocketPacketError, "max_attachments")
    refuses(lambda text: read(text, attachments=0), b'451-["a"]', SocketPacketError, "max_attachments")
    assert read(b'42/123,["a"]', name=4).namespace == "/123"
    assert read(b"40/123", name=4).namespace == "/123"
    refuses(lambda text: read(text, name=3), b'42/123,["a"]', SocketPacketError, "namespace")
    refuses(lambda text: read(text, name=3), b"40/123", SocketPacketError, "namespace")
    assert read(b'42["1234"]', name=4).data == ["1234"]
    refuses(lambda text: read(text, name=3), b'42["1234"]', SocketPacketError, "event name")
    # Bytes are counted, not characters.
    refuses(lambda text: read(text, name=3), '42["éé"]'.encode(), SocketPacketError, "event name")
    refuses(lambda text: read(text, name=4), "40/éé".encode(), SocketPacketError, "namespace")


@pytest.mark.parametrize("text", [b'42["\\ud800"]', b'42["a\\udc00"]', b'40{"token":"\\ud800"}', b'42["a","\\ud800"]'])
def test_a_lone_surrogate_is_not_malformed(text: bytes, codec: Codec) -> None:
    """Whatever the decoder makes of it, the packet lives."""
    assert read(text, codec).type in (CONNECT, EVENT)


def test_a_refusal_shows_the_beginning_of_a_long_packet_only() -> None:
    with pytest.raises(SocketPacketError) as caught:
        read(b"49" + b"x" * 100_000)
    assert len(str(caught.value)) < 400


# Round trips.

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda key: key != "_placeholder")
values = st.recursive(
    scalars | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name not in RESERVED_EVENTS)
namespaces = st.just("/") | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=","), min_size=1, max_size=20
).map(lambda name: "/" + name)
ids = st.none() | st.integers(0, 10**16 - 1)


def binaries(value: Any) -> list[bytes]:
    """All bytes in a value, in the order in which they are written."""
    if isinstance(value, bytes):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in binaries(item)]


@given(st.sampled_from(sorted(CODECS)), namespaces, names, st.lists(values, max_size=4), ids)
def test_events(which: str, namespace: str, name: str, args: list[Any], number: int | None) -> None:
    codec = CODECS[which]
    text, attachments = parts(encode(EVENT, namespace, [name, *args], codec, number))
    packet = read(text, codec, attachments=100)
    assert list(attachments) == binaries(args)
    assert packet[:3] == (BINARY_EVENT if attachments else EVENT, namespace, number)
    assert with_attachments(packet.data, attachments) == [name, *args]


@given(st.sampled_from(sorted(CODECS)), namespaces, st.lists(values, max_size=4), st.integers(0, 10**16 - 1))
def test_acknowledgements(which: str, namespace: str, args: list[Any], number: int) -> None:
    codec = CODECS[which]
    text, attachments = parts(encode(ACK, namespace, args, codec, number))
    packet = read(text, codec, attachments=100)
    assert packet[:3] == (BINARY_ACK if attachments else ACK, namespace, number)
    assert with_attachments(packet.data, attachments) == args


@given(namespaces, st.none() | st.dictionaries(keys, scalars, max_size=4))
def test_connects(namespace: str, auth: dict[str, Any] | None) -> None:
    text, _ = parts(encode(CONNECT, namespace, auth, JSON))
    assert read(text) == Packet(CONNECT, namespace, None, auth)


@given(namespaces, names, st.lists(values, max_size=3), ids)
def test_cut_short_at_each_byte(namespace: str, name: str, args: list[Any], number: int | None) -> None:
    text, _ = parts(encode(EVENT, namespace, [name, *args], JSON, number))
    for cut in prefixes(text):
        # No event is complete before its last byte.
        assert outcome(lambda data: read(data, attachments=100), cut, SocketPacketError) is None


@given(namespaces, names, st.lists(scalars, max_size=3), st.binary(min_size=1, max_size=6))
def test_trailing_bytes(namespace: str, name: str, args: list[Any], tail: bytes) -> None:
    text, _ = parts(encode(EVENT, namespace, [name, *args], JSON))
    found = outcome(read, text + tail, SocketPacketError)
    assert (found is not None) == (not tail.strip(b" \t\r\n"))


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=40))
def test_arbitrary_bytes(which: str, text: bytes) -> None:
    outcome(lambda data: read(data, CODECS[which]), b"4" + text, SocketPacketError)


FRAGMENTS = [
    b"0",
    b"2",
    b"3",
    b"5",
    b"6",
    b"1-",
    b"0-",
    b"2-",
    b"/",
    b"/a",
    b",",
    b"7",
    b"[",
    b"]",
    b'"a"',
    b"{",
    b"}",
    b'"_placeholder"',
    b":",
    b"true",
    b'"num"',
    b"-1",
    b"1e400",
    b"\\ud800",
    b'"\\ud800"',
    b"NaN",
    b"\xff",
    b"\x1e",
    b" ",
]


@given(st.sampled_from(sorted(CODECS)), st.lists(st.sampled_from(FRAGMENTS), max_size=14))
def test_arbitrary_fragments(which: str, fragments: list[bytes]) -> None:
    packet = outcome(lambda data: read(data, CODECS[which]), b"4" + b"".join(fragments), SocketPacketError)
    if packet is not None:
        outcome(lambda _: with_attachments(packet.data, [b"x"]), b"", SocketPacketError)


@given(st.sampled_from(sorted(CODECS)), st.integers(0, 3000), st.sampled_from([b"[]", b'{"a":}']))
def test_deep_nesting_is_decoded_or_refused(which: str, depth: int, brackets: bytes) -> None:
    opening, closing = (b"[", b"]") if brackets == b"[]" else (b'{"a":', b"}")
    text = b'451-["x",' + opening * depth + b"1" + closing * depth + b"]"
    packet = outcome(lambda data: read(data, CODECS[which]), text, SocketPacketError)
    if packet is not None:
        outcome(lambda _: with_attachments(packet.data, [b"x"]), b"", SocketPacketError)


@pytest.mark.parametrize("depth", [100, 900, 1000, 1020, 5000, 100_000])
def test_attachments_of_deeply_nested_data(depth: int) -> None:
    """The limit of the decoder's nesting is above that of Python's recursion."""
    text = b'451-["x",' + b"[" * depth + b'{"_placeholder":true,"num":0}' + b"]" * depth + b"]"
    packet = outcome(read, text, SocketPacketError)
    if packet is not None:
        outcome(lambda _: with_attachments(packet.data, [b"x"]), b"", SocketPacketError)


# Placeholders.


def test_attachments_are_put_where_their_placeholders_are() -> None:
    data = ["a", hole(1), {"b": [hole(0), {"c": hole(1)}]}, [[hole(0)]]]
    assert with_attachments(data, [b"0", b"1"]) == ["a", b"1", {"b": [b"0", {"c": b"1"}]}, [[b"0"]]]


def test_an_attachment_without_a_placeholder_is_dropped() -> None:
    assert with_attachments(["a", 1], [b"0"]) == ["a", 1]


@pytest.mark.parametrize("number", [0.0, -0.0])
def test_a_whole_number_may_be_written_with_a_fraction(number: float) -> None:
    assert with_attachments(["a", {"_placeholder": True, "num": number}], [b"0"]) == ["a", b"0"]


@pytest.mark.parametrize("number", [1, -1, 1.0, 0.5, 1e300, "0", None, True, [], 2**70])
def test_a_placeholder_without_its_attachment(number: Any) -> None:
    with pytest.raises(SocketPacketError, match="placeholder"):
        with_attachments(["a", {"_placeholder": True, "num": number}], [b"0"])


@pytest.mark.parametrize("marker", [False, 1, "true", None])
def test_what_only_looks_like_a_placeholder(marker: Any) -> None:
    assert with_attachments(["a", {"_placeholder": marker, "num": 0}], [b"0"]) == [
        "a",
        {"_placeholder": marker, "num": 0},
    ]


@pytest.mark.parametrize("value", [None, 1, "a"])
def test_a_scalar_has_no_placeholders(value: Any) -> None:
    assert with_attachments(value, [b"0"]) == value


# Encoding.


@pytest.mark.parametrize(
    ("kind", "namespace", "head"),
    [(EVENT, "/", b"42"), (EVENT, "/a", b"42/a,"), (ACK, "/é", "43/é,".encode()), (DISCONNECT, "/a", b"41/a,")],
)
def test_heads(kind: int, namespace: str, head: bytes) -> None:
    assert head_of(kind, namespace) == head


def test_an_acknowledgement_of_nothing() -> None:
    assert encode(ACK, "/a", None, JSON, 7) == b"43/a,7"


@pytest.mark.parametrize("value", [{1, 2}, object(), 2**70, print, "\ud800"])
def test_what_cannot_be_sent(value: Any) -> None:
    with pytest.raises(EncodeError):
        encode(EVENT, "/", ["a", value], JSON)
