"""One connection: its packets, its attachments, and how it joins namespaces."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio import ConfigurationError, ConnectRefused, Namespace, Server, Socket
from duplexio.hub.peer import MAX_LEFT
from duplexio.protocol.socket_packet import CONNECT, CONNECT_ERROR, Packet
from tests.engine.clock import run

from .ends import Client, counts, joined, serving, until

Log = list[Any]


def noting(io: Server | Namespace, log: Log) -> None:
    @io.on("e")
    async def handler(socket: Socket, *args: Any) -> Any:
        log.append(args)
        return args


HOLE = '{"_placeholder":true,"num":%d}'


# Packets.


async def test_attachments_come_behind_their_packet() -> None:
    log: Log = []
    async with serving() as io:
        noting(io, log)
        client, _ = joined(io)
        client.send(f'452-["e",{HOLE % 1},{{"a":[{HOLE % 0}]}}]', b"\x00")
        assert log == []
        client.send(b"\x01")
        assert log == [(b"\x01", {"a": [b"\x00"]})]
        client.send(f'451-7["e",{HOLE % 0}]', b"x", '42["e"]')
        assert log[1:] == [(b"x",), ()]
        assert client.take() == [f"461-7[{HOLE % 0}]", b"x"]


async def test_attachments_that_were_announced_and_are_none() -> None:
    log: Log = []
    async with serving() as io:
        noting(io, log)
        client, _ = joined(io)
        client.send('450-["e",1]')
        assert log == [(1,)]


async def test_attachments_in_deeply_nested_data() -> None:
    """As deep as JSON's decoder goes, which is deeper than Python recurses."""
    log: Log = []
    async with serving() as io:
        noting(io, log)
        client, _ = joined(io)
        depth = 1000
        client.send('451-["e",' + "[" * depth + HOLE % 0 + "]" * depth + "]", b"x")
        assert not client.closed
    value = log[0][0]
    for _ in range(depth):
        (value,) = value
    assert value == b"x"


BAD: dict[str, list[str | bytes]] = {
    "text where an attachment was to come": ['451-["e",{"_placeholder":true,"num":0}]', '42["e"]'],
    "an attachment that nobody announced": [b"x"],
    "one attachment too many": ['451-["e",{"_placeholder":true,"num":0}]', b"x", b"y"],
    "a placeholder without its attachment": ['451-["e",{"_placeholder":true,"num":1}]', b"x"],
    "a placeholder without any": ['450-["e",{"_placeholder":true,"num":0}]'],
    "too many attachments": ['4511-["e"]'],
    "an unknown type": ["49"],
    "no type": ["4"],
    "malformed JSON": ['42["e"'],
    "malformed JSON in a namespace": ['42/a,["e"'],
    "no event": ["42[]"],
    "a null": ["42[null]"],
    "an object": ["42{}"],
    "a reserved name": ['42["disconnect"]'],
    "a reserved name with an id": ['421["newListener"]'],
    "a long name": [json.dumps(["x" * 300]).join(["42", ""])],
    "a long name with an id": [json.dumps(["x" * 300]).join(["421", ""])],
    "a second CONNECT": ["40"],
    "a CONNECT_ERROR": ['44{"message":"x"}'],
    "an event for a namespace that was not joined": ['42/a,["e"]'],
    "an answer for a namespace that was not joined": ["43/a,1[]"],
    "a DISCONNECT for a namespace that was not joined": ["41/a,"],
    "an answer without an id": ["43[]"],
    "deep nesting": ["42[" + "[" * 2000 + "]" * 2000 + "]"],
}


@pytest.mark.parametrize("name", BAD)
async def test_what_ends_the_connection(name: str) -> None:
    log: Log = []
    reasons: Log = []
    async with serving() as io:
        noting(io, log)
        io.on("disconnect", lambda socket, reason, details: reasons.append((reason, bool(details))), inline=True)
        client, _ = joined(io)
        client.send(*BAD[name])
        assert client.closed
        assert counts(io)["fault.parse_error"] == 1
    assert [entry for entry in log if entry != (b"x",)] == []
    assert reasons == [("parse error", True)]


