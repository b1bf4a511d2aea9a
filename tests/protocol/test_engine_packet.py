"""Engine.IO packets: the type digit, and messages that are made once for many receivers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol import engine_packet, websocket_frame
from duplexio.protocol.engine_packet import Message, check_type

from .feeding import outcome

# The table of packet types of protocol 4.
TYPES = {"open": b"0", "close": b"1", "ping": b"2", "pong": b"3", "message": b"4", "upgrade": b"5", "noop": b"6"}


@pytest.mark.parametrize(("name", "digit"), TYPES.items())
def test_types_have_the_digits_of_the_protocol(name: str, digit: bytes) -> None:
    assert getattr(engine_packet, name.upper()) == digit[0]
    assert check_type(digit) == digit[0]
    assert check_type(digit + b"data") == digit[0]


def test_it_is_protocol_4() -> None:
    assert engine_packet.PROTOCOL == 4


@pytest.mark.parametrize("packet", [b"", b"7", b"9x", b"a", b"\x00", b"\xff4", b" 4", b"-1"])
def test_what_has_no_type_is_refused(packet: bytes) -> None:
    with pytest.raises(EnginePacketError, match="0 to 6"):
        check_type(packet)


@given(st.binary(max_size=50))
def test_arbitrary_bytes_have_a_type_or_are_refused(packet: bytes) -> None:
    found = outcome(check_type, packet, EnginePacketError)
    assert (found is not None) == (packet[:1] in TYPES.values())


def test_a_refusal_shows_the_beginning_of_a_long_packet_only() -> None:
    with pytest.raises(EnginePacketError) as caught:
        check_type(b"x" * 10_000)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=300), st.lists(st.binary(max_size=300), max_size=3))
def test_a_message_is_framed_as_its_parts_are(text: bytes, attachments: list[bytes]) -> None:
    message = Message(text, tuple(attachments))
    parts = ([websocket_frame.text(text)] if text else []) + [websocket_frame.binary(item) for item in attachments]
    assert message.frames() == b"".join(parts)


def test_a_message_is_framed_once() -> None:
    message = Message(b'451-["a",{"_placeholder":true,"num":0}]', (b"\x01",))
    assert message.frames() is message.frames()


@given(st.binary(max_size=50), st.lists(st.binary(max_size=50), max_size=3))
def test_a_message_is_as_large_as_its_parts(text: bytes, attachments: list[bytes]) -> None:
    message = Message(text, tuple(attachments))
    assert len(message) == message.size == len(text) + sum(len(item) for item in attachments)


def test_the_text_of_a_message_in_a_log_line_is_short() -> None:
    assert repr(Message(b"42", (b"a", b"b"))) == "<Message b'42' with 2 attachments>"
    assert len(repr(Message(b"4" * 10_000))) < 200
