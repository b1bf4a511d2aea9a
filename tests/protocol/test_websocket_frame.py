"""Frames as a server sends them, read by the parser of the `websockets` library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from duplexio.protocol import websocket_frame

# Each border of the three forms a length has.
LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)


def parsed(data: bytes, step: int | None = None) -> list[Frame]:
    """The frames in `data`, fed in pieces of `step` bytes."""
    reader = StreamReader()
    found: list[Frame] = []

    def reading() -> Iterator[None]:
        while True:
            found.append((yield from Frame.parse(reader.read_exact, mask=False)))

    parser = reading()
    next(parser)
    for start in range(0, len(data), step or len(data)):
        reader.feed_data(data[start : start + (step or len(data))])
        next(parser)
    assert not reader.buffer, "bytes behind the last frame"
    return found


def seen(frame: Frame) -> tuple[Opcode, bytes, bool, bool]:
    return frame.opcode, bytes(frame.data), frame.fin, frame.rsv1 or frame.rsv2 or frame.rsv3


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("make", "opcode"), [(websocket_frame.text, Opcode.TEXT), (websocket_frame.binary, Opcode.BINARY)]
)
def test_each_form_of_a_length(make: object, opcode: Opcode, length: int) -> None:
    assert callable(make)
    payload = b"x" * length
    data = make(payload)
    assert list(map(seen, parsed(data))) == [(opcode, payload, True, False)]
    # The shortest form that holds it. RFC 6455 §5.2.
    assert len(data) - length == (2 if length < 126 else 4 if length < 65_536 else 10)


@pytest.mark.parametrize("length", [0, 125, 126, 65_536])
def test_byte_by_byte(length: int) -> None:
    data = websocket_frame.text(b"a" * length) + websocket_frame.binary(b"b")
    frames = parsed(data[: length + 12], step=1) if length > 1000 else parsed(data, step=1)
    assert seen(frames[0]) == (Opcode.TEXT, b"a" * length, True, False)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), min_size=1, max_size=6), st.integers(1, 50))
def test_frames_one_behind_the_other(messages: list[tuple[bool, bytes]], step: int) -> None:
    data = b"".join(websocket_frame.text(m) if text else websocket_frame.binary(m) for text, m in messages)
    expected = [(Opcode.TEXT if text else Opcode.BINARY, m, True, False) for text, m in messages]
    assert list(map(seen, parsed(data, step))) == expected


@given(st.binary(max_size=125))
def test_pong(payload: bytes) -> None:
    assert list(map(seen, parsed(websocket_frame.pong(payload)))) == [(Opcode.PONG, payload, True, False)]


@given(
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012]),
    st.text(st.characters(codec="ascii"), max_size=200),
)
def test_close(code: int, reason: str) -> None:
    (frame,) = parsed(websocket_frame.close(code, reason.encode()))
    assert frame.opcode is Opcode.CLOSE
    frame.check()
    assert Close.parse(frame.data) == Close(code, reason[:123])


def test_close_without_a_code() -> None:
    (frame,) = parsed(websocket_frame.close_with(b""))
    assert seen(frame) == (Opcode.CLOSE, b"", True, False)
