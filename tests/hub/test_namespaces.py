"""Namespaces: static ones, and those that a pattern or a function lets be."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from duplexio import (
    AckTimeout,
    ConfigurationError,
    ConnectRefused,
    EncodeError,
    LimitExceeded,
    Namespace,
    ParentNamespace,
    Server,
    Socket,
)
from duplexio.hub.namespace import Broadcasting
from duplexio.hub.targets import EVERYBODY, PLAIN

from .ends import Client, counts, joined, serving, until
from .test_acks import answer

Log = list[Any]
DYNAMIC = re.compile(r"^/dynamic-\d+$")


async def refused(client: Client, namespace: str, auth: str = "") -> str:
    client.send(f"40{namespace},{auth}")
    packet = await client.packet()
    assert isinstance(packet, str)
    assert packet.startswith(f"44{namespace},"), packet
    return packet[len(f"44{namespace},") :]


# Static ones.


def test_of() -> None:
    io = Server()
    assert io.of("/chat") is io.of("/chat") is io.of("chat")
    assert io.of("/").name == "/"
    assert io.of("") is io.of("/")
    assert io.sockets is io.of("/")
    assert repr(io.of("/chat")) == "<Namespace /chat with 0 sockets>"


@pytest.mark.parametrize("name", ["/a,b", "/" + "x" * 256, "/" + "é" * 128])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be"):
        Server().of(name)


@pytest.mark.parametrize("name", [5, None, b"/chat", ["/a"]])
def test_what_is_no_namespace(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a name"):
        Server().of(name)


async def test_a_client_in_several_namespaces() -> None:
    async with serving() as io:
        for name in ("/a", "/b"):

            @io.of(name).on("e")
            async def handler(socket: Socket, value: int) -> Any:
                return [socket.nsp.name, value]

        client = Client(io)
        ids = {client.join(name)["sid"] for name in ("/", "/a", "/b")}
        assert len(ids) == 3
        client.emit("e", 1, ack=1, namespace="/a")
        client.emit("e", 2, ack=2, namespace="/b")
        client.emit("e", 3, ack=3)
        assert client.take() == ['43/a,1[["/a",1]]', '43/b,2[["/b",2]]']
        io.of("/a").emit("only a")
        assert client.take() == ['42/a,["only a"]']
        client.send("41/a,")
        assert len(io.of("/a").sockets) == 0
        assert len(io.of("/b").sockets) == 1
        assert not client.closed


async def test_a_name_in_unicode() -> None:
    async with serving() as io:
        io.of("/ü€")
        client = Client(io)
        client.join("/ü€")
        io.of("/ü€").emit("é")
        assert client.take() == ['42/ü€,["é"]']


async def test_a_namespace_that_nobody_made() -> None:
    async with serving() as io:
        client = Client(io)
        assert await refused(client, "/nope") == '{"message":"Invalid namespace"}'
        assert counts(io)["fault.invalid_namespace"] == 1
        assert not client.closed


async def test_the_live_map_is_read_only() -> None:
    async with serving() as io:
        _, socket = joined(io)
        assert dict(io.sockets.sockets) == {socket.id: socket}
        with pytest.raises(TypeError):
            io.sockets.sockets["x"] = socket  # type: ignore[index]


# Patterns and functions.


async def test_a_pattern() -> None:
    async with serving() as io:
        parent = io.of(DYNAMIC)
        assert isinstance(parent, ParentNamespace)
        client = Client(io)
        reply = client.join("/dynamic-1")
        assert io.of("/dynamic-1").sockets.keys() == {reply["sid"]}
        assert await refused(client, "/dynamic-x") == '{"message":"Invalid namespace"}'


async def test_a_pattern_is_searched() -> None:
    """As JavaScript's `test` does it."""
    async with serving() as io:
        io.of(re.compile("chat"))
        client = Client(io)
        client.join("/my-chat-room")


FUNCTIONS: dict[str, Any] = {
    "plain": lambda name, auth: auth.get("token") == "good",
    "truthy": lambda name, auth: auth.get("token") == "good" and "yes",
}


async def _asynchronous(name: str, auth: Any) -> bool:
    await asyncio.sleep(0)
    return bool(auth.get("token") == "good")


async def _eager(name: str, auth: Any) -> bool:
    return bool(auth.get("token") == "good")


FUNCTIONS["async"] = _asynchronous
FUNCTIONS["eager"] = _eager


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_a_function(name: str) -> None:
    async with serving() as io:
        io.of(FUNCTIONS[name])
        client = Client(io)
        assert await refused(client, "/x", '{"token":"bad"}') == '{"message":"Invalid namespace"}'
        assert await refused(client, "/x") == '{"message":"Invalid namespace"}'
        client.send('40/x,{"token":"good"}')
        packet = await client.packet()
        assert str(packet).startswith('40/x,{"sid"')