@pytest.mark.parametrize("name", ["disconnect", "newListener", "x" * 300])
async def test_names_of_an_event_where_a_socket_listens_for_itself(name: str) -> None:
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.on_any(lambda event, *args: log.append(event))
        client.send(json.dumps([name]).join(["42", ""]))
        assert client.closed
    assert log == []


@pytest.mark.parametrize("packet", ["41", '42["e"]', "43[]", "x", "4", '42["e"', "45"])
async def test_the_first_packet_is_a_connect(packet: str) -> None:
    async with serving() as io:
        client = Client(io)
        client.send(packet)
        assert client.closed


async def test_nothing_is_heard_after_the_end() -> None:
    log: Log = []
    async with serving() as io:
        noting(io, log)
        client, _ = joined(io)
        client.send("49", '42["e"]', b"x", "40")
    assert log == []


@pytest.mark.parametrize("packet", ['42["\\ud800"]', '421["\\ud800"]', '42["nobody\\ud800"]', '42["e","\\ud800"]'])
@pytest.mark.parametrize("codec", ["default", "standard"])
async def test_lone_surrogates_hurt_nobody(packet: str, codec: str) -> None:
    """Nor do they where a user's decoder lets them through."""
    options: dict[str, Any] = (
        {} if codec == "default" else {"loads": json.loads, "dumps": lambda v: json.dumps(v).encode()}
    )
    async with serving(**options) as io:
        noting(io, [])
        client, socket = joined(io)
        client.send(packet)
        assert socket.connected


async def test_not_utf8_is_told_so() -> None:
    async with serving() as io:
        client, _ = joined(io)
        client.connection.receive(b'42["\xff"]')
        assert client.line.endings[0] == "1007 not UTF-8"


def test_attachments_that_are_overdue() -> None:
    async def main() -> None:
        async with serving(attachment_timeout=10) as io:
            client, _ = joined(io)
            client.send(f'452-["e",{HOLE % 0},{HOLE % 1}]', b"x")
            await asyncio.sleep(9)
            assert not client.closed
            await asyncio.sleep(2)
            assert client.closed
            assert counts(io)["fault.parse_error"] == 1
            other, _ = joined(io)
            other.send(f'451-["e",{HOLE % 0}]', b"x")
            await asyncio.sleep(11)
            assert not other.closed
            other.send(f'451-["e",{HOLE % 0}]')
            other.drop()
            await asyncio.sleep(11)
            assert counts(io)["fault.parse_error"] == 1

    run(main())


def test_each_packet_has_its_own_time_for_attachments() -> None:
    async def main() -> None:
        async with serving(attachment_timeout=4) as io:
            client, _ = joined(io)
            client.send(f'451-["e",{HOLE % 0}]', b"x")
            for _ in range(3):
                await asyncio.sleep(1)
                client.send(f'451-["e",{HOLE % 0}]')
                await asyncio.sleep(3.5)
                client.send(b"x")
            client.send(f'451-["e",{HOLE % 0}]')
            await asyncio.sleep(3.5)
            assert not client.closed
            await asyncio.sleep(1)
            assert client.closed
            assert counts(io)["fault.parse_error"] == 1

    run(main())


async def test_joining_while_attachments_are_on_their_way() -> None:
    """A middleware that takes its time ends in the middle of another namespace's packet."""
    log: Log = []
    gate = asyncio.Event()
    async with serving() as io:
        noting(io.of("/n"), log)
        noting(io, log)

        @io.use
        async def middleware(socket: Socket) -> None:
            await gate.wait()

        client = Client(io)
        client.join("/n")
        client.send("40")
        client.send(f'451-/n,["e",{HOLE % 0}]')
        gate.set()
        assert str(await client.packet()).startswith("40{")
        client.send(b"x")
        client.emit("e", 1)
        assert log == [(b"x",), (1,)]


