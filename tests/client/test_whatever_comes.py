"""Whatever a server sends, and however much of it: the loop hears of nothing, memory is bounded, and the client comes
back. What each single offence leads to: `test_hostile.py`."""

from __future__ import annotations

import asyncio
import json
import random
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import duplexio
from duplexio.client import ClientSocket
from duplexio.observe import Counts

from .answering import frame, open_packet
from .hostile import Attack, Hostile
from .stage import SECONDS, SOON, until

pytestmark = pytest.mark.usefixtures("tidy")

#: Of memory that no such server may make a client take, in bytes.
MOST_MEMORY = 150_000_000
OPTIONS: dict[str, Any] = {"force_new": True, "reconnection_delay": SOON, "max_message_bytes": 1_000_000}
DIGITS = [b"0", b"1", b"2", b"3", b"4", b"5", b"6"]


def sends(*pieces: bytes) -> Attack:
    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return attack


def peak() -> int:
    """Of this process's memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def comes_back(server: Hostile, transport: str, **options: Any) -> str:
    """Connects, has its first session ended, is in again and well. The reason of the end."""
    before = peak()
    reasons: list[str] = []
    socket = duplexio.connect(server.url, transports=[transport], **{**OPTIONS, **options})  # type: ignore[list-item]
    socket.on("disconnect", lambda reason, details: reasons.append(reason), inline=True)
    async with asyncio.timeout(SECONDS), socket:
        await until(lambda: server.sessions >= 2 and socket.connected)
        assert await socket.emit_with_ack("echo", "well") == "well"
    assert peak() - before < MOST_MEMORY
    assert reasons[-1] == "io client disconnect"
    assert len(reasons) == 2
    return reasons[0]


async def stays(
    server: Hostile, transport: str, heard: Callable[[ClientSocket], Awaitable[None]], **options: Any
) -> None:
    """Connects, and is in its first session still when `heard` returns."""
    before = peak()
    socket = duplexio.connect(server.url, transports=[transport], **{**OPTIONS, **options})  # type: ignore[list-item]
    async with asyncio.timeout(SECONDS), socket:
        await heard(socket)
        assert socket.connected
    assert server.sessions == 1
    assert peak() - before < MOST_MEMORY


# More than there should be.


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_thousands_of_namespaces(transport: str) -> None:
    packets = [b'40/n%d,{"sid":"x%d"}' % (number, number) for number in range(20_000)]
    packets += [b'42/n%d,["a"]' % number for number in range(20_000)] + [b'42["end"]']

    async def heard(socket: ClientSocket) -> None:
        await socket.receive("end")
        assert list(socket.io.sockets) == ["/"]

    async with Hostile(sends(b"".join(map(frame, packets))), [b"\x1e".join(packets)]) as server:
        await stays(server, transport, heard)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_more_events_than_anybody_receives(transport: str) -> None:
    """The newest are kept."""
    packets = [b'42["n",%d]' % number for number in range(50_000)] + [b'42["end"]']

    async def heard(socket: ClientSocket) -> None:
        await socket.receive("end")
        assert await socket.receive("n") >= 50_000 - 100

    async with Hostile(sends(b"".join(map(frame, packets))), [b"\x1e".join(packets)]) as server:
        await stays(server, transport, heard, max_inbox=100)


# A body of polling, and its headers.


async def test_a_bomb_of_packets_in_one_body() -> None:
    async with Hostile(bodies=[b"\x1e".join([b"6"] * 100_001)]) as server:
        assert await comes_back(server, "polling") == "parse error"


@pytest.mark.parametrize("status", [b"400 Bad", b"500 Bad", b"204 Nothing", b"101 Switching Protocols"])
async def test_a_poll_that_is_refused(status: bytes) -> None:
    data = b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status
    async with Raw(data) as server:
        assert await comes_back(server, "polling") in ("transport error", "parse error")


class Raw(Hostile):
    """Answers the first poll of its first session with these bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(bodies=[b""])
        self._data = data

    async def _serve_request(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET") and b"sid=" in head and b"sid=good" not in head:
            writer.write(self._data)
            await writer.drain()
            writer.close()
        else:
            await super()._serve_request(head, reader, writer)


@pytest.mark.parametrize(
    "data",
    [
        random.Random(1).randbytes(10_000),
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n4",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n4",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n4",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000,
        b"HTTP/1.1 302 Found\r\nlocation: http://[::\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: \xff\xfe;;;\r\nset-cookie: \xff\r\ncontent-length: 1\r\n\r\n9",
    ],
    ids=["random", "huge", "negative", "chunk", "gzip", "headers", "bad location", "file", "bad headers"],
)
async def test_bytes_in_place_of_an_answer(data: bytes) -> None:
    async with Raw(data) as server:
        assert await comes_back(server, "polling") in ("transport error", "parse error")


# Frames.

FRAMES: dict[str, tuple[bytes, str]] = {
    "a length over the limit": (frame(b"4", length=1_000_001), "transport error"),
    "an unknown opcode": (frame(b"4", 3), "transport error"),
    "a reserved bit": (frame(b"4", bits=0x40), "transport error"),
    "a fragmented ping": (frame(b"", 9, fin=False), "transport error"),
    "a long ping": (frame(bytes(126), 9), "transport error"),
    "text within fragments": (frame(b"4", fin=False) + frame(b"4"), "transport error"),
    "a close": (frame(b"\x03\xe8", 8), "transport close"),
    "a close without a code": (frame(b"", 8), "transport close"),
    "a close of a code that is none": (frame(b"\x00\x01", 8), "transport error"),
    "a close of one byte": (frame(b"\x03", 8), "transport error"),
    "MessagePack": (frame(b"\x83\xa4type\x02", 2), "parse error"),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_frame_that_ends_the_session(name: str) -> None:
    data, reason = FRAMES[name]
    async with Hostile(sends(data)) as server:
        assert await comes_back(server, "websocket") == reason


@pytest.mark.parametrize("seed", range(15))
async def test_random_bytes(seed: int) -> None:
    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(random.Random(seed).randbytes(20_000))
        await writer.drain()
        writer.write_eof()

    async with Hostile(attack) as server:
        assert await comes_back(server, "websocket") in ("transport error", "transport close", "parse error")


async def test_pings_by_the_thousand_that_nobody_reads_the_answers_of() -> None:
    """The newest is answered; the others are not kept."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(20_000):
            writer.write(frame(b"%d" % number * 20, 9) if number < 10_000 else frame(b"2" + b"p" * 100))
        await writer.drain()
        writer.write(frame(b'42["end"]'))

    async def heard(socket: ClientSocket) -> None:
        await socket.receive("end")

    async with Hostile(attack) as server:
        await stays(server, "websocket", heard)


# The beginning.


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "opened",
    [
        open_packet(sid="a&b=c\r\nx: y/../#?%"),
        open_packet(sid="ä" * 1000),
        open_packet(upgrades="websocket"),
        open_packet(upgrades=[1, None, {}, "websocket2"]),
        open_packet(pingInterval=1e15, pingTimeout=1e15),
        open_packet(maxPayload=1),
    ],
    ids=["sid", "long sid", "upgrades", "other upgrades", "slow", "small"],
)
async def test_an_open_packet_of_odd_values(opened: bytes, transport: str) -> None:
    async def heard(socket: ClientSocket) -> None:
        await socket.receive("end")
        socket.emit("fine", 1)
        await until(lambda: any(b"fine" in packet for packet in server.heard))

    async with Hostile(sends(frame(b'42["end"]')), [b'42["end"]'], opened=opened) as server:
        await stays(server, transport, heard)


async def test_a_heartbeat_that_has_no_time() -> None:
    """A millisecond is what the server says: the session ends, again and again, and the client goes on."""
    async with Hostile(sends(), opened=open_packet(pingInterval=0.001, pingTimeout=0.001)) as server:
        # The first may end before it has joined.
        socket = duplexio.connect(server.url, transports=["websocket"], retry=True, **OPTIONS)
        async with asyncio.timeout(SECONDS):
            await socket.connect()
            await until(lambda: server.sessions >= 2 and socket.connected)
            await socket.io.close()


# Whatever comes.

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 1 << 60)
    | st.text(max_size=8)
    | st.just({"_placeholder": True, "num": 0}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
_packets = st.builds(
    lambda kind, count, nsp, number, data: b"4" + kind + count + nsp + number + data,
    st.sampled_from([*DIGITS, b"", b"7"]),
    st.sampled_from([b"", b"", b"0-", b"1-", b"2-", b"-"]),
    st.sampled_from([b"", b"", b"/,", b"/x,", b"/x?a=b,"]),
    st.sampled_from([b"", b"", b"0", b"1", b"2", b"99999999999999999999"]),
    _values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=12) | st.just(b'["a",1]'),
)
_texts = (
    _packets | _packets | st.builds(lambda digit, rest: digit + rest, st.sampled_from(DIGITS), st.binary(max_size=12))
)
_messages = st.lists(st.tuples(st.just(1), _texts) | st.tuples(st.just(2), st.binary(max_size=12)), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=_messages, eio=st.sampled_from([3, 4]), parser=st.sampled_from(["json", "json", "msgpack"]))
def test_whatever_comes(messages: list[tuple[int, bytes]], eio: Any, parser: Any) -> None:
    """Of no bytes does anything reach the loop, nor does the client's own code fail."""
    told: list[Any] = []
    counts = Counts()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        data = b"".join(frame(payload, opcode) for opcode, payload in messages)

        async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        async with Hostile(attack, joins=False) as server:
            socket = duplexio.connect(
                server.url,
                transports=["websocket"],
                reconnection=False,
                eio=eio,
                parser=parser,
                observer=counts,
                force_new=True,
            )
            socket.on("a", lambda *args: args, inline=True)
            waiting = asyncio.create_task(socket.emit_with_ack("echo", timeout=5))
            await asyncio.sleep(0)
            socket.open()
            await asyncio.wait_for(socket.wait_disconnected(), SECONDS)
            await asyncio.wait((waiting,))
            waiting.exception()
            await socket.io.close()
            assert counts["handler_errors"] == 0

    asyncio.run(run())
    assert not told, told
