"""Events that come from another server: in every form they can have, with offsets, keys and listeners."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duplexio import EncodeError, Server
from duplexio.errors import SocketPacketError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.protocol.socket_packet import EVENT, Packet
from duplexio.testing import MemoryCluster
from tests.hub.ends import Client, counts, joined, serving, until


@contextlib.asynccontextmanager
async def two(**options: Any) -> AsyncIterator[tuple[Server, Server]]:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus(), **options) as first, serving(adapter=cluster.bus(), **options) as second:
        yield first, second


async def packets(*clients: Client) -> list[list[str | bytes]]:
    """What each was sent; the bus takes some turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)
    return [client.take() for client in clients]


async def test_both_sides_get_the_same_bytes() -> None:
    async with two() as (first, second):
        (here, _), (there, _) = joined(first), joined(second)
        for args in [(), (1, "x"), (b"\x01",), ({"a": [b"\x02", b""]}, "é"), ("\ud83d\ude00",)]:
            with contextlib.suppress(EncodeError):
                first.emit("e", *args)
            a, b = await packets(here, there)
            assert a == b


async def test_what_cannot_be_sent_is_sent_to_nobody() -> None:
    async with two() as (first, second):
        (here, _), (there, _) = joined(first), joined(second)
        with pytest.raises(EncodeError):
            first.emit("e", object())
        with pytest.raises(EncodeError):
            await first.emit_with_ack("e", object())
        assert await packets(here, there) == [[], []]