async def test_a_function_that_raises_answers_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    def failing(name: str, auth: Any) -> bool:
        raise ValueError("secret")

    async with serving() as io:
        io.of(failing)
        client = Client(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            assert await refused(client, "/x") == '{"message":"Internal error"}'
    assert "secret" in caplog.text


async def test_static_names_win_and_parents_come_in_order() -> None:
    asked: Log = []

    def test(answer_: bool) -> Any:
        def asking(name: str, auth: Any) -> bool:
            asked.append((answer_, name))
            return answer_

        return asking

    async with serving() as io:
        io.of("/static")
        io.of(test(False))
        second = io.of(test(True))
        third = io.of(test(True))
        client = Client(io)
        client.join("/static")
        assert asked == []
        client.join("/x")
        assert asked == [(False, "/x"), (True, "/x")]
        assert list(second.children) == ["/x"]
        assert third.children == {}


async def test_two_clients_that_ask_at_once_are_in_one_namespace() -> None:
    told: Log = []
    async with serving() as io:
        io.on("new_namespace", lambda namespace: told.append(namespace.name))
        io.of(_asynchronous)
        clients = [Client(io) for _ in range(3)]
        for client in clients:
            client.send('40/x,{"token":"good"}')
        for client in clients:
            assert str(await client.packet()).startswith("40/x,")
        assert len(io.of("/x").sockets) == 3
        assert told == ["/x"]
        io.of("/x").emit("e")
        assert [client.take() for client in clients] == [['42/x,["e"]']] * 3


async def test_what_is_registered_on_a_parent_holds_for_each_child() -> None:
    log: Log = []
    async with serving() as io:
        parent = io.of(DYNAMIC)
        client = Client(io)

        @parent.use
        async def middleware(socket: Socket) -> None:
            log.append(f"use {socket.nsp.name}")

        @parent.on("connection")
        async def connected(socket: Socket) -> None:
            log.append(f"connection {socket.nsp.name}")

        @parent.on("disconnect")
        async def gone(socket: Socket, reason: str) -> None:
            log.append(f"disconnect {socket.nsp.name}")

        @parent.on("before")
        async def before(socket: Socket) -> str:
            return "before"

        client.join("/dynamic-1")

        @parent.on("after")
        async def after(socket: Socket) -> str:
            return "after"

        @io.of("/dynamic-1").on("after")
        async def own(socket: Socket) -> str:
            log.append("own, behind the parent's")
            return "own"

        client.emit("before", ack=1, namespace="/dynamic-1")
        client.emit("after", ack=2, namespace="/dynamic-1")
        assert client.take() == ['43/dynamic-1,1["before"]', '43/dynamic-1,2["after"]']
        parent.off("after")
        client.emit("after", ack=3, namespace="/dynamic-1")
        assert client.take() == ['43/dynamic-1,3["own"]']
        client.send("41/dynamic-1,")
    assert log == [
        "use /dynamic-1",
        "connection /dynamic-1",
        "own, behind the parent's",
        "own, behind the parent's",
        "disconnect /dynamic-1",
    ]


async def test_once_of_a_parent_is_once_for_all_children() -> None:
    log: Log = []
    async with serving() as io:
        parent = io.of(DYNAMIC)

        @parent.once("e")
        async def handler(socket: Socket) -> None:
            log.append(socket.nsp.name)

        @parent.once("connection")
        async def connected(socket: Socket) -> None:
            log.append("connection")

        client = Client(io)
        client.join("/dynamic-1")
        client.join("/dynamic-2")
        client.emit("e", namespace="/dynamic-2")
        client.emit("e", namespace="/dynamic-1")
        client.emit("e", namespace="/dynamic-2")
    assert log == ["connection", "/dynamic-2"]


async def test_a_parents_middleware_refuses() -> None:
    async with serving() as io:

        @io.of(DYNAMIC).use
        async def middleware(socket: Socket) -> None:
            raise ConnectRefused("no", {"why": 1})

        client = Client(io)
        assert await refused(client, "/dynamic-1") == '{"message":"no","data":{"why":1}}'
        assert "/dynamic-1" not in io._hub.namespaces


async def test_what_a_parent_does_to_all_children() -> None:
    async with serving() as io:
        parent = io.of(DYNAMIC)
        client, other = Client(io), Client(io)
        client.join("/dynamic-2")
        client.join("/dynamic-3")
        other.join("/dynamic-3")
        parent.emit("e", 1)
        assert client.take() == ['42/dynamic-2,["e",1]', '42/dynamic-3,["e",1]']
        assert other.take() == ['42/dynamic-3,["e",1]']
        parent.sockets_join(["r", "s"])
        parent.to("r").sockets_leave("s")
        assert [set(child.rooms) & {"r", "s"} for child in parent.children.values()] == [{"r"}, {"r"}]
        parent.to("r").except_("s").volatile.local.emit("e")
        assert len(client.take()) == 2
        other.take()
        assert len(await parent.fetch_sockets()) == 3
        task = asyncio.create_task(parent.emit_with_ack("ask"))
        await answer(client, "[1]", "/dynamic-2,")
        await answer(client, "[2]", "/dynamic-3,")
        await answer(other, "[3]", "/dynamic-3,")
        assert sorted(await asyncio.wait_for(task, 5)) == [1, 2, 3]
        parent.disconnect_sockets()
        assert client.take() == ["41/dynamic-2,", "41/dynamic-3,"]
        assert parent.children == {}


async def test_a_child_that_the_program_asks_for_first() -> None:
    """What guards its parent guards it, too, whoever comes first."""
    async with serving(max_dynamic_namespaces=2) as io:
        before = io.of("/dynamic-0")
        parent = io.of(DYNAMIC)

        @parent.use
        async def refuse(socket: Socket) -> None:
            raise ConnectRefused("nobody comes in here")

        child = io.of("/dynamic-1")
        child.emit("to nobody")
        assert set(parent.children) == {"/dynamic-1"}
        assert parent.children["/dynamic-1"] is child
        client = Client(io)
        client.send("40/dynamic-1,")
        assert client.take() == ['44/dynamic-1,{"message":"nobody comes in here"}']
        client.join("/dynamic-0")
        assert io.of("/dynamic-0") is before
        # Nobody is in them: they make room for others, but for those with handlers of their own.
        io.of("/dynamic-2").on("e", lambda socket: None)
        for number in range(3, 6):
            io.of(f"/dynamic-{number}")
        assert set(parent.children) == {"/dynamic-2", "/dynamic-5"}
        io.of("/dynamic-5").on("e", lambda socket: None)
        with pytest.raises(LimitExceeded, match="max_dynamic_namespaces"):
            io.of("/dynamic-6")


async def test_an_acknowledged_emit_of_a_parent_that_not_all_answer() -> None:
    async with serving() as io:
        parent = io.of(DYNAMIC)
        client = Client(io)
        client.join("/dynamic-1")
        client.join("/dynamic-2")
        task = asyncio.create_task(parent.timeout(0.05).emit_with_ack("ask"))
        await answer(client, '["a"]', "/dynamic-1,")
        with pytest.raises(AckTimeout) as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.responses == ["a"]
        assert caught.value.expected == 2
        with pytest.raises(EncodeError):
            await parent.emit_with_ack("ask", {1})


async def test_the_adapter_of_a_parent() -> None:
    """All of the contract, for whoever calls it."""
    async with serving() as io:
        parent = io.of(DYNAMIC)
        client = Client(io)
        client.join("/dynamic-1")
        adapter = parent.adapter
        assert len(adapter.rooms) == 0
        adapter.server_side_emit("e", [])
        assert await adapter.server_side_emit_with_ack("e", [], 1.0) == []
        adapter.broadcast("e", [1], EVERYBODY, PLAIN)
        assert client.take() == ['42/dynamic-1,["e",1]']


# Their end.


@pytest.mark.parametrize("cleanup", [True, False])
async def test_an_empty_child_goes(cleanup: bool) -> None:
    told: Log = []
    async with serving(cleanup_empty_child_namespaces=cleanup) as io:
        io.on("new_namespace", lambda namespace: told.append(namespace.name))
        parent = io.of(DYNAMIC)
        first, second = Client(io), Client(io)
        first.join("/dynamic-1")
        second.join("/dynamic-1")
        first.send("41/dynamic-1,")
        assert "/dynamic-1" in parent.children
        second.drop()
        assert ("/dynamic-1" in parent.children) is not cleanup
        first.join("/dynamic-1")
        assert told == ["/dynamic-1"] * (2 if cleanup else 1)


@pytest.mark.parametrize("cleanup", [True, False])
async def test_a_child_that_lets_nobody_in_goes(cleanup: bool) -> None:
    """Clients who are refused must not leave namespaces behind, nor take them away from others."""
    async with serving(cleanup_empty_child_namespaces=cleanup) as io:
        parent = io.of(DYNAMIC)

        @parent.use
        async def known_only(socket: Socket) -> None:
            if not socket.handshake.auth:
                raise ConnectRefused("who are you?")

        stranger, friend = Client(io), Client(io)
        await refused(stranger, "/dynamic-1")
        assert ("/dynamic-1" in parent.children) is not cleanup
        friend.join("/dynamic-1", {"name": "anna"})
        await refused(stranger, "/dynamic-1")
        parent.emit("e")
        assert friend.take() == ['42/dynamic-1,["e"]']
        assert stranger.take() == []
        assert len(parent.children["/dynamic-1"].sockets) == 1


async def test_a_middleware_of_the_main_namespace_is_no_other_ones() -> None:
    log: Log = []
    async with serving() as io:

        @io.use
        async def main_only(socket: Socket) -> None:
            log.append(socket.nsp.name)

        for name in ("/static", DYNAMIC):
            io.of(name)
        client = Client(io)
        client.join("/static")
        client.join("/dynamic-1")
        assert log == []
        client.join("/")
        assert log == ["/"]


async def test_auth_is_of_each_namespace_and_the_query_of_the_connection() -> None:
    async with serving() as io:
        io.of("/a")
        client = Client(io, "/socket.io/?EIO=4&transport=websocket&theme=dark")
        handshakes = [
            io.of(name).sockets[client.join(name, auth)["sid"]].handshake
            for name, auth in (("/", None), ("/a", {"theme": "&=light"}))
        ]
        assert [handshake.auth for handshake in handshakes] == [{}, {"theme": "&=light"}]
        assert [handshake.query["theme"] for handshake in handshakes] == ["dark", "dark"]


async def test_a_static_namespace_stays() -> None:
    async with serving() as io:
        namespace = io.of("/static")
        client = Client(io)
        client.join("/static")
        client.drop()
        assert io.of("/static") is namespace


async def test_a_child_whose_sockets_may_come_back_stays() -> None:
    async with serving(connection_state_recovery=True) as io:
        parent = io.of(DYNAMIC)
        client = Client(io)
        client.join("/dynamic-1")
        client.drop()
        assert "/dynamic-1" in parent.children


async def test_a_child_is_not_taken_away_from_one_who_is_with_its_middlewares() -> None:
    gate = asyncio.Event()
    async with serving() as io:
        parent = io.of(DYNAMIC)

        @parent.use
        async def middleware(socket: Socket) -> None:
            if socket.handshake.auth.get("wait"):
                await gate.wait()

        first, second = Client(io), Client(io)
        first.join("/dynamic-1")
        second.send('40/dynamic-1,{"wait":true}')
        first.send("41/dynamic-1,")
        assert "/dynamic-1" in parent.children
        gate.set()
        assert str(await second.packet()).startswith("40/dynamic-1,")
        parent.emit("e")
        assert second.take() == ['42/dynamic-1,["e"]']


async def test_so_many_dynamic_namespaces_and_no_more() -> None:
    async with serving(max_dynamic_namespaces=2) as io:
        io.of(DYNAMIC)
        client = Client(io)
        client.join("/dynamic-1")
        client.join("/dynamic-2")
        assert await refused(client, "/dynamic-3") == '{"message":"Too many namespaces"}'
        client.send("41/dynamic-1,")
        client.join("/dynamic-3")
        io.of("/static")


# Telling.


async def test_new_namespace() -> None:
    told: Log = []
    io = Server(handle_signals=False)

    @io.on("new_namespace")
    def listener(namespace: Namespace) -> None:
        told.append(namespace.name)

    assert listener is not None
    io.of("/a")
    io.of("/a")
    io.of("/")
    io.of(DYNAMIC)
    assert told == ["/a"]
    async with io.lifespan(None):
        Client(io).join("/dynamic-1")
    assert told == ["/a", "/dynamic-1"]


def test_a_listener_of_new_namespaces_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def failing(namespace: Namespace) -> None:
        raise ValueError("listener")

    async def waiting(namespace: Namespace) -> None: ...

    io = Server()
    io.on("new_namespace", failing)
    with caplog.at_level(logging.ERROR, "duplexio"):
        io.of("/a")
    assert "a new_namespace listener raised" in caplog.text
    with pytest.raises(TypeError, match="plain def"):
        io.on("new_namespace", waiting)
    with pytest.raises(TypeError, match="plain def"):
        io.on_error(waiting)


@pytest.mark.parametrize("middleware", [None, "name", 5])
def test_what_is_no_middleware(middleware: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a function"):
        Server().use(middleware)


def test_broadcasting_needs_an_operator_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        Broadcasting().emit("e")


async def test_handlers_of_the_server_are_those_of_the_main_namespace() -> None:
    log: Log = []
    async with serving() as io:

        @io.once("e")
        async def once(socket: Socket) -> None:
            log.append("once")

        async def also(socket: Socket) -> None:
            log.append("also")

        io.once("e", also)
        client, _ = joined(io)
        client.emit("e")
        client.emit("e")
        await until(lambda: len(log) == 2)
        assert io.of("/").listeners("e") == []
        assert set(io.options.transports) == {"polling", "websocket"}
