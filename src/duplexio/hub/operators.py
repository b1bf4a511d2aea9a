"""What modifiers return: immutable operators. The JavaScript API's `BroadcastOperator`, and a socket's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from duplexio.hub.handshake import Handshake
from duplexio.hub.rooms import room_names
from duplexio.hub.targets import EVERYBODY, PLAIN, Flags, Targets
from duplexio.hub.values import snapshot
from duplexio.types import Room, Rooms

if TYPE_CHECKING:
    from duplexio.hub.fanout import Adapter
    from duplexio.hub.hub import Hub
    from duplexio.hub.socket import Socket

__all__ = ["BroadcastOperator", "Reach", "RemoteSocket", "SocketOperator"]


class Reach(Protocol):
    """What an operator starts from: a namespace, or the parent of many."""

    hub: Hub
    adapter: Adapter


class BroadcastOperator:
    """Sockets of a namespace, by rooms, and how to send to them.

    Each modifier returns a new operator; this one stays as it is, and can be kept and used again.
    """

    __slots__ = ("_flags", "_namespace", "_targets")

    def __init__(self, namespace: Reach, targets: Targets = EVERYBODY, flags: Flags = PLAIN) -> None:
        self._namespace = namespace
        self._targets = targets
        self._flags = flags

    def to(self, rooms: Rooms) -> BroadcastOperator:
        """To these rooms, too: a name or several. A socket in more than one gets it once."""
        targets = dataclasses.replace(self._targets, rooms=self._targets.rooms.union(room_names(rooms)))
        return BroadcastOperator(self._namespace, targets, self._flags)

    in_ = to

    def except_(self, rooms: Rooms) -> BroadcastOperator:
        """Not to sockets in these rooms."""
        targets = dataclasses.replace(self._targets, except_=self._targets.except_.union(room_names(rooms)))
        return BroadcastOperator(self._namespace, targets, self._flags)

    def _with(self, **changes: Any) -> BroadcastOperator:
        return BroadcastOperator(self._namespace, self._targets, dataclasses.replace(self._flags, **changes))

    @property
    def volatile(self) -> BroadcastOperator:
        """May be lost by a receiver that is not ready for it."""
        return self._with(volatile=True)

    @property
    def local(self) -> BroadcastOperator:
        """Only to sockets of this process."""
        return self._with(local=True)

    def compress(self, compress: bool) -> BroadcastOperator:
        """Whether it may be compressed, where compression is on."""
        return self._with(compress=compress)

    def timeout(self, seconds: float) -> BroadcastOperator:
        """How long to wait for acknowledgements."""
        return self._with(timeout=seconds)

    def emit(self, event: str, *args: Any) -> None:
        """Sends an event. Never blocks; from another thread it is queued to the loop.

        Raises ReservedEvent and EncodeError, and MessageTooLarge where several servers are one; then nobody was sent
        it. Never for a receiver that is slow or gone.
        """
        namespace = self._namespace
        hub = namespace.hub
        hub.check_event(event)
        if hub.on_loop():
            namespace.adapter.broadcast(event, args, self._targets, self._flags)
        else:
            namespace.adapter.check(event, args, self._targets, self._flags)
            copied = snapshot(args)
            hub.call(lambda: namespace.adapter.broadcast(event, copied, self._targets, self._flags))

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Sends an event and waits for everybody's acknowledgement.

        Returns the first argument of each, in order of arrival. Raises AckTimeout after `timeout` seconds
        (`ack_timeout` of the server by default) with those that came in `.responses`; ReservedEvent, EncodeError, and
        MessageTooLarge as `emit` does. Cancelling it only stops the waiting.
        """
        operator = self if timeout is None else self.timeout(timeout)
        self._namespace.hub.check_event(event)
        return await self._namespace.adapter.broadcast_with_ack(event, args, operator._targets, operator._flags)

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """The sockets themselves, of all servers, as they are now."""
        records = await self._namespace.adapter.fetch_sockets(self._targets, self._flags)
        return [RemoteSocket(self._namespace, record) for record in records]

    def sockets_join(self, rooms: Rooms) -> None:
        """Makes them join."""
        names = room_names(rooms)
        self._namespace.hub.call(lambda: self._namespace.adapter.sockets_join(self._targets, self._flags, names))

    def sockets_leave(self, rooms: Rooms) -> None:
        """Makes them leave."""
        names = room_names(rooms)
        self._namespace.hub.call(lambda: self._namespace.adapter.sockets_leave(self._targets, self._flags, names))

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects them from the namespace; with `close` from everything."""
        self._namespace.hub.call(lambda: self._namespace.adapter.disconnect_sockets(self._targets, self._flags, close))


class RemoteSocket:
    """A socket of this server or another one, as `fetch_sockets` found it.

    Attributes:
        id, handshake, rooms, data: as they were then.
    """

    __slots__ = ("_operator", "data", "handshake", "id", "rooms")

    def __init__(self, namespace: Reach, record: dict[str, Any]) -> None:
        self.id: str = record["id"]
        self.handshake = Handshake(**record["handshake"])
        self.rooms: frozenset[Room] = frozenset(record["rooms"])
        self.data: Any = record["data"]
        self._operator = BroadcastOperator(namespace, Targets(rooms=frozenset((self.id,))))

    def timeout(self, seconds: float) -> RemoteSocket:
        """How long `emit_with_ack` waits."""
        copy = RemoteSocket.__new__(RemoteSocket)
        copy.id, copy.handshake, copy.rooms, copy.data = self.id, self.handshake, self.rooms, self.data
        copy._operator = self._operator.timeout(seconds)
        return copy

    def emit(self, event: str, *args: Any) -> None:
        """Sends it an event. See `BroadcastOperator.emit`."""
        self._operator.emit(event, *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """The first argument of its acknowledgement."""
        answers = await self._operator.emit_with_ack(event, *args, timeout=timeout)
        return answers[0] if answers else None

    def join(self, rooms: Rooms) -> None:
        """Makes it join."""
        self._operator.sockets_join(rooms)

    def leave(self, room: Room) -> None:
        """Makes it leave."""
        self._operator.sockets_leave(room)

    def disconnect(self, close: bool = False) -> None:
        """Takes it out of the namespace; with `close`, ends its connection."""
        self._operator.disconnect_sockets(close)

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id}>"


class SocketOperator:
    """How to send to one socket, or from there to others: what `socket.volatile`, `.timeout(…)` and the like return."""

    __slots__ = ("_flags", "_socket")

    def __init__(self, socket: Socket, flags: Flags) -> None:
        self._socket = socket
        self._flags = flags

    def _with(self, **changes: Any) -> SocketOperator:
        return SocketOperator(self._socket, dataclasses.replace(self._flags, **changes))

    @property
    def volatile(self) -> SocketOperator:
        """May be lost where the client is not ready for it."""
        return self._with(volatile=True)

    @property
    def local(self) -> BroadcastOperator:
        """Everybody else in the namespace, of this process only."""
        return self.broadcast.local

    def compress(self, compress: bool) -> SocketOperator:
        """Whether it may be compressed, where compression is on."""
        return self._with(compress=compress)

    def timeout(self, seconds: float) -> SocketOperator:
        """How long to wait for acknowledgements."""
        return self._with(timeout=seconds)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody in the namespace but this socket."""
        targets = Targets(except_=frozenset((self._socket.id,)))
        return BroadcastOperator(self._socket.nsp, targets, self._flags)

    def to(self, rooms: Rooms) -> BroadcastOperator:
        """Others in these rooms: not this socket."""
        return self.broadcast.to(rooms)

    in_ = to

    def except_(self, rooms: Rooms) -> BroadcastOperator:
        """Everybody but this socket and those in these rooms."""
        return self.broadcast.except_(rooms)

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """See `Socket.emit`. With a timeout, `ack` gets the error, or None, before the arguments."""
        self._socket._emit(event, args, self._flags, ack)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """See `Socket.emit_with_ack`."""
        flags = self._flags if timeout is None else dataclasses.replace(self._flags, timeout=timeout)
        return await self._socket._emit_with_ack(event, args, flags)
