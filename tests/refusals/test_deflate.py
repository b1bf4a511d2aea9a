"""Compressed frames against RFC 7692, and those that are allowed but rare."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from typing import Any

import pytest

from .conftest import Start
from .raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, WebSocket, frame, handshake
from .stage import Stage

# On the standard loop, too: it hands bytes to the parser in its own way. And where middlewares see the handshake.
pytestmark = pytest.mark.hostings("fast", "fast-asyncio", "handover")

KEEPS = {"server_no_context_takeover": False, "client_no_context_takeover": False}
OFFER = "permessage-deflate; client_max_window_bits"
RSV1 = 4


def deflated(data: bytes, compressor: Any = None) -> bytes:
    """A message's data as a client compresses it."""
    compressor = compressor or zlib.compressobj(6, zlib.DEFLATED, -15)
    compressed: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return compressed[:-4]


class Compressing(WebSocket):
    """A WebSocket that has agreed on permessage-deflate; what it reads it inflates with one window."""

    def __init__(self, wire: Any, answer: str) -> None:
        super().__init__(wire)
        self.answer = answer
        self._inflater = zlib.decompressobj(-15)
        #: Whether the last frame was compressed.
        self.compressed = False

    async def frame(self) -> Frame:
        first, second = await self.wire.exactly(2)
        assert not first & 0x30
        self.compressed = bool(first & 0x40)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.wire.exactly(2 if size == 126 else 8), "big")
        payload = await self.wire.exactly(size)
        if self.compressed:
            assert first & 15 in (TEXT, BINARY)
            payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
        return Frame(first & 15, payload, bool(first & 0x80))


async def opened(stage: Stage, offer: str = OFFER) -> Compressing:
    """Joined in the main namespace."""
    wire = await stage.wire()
    answer = await handshake(
        wire, stage.target(transport="websocket"), [("Sec-WebSocket-Extensions", offer)] if offer else []
    )
    assert answer.status == 101
    client = Compressing(wire, answer.header("sec-websocket-extensions") or "")
    assert (await client.read()).startswith(b"0{")
    await client.send(b"40")
    assert (await client.read()).startswith(b"40{")
    return client


async def echoed(client: Compressing, packet: bytes, *frames: bytes) -> None:
    """What is sent by these frames is `packet`, an event with an id of 1, and is answered."""
    await client.wire.write(b"".join(frames))
    assert await client.read() == packet.replace(b'421["echo",', b"431[", 1)


def event(size: int) -> bytes:
    return b'421["echo","' + b"x" * (size - 14) + b'"]'


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (True, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (KEEPS, "permessage-deflate"),
        ({**KEEPS, "server_max_window_bits": 9}, "permessage-deflate; server_max_window_bits=9"),
        ({**KEEPS, "client_max_window_bits": 10}, "permessage-deflate; client_max_window_bits=10"),
        (False, ""),
    ],
)
async def test_what_is_agreed_on(start: Start, options: Any, answer: str) -> None:
    stage = await start(per_message_deflate=options)
    client = await opened(stage)
    assert client.answer == answer
    for size in (14, 1023, 1024, 5000):
        await echoed(client, event(size), frame(TEXT, event(size)))
    # The answer is one byte shorter than what it answers, and more for its name.
    assert client.compressed is bool(options)
    await stage.no_fault()


async def test_offers_in_several_fields(start: Start) -> None:
    """They are one list. RFC 6455 §9.1."""
    stage = await start(per_message_deflate=KEEPS)
    wire = await stage.wire()
    offers = ["permessage-deflate; unknown", "permessage-deflate; server_no_context_takeover", "other"]
    fields = [("Sec-WebSocket-Extensions", offer) for offer in offers]
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    key = ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
    target = stage.target(transport="websocket")
    answer = await wire.request("GET", target, headers=[*upgrade, key, *fields])
    assert answer.header("sec-websocket-extensions") == "permessage-deflate; server_no_context_takeover"


@pytest.mark.parametrize("offer", ["", "permessage-bzip2", "permessage-deflate; server_max_window_bits=7"])
async def test_without_the_extension(start: Start, offer: str) -> None:
    """None is offered, or none that can be: it connects without, and RSV1 means nothing."""
    stage = await start(per_message_deflate=True)
    client = await opened(stage, offer)
    assert client.answer == ""
    await echoed(client, event(5000), frame(TEXT, event(5000)))
    assert not client.compressed
    await client.wire.write(frame(TEXT, deflated(event(100)), reserved=RSV1))
    assert (await client.closing()).code == 1002
    await stage.one_fault("transport_error", "reserved bit")


@pytest.mark.hostings("fast", "fast-asyncio")
async def test_an_offer_that_is_none(start: Start) -> None:
    """uvicorn's own class refuses it; picows's listener needs not believe it."""
    stage = await start(per_message_deflate=True)
    client = await opened(stage, 'permessage-deflate; server_max_window_bits="')
    assert client.answer == ""
    await echoed(client, event(5000), frame(TEXT, event(5000)))
    await stage.no_fault()