async def test_nothing_is_decoded_for_a_room_without_members(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[EncodedEvent] = []
    check = EncodedEvent.check

    def noting(self: EncodedEvent) -> None:
        decoded.append(self)
        check(self)

    monkeypatch.setattr(EncodedEvent, "check", noting)
    async with two() as (first, second):
        (there, socket) = joined(second)
        first.to("nowhere").emit("e")
        first.of("/elsewhere").emit("e")
        first.to([f"{n}" for n in range(100)]).emit("e")
        assert await packets(there) == [[]]
        assert not decoded
        socket.join("somewhere")
        first.to("somewhere").emit("e")
        assert await packets(there) == [['42["e"]']]
        assert len(decoded) == 1


async def test_arguments_are_decoded_for_who_asks() -> None:
    async with two() as (first, second):
        (there, socket), heard = joined(second), []
        socket.on_any_outgoing(lambda *event: heard.append(event))
        first.emit("e", 1, {"a": b"\x01"})
        first.volatile.emit("v", "x")
        await packets(there)
        assert heard == [("e", 1, {"a": b"\x01"}), ("v", "x")]


async def test_volatile_ones_are_dropped_for_who_is_not_ready() -> None:
    async with two() as (first, second):
        there, _ = joined(second)
        there.line.writable = False
        there.connection.send(b"42[]")
        first.volatile.emit("e")
        await until(lambda: counts(second).get("volatile_dropped") == 1)


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_recovery_puts_each_servers_own_offset_behind(parser: str) -> None:
    async with two(connection_state_recovery=True, parser=parser) as (first, second):
        logs = [io.of("/").log for io in (first, second)]
        first.emit("e", 1)
        first.volatile.emit("v", "text")
        first.volatile.emit("v", 1)
        await asyncio.sleep(0.01)
        for log in logs:
            assert log is not None
            assert log.number == 1
            (stored,) = log.missed(0, frozenset())
            written = stored if isinstance(stored, bytes) else b"".join([stored.text, *stored.attachments])
            assert log.next_offset().split(".")[0].encode() in written


async def test_offsets_as_they_are_sent() -> None:
    async with two(connection_state_recovery=True) as (first, second):
        there = Client(second)
        there.send("40")
        there.take()
        log = second.of("/").log
        assert log is not None
        first.emit("e", {"a": b"\x01"}, "]")
        first.emit("e")
        first.volatile.emit("v", "text")
        first.volatile.emit("v", 1)
        ((head, attachment, *rest),) = await packets(there)
        epoch = log.newest_offset().split(".")[0]
        placeholder = {"_placeholder": True, "num": 0}
        assert head == f'451-["e",{json.dumps({"a": placeholder}, separators=(",", ":"))},"]","{epoch}.1"]'
        assert attachment == b"\x01"
        assert rest == [f'42["e","{epoch}.2"]', f'42["v","text","{epoch}.2"]', '42["v",1]']


async def test_a_codec_of_the_users() -> None:
    def dumps(value: Any) -> bytes:
        return b" " + json.dumps(value, indent=1).encode() + b"\n"

    async with two(dumps=dumps, connection_state_recovery=True) as (first, second):
        there = Client(second)
        there.send("40")
        there.take()
        first.emit("e", 1)
        ((text,),) = await packets(there)
        assert isinstance(text, str)
        event, value, _offset = json.loads(text[2:])
        assert (event, value) == ("e", 1)


async def test_conflating_by_the_key_of_each_server() -> None:
    def key(event: str, args: tuple[Any, ...]) -> object:
        return args[0]

    async with two(outbox_policy="conflate", conflate_key=key) as (first, second):
        there, _ = joined(second)
        there.line.writable = False
        for value in range(5):
            first.emit("e", "a", value)
        await until(lambda: counts(second).get("packets_conflated", 0) >= 3)
        there.line.writable = True
        assert (await packets(there))[0][-1] == '42["e","a",4]'


class Texts:
    """A parser that writes everything as a text."""

    def encode(self, packet: Packet) -> str:
        return json.dumps(packet[:4])

    def decode(self, message: str | bytes) -> Packet:
        return Packet(*json.loads(message))


@pytest.mark.parametrize("parser", ["msgpack", Texts()], ids=["msgpack", "texts"])
async def test_parsers(parser: Any) -> None:
    async with two(parser=parser) as (first, second):
        there, here = Client(second), Client(first)
        made = second._hub.parser
        assert made is not None

        def message(packet: Packet) -> str | bytes:
            text = made.encode(packet)
            return "4" + text if isinstance(text, str) else text

        for client in here, there:
            client.send(message(Packet(0, "/", None, None)))
            client.take()
        first.emit("e", 1, "x")
        expected = message(Packet(EVENT, "/", None, ["e", 1, "x"]))
        assert await packets(here, there) == [[expected], [expected]]
        asked = asyncio.ensure_future(first.emit_with_ack("q", 1, timeout=10))
        for client in here, there:
            await until(lambda client=client: client.packets)  # type: ignore[misc]
            (question,) = client.take()
            packet = made.decode(question[1:] if isinstance(question, str) else question)
            client.send(message(Packet(3, "/", packet[2], ["yes"])))
        assert await asked == ["yes", "yes"]


async def test_servers_with_different_parsers_tell() -> None:
    cluster = MemoryCluster()
    async with serving(adapter=cluster.bus()) as first, serving(adapter=cluster.bus(), parser="msgpack") as second:
        namespace = second.of("/")
        there = Client(second)
        assert second._hub.parser is not None
        there.send(bytes(second._hub.parser.encode(Packet(0, "/", None, None))))  # type: ignore[arg-type]
        assert len(namespace.sockets) == 1
        there.take()
        first.emit("e")
        await until(lambda: counts(second).get("fault.bus_garbage") == 1)
        assert there.take() == []
        assert await first.emit_with_ack("e", timeout=10) == []


@pytest.mark.parametrize(
    ("form", "text", "attachments"),
    [(3, b"[]", []), (1, b"4x", []), (0, b"", []), (0, b'"e"', []), (0, b'["e"] 1', []), (-1, b"[]", [])],
)
async def test_what_is_no_event(form: int, text: bytes, attachments: list[bytes]) -> None:
    async with serving() as io:
        namespace = io._main
        with pytest.raises(SocketPacketError):
            EncodedEvent(namespace, form, text, attachments).check()


@pytest.mark.parametrize("text", [b"[]", b"[{}]", b'["disconnect"]', b"[nonsense]", b'[{"_placeholder":true,"num":0}]'])
async def test_what_is_no_event_when_it_is_read(text: bytes) -> None:
    async with serving() as io:
        encoded = EncodedEvent(io._main, 0, text, [])
        encoded.check()
        with pytest.raises(SocketPacketError):
            _ = encoded.args
