"""The contract of an adapter, which reaches the sockets of a namespace, and the one for those of this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from duplexio.errors import AckTimeout, LimitExceeded, MessageTooLarge
from duplexio.hub.acks import Answered, Collector
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.recovery import Origin
from duplexio.hub.rooms import RoomTable
from duplexio.hub.targets import Flags, Targets
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.types import Room

if TYPE_CHECKING:
    from duplexio.hub.namespace import Namespace
    from duplexio.hub.socket import Socket

__all__ = ["Adapter", "ChildrenAdapter", "LocalAdapter"]


class Adapter(Protocol):
    """One per namespace, called on the loop. What waits for other servers is async; the rest is true here on return.

    What sends to other servers raises EncodeError and MessageTooLarge before anything is sent, here too.
    """

    rooms: RoomTable

    @property
    def alone(self) -> bool:
        """Whether there is no other server."""

    def check(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        """Raises what `broadcast` and `broadcast_with_ack` raise for such an event. May be called on any thread."""

    def broadcast(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        """Sends the event to each socket that `targets` names, once. Nothing is raised for a receiver."""

    async def broadcast_with_ack(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> list[Any]:
        """The same, and the first argument of each acknowledgement. Raises AckTimeout after `flags.timeout` seconds."""

    async def fetch_sockets(self, targets: Targets, flags: Flags) -> list[dict[str, Any]]:
        """A record of each socket: id, handshake, rooms, data."""

    def sockets_join(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None: ...

    def sockets_leave(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None: ...

    def disconnect_sockets(self, targets: Targets, flags: Flags, close: bool) -> None: ...

    def server_side_emit(self, event: str, args: Sequence[Any]) -> None:
        """To the other servers; not to this one. May be called on any thread."""

    async def server_side_emit_with_ack(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        """The same, and the first argument of each server's answer."""

    async def bring_session(self, pid: str, offset: str | None) -> None:
        """Brings the session of a client from the server that has it into the log of this one, with what it missed.

        Nothing where no server has it, or does not say so in time.
        """