async def test_an_upgrade(start: Start) -> None:
    """A session that moves is compressed from there on."""
    stage = await start(per_message_deflate=True)
    session = await stage.polling()
    wire = await stage.wire()
    target = stage.target(transport="websocket", sid=session.sid)
    answer = await handshake(wire, target, [("Sec-WebSocket-Extensions", OFFER)])
    client = Compressing(wire, answer.header("sec-websocket-extensions") or "")
    await client.send(b"2probe")
    assert await client.read() == b"3probe"
    await client.send(b"5")
    await client.send(b"40")
    assert (await client.read()).startswith(b"40{")
    await echoed(client, event(5000), frame(TEXT, deflated(event(5000)), reserved=RSV1))
    assert client.compressed


async def test_messages_that_are_compressed(start: Start) -> None:
    """With one window for all of them, each small enough to need it; some are not compressed in between."""
    stage = await start(per_message_deflate={**KEEPS, "threshold": 100})
    client = await opened(stage)
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    for size in (50, 500, 500, 20_000, 60_000, 100, 15):
        data = deflated(event(size), compressor)
        await echoed(client, event(size), frame(TEXT, data, reserved=RSV1))
        assert client.compressed is (size > 110)
        await echoed(client, event(size), frame(TEXT, event(size)))
    # Several in one write.
    frames = [frame(TEXT, deflated(event(300), compressor), reserved=RSV1) for _ in range(20)]
    await client.wire.write(b"".join(frames))
    for _ in frames:
        assert len(await client.read()) == 293
    await stage.no_fault()


async def test_bytes_both_ways(start: Start) -> None:
    stage = await start(per_message_deflate=True)
    client = await opened(stage)
    data = b"abc" * 2000
    await client.wire.write(
        frame(TEXT, b'451-1["echo",{"_placeholder":true,"num":0}]') + frame(BINARY, deflated(data), reserved=RSV1)
    )
    assert await client.read() == b'461-1[{"_placeholder":true,"num":0}]'
    assert not client.compressed
    assert await client.frame() == Frame(BINARY, data)
    assert client.compressed


