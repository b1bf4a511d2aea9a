"""Bodies of long-polling."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol import engine_packet3, engine_payload
from duplexio.protocol.engine_packet import Binary, Message

from .feeding import outcome, prefixes, refuses

MANY = 1000

text_packets = st.builds(
    lambda kind, data: f"{kind}{data}".encode(),
    st.integers(0, 6),
    st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]), max_size=30),
)
packets = st.lists(text_packets | st.binary(max_size=30).map(Binary), min_size=1, max_size=8)


def decode(body: bytes) -> list[bytes | Binary]:
    return engine_payload.decode(body, MANY)


def encode(parts: list[bytes | Binary]) -> bytes:
    return engine_payload.encode([Message(b"", (part,)) if isinstance(part, Binary) else part for part in parts])


def kinds(parts: list[bytes | Binary]) -> list[tuple[bool, bytes]]:
    """Equality of bytes does not see whether they are text."""
    return [(isinstance(part, Binary), bytes(part)) for part in parts]


# The two examples of the protocol's text, and what its rules say of the corners.
BODIES: list[tuple[bytes, list[bytes | Binary]]] = [
    (b"4hello\x1e2\x1e4world", [b"4hello", b"2", b"4world"]),
    (b"4hello\x1ebAQIDBA==", [b"4hello", Binary(b"\x01\x02\x03\x04")]),
    (b"4", [b"4"]),
    (b"b", [Binary(b"")]),
    (b"bAQ==\x1ebAg==", [Binary(b"\x01"), Binary(b"\x02")]),
    ("4é€😀".encode(), ["4é€😀".encode()]),
    (b"1", [b"1"]),
    (b"4b", [b"4b"]),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bodies_of_the_protocol(body: bytes, expected: list[bytes | Binary]) -> None:
    assert kinds(decode(body)) == kinds(expected)
    assert encode(expected) == body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "0 to 6"),
        (b"\x1e", "0 to 6"),
        (b"4a\x1e", "0 to 6"),
        (b"\x1e4a", "0 to 6"),
        (b"4a\x1e\x1e4b", "0 to 6"),
        (b"7", "0 to 6"),
        (b"hello", "0 to 6"),
        (b"4a\x1e9", "0 to 6"),
        (b"4\xff", "not UTF-8"),
        (b"4\xed\xa0\x80", "not UTF-8"),
        (b"bA", "base64"),
        (b"b====", "base64"),
        (b"bAQ==x", "base64"),
        (b"b*", "base64"),
        (b"bAQ==\x1eb?", "base64"),
    ],
)
def test_what_is_no_body_is_refused(body: bytes, text: str) -> None:
    refuses(decode, body, EnginePacketError, text)


@pytest.mark.parametrize("padding", [b"", b"="])
def test_base64_without_its_padding_is_taken_as_node_takes_it(padding: bytes) -> None:
    assert kinds(decode(b"bAQI" + padding)) == [(True, b"\x01\x02")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 57, 58, 171, 1000])
def test_base64_in_lines_is_taken_as_node_takes_it(size: int, end: bytes) -> None:
    """The Java client sends it so: after every 76 characters a line's end, and one at the end of all."""
    data = bytes(index % 256 for index in range(size))
    body = b"4a\x1eb" + base64.encodebytes(data).replace(b"\n", end) + b"\x1eb" + base64.b64encode(data)
    assert kinds(decode(body)) == [(False, b"4a"), (True, data), (True, data)]
    assert engine_packet3.decode_base64(b"b4" + base64.encodebytes(data).replace(b"\n", end)) == data


@given(packets)
def test_round_trip(parts: list[bytes | Binary]) -> None:
    assert kinds(decode(encode(parts))) == kinds(parts)


@given(packets)
def test_cut_short_at_each_byte(parts: list[bytes | Binary]) -> None:
    body = encode(parts)
    for cut in prefixes(body):
        found = outcome(decode, cut, EnginePacketError)
        # What is whole is what it would have been; only the last packet can be a shorter one.
        if found is not None:
            assert kinds(found)[:-1] == kinds(parts)[: len(found) - 1]


@given(packets, st.binary(min_size=1, max_size=10))
def test_trailing_bytes_disturb_no_packet_before(parts: list[bytes | Binary], tail: bytes) -> None:
    found = outcome(decode, encode(parts) + b"\x1e" + tail, EnginePacketError)
    if found is not None:
        assert kinds(found)[: len(parts)] == kinds(parts)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(body: bytes) -> None:
    found = outcome(decode, body, EnginePacketError)
    if found is not None:
        assert len(found) == body.count(b"\x1e") + 1
        assert body.decode()


@given(st.lists(st.sampled_from([b"4a", b"2", b"bAQ==", b"b", b"\x1e", b"x", b"\xc3"]), max_size=12))
def test_arbitrary_packets(parts: list[bytes]) -> None:
    outcome(decode, b"\x1e".join(parts), EnginePacketError)


def test_so_many_packets_and_no_more() -> None:
    body = b"\x1e".join([b"2"] * 5)
    assert len(engine_payload.decode(body, 5)) == 5
    refuses(lambda given: engine_payload.decode(given, 4), body, EnginePacketError, "more than 4 packets")


def test_too_many_packets_are_refused_before_they_are_looked_at() -> None:
    refuses(lambda given: engine_payload.decode(given, 1), b"4a\x1e\xff\xff", EnginePacketError, "more than 1 packets")


def test_a_message_with_attachments_is_text_then_binaries() -> None:
    message = Message(b'452-["a"]', (b"\x01", b"\x02\x03"))
    body = engine_payload.encode([b"2", message, b"3"])
    assert (
        body == b'2\x1e452-["a"]\x1eb' + base64.b64encode(b"\x01") + b"\x1eb" + base64.b64encode(b"\x02\x03") + b"\x1e3"
    )


def test_nothing_is_an_empty_body() -> None:
    assert engine_payload.encode([]) == b""
