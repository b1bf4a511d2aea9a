"""Binary packets of protocol 3, on a WebSocket."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol.engine_packet import Binary, Message
from duplexio.protocol.engine_packet3 import as_binary, decode_base64, decode_binary, encode_base64, for_websocket

from .feeding import outcome, refuses

MESSAGE = Message(b'452-["a"]', (b"\x01", b"\x02\x03"))


@given(st.binary(max_size=50))
def test_round_trip(data: bytes) -> None:
    for encode, decode in ((as_binary, decode_binary), (encode_base64, decode_base64)):
        found = decode(encode(data))
        assert isinstance(found, Binary)
        assert found == data


def test_control_packets_may_be_binary() -> None:
    assert decode_binary(b"\x02probe") == b"2probe"
    assert not isinstance(decode_binary(b"\x02probe"), Binary)
    assert decode_base64(b"b2" + base64.b64encode(b"probe")) == b"2probe"


@pytest.mark.parametrize("packet", [b"", b"\x07", b"4hello"])
def test_what_begins_with_no_type_is_refused(packet: bytes) -> None:
    refuses(decode_binary, packet, EnginePacketError, "a byte from 0 to 6")


@pytest.mark.parametrize(
    ("packet", "text"), [(b"b", "0 to 6"), (b"b9", "0 to 6"), (b"b4*", "base64"), (b"b4A", "base64")]
)
def test_what_is_no_base64_is_refused(packet: bytes, text: str) -> None:
    refuses(decode_base64, packet, EnginePacketError, text)


@given(st.binary(max_size=50))
def test_arbitrary_bytes(packet: bytes) -> None:
    outcome(decode_binary, packet, EnginePacketError)
    outcome(decode_base64, b"b" + packet, EnginePacketError)


def test_a_message_for_a_websocket() -> None:
    (sent,) = for_websocket(MESSAGE, base64=False)
    assert isinstance(sent, Message)
    assert (sent.text, sent.attachments) == (b'452-["a"]', (b"\x04\x01", b"\x04\x02\x03"))
    assert list(for_websocket(MESSAGE, base64=True)) == [b'452-["a"]', b"b4AQ==", b"b4AgM="]
    assert list(for_websocket(Message(b"", (b"\x01",)), base64=True)) == [b"b4AQ=="]


@pytest.mark.parametrize("base64", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_it_is_left_out_of_compression_as_the_message_is(compress: bool, base64: bool) -> None:
    message = Message(b'451-["a"]', (b"\x01",))
    message.compress = compress
    sent = for_websocket(message, base64)
    assert [isinstance(packet, bytes) or packet.compress for packet in sent] == [compress] * len(sent)


def test_it_is_made_once_for_all_receivers() -> None:
    message = Message(b"42[]")
    assert for_websocket(message, base64=False) is for_websocket(message, base64=False)
    assert for_websocket(message, base64=True) is for_websocket(message, base64=True)
