"""A socket: what it tells, its listeners and middlewares, and its life from CONNECT to the end."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from typing import Any

import pytest

from duplexio import ConfigurationError, Disconnected, EncodeError, EventError, Socket

from .ends import Client, counts, joined, serving, until

Log = list[Any]


async def _fence() -> None: ...


# What it tells.


async def test_what_a_socket_is() -> None:
    async with serving() as io:
        client = Client(io, origin="http://a.example", host="a.example")
        sid = client.join(auth={"token": "t"})["sid"]
        socket = io.sockets.sockets[sid]
        assert re.fullmatch(r"[\w-]{20}", sid)
        assert socket.id == sid
        assert socket.id != socket.conn.id
        assert repr(socket) == f"<Socket {sid} in />"
        assert socket.nsp is socket.namespace is io.of("/")
        assert (socket.connected, socket.recovered, socket.data) == (True, False, {})
        assert socket.conn.transport.name == "websocket"
        handshake = socket.handshake
        assert handshake is socket.handshake
        assert handshake.auth == {"token": "t"}
        assert handshake.query["EIO"] == "4"
        assert handshake.url == "/socket.io/?EIO=4&transport=websocket"
        assert (handshake.address, handshake.xdomain, handshake.secure) == ("192.0.2.1", True, False)
        assert re.fullmatch(r"\w{3} \w{3} \d\d \d{4} \d\d:\d\d:\d\d GMT\+0000", handshake.time)
        assert handshake.issued > 1_700_000_000_000
        assert set(handshake.record()) == {
            "headers",
            "time",
            "address",
            "xdomain",
            "secure",
            "issued",
            "url",
            "query",
            "auth",
        }


async def test_data_is_what_the_server_makes() -> None:
    class Data:
        name = ""

    async with serving(data=Data) as io:
        _, first = joined(io)
        _, second = joined(io)
        assert isinstance(first.data, Data)
        assert first.data is not second.data


async def test_a_client_without_auth() -> None:
    async with serving() as io:
        _, socket = joined(io)
        assert socket.handshake.auth == {}


# Listeners of everything.


async def test_on_any() -> None:
    log: Log = []

    def first(event: str, *args: Any) -> None:
        log.append(("first", event, *args))

    def second(event: str, *args: Any) -> None:
        log.append(("second", event))

    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket, *args: Any) -> None:
            log.append("handler")

        client, socket = joined(io)
        assert socket.on_any(first) is first
        assert socket.prepend_any(second) is second
        assert socket.listeners_any() == [second, first]
        client.emit("e", 1)
        client.emit("nobody")
        assert log == [("second", "e"), ("first", "e", 1), "handler", ("second", "nobody"), ("first", "nobody")]
        log.clear()
        socket.off_any(second)
        client.emit("e")
        assert log == [("first", "e"), "handler"]
        socket.off_any()
        assert socket.listeners_any() == []
        client.emit("e")
        assert log[2:] == ["handler"]
        socket.off_any(first)


async def test_on_any_outgoing() -> None:
    log: Log = []

    def first(event: str, *args: Any) -> None:
        log.append(("first", event, *args))

    def second(event: str, *args: Any) -> None:
        log.append(("second", event))

    async with serving() as io:
        client, socket = joined(io)
        assert socket.on_any_outgoing(first) is first
        assert socket.prepend_any_outgoing(second) is second
        assert socket.listeners_any_outgoing() == [second, first]
        socket.emit("own", 1)
        io.emit("all", 2)
        socket.emit("asked", ack=lambda: None)
        socket.broadcast.emit("others")
        assert log == [
            ("second", "own"),
            ("first", "own", 1),
            ("second", "all"),
            ("first", "all", 2),
            ("second", "asked"),
            ("first", "asked"),
        ]
        assert len(client.take()) == 3
        socket.off_any_outgoing(first)
        assert socket.listeners_any_outgoing() == [second]
        socket.off_any_outgoing()
        log.clear()
        socket.emit("own")
        assert log == []


async def test_what_listens_to_everything_sees_bytes_as_they_were_given() -> None:
    """One's own and broadcast ones, before they become attachments."""
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.on_any_outgoing(lambda event, *args: log.append((event, *args)))
        socket.emit("own", b"\x01", {"a": bytearray(b"\x02")})
        io.emit("all", b"\x03")
        io.to(socket.id).volatile.emit("room", [b"\x04"])
        assert log == [("own", b"\x01", {"a": b"\x02"}), ("all", b"\x03"), ("room", [b"\x04"])]
        assert [packet for packet in client.take() if isinstance(packet, bytes)] == [b"\1", b"\2", b"\3", b"\4"]


