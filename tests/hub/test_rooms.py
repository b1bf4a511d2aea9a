"""Rooms, and whom a broadcast selects: against a model of plain sets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio import ConfigurationError, LimitExceeded, Server, Socket
from duplexio.hub.rooms import RoomTable, room_names
from duplexio.hub.targets import EVERYBODY, PLAIN, Flags, Targets

from .ends import joined, serving

Log = list[Any]

ROOMS = ["a", "b", "c", "d"]
rooms = st.frozensets(st.sampled_from(ROOMS), max_size=4)


# Names.


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a", "b"], ("a", "b")),
        (("a",), ("a",)),
        ({"a"}, ("a",)),
        ([], ()),
        (iter("ab"), ("a", "b")),
    ],
)
def test_names(given: Any, names: tuple[str, ...]) -> None:
    assert room_names(given) == names


@pytest.mark.parametrize("given", [5, None, [5], ["a", None], b"a", [b"a"], object()])
def test_what_is_no_room(given: Any) -> None:
    with pytest.raises(TypeError, match="a room is a str"):
        room_names(given)


# Targets.


def reached(wanted: Targets, member: frozenset[str]) -> bool:
    return (not wanted.rooms or bool(wanted.rooms & member)) and not wanted.except_ & member


@given(rooms, rooms, rooms)
def test_includes(named: frozenset[str], left_out: frozenset[str], member: frozenset[str]) -> None:
    targets = Targets(named, left_out)
    assert targets.includes(member) == reached(targets, member)


def test_defaults() -> None:
    assert Targets() == EVERYBODY
    assert Flags() == PLAIN
    assert EVERYBODY.includes(frozenset())


# The table.

steps = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "leave all"]), st.integers(0, 3), st.sampled_from(ROOMS)), max_size=30
)


@given(steps, rooms, rooms)
def test_select_finds_whom_the_targets_include(
    given_steps: list[tuple[str, int, str]], named: frozenset[str], left_out: frozenset[str]
) -> None:
    async def main() -> None:
        async with serving() as io:
            sockets = [joined(io)[1] for _ in range(4)]
            model: list[set[str]] = [{socket.id} for socket in sockets]
            for what, index, room in given_steps:
                if what == "join":
                    sockets[index].join(room)
                    model[index].add(room)
                elif what == "leave":
                    sockets[index].leave(room)
                    model[index].discard(room)
                else:
                    sockets[index].leave(list(sockets[index].rooms))
                    model[index].clear()
            assert [set(socket.rooms) for socket in sockets] == model
            table = io.of("/").rooms
            everywhere = {room for member in model for room in member}
            assert set(table) == everywhere
            assert len(table) == len(everywhere)
            for room in everywhere:
                assert table[room] == {
                    socket.id for socket, member in zip(sockets, model, strict=True) if room in member
                }
            targets = Targets(named, left_out)
            selected = table.select(targets, io.of("/").sockets)
            expected = [s for s, member in zip(sockets, model, strict=True) if reached(targets, frozenset(member))]
            assert {socket.id for socket in selected} == {socket.id for socket in expected}
            assert len(selected) == len(expected), "each once"

    asyncio.run(main())


async def test_every_socket_is_in_the_room_of_its_own_id() -> None:
    async with serving() as io:
        client, socket = joined(io)
        other, _ = joined(io)
        assert socket.rooms == {socket.id}
        io.to(socket.id).emit("e")
        assert client.take() == ['42["e"]']
        assert other.take() == []
        socket.leave(socket.id)
        io.to(socket.id).emit("e")
        assert client.take() == []


async def test_the_table_is_read_only() -> None:
    async with serving() as io:
        table = io.rooms
        assert isinstance(table, RoomTable)
        assert not hasattr(table, "__setitem__")
        assert not hasattr(table, "clear")
        with pytest.raises(KeyError):
            table["nowhere"]
        assert "nowhere" not in table
        assert table.get("nowhere") is None


async def test_a_room_is_gone_with_its_last_member() -> None:
    async with serving() as io:
        _, socket = joined(io)
        socket.join(["a", "b"])
        assert set(io.rooms) == {"a", "b", socket.id}
        socket.leave("a")
        socket.leave("a")
        socket.leave("never")
        socket.join("b")
        assert set(io.rooms) == {"b", socket.id}
        socket.disconnect()
        assert len(io.rooms) == 0
        socket.join("late")
        assert len(io.rooms) == 0
        assert socket.rooms == frozenset()


async def test_rooms_at_disconnecting_and_at_disconnect() -> None:
    seen: Log = []
    async with serving() as io:

        @io.on("disconnecting")
        async def disconnecting(socket: Socket, reason: str) -> None:
            seen.append(("disconnecting", "a" in socket.rooms, reason))

        @io.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            seen.append(("disconnect", "a" in socket.rooms, reason))

        client, socket = joined(io)
        socket.join("a")
        client.send("41")
    assert seen == [
        ("disconnecting", True, "client namespace disconnect"),
        ("disconnect", False, "client namespace disconnect"),
    ]


# Events.


async def test_events_of_rooms() -> None:
    log: Log = []

    def note(what: str) -> Any:
        return lambda *args: log.append((what, *args))

    async with serving() as io:
        for what in ("create", "delete", "join"):
            io.on_room(what, note(what))

        def leave(*args: Any) -> None:
            log.append(("leave", *args))

        assert io.on_room("leave")(leave) is leave
        _, first = joined(io)
        _, second = joined(io)
        log.clear()
        first.join("a")
        second.join("a")
        first.join("a")
        first.leave("a")
        second.leave("a")
        assert log == [
            ("create", "a"),
            ("join", "a", first.id),
            ("join", "a", second.id),
            ("leave", "a", first.id),
            ("leave", "a", second.id),
            ("delete", "a"),
        ]
        log.clear()
        first.disconnect()
        assert log == [("leave", first.id, first.id), ("delete", first.id)]


async def test_a_room_listener_may_take_others_out() -> None:
    """Of the room that it is told of: it is deleted once."""
    log: Log = []
    async with serving() as io:
        sockets = [joined(io)[1] for _ in range(3)]
        for socket in sockets:
            socket.join("a")
        io.on_room("delete", log.append)

        @io.on_room("leave")
        def follow(room: str, sid: str) -> None:
            for socket in sockets:
                socket.leave(room)

        sockets[0].leave("a")
        assert log == ["a"]
        assert set(io.rooms) == {socket.id for socket in sockets}
        assert [socket.rooms for socket in sockets] == [{socket.id} for socket in sockets]


async def test_a_room_listener_may_let_others_pass_through() -> None:
    """A room that is new has whoever made it, from the first that is told of it."""
    log: Log = []
    async with serving() as io:
        client, first = joined(io)
        _, second = joined(io)

        @io.on_room("create")
        def pass_through(room: str) -> None:
            log.append(set(io.rooms[room]))
            second.join(room)
            second.leave(room)

        first.join("a")
        assert log == [{first.id}]
        assert io.rooms["a"] == {first.id}
        io.to("a").emit("e")
        assert client.take() == ['42["e"]']
        first.leave("a")
        assert "a" not in io.rooms
        assert first.rooms == {first.id}


async def test_a_room_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def failing(*args: Any) -> None:
        raise ValueError("listener")

    async with serving() as io:
        io.on_room("join", failing)
        with caplog.at_level(logging.ERROR, "duplexio"):
            _, socket = joined(io)
            socket.join("a")
        assert "a" in socket.rooms
    assert "rooms' 'join' raised" in caplog.text


def test_what_cannot_listen_to_rooms() -> None:
    async def waiting(*args: Any) -> None: ...

    io = Server()
    with pytest.raises(ConfigurationError, match="no event 'created'"):
        io.on_room("created", lambda room: None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="plain def"):
        io.on_room("create", waiting)


# Limits.


async def test_so_many_rooms_and_no_more() -> None:
    async with serving(max_rooms_per_socket=3) as io:
        _, socket = joined(io)
        socket.join(["a", "b", "c"])
        socket.join(["a", "b"])
        for more in ("d", ["a", "d"], ["d", "e"]):
            with pytest.raises(LimitExceeded) as caught:
                socket.join(more)
            assert (caught.value.limit, caught.value.allowed) == ("max_rooms_per_socket", 3)
            assert "Server(max_rooms_per_socket=...)" in str(caught.value)
        assert socket.rooms == {"a", "b", "c", socket.id}
        socket.leave("a")
        socket.join("d")


@pytest.mark.parametrize(("name", "allowed"), [("x" * 16, True), ("x" * 17, False), ("é" * 8, True), ("é" * 9, False)])
async def test_names_of_a_length(name: str, allowed: bool) -> None:
    async with serving(max_name_length=16) as io:
        _, socket = joined(io)
        if allowed:
            socket.join(name)
        else:
            with pytest.raises(LimitExceeded, match="max_name_length"):
                socket.join(["short", name])
        assert (name in socket.rooms) is allowed
        assert "short" not in socket.rooms


async def test_operators_make_many_join_and_leave() -> None:
    async with serving(max_rooms_per_socket=2) as io:
        sockets: list[Socket] = [joined(io)[1] for _ in range(3)]
        io.sockets_join(["a", "b"])
        io.to("a").except_(sockets[0].id).sockets_leave(["b", "nowhere"])
        assert [sorted(_named(socket.rooms)) for socket in sockets] == [["a", "b"], ["a"], ["a"]]
        io.in_(["a", "b"]).sockets_leave("a")
        assert [sorted(_named(socket.rooms)) for socket in sockets] == [["b"], [], []]


async def test_leaving_by_the_room_one_is_selected_by() -> None:
    async with serving() as io:
        _, socket = joined(io)
        socket.join(["a", "b"])
        io.to("a").sockets_leave(["a", "b"])
        assert _named(socket.rooms) == set()


def _named(given: Iterable[str]) -> set[str]:
    return {room for room in given if len(room) == 1}
