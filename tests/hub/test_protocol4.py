"""Clients of Socket.IO protocol 4, over Engine.IO 3: what they are told, and what they need not say."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgpack
import pytest

from duplexio import ConnectRefused, Server, Socket

from .ends import Client, Packet, counts, joined, serving, until

TARGET = "/socket.io/?EIO=3&transport=websocket"


async def old_client(io: Server, query: str = "") -> Client:
    """A client that has its handshake; what came behind it is still to be taken."""
    client = Client(io, TARGET + query)
    await until(lambda: client.packets)
    assert str(client.packets[0]).startswith('0{"sid"')
    del client.line.sent[0][0]
    return client


def old_serving(**options: Any) -> AbstractAsyncContextManager[Server]:
    return serving(allow_eio3=True, **options)


async def test_the_main_namespace_is_joined_without_asking() -> None:
    async with old_serving() as io:
        client = await old_client(io)
        assert client.take() == ["40"]
        (socket,) = io.sockets.sockets.values()
        assert socket.id == socket.conn.id == client.connection.id
        assert socket.conn.protocol == 3
        assert socket.handshake.auth == {}


async def test_another_namespace_and_its_query() -> None:
    async with old_serving() as io:
        chat = io.of("/chat")
        client = await old_client(io)
        client.take()
        client.send("40/chat?token=a%20b&x=1,")
        assert client.take() == ["40/chat,"]
        (socket,) = chat.sockets.values()
        assert socket.id == f"/chat#{client.connection.id}"
        assert socket.handshake.auth == {"token": "a b", "x": "1"}

        @chat.on("echo")
        async def echo(socket: Socket, value: Any) -> Any:
            return value

        client.send('42/chat,7["echo","hi"]')
        assert client.take() == ['43/chat,7["hi"]']
        client.send("41/chat")
        await until(lambda: not chat.sockets)


async def test_a_long_query_and_a_long_name() -> None:
    async with old_serving() as io:
        chat = io.of("/chat")
        client = await old_client(io)
        token = "t" * 5000
        client.send(f"40/chat?token={token}")
        (socket,) = chat.sockets.values()
        assert socket.handshake.auth == {"token": token}
        client.send("40/" + "n" * 300)
        assert client.closed
        assert counts(io)["fault.parse_error"] == 1


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        (ConnectRefused("who are you?"), '44/chat,"who are you?"'),
        (ConnectRefused("who?", {"code": 401}), '44/chat,{"code":401}'),
        (RuntimeError("secret"), '44/chat,"Internal error"'),
    ],
)
async def test_a_refusal_is_one_value(refusal: Exception, body: str) -> None:
    async with old_serving() as io:

        @io.of("/chat").use
        async def refuse(socket: Socket) -> None:
            raise refusal

        client = await old_client(io)
        client.take()
        client.send("40/chat")
        await until(lambda: client.packets)
        assert client.take() == [body]


@pytest.mark.parametrize("data", [None, {"code": 401}])
async def test_a_refusal_in_messagepack_is_a_text(data: object) -> None:
    """Old parsers throw at anything else."""
    async with old_serving(parser="msgpack") as io:

        @io.use
        async def refuse(socket: Socket) -> None:
            raise ConnectRefused("closed today", data)

        client = await old_client(io)
        (packet,) = client.take()
        assert isinstance(packet, bytes)
        assert msgpack.unpackb(packet[1:]) == {"type": 4, "data": "closed today", "nsp": "/"}


async def test_a_long_query_and_a_long_name_in_messagepack() -> None:
    async with old_serving(parser="msgpack") as io:
        chat = io.of("/chat")
        client = await old_client(io)
        token = "t" * 5000
        client.line.sink.receive_binary(b"\x04" + msgpack.packb({"type": 0, "nsp": f"/chat?token={token}"}))
        (socket,) = chat.sockets.values()
        assert socket.handshake.auth == {"token": token}
        client.line.sink.receive_binary(b"\x04" + msgpack.packb({"type": 0, "nsp": "/" + "n" * 300}))
        assert client.closed


async def test_a_refusal_of_the_main_namespace() -> None:
    async with old_serving() as io:

        @io.use
        async def refuse(socket: Socket) -> None:
            raise ConnectRefused("closed today")

        client = await old_client(io)
        assert client.take() == ['44"closed today"']


async def test_an_unknown_namespace() -> None:
    async with old_serving() as io:
        client = await old_client(io)
        client.take()
        client.send("40/nope?x=1")
        assert client.take() == ['44/nope,{"message":"Invalid namespace"}']


async def test_a_second_connect_ends_the_connection() -> None:
    async with old_serving() as io:
        client = await old_client(io)
        client.send("40")
        assert client.closed


async def test_binaries_both_ways() -> None:
    async with old_serving() as io:

        @io.on("echo")
        async def echo(socket: Socket, value: bytes) -> bytes:
            socket.emit("to one", value)
            io.emit("to all", value)
            return value

        old = await old_client(io)
        new, _ = joined(io)
        old.take()
        old.send('451-3["echo",{"_placeholder":true,"num":0}]')
        old.line.sink.receive_binary(b"\x04\x07")
        holder = '{"_placeholder":true,"num":0}'
        expected: list[Packet] = [f'451-["to one",{holder}]', f'451-["to all",{holder}]', f"461-3[{holder}]"]
        assert old.take() == [part for text in expected for part in (text, b"\x04\x07")]
        assert new.take() == [expected[1], b"\x07"]


async def test_no_offset_for_one_that_cannot_come_back() -> None:
    async with old_serving(connection_state_recovery=True) as io:

        @io.on("broadcast")
        async def broadcast(socket: Socket) -> None:
            socket.emit("one", "text")
            io.emit("all", 1)
            io.volatile.emit("volatile", "text")
            io.emit("bytes", b"\x01")
            socket.emit("asked", "a", ack=lambda *args: socket.emit("answered", *args))

        old = await old_client(io)
        old.take()
        new, _ = joined(io)
        old.send('42["broadcast"]')
        await asyncio.sleep(0)
        got = old.take()
        assert got[:5] == [
            '42["one","text"]',
            '42["all",1]',
            '42["volatile","text"]',
            '451-["bytes",{"_placeholder":true,"num":0}]',
            b"\x04\x01",
        ]
        question = str(got[5])
        assert question.endswith('["asked","a"]')
        number = question.removeprefix("42").removesuffix('["asked","a"]')
        old.send(f'43{number}["yes"]')
        assert old.take() == ['42["answered","yes"]']
        # The others do get theirs.
        assert [str(packet).count(",") for packet in new.take() if isinstance(packet, str)] == [2, 2, 3]
        (log,) = [io.sockets.log]
        assert log is not None
        assert log.number == 2
        old.drop()
        assert not log.sessions
        again = await old_client(io)
        assert again.take() == ["40"]


async def test_a_session_of_today_is_not_restored_to_one_that_cannot_come_back() -> None:
    """Its id is not the client's, and what it missed would be lost to both."""
    async with old_serving(connection_state_recovery=True) as io:
        chat = io.of("/chat")
        new = Client(io)
        pid = new.join("/chat")["pid"]
        new.drop()
        chat.emit("missed")
        old = await old_client(io)
        old.take()
        old.send(f"40/chat?pid={pid}")
        assert old.take() == ["40/chat,"]
        (socket,) = chat.sockets.values()
        assert (socket.id, socket.recovered) == (f"/chat#{old.connection.id}", False)
        again = Client(io)
        again.send(f'40/chat,{{"pid":"{pid}"}}')
        missed, connected = map(str, again.take())
        assert missed.startswith('42/chat,["missed"')
        assert connected.startswith("40/chat,")


