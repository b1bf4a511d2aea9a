"""Bodies of long-polling, protocol 3: as text, and as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol import engine_payload3
from duplexio.protocol.engine_packet import Binary, Message, Outgoing

from .feeding import outcome, prefixes, refuses
from .test_engine_payload import kinds

MANY = 1000

text_packets = st.builds(
    lambda kind, data: f"{kind}{data}".encode(),
    st.integers(0, 6),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
packets = st.lists(text_packets | st.binary(max_size=30).map(Binary), min_size=1, max_size=8)

Parts = list[bytes | Binary]


def decode(body: bytes) -> Parts:
    return engine_payload3.decode(body, MANY)


def decode_as_binary(body: bytes) -> Parts:
    return engine_payload3.decode_as_binary(body, MANY)


def outgoing(parts: Parts) -> list[Outgoing]:
    return [Message(b"", (part,)) if isinstance(part, Binary) else part for part in parts]


def encode(parts: Parts) -> bytes:
    return engine_payload3.encode(outgoing(parts))


def encode_as_binary(parts: Parts) -> bytes:
    return engine_payload3.encode_as_binary(outgoing(parts))


# The examples of the protocol's text, and what its rules say of the corners.
TEXTS: list[tuple[bytes, Parts]] = [
    (b"6:4hello2:4\xe2\x82\xac", [b"4hello", "4€".encode()]),
    (b"6:4hello1:26:4world", [b"4hello", b"2", b"4world"]),
    (b"2:40", [b"40"]),
    (b"10:b4AQIDBA==", [Binary(b"\x01\x02\x03\x04")]),
    (b"2:b4", [Binary(b"")]),
    ("3:4🎉1:2".encode(), ["4🎉".encode(), b"2"]),
    ("5:4é🎉a".encode(), ["4é🎉a".encode()]),
    (b"5:4a1:b", [b"4a1:b"]),
]
BYTES: list[tuple[bytes, Parts]] = [
    (b"\x00\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04", ["4€".encode(), Binary(b"\x01\x02\x03\x04")]),
    (b"\x00\x01\x02\xff4hello world", [b"4hello world"]),
    (b"\x01\x01\xff\x04", [Binary(b"")]),
    (b"", []),
]


@pytest.mark.parametrize(("body", "expected"), TEXTS)
def test_texts_of_the_protocol(body: bytes, expected: Parts) -> None:
    assert kinds(decode(body)) == kinds(expected)
    assert encode(expected) == body


@pytest.mark.parametrize(("body", "expected"), BYTES)
def test_bytes_of_the_protocol(body: bytes, expected: Parts) -> None:
    assert kinds(decode_as_binary(body)) == kinds(expected)
    assert encode_as_binary(expected) == body


def test_a_body_without_packets() -> None:
    assert decode(b"0:") == []
    assert kinds(decode(b"0:2:4a0:")) == [(False, b"4a")]


def test_bytes_may_hold_base64_and_control_packets() -> None:
    assert kinds(decode_as_binary(b"\x00\x06\xffb4AQ==\x01\x01\xff\x02")) == [(True, b"\x01"), (False, b"2")]


def test_a_control_packet_may_be_base64() -> None:
    assert kinds(decode(b"10:b2cHJvYmU=")) == [(False, b"2probe")]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty body"),
        (b"abc", "begins with its length"),
        (b":4a", "begins with its length"),
        (b"4a", "begins with its length"),
        (b"-1:4", "begins with its length"),
        (b"+1:4", "begins with its length"),
        (b"1e1:4hellohello", "begins with its length"),
        ("\N{ARABIC-INDIC DIGIT ONE}:4".encode(), "begins with its length"),
        (b"99999999999:4", "begins with its length"),
        (b"2:4", "a packet of length 2 is announced, 1 are left"),
        ("4:4🎉".encode(), "a packet of length 4 is announced, 3 are left"),
        (b"1:7", "0 to 6"),
        (b"5:hello", "0 to 6"),
        (b"2:4a5:", "are left"),
        (b"2:4atrailing", "begins with its length"),
        (b"2:4\xff", "not UTF-8"),
        (b"3:b4A", "base64"),
        (b"2:b7", "0 to 6"),
        (b"1:b", "0 to 6"),
    ],
)
def test_what_is_no_text_is_refused(body: bytes, text: str) -> None:
    refuses(decode, body, EnginePacketError, text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\x02\x01\xff4", "begins with 0 or 1"),
        (b"\x00\xff", "begins with 0 or 1"),
        (b"\x00\x01", "begins with 0 or 1"),
        (b"\x00\x0a\xff4", "begins with 0 or 1"),
        (b"\x00" + b"\x01" * 11 + b"\xff4", "begins with 0 or 1"),
        (b"\x00\x02\xff4", "a packet of length 2 is announced, 1 are left"),
        (b"\x01\x00\xff", "a byte from 0 to 6"),
        (b"\x01\x01\xff\x07", "a byte from 0 to 6"),
        (b"\x00\x00\xff", "0 to 6"),
        (b"\x00\x02\xff4\xff", "not UTF-8"),
        (b"\x00\x02\xffb*", "0 to 6"),
        (b"4hello", "begins with 0 or 1"),
    ],
)
def test_what_is_no_bytes_is_refused(body: bytes, text: str) -> None:
    refuses(decode_as_binary, body, EnginePacketError, text)


def test_a_length_in_the_middle_of_a_surrogate_pair_is_refused() -> None:
    # The half that is left over begins no packet.
    refuses(decode, "2:4🎉".encode(), EnginePacketError, "begins with its length")


@given(packets)
def test_round_trip(parts: Parts) -> None:
    assert kinds(decode(encode(parts))) == kinds(parts)
    assert kinds(decode_as_binary(encode_as_binary(parts))) == kinds(parts)


@given(packets)
def test_cut_short_at_each_byte(parts: Parts) -> None:
    for encoding, decoding in ((encode, decode), (encode_as_binary, decode_as_binary)):
        for cut in prefixes(encoding(parts)):
            found = outcome(decoding, cut, EnginePacketError)
            if found is not None:
                assert kinds(found) == kinds(parts)[: len(found)]


@given(packets, st.binary(min_size=1, max_size=10))
def test_trailing_bytes_disturb_no_packet_before(parts: Parts, tail: bytes) -> None:
    for encoding, decoding in ((encode, decode), (encode_as_binary, decode_as_binary)):
        found = outcome(decoding, encoding(parts) + tail, EnginePacketError)
        if found is not None:
            assert kinds(found)[: len(parts)] == kinds(parts)


@given(st.binary(max_size=200))
def test_arbitrary_bytes(body: bytes) -> None:
    outcome(decode, body, EnginePacketError)
    outcome(decode_as_binary, body, EnginePacketError)


@given(
    st.lists(
        st.sampled_from([b"1:2", b"0:", b"2:4", b"\x00\x01\xff", b"\x01", b"b4", b"\xff", "🎉".encode()]), max_size=9
    )
)
def test_arbitrary_packets(parts: list[bytes]) -> None:
    outcome(decode, b"".join(parts), EnginePacketError)
    outcome(decode_as_binary, b"".join(parts), EnginePacketError)


def test_so_many_packets_and_no_more() -> None:
    text, octets = b"1:2" * 5, b"\x00\x01\xff2" * 5
    assert len(engine_payload3.decode(text, 5)) == 5
    assert len(engine_payload3.decode_as_binary(octets, 5)) == 5
    refuses(lambda given: engine_payload3.decode(given, 4), text, EnginePacketError, "more than 4 packets")
    refuses(lambda given: engine_payload3.decode_as_binary(given, 4), octets, EnginePacketError, "more than 4 packets")


def test_lengths_of_many_digits() -> None:
    """As many as a body can have; one digit more is that of none."""
    packet = b"4" + b"a" * 999_999
    assert kinds(decode(b"1000000:" + packet)) == [(False, packet)]
    assert kinds(decode_as_binary(b"\x00\x01\x00\x00\x00\x00\x00\x00\xff" + packet)) == [(False, packet)]
    refuses(decode, b"00000000001:4", EnginePacketError, "begins with its length")
    refuses(decode_as_binary, b"\x00" + b"\x00" * 10 + b"\x01\xff4", EnginePacketError, "its length's digits")


def test_empty_packets_count() -> None:
    """They are passed over, but half a million of them in one body are half a second of work."""
    assert engine_payload3.decode(b"0:" * 5, 5) == []
    refuses(lambda given: engine_payload3.decode(given, 4), b"0:" * 5, EnginePacketError, "more than 4 packets")
