"""WebSockets on real connections, on both loops: frames go in as a client sends them, and come out as they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from duplexio.engine import grown_buffers, websocket
from duplexio.engine.transport import Transport
from duplexio.engine.websocket import CLOSE_GRACE, SHRINK_AFTER, WebSocketTransport
from duplexio.protocol.engine_packet import Message, Outgoing

from .raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawWebSocket, Response, Wire, frame_bytes

LIMIT = 10.0
MAX = 200_000


class Sink:
    """See `engine.transport.Sink`; `answer` is called for each message and may send."""

    def __init__(self) -> None:
        self.outbox: list[Outgoing] = []
        self.texts: list[bytes] = []
        self.binaries: list[bytes] = []
        self.closings: list[tuple[str, str]] = []
        self.readies = 0
        self.transport: WebSocketTransport
        self.answer: Callable[[bytes], None] = lambda packet: None
        self.happened = asyncio.Event()

    def receive(self, packet: bytes) -> None:
        self.texts.append(packet)
        self.happened.set()
        self.answer(packet)

    def receive_binary(self, data: bytes) -> None:
        self.binaries.append(data)
        self.happened.set()
        self.answer(data)

    def transport_ready(self) -> None:
        self.readies += 1
        packets, self.outbox = self.outbox, []
        if packets:
            self.transport.write(packets)
        self.happened.set()

    def transport_closed(self, transport: Transport, reason: Any, details: str, cause: str = "") -> None:
        assert transport is self.transport
        self.closings.append((reason, details))
        self.happened.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not true():
                self.happened.clear()
                await self.happened.wait()


class Accepting(asyncio.Protocol):
    """Gives a new connection to a transport, as if its handshake had been answered."""

    def __init__(self, transport: WebSocketTransport, attached: asyncio.Future[None]) -> None:
        self.transport = transport
        self.attached = attached

    def connection_made(self, raw: asyncio.BaseTransport) -> None:
        self.transport.attach(cast(asyncio.Transport, raw))
        self.attached.set_result(None)


@asynccontextmanager
async def pair(max_size: int = MAX) -> AsyncIterator[tuple[RawWebSocket, WebSocketTransport, Sink]]:
    """The two ends of a WebSocket: a raw client's, and a server's transport with its sink."""
    loop = asyncio.get_running_loop()
    sink = Sink()
    transport = sink.transport = WebSocketTransport(sink, max_size)
    attached: asyncio.Future[None] = loop.create_future()
    server = await loop.create_server(lambda: Accepting(transport, attached), "127.0.0.1", 0)
    wire = await Wire.dial(server.sockets[0].getsockname()[1])
    await asyncio.wait_for(attached, LIMIT)
    try:
        yield RawWebSocket(wire, Response(101, {}, b"")), transport, sink
    finally:
        await wire.close()
        await sink.until(lambda: bool(sink.closings))
        server.close()
        await server.wait_closed()


Scenario = Callable[[RawWebSocket, WebSocketTransport, Sink], Awaitable[None]]


def play(runner: asyncio.Runner, scenario: Scenario, max_size: int = MAX) -> Sink:
    async def main() -> Sink:
        async with pair(max_size) as (client, transport, sink):
            await scenario(client, transport, sink)
        assert len(sink.closings) == 1, "the sink is told of the end once"
        return sink

    return runner.run(main())


# Receiving.


def test_messages(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text("4hello", "", "4é€😀")
        client.binary(b"\x00\xff", b"")
        await sink.until(lambda: len(sink.binaries) == 2)
        assert sink.texts == [b"4hello", b"", "4é€😀".encode()]
        assert sink.binaries == [b"\x00\xff", b""]
        assert all(type(item) is bytes for item in (*sink.texts, *sink.binaries))

    assert play(runner, scenario).closings == [("transport close", "the connection was lost")]


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, MAX])
def test_each_form_of_a_length(runner: asyncio.Runner, size: int) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text(b"4" * size)
        await sink.until(lambda: bool(sink.texts))
        assert sink.texts == [b"4" * size]
        client.binary(b"4" * size)
        await sink.until(lambda: bool(sink.binaries))
        assert sink.binaries == [b"4" * size]

    play(runner, scenario)


def test_frames_byte_by_byte(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        for byte in frame_bytes(TEXT, b"4ab") + frame_bytes(BINARY, b"xyz"):
            client.wire.write(bytes((byte,)))
            await client.wire.writer.drain()
            await asyncio.sleep(0)
        await sink.until(lambda: bool(sink.binaries))
        assert (sink.texts, sink.binaries) == ([b"4ab"], [b"xyz"])

    play(runner, scenario)


def test_bytes_that_were_read_with_the_handshake(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        transport.feed(frame_bytes(TEXT, b"41") + frame_bytes(TEXT, b"4" * 5000) + frame_bytes(TEXT, b"42")[:3])
        assert sink.texts == [b"41", b"4" * 5000]
        transport.feed(b"")

    play(runner, scenario)


def test_text_that_is_not_utf8_is_the_sinks_matter(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text(b"4\xff")
        await sink.until(lambda: bool(sink.texts))

    assert play(runner, scenario).texts == [b"4\xff"]


# Fragments.


def test_fragments_are_joined(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(TEXT, b"4he", fin=False)
        client.send(CONTINUATION, b"", fin=False)
        client.send(PING, b"between")
        client.send(CONTINUATION, b"llo")
        client.send(BINARY, b"\x01", fin=False)
        client.send(CONTINUATION, b"\x02")
        client.text("4after")
        await sink.until(lambda: len(sink.texts) == 2)
        assert sink.texts == [b"4hello", b"4after"]
        assert sink.binaries == [b"\x01\x02"]
        assert await client.receive() == Frame(PONG, b"between")

    play(runner, scenario)


BAD_FRAGMENTS = {
    "a continuation of nothing": [(CONTINUATION, b"x", True, 0)],
    "a text within a text": [(TEXT, b"4", False, 0), (TEXT, b"4", True, 0)],
    "a binary within a text": [(TEXT, b"4", False, 0), (BINARY, b"4", True, 0)],
    "a continuation after the end": [
        (TEXT, b"4", False, 0),
        (CONTINUATION, b"4", True, 0),
        (CONTINUATION, b"4", True, 0),
    ],
    "a reserved bit": [(BINARY, b"x", True, 4)],
    "another reserved bit": [(PING, b"x", True, 2)],
    "a reserved bit of a text": [(TEXT, b"4x", True, 4)],
    "a fragmented ping": [(PING, b"x", False, 0)],
    "a long ping": [(PING, b"x" * 126, True, 0)],
    "an unknown opcode": [(3, b"x", True, 0)],
    "an unknown control opcode": [(11, b"x", True, 0)],
}


@pytest.mark.parametrize("name", BAD_FRAGMENTS)
def test_what_rfc_6455_forbids(runner: asyncio.Runner, name: str) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        for opcode, payload, fin, rsv in BAD_FRAGMENTS[name]:
            client.send(opcode, payload, fin, rsv)
        assert await client.ended() == 1002

    sink = play(runner, scenario)
    assert [reason for reason, _ in sink.closings] == ["transport error"]
    assert "RFC 6455" in sink.closings[0][1]


def test_a_frame_that_is_not_masked(runner: asyncio.Runner) -> None:
    """RFC 6455 §5.1: a server must close the connection."""

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.wire.write(b"\x81\x02" + b"4x")
        assert await client.ended() == 1002

    sink = play(runner, scenario)
    assert [reason for reason, _ in sink.closings] == ["transport error"]
    assert sink.texts == []


# The limit of a message.


def test_a_frame_over_the_limit(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text(b"4" * 1001)
        assert await client.ended() == 1009

    sink = play(runner, scenario, max_size=1000)
    assert sink.texts == []
    ((reason, details),) = sink.closings
    assert reason == "transport error"
    assert "over 1000 bytes" in details


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [1001, 2500, 100_000])
def test_a_frame_over_the_limit_in_pieces(runner: asyncio.Runner, opcode: int, size: int) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        data = frame_bytes(opcode, b"4" * size)
        for start in range(0, min(len(data), 2_100), 700):
            client.wire.write(data[start : start + 700])
            await asyncio.sleep(0)
        frame = await client.receive()
        assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1009).to_bytes(2, "big"))

    sink = play(runner, scenario, max_size=1000)
    assert (sink.texts, sink.binaries) == ([], [])
    assert [reason for reason, _ in sink.closings] == ["transport error"]


@pytest.mark.parametrize("sizes", [(500, 501), (1000, 1), (400, 400, 400)])
def test_fragments_over_the_limit(runner: asyncio.Runner, sizes: tuple[int, ...]) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        for index, size in enumerate(sizes):
            client.send(CONTINUATION if index else TEXT, b"4" * size, fin=index == len(sizes) - 1)
        assert await client.ended() == 1009

    sink = play(runner, scenario, max_size=1000)
    assert (sink.texts, [reason for reason, _ in sink.closings]) == ([], ["transport error"])


def test_fragments_without_end(runner: asyncio.Runner) -> None:
    """Empty ones are objects, too."""

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(TEXT, b"", fin=False)
        for _ in range(200):
            client.send(CONTINUATION, b"", fin=False)
        assert await client.ended() == 1009

    play(runner, scenario, max_size=1000)


def test_a_message_at_the_limit(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text(b"4" * 1000)
        client.send(TEXT, b"4" * 500, fin=False)
        client.send(CONTINUATION, b"4" * 500)
        await sink.until(lambda: len(sink.texts) == 2)

    assert play(runner, scenario, max_size=1000).texts == [b"4" * 1000] * 2


# Control frames.


@pytest.mark.parametrize("payload", [b"", b"x", b"\xff" * 125])
def test_a_ping_is_answered(runner: asyncio.Runner, payload: bytes) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(PING, payload)
        assert await client.receive() == Frame(PONG, payload)

    play(runner, scenario)


def test_a_pong_is_passed_over(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(PONG, b"x")
        client.text("4a")
        await sink.until(lambda: bool(sink.texts))

    assert play(runner, scenario).texts == [b"4a"]


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going away", b"\x0f\xa0"])
def test_close_is_answered_with_what_it_said(runner: asyncio.Runner, payload: bytes) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(CLOSE, payload)
        assert await client.receive() == Frame(CLOSE, payload)
        assert await client.wire.at_end() == b""

    assert play(runner, scenario).closings == [("transport close", "the connection was lost")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 5000, 65_535])
def test_codes_that_no_close_may_have(runner: asyncio.Runner, code: int) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(CLOSE, code.to_bytes(2, "big"))
        assert await client.ended() == 1002

    assert [reason for reason, _ in play(runner, scenario).closings] == ["transport error"]


def test_a_close_of_one_byte(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.send(CLOSE, b"\x03")
        assert await client.ended() == 1002

    assert [reason for reason, _ in play(runner, scenario).closings] == ["transport error"]


def test_a_close_that_answers_ours(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        transport.pause_reading()
        transport.fail(1008, "slow reader")
        client.wire.write(frame_bytes(TEXT, b"4x", rsv=4) + frame_bytes(CLOSE, b"\x03\xf0"))
        transport.resume_reading()
        assert await client.ended() == 1008

    assert play(runner, scenario).texts == []


def test_nothing_behind_a_close_is_heard(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.wire.write(frame_bytes(CLOSE, b"") + frame_bytes(TEXT, b"4late") + frame_bytes(BINARY, b"late"))
        assert await client.receive() == Frame(CLOSE, b"")
        assert await client.wire.at_end() == b""

    sink = play(runner, scenario)
    assert (sink.texts, sink.binaries) == ([], [])


def test_a_client_that_goes_away_without_a_word(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        lost: list[WebSocketTransport] = []
        transport.on_lost = lost.append
        client.wire.abort()
        await sink.until(lambda: bool(sink.closings))
        assert lost == [transport]
        # Nobody is there, and nothing of it raises.
        assert not transport.writable
        transport.close()
        transport.fail(1008, "late")
        transport.shutdown()
        transport.pause_reading()
        transport.resume_reading()
        transport.resume_writing()
        transport.write([b"42[]"])

    assert play(runner, scenario).closings == [("transport close", "the connection was lost")]


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda transport: transport.close(), None),
        (lambda transport: transport.fail(1008, "slow reader"), 1008),
        (lambda transport: transport.fail(1007, "not UTF-8"), 1007),
        (lambda transport: transport.shutdown(), 1012),
    ],
)
def test_endings(runner: asyncio.Runner, end: Callable[[WebSocketTransport], None], code: int | None) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        transport.write([b"42[1]"])
        end(transport)
        transport.close()
        assert not transport.writable
        assert await client.packet() == "42[1]"
        assert await client.ended() == code

    play(runner, scenario)


def test_an_end_that_a_slow_client_reads_after_all(runner: asyncio.Runner) -> None:
    """The time that it was given runs out later, and finds nothing to end."""

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
        count = 0
        while transport.writable:
            transport.write([b"4" + b"x" * 60_000])
            count += 1
            assert count < 2000
            await asyncio.sleep(0)
        transport.close()
        for _ in range(count):
            await client.receive()
        assert await client.ended() is None
        await asyncio.sleep(CLOSE_GRACE + 0.1)
        assert raised == []

    play(runner, scenario)


def test_a_sink_that_raises_ends_the_connection(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        def failing(packet: bytes) -> None:
            raise RuntimeError("a fault of the library")

        sink.answer = failing
        client.text("4a")
        frame = await client.receive()
        assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1011).to_bytes(2, "big"))
        assert await client.wire.at_end() == b""

    assert len(play(runner, scenario).closings) == 1


# Sending.


def test_packets(runner: asyncio.Runner) -> None:
    message = Message(b"451-[]", (b"\x01", b"x" * 70_000))

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        transport.write([b"2", message, b"4" * 126])
        transport.write_one(b"42[]")
        transport.write_shared(message)
        assert [await client.receive() for _ in range(9)] == [
            Frame(TEXT, b"2"),
            Frame(TEXT, b"451-[]"),
            Frame(BINARY, b"\x01"),
            Frame(BINARY, b"x" * 70_000),
            Frame(TEXT, b"4" * 126),
            Frame(TEXT, b"42[]"),
            Frame(TEXT, b"451-[]"),
            Frame(BINARY, b"\x01"),
            Frame(BINARY, b"x" * 70_000),
        ]

    play(runner, scenario)


def test_only_the_last_message_of_a_read_may_be_answered_at_once(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        direct: list[bool] = []

        def answer(packet: bytes) -> None:
            direct.append(transport.direct)
            sink.outbox.append(packet)

        sink.answer = answer
        client.text("4a", "4b", "4c")
        await sink.until(lambda: len(direct) == 3)
        assert not transport.direct
        assert not direct[0]
        # What was kept went out in one piece behind the last one.
        assert [await client.packet() for _ in range(3)] == ["4a", "4b", "4c"]

    play(runner, scenario)


@pytest.mark.parametrize("last", [(PING, b""), (PONG, b""), (BINARY, b"x"), (CONTINUATION, b"x")])
def test_what_was_kept_goes_out_whatever_the_last_frame_is(runner: asyncio.Runner, last: tuple[int, bytes]) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        sink.answer = lambda packet: sink.outbox.append(b"4" + packet) if packet == b"4a" else None
        frames = frame_bytes(TEXT, b"4a")
        if last[0] == CONTINUATION:
            frames += frame_bytes(TEXT, b"4b", fin=False)
        client.wire.write(frames + frame_bytes(*last))
        received = [await client.receive()]
        if last[0] == PING:
            received.append(await client.receive())
        assert Frame(TEXT, b"44a") in received

    play(runner, scenario)


def test_a_client_that_does_not_read(runner: asyncio.Runner) -> None:
    """Writing stops at the high-water mark; when the client reads again, the sink is told, and nothing is lost."""

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        packet = b"4" + b"x" * 60_000
        count = 0
        assert not transport.congested
        while transport.writable:
            transport.write([b"%d" % (count % 10) + packet])
            count += 1
            assert count < 2000
            if count % 10 == 0:
                await asyncio.sleep(0)
        assert transport.congested
        assert sink.readies == 0
        sink.outbox.append(b"last")
        frames = [await client.receive() for _ in range(count)]
        assert [frame.payload[:1] for frame in frames] == [b"%d" % (number % 10) for number in range(count)]
        await sink.until(lambda: sink.readies > 0)
        assert await client.packet() == "last"
        assert transport.writable
        assert not transport.congested

    play(runner, scenario)


def test_a_packet_of_its_own_does_not_overtake_what_waits(runner: asyncio.Runner) -> None:
    """A client that reads slowly: some bytes wait below the high-water mark."""

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        count = 0
        while not transport._raw.get_write_buffer_size():
            transport.write([b"4%06d" % count + b"x" * 20_000])
            count += 1
            assert count < 5000
            await asyncio.sleep(0)
        assert transport.writable
        transport.write_one(b"4%06d" % count)
        transport.write([b"4%06d" % (count + 1)])
        transport.write_one(b"4%06d" % (count + 2))
        numbers = [int((await client.receive()).payload[1:7]) for _ in range(count + 3)]
        assert numbers == list(range(count + 3))

    play(runner, scenario)


# Pausing.


def test_a_paused_transport_reads_nothing_more(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text("4a")
        await sink.until(lambda: len(sink.texts) == 1)
        transport.pause_reading()
        transport.pause_reading()
        client.text("4b")
        await asyncio.sleep(0.05)
        assert sink.texts == [b"4a"]
        transport.resume_reading()
        transport.resume_reading()
        await sink.until(lambda: len(sink.texts) == 2)

    assert play(runner, scenario).texts == [b"4a", b"4b"]


def test_a_pause_from_within_a_message(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        sink.answer = lambda packet: transport.pause_reading()
        client.text("4a")
        await sink.until(lambda: len(sink.texts) == 1)
        client.text("4b")
        await asyncio.sleep(0.05)
        assert sink.texts == [b"4a"]
        transport.resume_reading()
        await sink.until(lambda: len(sink.texts) == 2)
        transport.resume_reading()

    play(runner, scenario)


# The read buffer.

LARGE = b"4" + b"x" * (SHRINK_AFTER + 1000)


def test_after_a_large_message_there_is_a_new_parser(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no buffer may be kept any more."""
    monkeypatch.setattr(grown_buffers, "KEPT_BYTES", 0)

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        for number in range(3):
            parser = transport._parser
            client.text(LARGE) if number % 2 == 0 else client.binary(LARGE)
            await sink.until(lambda: len(sink.texts) + len(sink.binaries) == number + 1)  # noqa: B023
            await asyncio.sleep(0.01)
            assert transport._parser is not parser
            transport.write([b"42[%d]" % number])
            assert await client.packet() == f"42[{number}]"
        client.text("4small")
        await sink.until(lambda: sink.texts[-1] == b"4small")
        client.send(CLOSE, b"")
        assert await client.receive() == Frame(CLOSE, b"")

    play(runner, scenario)