FRAGMENTS = [
    "4",
    "0",
    "1",
    "2",
    "3",
    "5",
    "6",
    "1-",
    "2-",
    "/",
    "/n",
    ",",
    "7",
    "[",
    "]",
    '"e"',
    "{",
    "}",
    HOLE % 0,
    HOLE % 5,
    ":",
    "true",
    "NaN",
    '"\\ud800"',
    '"disconnect"',
    "\x00",
    "40",
    '42["e"]',
    '451-["e",' + HOLE % 0 + "]",
    "40/n,",
    "é",
]
messages = st.lists(
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join) | st.binary(max_size=3), min_size=1, max_size=8
)


@given(st.booleans(), messages)
def test_nothing_that_a_client_sends_raises(with_standard_json: bool, sent: list[str | bytes]) -> None:
    """And a connection that ended is gone from every table."""
    standard: dict[str, Any] = {"loads": json.loads, "dumps": lambda value: json.dumps(value).encode()}

    async def main() -> None:
        async with serving(**(standard if with_standard_json else {})) as io:
            noting(io, [])
            noting(io.of("/n"), [])
            client, other = joined(io)[0], joined(io)[0]
            client.send(*sent)
            assert client.closed == (client.connection.id not in io.engine.connections)
            if client.closed:
                assert len(io.sockets.sockets) == 1
                assert len(io.of("/n").sockets) == 0
            io.emit("all are well")
            assert other.take() == ['42["all are well"]']

    asyncio.run(main())


# Joining.


def test_a_connection_that_joins_nothing_is_closed() -> None:
    async def main() -> None:
        async with serving(connect_timeout=45, ping_interval=1000) as io:
            client, other = Client(io), Client(io)
            other.join("/")
            other.send("41")
            gone = Client(io)
            gone.drop()
            await asyncio.sleep(44)
            assert not client.closed
            await asyncio.sleep(2)
            assert client.closed
            assert not other.closed
            assert counts(io)["fault.connect_timeout"] == 1
            other.drop()

    run(main())


REFUSALS: dict[str, tuple[Any, str]] = {
    "refused": (ConnectRefused("no"), '44{"message":"no"}'),
    "refused with data": (ConnectRefused("no", {"a": [1]}), '44{"message":"no","data":{"a":[1]}}'),
    "refused with what cannot be sent": (ConnectRefused("no", object()), '44{"message":"Internal error"}'),
    "refused without a word": (ConnectRefused(), '44{"message":"Forbidden"}'),
    "error": (ValueError("secret"), '44{"message":"Internal error"}'),
    "timeout of its own": (TimeoutError("secret"), '44{"message":"Internal error"}'),
    "cancelled by itself": (asyncio.CancelledError(), '44{"message":"Internal error"}'),
}