class LocalAdapter:
    """See `Adapter`. There is no other server."""

    __slots__ = ("_namespace", "rooms")

    alone = True

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.rooms = RoomTable(namespace.hub.reporter.failure)

    def _select(self, targets: Targets) -> list[Socket]:
        return self.rooms.select(targets, self._namespace.sockets)

    def check(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        self._namespace.hub.check_encodable(args)

    def broadcast(
        self,
        event: str,
        args: Sequence[Any],
        targets: Targets,
        flags: Flags,
        most: int = sys.maxsize,
    ) -> None:
        """Raises MessageTooLarge where the packet has more bytes than `most`, before it is sent.

        Not to be used where it is kept for recovery: it would be there already.
        """
        namespace = self._namespace
        sockets = self._select(targets)
        if not sockets:
            if not namespace.hub.thread:
                namespace.hub.reporter.before_the_start(event)
            if namespace.log is None:
                return
        packet = namespace._encode_event(event, args, targets, flags)
        message = _shared(packet)
        if message.size > most:
            raise MessageTooLarge(message.size, most)
        for socket in sockets:
            if socket._special or flags.volatile:
                socket._deliver(message, event, args, flags, stored=not flags.volatile, shared=True)
            else:
                socket.conn.send_shared(message)

    async def broadcast_with_ack(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> list[Any]:
        namespace = self._namespace
        timeout = namespace.hub.options.ack_timeout if flags.timeout is None else flags.timeout
        collector = Collector(namespace.hub.loop, event, timeout)
        number = namespace.hub.next_ack_id()
        sockets = self._select(targets)
        if sockets:
            message = _shared(namespace._encode(event, args, flags, number))
            self._expect(sockets, message, number, event, args, flags, timeout, collector.one_more)
        return await collector.result()

    def _expect(
        self,
        sockets: list[Socket],
        message: Message,
        number: int,
        event: str,
        args: Sequence[Any],
        flags: Flags,
        timeout: float,
        one_more: Callable[[], Answered],
    ) -> None:
        for socket in sockets:
            answered = one_more()
            try:
                socket._pending_acks().expect(number, event, answered, timeout)
            except LimitExceeded as error:
                # One that owes too many answers keeps nobody else from giving theirs.
                answered(error, [])
            socket._deliver(message, event, args, flags, number=number, shared=True)

    async def fetch_sockets(self, targets: Targets, flags: Flags) -> list[dict[str, Any]]:
        return self.records(targets)

    def records(self, targets: Targets) -> list[dict[str, Any]]:
        """What `fetch_sockets` gives, without waiting."""
        return [socket._record() for socket in self._select(targets)]

    async def bring_session(self, pid: str, offset: str | None) -> None:
        """There is no other server."""

    # The part that sockets of this process have in what goes to all servers.

    def has_receivers(self, targets: Targets) -> bool:
        """Whether an event for these targets need be looked at: somebody is meant here, or may come back for it."""
        namespace = self._namespace
        if namespace.log is not None:
            return True
        rooms = targets.rooms
        return any(room in self.rooms for room in rooms) if rooms else bool(namespace.local_sockets)

    def deliver(self, encoded: EncodedEvent, targets: Targets, flags: Flags, origin: Origin | None = None) -> None:
        """Sends an event that was encoded before to each of them, once. `origin`: by which all servers know it.

        Raises SocketPacketError where it came from elsewhere and is none.
        """
        sockets = self._select(targets)
        if not sockets and self._namespace.log is None:
            return
        message = _shared(self._packet(encoded, targets, flags, origin))
        for socket in sockets:
            if socket._special:
                stored = not flags.volatile
                socket._deliver(message, encoded.event, encoded.args, flags, stored=stored, shared=True)
            elif flags.volatile:
                # Nobody asks for the arguments: what came from elsewhere need not be decoded.
                socket._deliver(message, "", (), flags, shared=True)
            else:
                socket.conn.send_shared(message)

    def _packet(self, encoded: EncodedEvent, targets: Targets, flags: Flags, origin: Origin | None) -> Outgoing:
        """See `Namespace._encode_event`, which does the same for what is not encoded yet."""
        namespace = self._namespace
        log = namespace.log
        if log is None:
            packet = encoded.packet(flags.compress)
        elif not flags.volatile:
            packet = encoded.packet(flags.compress, offset=log.next_offset())
            stored = packet if isinstance(packet, bytes) else packet.copy()
            log.store(stored, targets, namespace.hub.loop.time(), origin)
        elif encoded.args and isinstance(encoded.args[-1], str):
            packet = encoded.packet(flags.compress, offset=log.newest_offset())
        else:
            packet = encoded.packet(flags.compress)
        if namespace.hub.options.conflate_key is None:
            return packet
        return namespace._keyed(packet, encoded.event, encoded.args)

    def ask(
        self,
        encoded: EncodedEvent,
        targets: Targets,
        flags: Flags,
        timeout: float,
        one_more: Callable[[], Answered],
    ) -> None:
        """Sends it to each of them, and `one_more` gives what is told each one's acknowledgement, or that none comes.

        Raises SocketPacketError where it came from elsewhere and is none.
        """
        sockets = self._select(targets)
        if sockets:
            number = self._namespace.hub.next_ack_id()
            message = _shared(encoded.packet(flags.compress, number))
            self._expect(sockets, message, number, encoded.event, encoded.args, flags, timeout, one_more)

    def sockets_join(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = tuple(rooms)
        for socket in self._select(targets):
            try:
                socket.join(names)
            except LimitExceeded as error:
                # One that is full keeps nobody else out.
                self._namespace.hub.reporter.failure(f"socket {socket._logged_id} cannot join", error)

    def sockets_leave(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = tuple(rooms)
        for socket in self._select(targets):
            socket.leave(names)

    def disconnect_sockets(self, targets: Targets, flags: Flags, close: bool) -> None:
        for socket in self._select(targets):
            socket.disconnect(close)

    def server_side_emit(self, event: str, args: Sequence[Any]) -> None:
        """Nobody hears it."""

    async def server_side_emit_with_ack(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        return []


class ChildrenAdapter:
    """See `Adapter`: all children of a parent namespace, for what one call on the parent is to reach."""

    __slots__ = ("_children", "rooms")

    alone = True

    def __init__(self, children: Mapping[str, Namespace]) -> None:
        """`children`: those there are, at each moment."""
        self._children = children
        self.rooms = RoomTable(_nowhere)

    def _locals(self) -> list[LocalAdapter]:
        # Copied in one step: `check` is called on other threads, while children come and go on the loop.
        return [child.local_adapter for child in list(self._children.values())]

    def check(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        for local in self._locals()[:1]:
            local.check(event, args, targets, flags)

    def broadcast(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        for child in list(self._children.values()):
            child.adapter.broadcast(event, args, targets, flags)

    async def broadcast_with_ack(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> list[Any]:
        waits = (local.broadcast_with_ack(event, args, targets, flags) for local in self._locals())
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        answers: list[Any] = []
        late: AckTimeout | None = None
        expected = 0
        for outcome in outcomes:
            if isinstance(outcome, AckTimeout):
                late = outcome
                answers += outcome.responses
                expected += outcome.expected
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers += outcome
                expected += len(outcome)
        if late is not None:
            raise AckTimeout(event, late.timeout, answers, expected)
        return answers

    async def fetch_sockets(self, targets: Targets, flags: Flags) -> list[dict[str, Any]]:
        return self.records(targets)

    def records(self, targets: Targets) -> list[dict[str, Any]]:
        """See `LocalAdapter`."""
        return [record for local in self._locals() for record in local.records(targets)]

    async def bring_session(self, pid: str, offset: str | None) -> None:
        """No client is in it."""

    # See `LocalAdapter`: the part in what goes to all servers.

    def has_receivers(self, targets: Targets) -> bool:
        return any(local.has_receivers(targets) for local in self._locals())

    def deliver(self, encoded: EncodedEvent, targets: Targets, flags: Flags, origin: Origin | None = None) -> None:
        for child in list(self._children.values()):
            if child.local_adapter.has_receivers(targets):
                child.local_adapter.deliver(encoded.of_namespace(child), targets, flags, origin)

    def ask(
        self,
        encoded: EncodedEvent,
        targets: Targets,
        flags: Flags,
        timeout: float,
        one_more: Callable[[], Answered],
    ) -> None:
        for child in list(self._children.values()):
            if child.local_adapter.has_receivers(targets):
                child.local_adapter.ask(encoded.of_namespace(child), targets, flags, timeout, one_more)

    def sockets_join(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = tuple(rooms)
        for local in self._locals():
            local.sockets_join(targets, flags, names)

    def sockets_leave(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = tuple(rooms)
        for local in self._locals():
            local.sockets_leave(targets, flags, names)

    def disconnect_sockets(self, targets: Targets, flags: Flags, close: bool) -> None:
        for local in self._locals():
            local.disconnect_sockets(targets, flags, close)

    def server_side_emit(self, event: str, args: Sequence[Any]) -> None:
        """Nobody hears it."""

    async def server_side_emit_with_ack(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        return []


def _nowhere(text: str, error: BaseException) -> None:
    """A parent has no rooms of its own."""


def _shared(packet: Outgoing) -> Message:
    return Message(packet) if isinstance(packet, bytes) else packet