async def test_listeners_of_everything_that_raise_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def failing(event: str, *args: Any) -> None:
        raise ValueError("listener")

    log: Log = []
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket) -> None:
            log.append("handler")

        client, socket = joined(io)
        socket.on_any(failing)
        socket.on_any_outgoing(failing)
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.emit("e")
            socket.emit("out")
        assert log == ["handler"]
        assert client.take() == ['42["out"]']
        assert counts(io)["handler_errors"] == 2


@pytest.mark.parametrize("name", ["on_any", "prepend_any", "on_any_outgoing", "prepend_any_outgoing"])
async def test_listeners_of_everything_are_plain_functions(name: str) -> None:
    async def waiting(event: str, *args: Any) -> None: ...

    async with serving() as io:
        _, socket = joined(io)
        with pytest.raises(TypeError, match="plain def"):
            getattr(socket, name)(waiting)


# Packet middlewares.


async def test_packet_middlewares_may_change_and_wait() -> None:
    log: Log = []
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket, *args: Any) -> None:
            log.append(args)

        client, socket = joined(io)

        @socket.use
        async def first(event: str, args: list[Any]) -> None:
            await asyncio.sleep(0.001 if args[0] == 1 else 0)
            args.append(event)

        @socket.use
        def second(event: str, args: list[Any]) -> None:
            args.append(threading.current_thread() is not threading.main_thread())

        for number in (1, 2, 3):
            client.emit("e", number)
        await until(lambda: len(log) == 3)
        assert log == [(number, "e", True) for number in (1, 2, 3)], "none overtakes another"
        assert first is not None
        assert second is not None


async def test_a_packet_middleware_that_raises_drops_the_packet() -> None:
    heard: Log = []
    async with serving() as io:
        io.on_error(lambda error, socket, event: heard.append((str(error), event)))
        client, socket = joined(io)
        socket.on("e", _noting(heard))
        socket.on("fence", _fence)

        @socket.use
        async def middleware(event: str, args: list[Any]) -> None:
            if args == ["told"]:
                raise EventError("no")
            if args == ["broken"]:
                raise ValueError("broken")

        client.emit("e", "told", ack=1)
        client.emit("e", "broken", ack=2)
        client.emit("e", "fine", ack=3)
        assert await client.settled() == ['431["no"]', "433[]"]
    assert heard == [("broken", "e"), "fine"]


def _noting(log: Log) -> Any:
    async def note(value: Any) -> None:
        log.append(value)

    return note


async def test_an_eager_packet_middleware_costs_no_turn() -> None:
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.on("e", _noting(log))

        @socket.use
        async def middleware(event: str, args: list[Any]) -> None: ...

        client.emit("e", 1)
        client.emit("e", 2)
        assert log == [1, 2]


async def test_reading_stops_where_too_many_wait_for_a_packet_middleware() -> None:
    log: Log = []
    gate = asyncio.Event()
    async with serving(max_ordered_queue=3) as io:
        client, socket = joined(io)
        socket.on("e", _noting(log))

        @socket.use
        async def middleware(event: str, args: list[Any]) -> None:
            await gate.wait()

        for number in range(2):
            client.emit("e", number)
        assert client.line.reading
        client.emit("e", 2)
        assert not client.line.reading
        client.emit("e", 3)
        gate.set()
        await until(lambda: len(log) == 4)
        assert client.line.reading
        assert log == [0, 1, 2, 3]


async def test_what_waits_for_a_packet_middleware_is_dropped_with_its_socket() -> None:
    log: Log = []
    gate = asyncio.Event()
    async with serving() as io:
        client, socket = joined(io)
        socket.on("e", _noting(log))

        @socket.use
        async def middleware(event: str, args: list[Any]) -> None:
            await gate.wait()

        client.emit("e", 1)
        client.send("41")
        gate.set()
        await until(lambda: not io._hub.running)
        assert log == []