@pytest.mark.parametrize("kind", ["async", "suspending", "thread"])
@pytest.mark.parametrize("name", REFUSALS)
async def test_middlewares_that_refuse(name: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    error, expected = REFUSALS[name]

    async def eager(socket: Socket) -> None:
        raise error

    async def suspending(socket: Socket) -> None:
        await asyncio.sleep(0)
        raise error

    def plain(socket: Socket) -> None:
        raise error

    connections: Log = []
    heard: Log = []
    async with serving() as io:
        io.use({"async": eager, "suspending": suspending, "thread": plain}[kind])
        io.on("connection", lambda socket: connections.append(socket), inline=True)
        io.on_error(lambda raised, socket, event: heard.append((raised, event)))
        client = Client(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.send("40")
            assert await client.packet() == expected
        assert not client.closed
        assert (connections, dict(io.sockets.sockets), len(io.rooms)) == ([], {}, 0)
        if name == "error":
            assert heard == [(error, "connect")]
    assert ("secret" in caplog.text) is ("secret" in str(error))


class Silent:
    """A parser that cannot write one kind of packet."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def encode(self, packet: Packet) -> str:
        if packet.type == self.kind:
            raise ValueError("not that")
        return json.dumps(packet[:4])

    def decode(self, message: str | bytes) -> Packet:
        return Packet(*json.loads(message))


@pytest.mark.parametrize(("kind", "namespace"), [(CONNECT, "/"), (CONNECT_ERROR, "/unknown")])
async def test_an_answer_that_the_parser_cannot_write(
    kind: int, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ends the connection, instead of leaving a client that waits, and raising into whatever server read its packet."""
    connections: Log = []
    async with serving(parser=Silent(kind)) as io:
        io.on("connection", lambda socket: connections.append(socket), inline=True)
        client = Client(io)
        client.send(f'4[0,"{namespace}",null,null]')
        assert client.closed
        assert (connections, dict(io.sockets.sockets), len(io.rooms)) == ([], {}, 0)
    assert "cannot be sent" in caplog.text


def with_next(socket: Socket, next: Any) -> None: ...


async def of_nothing() -> None: ...


@pytest.mark.parametrize("middleware", [with_next, of_nothing, 5, "name"])
async def test_what_cannot_be_a_middleware(middleware: Any) -> None:
    async with serving() as io:
        for use in io.use, io.of("/n").use:
            with pytest.raises(ConfigurationError, match="takes the socket alone"):
                use(middleware)
        _, socket = joined(io)
        if middleware is not with_next:
            with pytest.raises(ConfigurationError, match="takes the event and the list"):
                socket.use(middleware)


async def test_one_that_was_refused_may_try_again() -> None:
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            if socket.handshake.auth.get("token") != "good":
                raise ConnectRefused("no")

        client = Client(io)
        client.send("40")
        assert client.take() == ['44{"message":"no"}']
        client.join(auth={"token": "good"})


async def test_middlewares_one_after_the_other() -> None:
    log: Log = []
    async with serving() as io:

        @io.use
        async def first(socket: Socket) -> None:
            await asyncio.sleep(0)
            log.append("first")
            socket.data["user"] = "anna"

        @io.use
        def second(socket: Socket) -> None:
            log.append(f"second {socket.data['user']}")

        @io.use
        async def third(socket: Socket) -> None:
            log.append("third")

        client = Client(io)
        client.send("40")
        assert str(await client.packet()).startswith("40{")
    assert log == ["first", "second anna", "third"]


async def test_what_a_middleware_emits_comes_behind_the_connect() -> None:
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            socket.emit("early", 1)
            socket.join("r")
            io.to("r").emit("early", 2)
            await asyncio.sleep(0)
            socket.emit("early", b"\x03")
            assert not socket.connected

        @io.on("connection")
        async def connected(socket: Socket) -> None:
            socket.emit("late")

        client = Client(io)
        client.send("40")
        await until(lambda: len(client.packets) == 6)
        packets = client.take()
        assert str(packets[0]).startswith("40{")
        assert packets[1:] == ['42["early",1]', '42["early",2]', f'451-["early",{HOLE % 0}]', b"\x03", '42["late"]']


async def test_a_socket_is_nobodys_before_the_middlewares_have_ended() -> None:
    """Except for the rooms they made it join: what is said there waits for it."""
    log: Log = []
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            socket.join("r")
            await asyncio.sleep(0)
            log.append((socket.connected, len(io.sockets.sockets), await io.fetch_sockets()))

        @io.on("connection")
        async def connected(socket: Socket) -> None:
            log.append((socket.connected, len(io.sockets.sockets), len(await io.fetch_sockets())))

        client = Client(io)
        client.send("40")
        assert str(await client.packet()).startswith("40{")
        assert log == [(False, 0, []), (True, 1, 1)]
        client.take()
        io.to("r").emit("e")
        assert client.take() == ['42["e"]']


async def test_rooms_that_a_refused_socket_joined_are_left() -> None:
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            socket.join("r")
            socket.emit("never")
            raise ConnectRefused("no")

        client = Client(io)
        client.send("40")
        assert client.take() == ['44{"message":"no"}']
        assert len(io.rooms) == 0


def test_middlewares_have_their_time_together_and_no_more() -> None:
    async def main() -> None:
        async with serving(middleware_timeout=10) as io:

            @io.use
            async def first(socket: Socket) -> None:
                await asyncio.sleep(6)

            @io.use
            async def second(socket: Socket) -> None:
                await asyncio.sleep(6)

            client = Client(io)
            client.send("40")
            await asyncio.sleep(9)
            assert client.take() == []
            await asyncio.sleep(2)
            assert client.take() == ['44{"message":"Internal error"}']
            assert counts(io)["middleware_timeouts"] == 1

    run(main())


async def test_so_many_pending_connects_and_no_more() -> None:
    gate = asyncio.Event()
    async with serving(max_pending_connects=2) as io:
        for name in ("/a", "/b", "/c"):

            @io.of(name).use
            async def middleware(socket: Socket) -> None:
                await gate.wait()

        client = Client(io)
        client.send("40/a,", "40/b,", "40/c,")
        assert client.take() == ['44/c,{"message":"Too many pending connections"}']
        assert counts(io)["fault.too_many_connects"] == 1
        gate.set()
        await until(lambda: len(client.packets) == 2)
        client.take()
        client.send("40/c,")
        assert str(await client.packet()).startswith("40/c,")


async def test_so_many_namespaces_and_no_more() -> None:
    async with serving(max_namespaces_per_client=2) as io:
        io.of("/a")
        io.of("/b")
        client = Client(io)
        client.join("/")
        client.join("/a")
        client.send("40/b,")
        assert client.take() == ['44/b,{"message":"Too many namespaces"}']
        client.send("41/a,")
        client.join("/b")


async def test_a_second_connect_while_the_first_is_pending() -> None:
    gate = asyncio.Event()
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            await gate.wait()

        client = Client(io)
        client.send("40", "40")
        assert client.closed
        await until(lambda: not io._hub.running)


@pytest.mark.parametrize("leaving", ["41", "drop", "1"])
async def test_leaving_while_a_middleware_decides(leaving: str) -> None:
    log: Log = []
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            socket.join("r")
            try:
                await asyncio.sleep(30)
            finally:
                log.append("left")

        io.on("connection", lambda socket: log.append("never"), inline=True)
        client = Client(io)
        client.send("40")
        if leaving == "drop":
            client.drop()
        else:
            client.send(leaving)
        await until(lambda: log)
        assert (log, len(io.rooms)) == (["left"], 0)
        if leaving == "41":
            assert not client.closed
            assert client.take() == []


async def test_leaving_and_coming_back_while_a_middleware_decides() -> None:
    """What was abandoned answers nothing, and does not end the attempt that came after it."""
    gate = asyncio.Event()
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            await gate.wait()

        client = Client(io)
        client.send("40", "41", "40")
        await asyncio.sleep(0.01)
        assert client.take() == []
        gate.set()
        packet = await client.packet()
        assert str(packet).startswith("40{")
        assert len(io.sockets.sockets) == 1
        client.drop()
        assert (len(io.sockets.sockets), len(io.rooms)) == (0, 0)


async def test_a_socket_whose_outbox_overflows_as_it_is_let_in_never_begins() -> None:
    log: Log = []
    async with serving(max_outbox_packets=5) as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            for number in range(10):
                socket.emit("e", number)

        io.on("connection", lambda socket: log.append(socket), inline=True)
        client = Client(io)
        client.line.writable = False
        client.send("40")
        assert client.closed
        assert (log, len(io.sockets.sockets), len(io.rooms)) == ([], 0, 0)


@pytest.mark.parametrize(("packet", "passes"), [("41/news,", True), ('42/news,["x"]', False), ("43/news,1[]", False)])
async def test_a_client_that_gives_up_as_it_is_refused(packet: str, passes: bool) -> None:
    """Python's clients do: the refusal and their DISCONNECT cross. Nothing else can have been sent before that."""
    async with serving() as io:

        @io.of("/news").use
        async def middleware(socket: Socket) -> None:
            raise ConnectRefused("No")

        client = Client(io)
        client.send("40")
        await client.packet()
        client.send("40/news,")
        assert str(await client.packet()) == '44/news,{"message":"No"}'
        client.send(packet)
        assert client.closed is not passes


async def test_namespaces_that_a_client_was_taken_out_of_are_not_remembered_for_ever() -> None:
    async with serving(max_dynamic_namespaces=10) as io:

        @io.of(re.compile("^/n")).on("connection", inline=True)
        def connection(socket: Socket) -> None:
            socket.disconnect()

        client = Client(io)
        for number in range(MAX_LEFT + 100):
            client.send(f"40/n{number},")
            client.take()
        assert client.connection.owner._left is not None  # type: ignore[attr-defined]
        assert len(client.connection.owner._left) == MAX_LEFT  # type: ignore[attr-defined]


async def test_a_middleware_that_outlives_its_connection() -> None:
    """It does not mind being cancelled."""
    log: Log = []
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                log.append("not minded")

        io.on("connection", lambda socket: log.append("never"), inline=True)
        client = Client(io)
        client.send("40")
        await asyncio.sleep(0)
        client.drop()
        await until(lambda: log)
        await asyncio.sleep(0.01)
        assert (log, dict(io.sockets.sockets), len(io.rooms)) == (["not minded"], {}, 0)


@pytest.mark.parametrize("how", ["close", "end"])
@pytest.mark.parametrize("eager", [True, False])
async def test_a_middleware_that_ends_the_connection(eager: bool, how: str) -> None:
    connections: Log = []
    async with serving() as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            socket.join("r")
            if not eager:
                await asyncio.sleep(0)
            if how == "close":
                socket.conn.close()
            else:
                socket.conn.end("forced close", "by a middleware")
            # Nothing to leave yet: it is not connected.
            socket.disconnect()

        io.on("connection", lambda socket: connections.append(socket), inline=True)
        client = Client(io)
        client.send("40")
        await until(lambda: client.closed)
        await until(lambda: not io._hub.running)
        assert (connections, dict(io.sockets.sockets), len(io.rooms)) == ([], {}, 0)
        assert client.take() == []


# What this server took a client out of.


async def test_what_a_client_sent_before_it_knew_is_passed_over() -> None:
    log: Log = []
    async with serving() as io:
        noting(io, log)
        client, socket = joined(io)
        socket.disconnect()
        client.send('42["e"]', "431[]", "41", f'451-["e",{HOLE % 0}]', b"x")
        assert (client.closed, log) == (False, [])
        client.join()
        client.emit("e", 1)
        assert log == [(1,)]
        client.send("41", '42["e"]')
        assert client.closed


async def test_disconnecting_one_namespace_leaves_the_others() -> None:
    async with serving() as io:
        io.of("/n")
        client, socket = joined(io)
        client.join("/n")
        socket.disconnect()
        assert client.take() == ["41"]
        assert len(io.of("/n").sockets) == 1
        socket.disconnect()
        assert client.take() == []


async def test_disconnecting_the_connection() -> None:
    reasons: Log = []
    async with serving() as io:
        for namespace in (io.of("/"), io.of("/n")):
            namespace.on("disconnect", lambda socket, reason: reasons.append((socket.nsp.name, reason)), inline=True)
        client, socket = joined(io)
        client.join("/n")
        socket.disconnect(close=True)
        assert client.take() == ["41", "41/n,"]
        assert client.closed
    assert reasons == [("/", "server namespace disconnect"), ("/n", "server namespace disconnect")]