def test_a_grown_buffer_is_kept_for_the_next_large_message(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while, within a budget that is given back."""
    monkeypatch.setattr(websocket, "KEPT_SECONDS", 0.2)
    monkeypatch.setattr(grown_buffers, "KEPT_BYTES", 3 * len(LARGE))

    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        async def heard(text: bytes) -> None:
            client.text(text)
            await sink.until(lambda: bool(sink.texts) and sink.texts[-1] == text)
            await asyncio.sleep(0.01)

        parser = transport._parser
        for _ in range(3):
            await heard(LARGE)
            await heard(b"4small")
        assert transport._parser is parser
        assert not grown_buffers.take(2 * len(LARGE))
        await asyncio.sleep(0.25)
        await heard(b"4late")
        assert transport._parser is not parser
        assert grown_buffers.take(3 * len(LARGE))
        grown_buffers.give_back(3 * len(LARGE))
        await heard(LARGE)
        assert not grown_buffers.take(3 * len(LARGE))

    play(runner, scenario)
    # The connection has ended.
    assert grown_buffers.take(3 * len(LARGE))
    grown_buffers.give_back(3 * len(LARGE))


def test_messages_right_behind_a_large_one(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        for _ in range(20):
            client.wire.write(frame_bytes(TEXT, LARGE) + frame_bytes(TEXT, b"4a") + frame_bytes(TEXT, b"4b"))
        await sink.until(lambda: len(sink.texts) == 60)
        assert sink.texts == [LARGE, b"4a", b"4b"] * 20

    play(runner, scenario)


def test_a_pause_within_a_large_message_holds(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        sink.answer = lambda packet: transport.pause_reading()
        client.text(LARGE)
        await sink.until(lambda: len(sink.texts) == 1)
        client.text("4a")
        await asyncio.sleep(0.05)
        assert len(sink.texts) == 1
        sink.answer = lambda packet: None
        transport.resume_reading()
        await sink.until(lambda: len(sink.texts) == 2)

    play(runner, scenario)


def test_a_large_message_and_the_end(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        sink.answer = lambda packet: transport.close()
        client.text(LARGE)
        assert await client.ended() is None

    play(runner, scenario)


def test_a_large_message_of_a_client_that_goes_away(runner: asyncio.Runner) -> None:
    async def scenario(client: RawWebSocket, transport: WebSocketTransport, sink: Sink) -> None:
        client.text(LARGE)
        await client.wire.close()
        await sink.until(lambda: bool(sink.closings))

    assert play(runner, scenario).texts == [LARGE]