async def test_a_packet_middleware_that_is_cancelled_holds_nothing_up() -> None:
    """Whatever cancels it: a scope of its own, or a library it calls."""
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.on("e", _noting(log))

        @socket.use
        async def middleware(event: str, args: list[Any]) -> None:
            if args == [1]:
                raise asyncio.CancelledError

        client.emit("e", 1)
        await asyncio.sleep(0.01)
        client.emit("e", 2)
        await asyncio.sleep(0.01)
        assert log == [2]


# Its own handlers.


@pytest.mark.parametrize("event", ["connect", "connect_error", "newListener", "removeListener"])
async def test_names_that_never_reach_a_socket(event: str) -> None:
    async with serving() as io:
        _, socket = joined(io)
        with pytest.raises(ConfigurationError, match="never reaches"):
            socket.on(event, _fence)


async def test_dedup_belongs_to_a_namespace() -> None:
    async with serving() as io:
        _, socket = joined(io)
        with pytest.raises(ConfigurationError, match="belongs to a handler of a namespace"):
            socket.on("e", _fence, dedup=lambda: 1)


async def test_its_end_as_it_hears_it() -> None:
    log: Log = []
    async with serving() as io:

        @io.on("disconnect")
        async def of_the_namespace(socket: Socket, reason: str, details: str | None = None) -> None:
            log.append(("nsp", reason, details))

        client, socket = joined(io)

        @socket.on("disconnecting")
        async def disconnecting(reason: str) -> None:
            log.append(("disconnecting", reason, socket.connected, socket.id in socket.rooms))

        @socket.once("disconnect")
        async def disconnect(reason: str, details: str) -> None:
            log.append(("disconnect", reason, socket.connected, socket.rooms))

        client.send("1")
    assert log == [
        ("disconnecting", "transport close", True, True),
        ("nsp", "transport close", "the client closed the session"),
        ("disconnect", "transport close", False, frozenset()),
    ]


@pytest.mark.parametrize("close", [False, True])
async def test_disconnecting_in_a_handler_of_the_end(close: bool) -> None:
    log: Log = []
    async with serving() as io:

        @io.on("disconnecting")
        async def disconnecting(socket: Socket, reason: str) -> None:
            log.append(("disconnecting", reason))
            socket.disconnect(close)

        @io.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            log.append(("disconnect", reason))
            socket.disconnect(close)

        client, socket = joined(io)
        client.send("41")
        assert not socket.connected
        assert "handler_errors" not in counts(io)
    assert log[0] == ("disconnecting", "client namespace disconnect")
    assert [what for what, _ in log] == ["disconnecting", "disconnect"]


