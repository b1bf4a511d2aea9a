"""What modifiers return: immutable, reusable, and each of them true to its word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from duplexio import AckTimeout, BroadcastOperator, ReservedEvent, Server, Socket
from duplexio.protocol.socket_packet import RESERVED_EVENTS

from .ends import Client, counts, joined, serving
from .test_acks import answer


async def three(io: Server) -> tuple[list[Client], list[Socket]]:
    """a is in room `a` and `all`, b in `b` and `all`, c in none."""
    pairs = [joined(io) for _ in range(3)]
    clients, sockets = [client for client, _ in pairs], [socket for _, socket in pairs]
    sockets[0].join(["a", "all"])
    sockets[1].join(["b", "all"])
    return clients, sockets


async def heard(clients: list[Client]) -> list[bool]:
    await asyncio.sleep(0)
    return [bool(client.take()) for client in clients]


ALL, NONE = [True, True, True], [False, False, False]


async def test_whom_a_server_reaches() -> None:
    async with serving() as io:
        clients, sockets = await three(io)
        ids = [socket.id for socket in sockets]
        cases: list[tuple[Any, list[bool]]] = [
            (io, ALL),
            (io.of("/"), ALL),
            (io.sockets, ALL),
            (io.to("a"), [True, False, False]),
            (io.in_("a"), [True, False, False]),
            (io.to(["a", "b"]), [True, True, False]),
            (io.to("a").to("b"), [True, True, False]),
            (io.to("a").in_("all"), [True, True, False]),
            (io.to("nowhere"), NONE),
            (io.to([]), ALL),
            (io.except_("a"), [False, True, True]),
            (io.except_(["a", "b"]), [False, False, True]),
            (io.to("all").except_("a"), [False, True, False]),
            (io.except_("a").to("all"), [False, True, False]),
            (io.to(ids[2]), [False, False, True]),
            (io.local, ALL),
            (io.volatile, ALL),
            (io.compress(False), ALL),
            (io.timeout(5), ALL),
            (io.to("a").local.volatile.compress(True).timeout(1).except_("b"), [True, False, False]),
        ]
        for operator, expected in cases:
            operator.emit("e", 1)
            assert await heard(clients) == expected
            operator.send("text")
            assert await heard(clients) == expected


async def test_whom_a_socket_reaches() -> None:
    async with serving() as io:
        clients, (a, _, _) = await three(io)
        cases: list[tuple[Any, list[bool]]] = [
            (a, [True, False, False]),
            (a.volatile, [True, False, False]),
            (a.compress(False), [True, False, False]),
            (a.timeout(5), [True, False, False]),
            (a.volatile.volatile.compress(True).timeout(1), [True, False, False]),
            (a.broadcast, [False, True, True]),
            (a.local, [False, True, True]),
            (a.volatile.local, [False, True, True]),
            (a.volatile.broadcast, [False, True, True]),
            (a.to("all"), [False, True, False]),
            (a.in_("all"), [False, True, False]),
            (a.except_("b"), [False, False, True]),
            (a.volatile.to("all"), [False, True, False]),
            (a.volatile.in_("all"), [False, True, False]),
            (a.volatile.except_("b"), [False, False, True]),
            (a.to(a.id), NONE),
        ]
        for operator, expected in cases:
            operator.emit("e", 1)
            assert await heard(clients) == expected
            operator.send("text")
            assert await heard(clients) == expected


async def test_an_operator_is_never_changed() -> None:
    async with serving() as io:
        clients, (a, _, _) = await three(io)
        kept = io.to("a")
        changed = [kept.to("b"), kept.except_("a"), kept.volatile, kept.local, kept.compress(False), kept.timeout(1)]
        assert all(isinstance(operator, BroadcastOperator) and operator is not kept for operator in changed)
        for _ in range(2):
            kept.emit("e")
            assert await heard(clients) == [True, False, False]
        quick = a.volatile
        assert quick.timeout(1) is not quick
        quick.emit("e")
        assert await heard(clients) == [True, False, False]


async def test_sent_once_to_a_socket_that_is_in_several_of_the_rooms() -> None:
    async with serving() as io:
        clients, _ = await three(io)
        io.to(["a", "all"]).to("a").emit("e")
        assert clients[0].take() == ['42["e"]']


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
async def test_reserved_names(name: str) -> None:
    async with serving() as io:
        _, socket = joined(io)
        for operator in (io, socket, io.to("a"), socket.volatile, socket.broadcast, io.of("/n")):
            with pytest.raises(ReservedEvent) as caught:
                operator.emit(name)
            assert caught.value.event == name
            assert "reserved" in str(caught.value)


@pytest.mark.parametrize("name", [None, 5, b"e", ("e",)])
async def test_names_that_are_no_text(name: Any) -> None:
    async with serving() as io:
        _, socket = joined(io)
        for operator in (io, io.to("a"), socket.volatile, socket.broadcast):
            with pytest.raises(TypeError, match="a str"):
                operator.emit(name)


# Volatile.


async def test_volatile_is_dropped_where_it_would_have_to_wait() -> None:
    async with serving() as io:
        client, socket = joined(io)
        for operator in (socket.volatile, io.volatile, io.to(socket.id).volatile):
            client.line.full = True
            operator.emit("dropped")
            client.line.full = False
            operator.emit("sent")
        assert client.take() == ['42["sent"]'] * 3
        assert counts(io)["volatile_dropped"] == 3
        client.line.writable = False
        socket.volatile.emit("dropped")
        io.volatile.emit("dropped")
        assert counts(io)["volatile_dropped"] == 5
        socket.emit("kept")
        io.emit("kept")
        client.line.writable = True
        assert client.take() == ['42["kept"]'] * 2


async def test_volatile_with_an_acknowledgement_that_is_dropped_is_never_answered() -> None:
    async with serving() as io:
        client, socket = joined(io)
        client.line.full = True
        with pytest.raises(AckTimeout):
            await socket.volatile.timeout(0.01).emit_with_ack("e")
        assert client.take() == []


# RemoteSocket.


async def test_fetch_sockets() -> None:
    async with serving() as io:
        client = Client(io, "/socket.io/?EIO=4&transport=websocket&a=b", origin="http://a.example", host="a.example")
        sid = client.join(auth={"token": "t"})["sid"]
        io.sockets.sockets[sid].data["name"] = "anna"
        io.sockets.sockets[sid].join("r")
        _, second = joined(io)
        assert len(await io.fetch_sockets()) == 2
        assert await io.to("nowhere").fetch_sockets() == []
        assert await io.to("r").except_([sid, "nowhere"]).fetch_sockets() == []
        assert [remote.id for remote in await io.except_("r").fetch_sockets()] == [second.id]
        (remote,) = await io.to("r").fetch_sockets()
        assert (remote.id, remote.data, remote.rooms) == (sid, {"name": "anna"}, frozenset({sid, "r"}))
        assert repr(remote) == f"<RemoteSocket {sid}>"
        handshake = remote.handshake
        assert handshake.auth == {"token": "t"}
        assert handshake.query == {"EIO": "4", "transport": "websocket", "a": "b"}
        assert handshake.headers["origin"] == "http://a.example"
        assert (handshake.address, handshake.xdomain, handshake.secure) == ("192.0.2.1", True, False)
        assert handshake.url.endswith("&a=b")


async def test_fetch_sockets_of_one_namespace() -> None:
    """A room of the same name elsewhere is another room."""
    async with serving() as io:
        here, there = io.of("/here"), io.of("/there")
        client, other = Client(io), Client(io)
        one, two, elsewhere = client.join("/here")["sid"], other.join("/here")["sid"], other.join("/there")["sid"]
        here.sockets[one].join("r")
        there.sockets[elsewhere].join("r")
        assert {remote.id for remote in await here.fetch_sockets()} == {one, two}
        assert [remote.id for remote in await here.to("r").fetch_sockets()] == [one]
        assert [remote.id for remote in await there.to("r").fetch_sockets()] == [elsewhere]
        assert await io.fetch_sockets() == []


async def test_what_a_remote_socket_does() -> None:
    async with serving() as io:
        client, socket = joined(io)
        other, _ = joined(io)
        (remote,) = await io.to(socket.id).fetch_sockets()
        remote.emit("e", 1)
        assert client.take() == ['42["e",1]']
        remote.join(["a", "b"])
        remote.leave("a")
        assert socket.rooms == {socket.id, "b"}
        task = asyncio.create_task(remote.timeout(5).emit_with_ack("ask"))
        await answer(client, "[1,2]")
        assert await task == 1
        task = asyncio.create_task(remote.emit_with_ack("ask", timeout=5))
        await answer(client)
        assert await task is None
        remote.disconnect()
        assert not socket.connected
        assert await remote.emit_with_ack("nobody") is None
        assert client.take() == ["41"]
        assert other.take() == []


# Many at once.


async def test_disconnect_sockets() -> None:
    async with serving() as io:
        clients, sockets = await three(io)
        io.to("a").disconnect_sockets()
        assert [socket.connected for socket in sockets] == [False, True, True]
        assert not clients[0].closed
        io.to("b").disconnect_sockets(close=True)
        assert clients[1].closed
        io.disconnect_sockets(True)
        assert all(client.closed for client in clients[1:])
        assert clients[0].take() == ["41"]


# Other servers, of which there are none.


async def test_server_side_emit() -> None:
    async with serving() as io:
        io.server_side_emit("e", 1)
        io.of("/n").server_side_emit("e", 1)
        assert await io.server_side_emit_with_ack("e", 1) == []
        assert await io.of("/n").server_side_emit_with_ack("e", timeout=1) == []
        for emit in (io.server_side_emit, io.of("/n").server_side_emit):
            with pytest.raises(ReservedEvent):
                emit("connect")
        with pytest.raises(ReservedEvent):
            await io.server_side_emit_with_ack("disconnect")


def test_on_server() -> None:
    io = Server()

    def listener(value: Any) -> None: ...

    async def waiting(value: Any) -> None: ...

    assert io.on_server("e")(listener) is listener
    with pytest.raises(TypeError, match="plain def"):
        io.on_server("e", waiting)


# A broadcast is encoded once.


async def test_every_receiver_of_a_broadcast_gets_the_same_object() -> None:
    async with serving() as io:
        clients, _ = await three(io)
        io.emit("e", b"\x01", {"a": 1})
        first, second, third = (client.line.packets for client in clients)
        assert first[0] is second[0] is third[0]


async def test_nothing_is_encoded_for_nobody() -> None:
    encoded: list[Any] = []

    def dumps(value: Any) -> bytes:
        encoded.append(value)
        return b"[]"

    async with serving(dumps=dumps) as io:
        io.to("nowhere").emit("e", 1)
        io.emit("e", 1)
    assert encoded == []


async def test_before_the_start_nobody_hears_it_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """As in a process of its own that imports the server to emit by it."""
    io = Server(handle_signals=False)
    io.emit("news", 1)
    io.to("room").emit("news", 2)
    assert caplog.text.count("'news' was emitted before this server has started, or in a process") == 1
    caplog.clear()
    async with io.lifespan(None):
        io.emit("news", 3)
    assert not caplog.text
