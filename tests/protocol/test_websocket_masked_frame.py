"""Frames as a client sends them, read by the parser of the `websockets` library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from duplexio.protocol import websocket_masked_frame
from duplexio.protocol.websocket_masked_frame import masked_with_whole_numbers

# Each border of the three forms a length has.
LENGTHS = (0, 1, 3, 125, 126, 127, 65_535, 65_536, 70_000)


def parsed(data: bytes) -> Frame:
    """The one frame in `data`; the parser refuses one that is not masked."""
    reader = StreamReader()
    parser = Frame.parse(reader.read_exact, mask=True)
    reader.feed_data(data)
    with pytest.raises(StopIteration) as ended:
        next(parser)
    found: Frame = ended.value.value
    return found


@pytest.mark.parametrize("length", LENGTHS)
def test_a_text_of_any_length_is_read_as_it_was(length: int) -> None:
    payload = bytes(n % 128 for n in range(length))
    assert parsed(websocket_masked_frame.text(payload)) == Frame(Opcode.TEXT, payload)


@pytest.mark.parametrize("length", LENGTHS)
def test_binary_of_any_length_is_read_as_it_was(length: int) -> None:
    payload = bytes(n % 256 for n in range(length))
    assert parsed(websocket_masked_frame.binary(payload)) == Frame(Opcode.BINARY, payload)


def test_control_frames() -> None:
    assert parsed(websocket_masked_frame.pong(b"here")) == Frame(Opcode.PONG, b"here")
    closed = parsed(websocket_masked_frame.close(1001, b"going"))
    assert (closed.opcode, Close.parse(closed.data)) == (Opcode.CLOSE, Close(1001, "going"))
    assert parsed(websocket_masked_frame.close_with(b"")) == Frame(Opcode.CLOSE, b"")


def test_no_key_comes_twice() -> None:
    # More than are drawn at once.
    keys = [websocket_masked_frame.text(b"")[2:6] for _ in range(3000)]
    assert len(set(keys)) > 2990


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_the_way_without_a_compiler_masks_alike(data: bytes, key: bytes) -> None:
    assert masked_with_whole_numbers(data, key) == bytes(byte ^ key[n % 4] for n, byte in enumerate(data))