@pytest.mark.parametrize("pieces", [2, 3, 20])
async def test_a_compressed_message_in_fragments(start: Start, pieces: int) -> None:
    """RSV1 is in the first of them only; control frames may come in between. RFC 7692 §6.1."""
    stage = await start(per_message_deflate=True)
    client = await opened(stage)
    for size in (30, 5000, 90_000):
        packet = b'421["echo","' + os.urandom(size // 2).hex().encode() + b'"]'
        data = deflated(packet)
        step = len(data) // pieces + 1
        parts = [data[start : start + step] for start in range(0, len(data), step)]
        frames = [frame(TEXT, parts[0], fin=False, reserved=RSV1)]
        for part in parts[1:]:
            frames += [frame(PONG, b""), frame(CONTINUATION, part, fin=False)]
        await echoed(client, packet, *frames, frame(CONTINUATION, b""))
    # One that is not compressed is not inflated.
    packet = event(3000)
    await echoed(client, packet, frame(TEXT, packet[:100], fin=False), frame(CONTINUATION, packet[100:]))
    await stage.no_fault()


GOOD = deflated(event(2000))

#: Bytes on the wire, the code they are answered with, and what the log says.
BROKEN = {
    "a reserved bit of a continuation": (
        frame(TEXT, GOOD[:5], fin=False, reserved=RSV1) + frame(CONTINUATION, GOOD[5:], reserved=RSV1),
        1002,
        "reserved bit",
    ),
    "a reserved bit of the continuation of what is not compressed": (
        frame(TEXT, b'42["echo"', fin=False) + frame(CONTINUATION, b",1]", reserved=RSV1),
        1002,
        "reserved bit",
    ),
    "a compressed ping": (frame(PING, b"", reserved=RSV1), 1002, "reserved bit"),
    "a compressed pong": (frame(PONG, b"", reserved=RSV1), 1002, "reserved bit"),
    "a compressed close": (frame(CLOSE, b"", reserved=RSV1), 1002, "reserved bit"),
    "the second reserved bit": (frame(TEXT, GOOD, reserved=RSV1 | 2), 1002, "reserved bit"),
    "the third reserved bit": (frame(TEXT, GOOD, reserved=1), 1002, "reserved bit"),
    "a compressed text inside a message": (
        frame(TEXT, GOOD[:5], fin=False, reserved=RSV1) + frame(TEXT, GOOD, reserved=RSV1),
        1002,
        "fragments out of order",
    ),
    "what is no deflate stream": (frame(TEXT, b"\xff\xff\xff", reserved=RSV1), 1007, "corrupt compressed data"),
    "bytes that are no deflate stream": (frame(BINARY, b"hello", reserved=RSV1), 1007, "corrupt compressed data"),
    "no deflate stream in fragments": (
        frame(TEXT, b"\xff", fin=False, reserved=RSV1) + frame(CONTINUATION, b"\xff\xff"),
        1007,
        "corrupt compressed data",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_frames_against_the_rfc(start: Start, name: str) -> None:
    sent, code, said = BROKEN[name]
    stage = await start(per_message_deflate=True)
    client = await opened(stage)
    # What comes behind it is not heard.
    await client.wire.write(sent + frame(TEXT, event(50)))
    assert (await client.closing()).code == code
    await client.wire.rest()
    await stage.one_fault("transport_error", said)
    assert stage.heard == []


async def test_what_is_inflated_is_looked_at_like_any_text(start: Start) -> None:
    stage = await start(per_message_deflate=True)
    client = await opened(stage)
    await client.wire.write(frame(TEXT, deflated(b'42["\xff"]'), reserved=RSV1))
    assert (await client.closing()).code == 1007
    await stage.one_fault("parse_error")


LIMIT = 10_000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_message_over_the_limit_when_it_is_inflated(start: Start, opcode: int) -> None:
    stage = await start(per_message_deflate=True, max_http_buffer_size=LIMIT)
    client = await opened(stage)
    await echoed(client, event(LIMIT), frame(TEXT, deflated(event(LIMIT)), reserved=RSV1))
    stage.heard.clear()
    data = deflated(event(LIMIT + 1))
    assert len(data) < 100
    await client.wire.write(frame(opcode, data, reserved=RSV1))
    assert (await client.closing()).code == 1009
    await stage.one_fault("message_too_big", f"over {LIMIT} bytes", "max_http_buffer_size")
    assert stage.heard == []


async def test_a_bomb(start: Start) -> None:
    """A gigabyte of zeros in less than a megabyte: no more of it is inflated than the limit allows."""
    stage = await start(per_message_deflate=True)
    client = await opened(stage)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Behind a full flush a block depends on nothing before it, and can stand there any number of times.
    block = compressor.compress(bytes(1 << 22)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = frame(BINARY, block * 240, reserved=RSV1)
    tracemalloc.start()
    try:
        await client.wire.write(bomb)
        assert (await client.closing()).code == 1009
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
    await stage.one_fault("message_too_big")


async def test_a_message_over_the_limit_in_fragments(start: Start) -> None:
    stage = await start(per_message_deflate=True, max_http_buffer_size=LIMIT)
    client = await opened(stage)
    data = deflated(event(LIMIT + 1))
    await client.wire.write(frame(TEXT, data[:9], fin=False, reserved=RSV1) + frame(CONTINUATION, data[9:]))
    assert (await client.closing()).code == 1009
    await stage.one_fault("message_too_big")


async def test_fragments_without_end(start: Start) -> None:
    """So many that each costs more than what is in it."""
    stage = await start(per_message_deflate=True, max_http_buffer_size=LIMIT)
    client = await opened(stage)
    await client.wire.write(frame(TEXT, b"", fin=False, reserved=RSV1) + frame(CONTINUATION, b"", fin=False) * 300)
    assert (await client.closing()).code == 1009
    await stage.one_fault("message_too_big")


async def test_what_is_asked_not_to_be_compressed(start: Start) -> None:
    stage = await start(per_message_deflate=True)
    io = stage.io

    @io.on("quiet", inline=True)
    def quiet(socket: Any) -> None:
        socket.compress(False).emit("text", "x" * 5000)
        socket.emit("text", "y" * 5000)
        io.to(socket.id).compress(False).emit("text", "z" * 5000)
        socket.compress(False).emit("bytes", b"x" * 5000)
        socket.compress(False).emit("asked", "x" * 5000, ack=lambda *args: None)

    client = await opened(stage)
    await client.send(b'42["quiet"]')
    seen = []
    for _ in range(6):
        found = await client.frame()
        seen.append((found.opcode, len(found.payload) > 4000, client.compressed))
    assert seen == [
        (TEXT, True, False),
        (TEXT, True, True),
        (TEXT, True, False),
        (TEXT, False, False),
        (BINARY, True, False),
        (TEXT, True, False),
    ]


async def test_a_client_of_protocol_3(start: Start) -> None:
    """Its binary packets have another form, and are compressed all the same, or not."""
    stage = await start(per_message_deflate=True, allow_eio3=True)

    @stage.io.on("bytes", inline=True)
    def send(socket: Any, compress: bool) -> None:
        socket.compress(compress).emit("bytes", b"x" * 5000)

    wire = await stage.wire()
    target = stage.target(transport="websocket", EIO="3")
    answer = await handshake(wire, target, [("Sec-WebSocket-Extensions", OFFER)])
    client = Compressing(wire, answer.header("sec-websocket-extensions") or "")
    assert (await client.read()).startswith(b"0{")
    assert await client.read() == b"40"
    for compress in (True, False):
        await client.wire.write(frame(TEXT, b'42["bytes",%s]' % str(compress).lower().encode()))
        assert (await client.read()).startswith(b'451-["bytes",')
        assert await client.frame() == Frame(BINARY, b"\x04" + b"x" * 5000)
        assert client.compressed is compress
