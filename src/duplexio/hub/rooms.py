"""Who is in which room, of the sockets of one namespace in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from duplexio.errors import ConfigurationError
from duplexio.hub.functions import require_plain
from duplexio.types import Room, Rooms

if TYPE_CHECKING:
    from duplexio.hub.socket import Socket
    from duplexio.hub.targets import Targets

__all__ = ["RoomEvent", "RoomTable", "room_names"]

RoomEvent = Literal["create", "delete", "join", "leave"]
_EVENTS = ("create", "delete", "join", "leave")


def room_names(rooms: Rooms) -> tuple[Room, ...]:
    """One name, or several, as a tuple. Raises TypeError for anything but str."""
    if isinstance(rooms, str):
        return (rooms,)
    try:
        names = tuple(rooms)
    except TypeError:
        names = (cast(str, rooms),)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a room is a str, or an iterable of them, not {type(name).__name__}: {name!r}")
    return names


class RoomTable(Mapping[Room, "frozenset[str]"]):
    """A read-only mapping of each room to the ids in it; every socket is in the room of its own id.

    Sockets are kept, not their ids, so that a broadcast looks nothing up for each receiver.
    """

    __slots__ = ("_failed", "_listeners", "_members", "on_changed")

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        self._members: dict[Room, set[Socket]] = {}
        self._listeners: dict[str, list[Callable[..., Any]]] = {}
        #: Called behind each change of a socket's rooms.
        self.on_changed: Callable[[Socket], None] | None = None

    def __getitem__(self, room: Room) -> frozenset[str]:
        return frozenset(socket.id for socket in self._members[room])

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def on(self, event: RoomEvent, listener: Callable[..., Any]) -> None:
        if event not in _EVENTS:
            raise ConfigurationError(f"rooms have no event {event!r}; they have {', '.join(_EVENTS)}")
        require_plain(listener, f"a listener of the rooms' {event!r}")
        self._listeners.setdefault(event, []).append(listener)

    def _tell(self, event: RoomEvent, *args: str) -> None:
        for listener in self._listeners.get(event, ()):
            try:
                listener(*args)
            except Exception as error:
                self._failed(f"a listener of the rooms' {event!r} raised", error)

    def add(self, socket: Socket, rooms: Iterable[Room]) -> None:
        """The socket joins these; those it is in already are passed over."""
        for room in rooms:
            members = self._members.get(room)
            new = members is None
            if members is None:
                members = self._members[room] = set()
            elif socket in members:
                continue
            # The table is right before anybody hears of it: a listener may itself make sockets join and leave.
            members.add(socket)
            socket._rooms.add(room)
            if self.on_changed is not None:
                self.on_changed(socket)
            if self._listeners:
                if new:
                    self._tell("create", room)
                self._tell("join", room, socket.id)

    def remove(self, socket: Socket, room: Room) -> None:
        """The socket leaves; nothing where it is not in that room."""
        members = self._members.get(room)
        if members is None or socket not in members:
            return
        members.discard(socket)
        socket._rooms.discard(room)
        if self.on_changed is not None:
            self.on_changed(socket)
        if not self._listeners:
            if not members:
                del self._members[room]
            return
        self._tell("leave", room, socket.id)
        # A listener may have emptied the room before, or another one of that name may be there by now.
        if not members and self._members.get(room) is members:
            del self._members[room]
            self._tell("delete", room)

    def remove_everywhere(self, socket: Socket) -> None:
        for room in list(socket._rooms):
            self.remove(socket, room)

    def select(self, targets: Targets, everybody: Mapping[str, Socket]) -> list[Socket]:
        """The sockets these targets name, each once; a copy, since delivering may end some of them."""
        rooms = targets.rooms
        if not rooms:
            chosen: Iterable[Socket] = everybody.values()
        elif len(rooms) == 1:
            (room,) = rooms
            chosen = self._members.get(room, ())
        else:
            chosen = set().union(*(self._members.get(room, ()) for room in rooms))
        if not targets.except_:
            return list(chosen)
        left_out = set().union(*(self._members.get(room, ()) for room in targets.except_))
        return [socket for socket in chosen if socket not in left_out]
