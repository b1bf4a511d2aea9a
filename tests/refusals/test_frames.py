"""WebSocket frames against RFC 6455, and those that are allowed but rare."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import Start
from .raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, frame
from .stage import Stage

# On the standard loop, too: it hands bytes to the parser in its own way.
pytestmark = pytest.mark.hostings("fast", "fast-asyncio", "asgi")

LIMIT = 10_000


def event(size: int) -> bytes:
    """A packet of so many bytes that `echo` would hear."""
    return b'42["echo","' + b"x" * (size - 13) + b'"]'


async def opened(stage: Stage) -> WebSocket:
    session = await stage.session("websocket")
    assert isinstance(session, WebSocket)
    return session


#: Bytes on the wire, and the code they are answered with.
BROKEN = {
    "no mask": (frame(TEXT, b'42["echo",1]', masked=False), 1002),
    "no mask on a close": (frame(CLOSE, b"\x03\xe8", masked=False), 1002),
    "the first reserved bit": (frame(TEXT, b'42["echo",1]', reserved=4), 1002),
    "the second reserved bit": (frame(TEXT, b'42["echo",1]', reserved=2), 1002),
    "the third reserved bit": (frame(TEXT, b'42["echo",1]', reserved=1), 1002),
    "the first reserved bit of bytes": (frame(BINARY, b"abc", reserved=4), 1002),
    "the first reserved bit of a ping": (frame(PING, b"", reserved=4), 1002),
    "the first reserved bit of a pong": (frame(PONG, b"", reserved=4), 1002),
    "a reserved bit of a continuation": (
        frame(TEXT, b'42["echo"', fin=False) + frame(CONTINUATION, b",1]", reserved=4),
        1002,
    ),
    "opcode 3": (frame(3, b'42["echo",1]'), 1002),
    "opcode 7": (frame(7, b""), 1002),
    "opcode 11": (frame(11, b""), 1002),
    "opcode 15": (frame(15, b""), 1002),
    "a ping in fragments": (frame(PING, b"a", fin=False) + frame(CONTINUATION, b"b"), 1002),
    "a close in fragments": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "a ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "a close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "a close of 1 byte": (frame(CLOSE, b"\x03"), 1002),
    "a close of code 999": (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
    "a close of code 1005": (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
    "a close of code 1006": (frame(CLOSE, (1006).to_bytes(2, "big")), 1002),
    "a close of code 65535": (frame(CLOSE, b"\xff\xff"), 1002),
    "a close whose reason is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "a continuation of nothing": (frame(CONTINUATION, b'42["echo",1]'), 1002),
    "a text inside a message": (frame(TEXT, b'42["echo"', fin=False) + frame(TEXT, b'42["echo",1]'), 1002),
    "bytes inside a message": (frame(TEXT, b'42["echo"', fin=False) + frame(BINARY, b"abc"), 1002),
    "text that is not UTF-8": (frame(TEXT, b'42["echo","\xff"]'), 1007),
    "a surrogate as UTF-8": (frame(TEXT, b'42["echo","\xed\xa0\x80"]'), 1007),
    "a letter in two bytes too many": (frame(TEXT, b'42["echo","\xe0\x80\xaf"]'), 1007),
    "fragments that are not UTF-8": (frame(TEXT, b'42["ec', fin=False) + frame(CONTINUATION, b'ho","\xff"]'), 1007),
}


@pytest.mark.hostings("fast", "asgi")
@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
async def test_a_frame_against_the_rules(start: Start, sent: bytes, code: int) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(sent + frame(TEXT, b'42["echo","behind"]'))
    await stage.closed(session, code)
    assert await session.wire.rest() == b""
    await stage.gone()
    # A text that is not UTF-8 is seen by the decoder where nobody has looked at it before.
    cause = "parse_error" if code == 1007 and stage.our_frames and sent[0] & 15 == TEXT else "transport_error"
    await stage.one_fault(cause, "127.0.0.1")
    assert stage.heard == []


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_frame_over_the_limit(start: Start, opcode: int) -> None:
    stage = await start(max_http_buffer_size=LIMIT)
    session = await opened(stage)
    await session.wire.write(frame(opcode, event(LIMIT + 1)))
    await stage.closed(session, 1009)
    await stage.gone()
    await stage.one_fault("message_too_big", f"over {LIMIT} bytes")
    assert stage.heard == []


async def test_a_length_with_its_highest_bit_set(start: Start) -> None:
    """RFC 6455 §5.2 forbids it; some take it for very long."""
    stage = await start()
    session = await opened(stage)
    await session.wire.write(b"\x81\xff\xff" + bytes(7) + b"mask")
    assert (await session.closing()).code in (1002, 1009)
    await stage.gone()
    assert len(stage.log.warnings) == 1
    assert sum(stage.faults.values()) == 1


@pytest.mark.hostings("fast", "fast-asyncio", "handover")
async def test_a_frame_that_only_claims_to_be_over_the_limit(start: Start) -> None:
    """Nothing of it is waited for."""
    stage = await start(max_http_buffer_size=LIMIT)
    session = await opened(stage)
    await session.wire.write(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask")
    await stage.closed(session, 1009)
    await stage.gone()
    await stage.one_fault("message_too_big", f"over {LIMIT} bytes")


@pytest.mark.parametrize("pieces", [2, 11])
async def test_a_message_over_the_limit_in_fragments(start: Start, pieces: int) -> None:
    stage = await start(max_http_buffer_size=LIMIT)
    session = await opened(stage)
    message = event(LIMIT + pieces)
    size = len(message) // pieces
    for number in range(pieces):
        piece = message[number * size : (number + 1) * size] if number < pieces - 1 else message[number * size :]
        last = number == pieces - 1
        await session.wire.write(frame(CONTINUATION if number else TEXT, piece, fin=last))
    await stage.closed(session, 1009)
    await stage.gone()
    await stage.one_fault("message_too_big", f"over {LIMIT} bytes")
    assert stage.heard == []


@pytest.mark.hostings("fast", "fast-asyncio", "handover")
async def test_a_message_of_endless_empty_fragments(start: Start) -> None:
    """Each costs an object, so their number is bounded, too."""
    stage = await start(max_http_buffer_size=LIMIT)
    session = await opened(stage)
    with_mask = frame(CONTINUATION, b"", fin=False)
    await session.wire.write(frame(TEXT, b"4", fin=False))
    try:
        for _ in range(100):
            await session.wire.write(with_mask * 100)
    except ConnectionError:
        pass
    await stage.gone()
    await stage.one_fault("message_too_big")


@pytest.mark.parametrize("fragments", [1, 2, 7])
async def test_a_message_of_the_limit_is_taken(start: Start, fragments: int) -> None:
    stage = await start(max_http_buffer_size=LIMIT)
    session = await opened(stage)
    message = event(LIMIT)
    size = -(-len(message) // fragments)
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    for number, piece in enumerate(pieces):
        await session.wire.write(frame(CONTINUATION if number else TEXT, piece, fin=number == len(pieces) - 1))
    await session.send(b'421["witness",1]')
    assert await session.read() == b"431[1]"
    assert stage.heard == [("x" * (LIMIT - 13),)]
    await stage.no_fault()


async def test_a_letter_in_two_fragments(start: Start) -> None:
    """Fragments may be cut anywhere. RFC 6455 §5.6."""
    stage = await start()
    session = await opened(stage)
    message = '421["echo","€"]'.encode()
    cut = message.index(b"\x82")
    await session.wire.write(frame(TEXT, message[:cut], fin=False) + frame(CONTINUATION, message[cut:]))
    assert await session.read() == '431["€"]'.encode()
    await stage.no_fault()


async def test_a_message_in_single_bytes(start: Start) -> None:
    """As frames, and as writes."""
    stage = await start()
    session = await opened(stage)
    message = b'421["echo",1]'
    for number, byte in enumerate(message):
        for octet in frame(CONTINUATION if number else TEXT, bytes((byte,)), fin=number == len(message) - 1):
            await session.wire.write(bytes((octet,)))
    assert await session.read() == b"431[1]"
    await stage.no_fault()


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff", b"x" * 125])
async def test_a_ping_is_answered_with_its_payload(start: Start, payload: bytes) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(frame(PING, payload))
    answer = await session.frame()
    assert (answer.opcode, answer.payload, answer.fin) == (PONG, payload, True)
    await stage.no_fault()


async def test_a_ping_between_fragments(start: Start) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(frame(TEXT, b'421["ec', fin=False))
    await session.wire.write(frame(PING, b"now") + frame(PONG, b"unasked"))
    answer = await session.frame()
    assert (answer.opcode, answer.payload) == (PONG, b"now")
    await session.wire.write(frame(CONTINUATION, b'ho",1]'))
    assert await session.read() == b"431[1]"
    await stage.no_fault()


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9", b"\x0f\xa0", b"\x0b\xb8bye"])
async def test_a_close_is_answered_with_its_code(start: Start, payload: bytes) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(frame(CLOSE, payload))
    answer = await session.closing()
    assert answer.payload[:2] == payload[:2]
    assert await session.wire.rest() == b""
    await stage.gone()
    await stage.no_fault()


async def test_what_comes_behind_a_close_is_not_heard(start: Start) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(
        frame(TEXT, b'42["echo",1]') + frame(CLOSE, b"\x03\xe8") + frame(TEXT, b'42["echo",2]') + frame(PING, b"a")
    )
    await session.closing()
    assert await session.wire.rest() == b""
    await stage.gone()
    await stage.no_fault()
    assert stage.heard == [(1,)]


async def test_what_comes_behind_a_broken_frame_is_not_heard(start: Start) -> None:
    stage = await start()
    session = await opened(stage)
    await session.wire.write(frame(TEXT, b'42["echo",1]') + frame(PING, b"a", fin=False) + frame(TEXT, b'42["echo",2]'))
    await stage.closed(session, 1002)
    await stage.gone()
    await stage.one_fault("transport_error")
    # uvicorn's own class drops what it has read with the broken frame.
    assert stage.heard == [(1,)] or (stage.heard == [] and not stage.our_frames)


@pytest.mark.parametrize("way", ["close", "abort", "end_writing"])
async def test_a_client_that_vanishes_in_a_frame(start: Start, way: str) -> None:
    """Phones do, all day: no warning."""
    stage = await start()
    session = await opened(stage)
    await session.wire.write(frame(TEXT, b'42["echo",1]')[:-3])
    await asyncio.sleep(0.02)
    getattr(session.wire, way)()
    await stage.gone()
    await stage.no_fault()
    assert stage.heard == []


async def test_a_client_that_does_not_answer_a_close(start: Start) -> None:
    """The session is over at once, whatever the client does with its connection."""
    stage = await start()
    session = await opened(stage)
    await session.send(b"42[]")
    await stage.gone()
    await stage.one_fault("parse_error")
    await stage.closed(session)


async def test_frames_behind_the_handshake_in_one_write(start: Start) -> None:
    """A client in a hurry; what came with the handshake belongs to the WebSocket."""
    if not (stage := await start()).our_frames:
        return
    wire = await stage.wire()
    target = stage.target(transport="websocket")
    head = (
        f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await wire.write(head.encode() + frame(TEXT, b"40") + frame(TEXT, b'421["echo",1]'))
    assert (await wire.answer()).status == 101
    session = WebSocket(wire)
    assert (await session.read()).startswith(b"0{")
    assert (await session.read()).startswith(b'40{"sid"')
    assert await session.read() == b"431[1]"
    await stage.no_fault()


async def test_the_read_buffer_after_a_large_message(start: Start) -> None:
    """It is replaced; the next message, in whatever pieces, is none the worse."""
    stage = await start()
    session = await opened(stage)
    for number in range(3):
        await session.send(event(300_000))
        small = frame(TEXT, b'42%d["witness",%d]' % (number, number))
        await session.wire.write(small[:5])
        await asyncio.sleep(0.01)
        await session.wire.write(small[5:])
        assert await session.read() == b"43%d[%d]" % (number, number)
    assert [len(args[0]) for args in stage.heard] == [300_000 - 13] * 3
    await stage.no_fault()