async def test_the_log_does_not_hold_the_session_s_id(caplog: pytest.LogCaptureFixture) -> None:
    """Which the socket's is: who reads it there could take the session over."""
    async with old_serving() as io:

        @io.on("fail", inline=True)
        def fail(socket: Socket) -> None:
            raise RuntimeError(repr(socket))

        old = await old_client(io)
        old.take()
        old.send('42["fail"]')
        assert f"raised for socket {old.connection.id[:8]}…" in caplog.text
        assert old.connection.id not in caplog.text


async def test_everybody_answers_a_broadcast() -> None:
    async with old_serving(connection_state_recovery=True) as io:
        old = await old_client(io)
        old.take()
        new, _ = joined(io)
        asking = asyncio.ensure_future(io.emit_with_ack("how many", timeout=5))
        await until(lambda: old.packets and new.packets)
        for client, answer in ((old, 1), (new, 2)):
            (question,) = client.take()
            client.send(str(question).replace("42", "43", 1).replace('["how many"]', f"[{answer}]"))
        assert sorted(await asking) == [1, 2]


async def test_conflated_events_of_a_namespace_with_recovery() -> None:
    options = {"outbox_policy": "conflate", "conflate_key": lambda event, args: event}
    async with old_serving(connection_state_recovery=True, **options) as io:
        old = await old_client(io)
        old.take()
        old.line.writable = False
        for value in range(3):
            io.emit("price", value)
        old.line.writable = True
        assert old.take() == ['42["price",2]']


async def test_who_is_refused_in_the_main_namespace_may_join_another() -> None:
    async with old_serving() as io:
        io.of("/devices")

        @io.use
        async def refuse(socket: Socket) -> None:
            raise ConnectRefused("not here")

        client = await old_client(io)
        client.take()
        client.send("40/devices")
        assert client.take() == ["40/devices,"]