async def test_handlers_of_the_end_may_wait_and_raise(caplog: pytest.LogCaptureFixture) -> None:
    log: Log = []
    async with serving() as io:

        @io.on("disconnect")
        async def failing(socket: Socket, reason: str) -> None:
            raise ValueError("at the end")

        @io.on("disconnect")
        async def waiting(socket: Socket, reason: str) -> None:
            await asyncio.sleep(0.001)
            log.append(reason)

        @io.on("disconnect")
        def plain(socket: Socket, reason: str) -> None:
            log.append(reason)

        client, _ = joined(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.drop()
        await until(lambda: len(log) == 2)
    assert "at the end" in caplog.text


async def test_wait_disconnected() -> None:
    async with serving() as io:
        client, socket = joined(io)
        first, second = asyncio.create_task(socket.wait_disconnected()), asyncio.create_task(socket.wait_disconnected())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        client.drop()
        assert await asyncio.wait_for(second, 5) == "transport close"
        assert await asyncio.wait_for(socket.wait_disconnected(), 5) == "transport close"


# Emitting.


async def test_emit_never_raises_for_one_who_has_gone() -> None:
    async with serving() as io:
        client, socket = joined(io)
        client.drop()
        socket.emit("e")
        socket.send("text")
        socket.volatile.emit("e")
        socket.emit("e", ack=lambda: None)
        io.emit("e")
        io.to(socket.id).emit("e")
        assert client.take() == []
        assert counts(io)["emits_after_disconnect"] == 4
        socket.join("late")
        socket.leave("late")


async def test_a_broadcast_that_ends_a_receiver_reaches_the_others() -> None:
    async with serving() as io:
        pairs = [joined(io) for _ in range(3)]
        for _, socket in pairs[:1]:
            socket.on_any_outgoing(lambda event, *args: pairs[1][0].drop())
        io.emit("e")
        assert pairs[2][0].take() == ['42["e"]']
        assert pairs[1][0].take() == []


@pytest.mark.parametrize("value", [{1}, object(), 2**70])
async def test_what_cannot_be_sent_raises_where_it_is_emitted(value: Any) -> None:
    async with serving() as io:
        client, socket = joined(io)
        for emit in (socket.emit, io.emit, socket.volatile.emit, io.to(socket.id).emit):
            with pytest.raises(EncodeError):
                emit("e", value)
        assert client.take() == []
        assert socket.connected


async def test_conflating() -> None:
    async with serving(
        outbox_policy="conflate", conflate_key=lambda event, args: args[0] if event == "position" else None
    ) as io:
        client, socket = joined(io)
        client.line.writable = False
        for number in range(5):
            io.emit("position", "a", number)
            socket.emit("position", "b", number)
            socket.emit("other", number)
            socket.emit("position", "c", b"%d" % number)
        client.line.writable = True
        packets = client.take()
        positions = [packet for packet in packets if "position" in str(packet)]
        assert positions == [
            '42["position","a",4]',
            '42["position","b",4]',
            '451-["position","c",{"_placeholder":true,"num":0}]',
        ]
        assert packets.count(b"4") == 1
        assert len([packet for packet in packets if "other" in str(packet)]) == 5
        assert counts(io)["packets_conflated"] == 12


@pytest.mark.parametrize("value", [1, b"1"])
async def test_a_conflated_event_is_left_out_of_compression_as_another(value: object) -> None:
    async with serving(outbox_policy="conflate", conflate_key=lambda event, args: event) as io:
        client, _ = joined(io)
        client.line.writable = False
        io.compress(False).emit("left out", value)
        io.emit("taken", value)
        waiting = client.connection.outbox
        assert [not isinstance(packet, bytes) and packet.compress for packet in waiting] == [False, True]
        client.drop()


async def test_drain() -> None:
    async with serving() as io:
        client, socket = joined(io)
        client.line.writable = False
        socket.emit("e")
        waiting = asyncio.create_task(socket.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        client.line.writable = True
        client.connection.transport_ready()
        await asyncio.wait_for(waiting, 5)


async def test_drain_ends_who_produces_without_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """Who has gone keeps up with everything: without an error the loop would never be left again."""
    async with serving() as io:

        @io.on("all of it")
        async def produce(socket: Socket) -> None:
            while True:
                socket.emit("piece", "x" * 1000)
                await socket.drain()

        client, socket = joined(io)
        client.line.writable = False
        client.emit("all of it")
        await asyncio.sleep(0)
        client.drop()
        await until(lambda: counts(io).get("handlers_disconnected"))
        assert counts(io).get("handler_errors", 0) == 0
        with pytest.raises(Disconnected, match="transport close"):
            await socket.drain()
    assert not caplog.records


async def test_a_handler_at_fault_is_told_of_though_its_client_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as io:

        @io.on("fail")
        async def fail(socket: Socket) -> None:
            await socket.wait_disconnected()
            raise ValueError("of its own")

        client, _ = joined(io)
        client.emit("fail")
        await asyncio.sleep(0)
        client.drop()
        await until(lambda: counts(io).get("handler_errors"))
    assert "of its own" in caplog.text


# The server's end.


async def test_closing_the_server_tells_every_socket() -> None:
    reasons: Log = []
    async with serving() as io:
        io.on("disconnect", lambda socket, reason: reasons.append(reason), inline=True)
        pairs = [joined(io) for _ in range(3)]
        await io.close()
        assert all(client.closed for client, _ in pairs)
        assert all(client.take() == [] for client, _ in pairs), "no DISCONNECT: clients would not come back"
    assert reasons == ["server shutting down"] * 3
