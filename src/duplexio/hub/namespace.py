"""Namespaces: what is registered on them, who is in them, and how an event of theirs is encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from duplexio.errors import ConfigurationError
from duplexio.hub.dispatch import Handler, HandlerOptions, Handlers, check_event_name, make_handler
from duplexio.hub.fanout import Adapter, ChildrenAdapter, LocalAdapter
from duplexio.hub.functions import require_arguments
from duplexio.hub.operators import BroadcastOperator, Reach, RemoteSocket
from duplexio.hub.recovery import InheritedLog, Log, Session
from duplexio.hub.rooms import RoomEvent, RoomTable
from duplexio.hub.targets import Flags, Targets
from duplexio.options import Recovery
from duplexio.protocol.engine_packet import Message, Outgoing, uncompressed
from duplexio.protocol.socket_packet import ACK, EVENT, head_of
from duplexio.types import Auth, Function, Rooms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duplexio.hub.hub import Hub
    from duplexio.hub.socket import Socket

__all__ = ["Namespace", "ParentNamespace", "TooManyNamespaces"]

F = TypeVar("F", bound=Function)

#: Names that no packet reaches: their handlers are in a table of their own. `connect` is a synonym.
LIFECYCLE = {
    "connection": "connection",
    "connect": "connection",
    "disconnecting": "disconnecting",
    "disconnect": "disconnect",
}
#: Names that can neither be received nor are told by the server: a handler of one would never be called.
IMPOSSIBLE = frozenset(("connect_error", "newListener", "removeListener"))


class TooManyNamespaces(Exception):
    """A client asked for one dynamic namespace more than `max_dynamic_namespaces`."""


class Registrations:
    """What users register on a namespace, or on the parent of many."""

    def __init__(self, hub: Hub, ordered: bool) -> None:
        self.hub = hub
        self.ordered = ordered
        self.middlewares: list[Function] = []
        self.handlers = Handlers(self._changed)
        self.lifecycle = Handlers(self._changed)

    @property
    def _has_registrations(self) -> bool:
        """Whether anything was registered on it."""
        return bool(self.middlewares or self.handlers.table or self.lifecycle.table)

    def _changed(self, event: str) -> None:
        """A table changed."""

    @overload
    def on(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def on(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Registers a handler of an event of every socket here; usable as a decorator.

        It takes the socket, then the event's arguments; what it returns is the acknowledgement. An `async def` starts
        in the order of the packets; a `def` runs in a thread, or on the loop with `inline`; with `ordered` it waits
        for the socket's handler before it to end. `connection` (or `connect`), `disconnecting` and `disconnect` are
        the server's own: they take the socket, and the last two the reason and details.

        Raises ConfigurationError for a signature that no event can fill, TypeError for an `async def` with `inline`.
        """
        return self._register(event, handler, options, once=False)

    @overload
    def once(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def once(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Like `on`, for the next event of that name only, whichever socket it is of."""
        return self._register(event, handler, options, once=True)

    def _register(self, event: str, function: Any, options: HandlerOptions, once: bool) -> Any:
        check_event_name(event)
        if function is None:
            return lambda decorated: self._register(event, decorated, options, once)
        if event in IMPOSSIBLE:
            raise ConfigurationError(f"{event!r} never reaches a server: it is a client's own event")
        name = LIFECYCLE.get(event, event)
        handler = make_handler(function, name, with_socket=True, once=once, ordered=self.ordered, options=options)
        (self.lifecycle if event in LIFECYCLE else self.handlers).add(handler)
        return function

    def off(self, event: str | None = None, handler: Function | None = None) -> None:
        """Removes a handler, all of an event, or all."""
        if event is None:
            self.handlers.remove(None)
            self.lifecycle.remove(None)
        else:
            table = self.lifecycle if event in LIFECYCLE else self.handlers
            table.remove(LIFECYCLE.get(event, event), handler)

    def listeners(self, event: str) -> list[Function]:
        """The handlers of an event, in order of registration."""
        table = self.lifecycle if event in LIFECYCLE else self.handlers
        return table.functions(LIFECYCLE.get(event, event))

    def use(self, middleware: F) -> F:
        """Registers a connection middleware: `async def (socket)`, called for every socket before it is let in.

        Returning lets it in. `raise ConnectRefused(message, data)` refuses: the client sees `connect_error`. Any other
        exception is logged and answers `Internal error`. All middlewares together have `middleware_timeout` seconds.
        """
        require_arguments(
            middleware, 1, "a middleware takes the socket alone; there is no `next`: returning lets the client in"
        )
        self.middlewares.append(middleware)
        return middleware


class Broadcasting:
    """The emitting half of the API, from an operator that everything begins with."""

    def _operator(self) -> BroadcastOperator:
        raise NotImplementedError

    def to(self, rooms: Rooms) -> BroadcastOperator:
        """Sockets in these rooms."""
        return self._operator().to(rooms)

    def in_(self, rooms: Rooms) -> BroadcastOperator:
        """The same as `to`."""
        return self._operator().to(rooms)

    def except_(self, rooms: Rooms) -> BroadcastOperator:
        """All but sockets in these rooms."""
        return self._operator().except_(rooms)

    @property
    def volatile(self) -> BroadcastOperator:
        """May be lost by a receiver that is not ready for it."""
        return self._operator().volatile

    @property
    def local(self) -> BroadcastOperator:
        """Only to sockets of this process."""
        return self._operator().local

    def compress(self, compress: bool) -> BroadcastOperator:
        """Whether it may be compressed, where compression is on."""
        return self._operator().compress(compress)

    def timeout(self, seconds: float) -> BroadcastOperator:
        """How long to wait for acknowledgements."""
        return self._operator().timeout(seconds)

    def emit(self, event: str, *args: Any) -> None:
        """Sends an event to every socket. See `BroadcastOperator.emit`."""
        self._operator().emit(event, *args)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self._operator().emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Sends an event and waits for everybody's acknowledgement. See `BroadcastOperator.emit_with_ack`."""
        return await self._operator().emit_with_ack(event, *args, timeout=timeout)

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Every socket, of all servers."""
        return await self._operator().fetch_sockets()

    def sockets_join(self, rooms: Rooms) -> None:
        """Makes every socket join."""
        self._operator().sockets_join(rooms)

    def sockets_leave(self, rooms: Rooms) -> None:
        """Makes every socket leave."""
        self._operator().sockets_leave(rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects every socket."""
        self._operator().disconnect_sockets(close)

    def server_side_emit(self: Reach, event: str, *args: Any) -> None:
        """Sends an event to the other servers; their `on_server` hears it, once each. See `BroadcastOperator.emit`."""
        self.hub.check_event(event)
        self.adapter.server_side_emit(event, args)

    async def server_side_emit_with_ack(self: Reach, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """The same, and the first argument of each server's answer; none where this server is the only one."""
        self.hub.check_event(event)
        seconds = self.hub.options.ack_timeout if timeout is None else timeout
        return await self.adapter.server_side_emit_with_ack(event, args, seconds)


class Namespace(Registrations, Broadcasting):
    """A namespace: handlers, middlewares, and the sockets that are in it.

    Attributes:
        name: with its slash.
        sockets: the sockets of this process by id; live, read-only.
    """

    def __init__(
        self,
        name: str,
        hub: Hub,
        recovery: Recovery | None = None,
        ordered: bool = False,
        parent: ParentNamespace | None = None,
    ) -> None:
        self.name = name
        self.parent = parent
        #: Handlers by event, the parent's before its own: one look-up for a packet.
        self.dispatch: dict[str, tuple[Handler, ...]] = {}
        self.local_sockets: dict[str, Socket] = {}
        #: How many sockets are with the middlewares.
        self.joining = 0
        #: Of those of them that come back, by their secret id: what they have if they are let in.
        self.restoring: dict[str, Session] = {}
        self.recovery = recovery
        #: Of sockets that may be recovered, by their secret id.
        self.by_pid: dict[str, Socket] = {}
        super().__init__(hub, ordered)
        self.event_head = head_of(EVENT, name)
        self.ack_head = head_of(ACK, name)
        #: What reaches the sockets of this process.
        self.local_adapter = local = LocalAdapter(self)
        self.adapter: Adapter = local if hub.make_adapter is None else hub.make_adapter(self, local)
        options = hub.options
        self.log: Log | None = None
        if recovery is not None:
            self.log = Log(
                recovery["max_disconnection_duration"],
                options.max_recovery_packets,
                options.max_recovery_bytes,
                options.max_recovery_sessions,
                lambda amount: hub.reporter.count("recovery_evicted", amount),
            )
        #: What other servers have left behind for those who come back.
        self.inherited: list[InheritedLog] = []
        #: Whether who comes back soon was asked enough the first time.
        self.trusts_recovered = recovery is not None and recovery["skip_middlewares"]
        #: Whether an event may skip what recovery and conflating need to know of it.
        self.plain = self.log is None and options.conflate_key is None and hub.parser is None
        if parent is not None:
            for event in parent.handlers.table:
                self._changed(event)

    def __repr__(self) -> str:
        return f"<Namespace {self.name} with {len(self.local_sockets)} sockets>"

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The sockets of this process by id; live, read-only."""
        return MappingProxyType(self.local_sockets)

    @property
    def rooms(self) -> RoomTable:
        """The rooms of this process and the ids in each; read-only."""
        return self.adapter.rooms

    @overload
    def on_room(self, event: RoomEvent) -> Callable[[F], F]: ...
    @overload
    def on_room(self, event: RoomEvent, listener: F) -> F: ...
    def on_room(self, event: RoomEvent, listener: F | None = None) -> Any:
        """Tells when a room begins (`create`) or ends (`delete`), is joined or left (`join`, `leave`: with the id).

        A plain function, called on the loop; usable as a decorator.
        """
        if listener is None:
            return lambda function: self.on_room(event, function)
        self.adapter.rooms.on(event, listener)
        return listener

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self)

    def _changed(self, event: str) -> None:
        inherited = self.parent.handlers.table.get(event, ()) if self.parent is not None else ()
        handlers = (*inherited, *self.handlers.table.get(event, ()))
        if handlers:
            self.dispatch[event] = handlers
        else:
            self.dispatch.pop(event, None)

    def _lifecycle_handlers(self, event: str) -> tuple[Handler, ...]:
        inherited = self.parent.lifecycle.table.get(event, ()) if self.parent is not None else ()
        own = self.lifecycle.table.get(event, ())
        return (*inherited, *own) if inherited else own

    def _forget_handler(self, handler: Handler) -> None:
        """A `once` handler was used."""
        tables = [self.handlers, self.lifecycle]
        if self.parent is not None:
            tables += [self.parent.handlers, self.parent.lifecycle]
        for table in tables:
            if handler in table.table.get(handler.event, ()):
                table.remove(handler.event, handler=handler)

    def _all_middlewares(self) -> list[Function]:
        inherited = self.parent.middlewares if self.parent is not None else []
        return [*inherited, *self.middlewares]

    def _added(self, socket: Socket) -> None:
        """A socket was let in."""
        self.local_sockets[socket.id] = socket
        if socket._pid:
            self.by_pid[socket._pid] = socket
        self.adapter.rooms.add(socket, (socket.id,))

    def _removed(self, socket: Socket) -> None:
        """A socket ended, or was not let in."""
        if self.local_sockets.get(socket.id) is socket:
            del self.local_sockets[socket.id]
            self.by_pid.pop(socket._pid, None)
            self._check_empty()

    def _check_empty(self) -> None:
        if not self.local_sockets and not self.joining:
            self.hub.emptied(self)

    # Encoding.

    def _encode(self, event: str, args: Sequence[Any], flags: Flags, number: int | None = None) -> Outgoing:
        """An event of this namespace. Raises EncodeError."""
        packet = self.hub.encode(EVENT, self.name, [event, *args], number)
        return packet if flags.compress else uncompressed(packet)

    def _encode_event(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> Outgoing:
        """An event without an acknowledgement, with its offset where it is kept for recovery."""
        log = self.log
        if log is None:
            packet = self._encode(event, args, flags)
        elif not flags.volatile:
            packet = self._encode(event, (*args, log.next_offset()), flags)
            # A copy: what is made of a message for its receivers is not kept, nor counted, as long as the log is.
            stored = packet if isinstance(packet, bytes) else packet.copy()
            log.store(stored, targets, self.hub.loop.time())
        elif args and isinstance(args[-1], str):
            # Clients take a text at the end for an offset: this repeats the one they have.
            packet = self._encode(event, (*args, log.newest_offset()), flags)
        else:
            packet = self._encode(event, args, flags)
        return self._keyed(packet, event, args)

    def _keyed(self, packet: Outgoing, event: str, args: Sequence[Any]) -> Outgoing:
        """The packet with the key under which a newer one replaces it, where `conflate_key` gives one."""
        conflate_key = self.hub.options.conflate_key
        if conflate_key is not None:
            key = conflate_key(event, tuple(args))
            if key is not None:
                text, attachments = (packet, ()) if isinstance(packet, bytes) else (packet.text, packet.attachments)
                keyed = Message(text, attachments, (self.name, event, key), event=True)
                keyed.compress = isinstance(packet, bytes) or packet.compress
                return keyed
        return packet


class ParentNamespace(Registrations, Broadcasting):
    """What stands behind all namespaces of a pattern or a function: what is registered here holds for each."""

    def __init__(
        self,
        name: str,
        hub: Hub,
        test: Callable[[str, Auth], Any],
        recovery: Recovery | None = None,
        ordered: bool = False,
    ) -> None:
        """`name`: by which the servers of a cluster know it."""
        super().__init__(hub, ordered)
        self.name = name
        #: Sessions are kept by its children, and packets are theirs.
        self.log = None
        self.event_head = b""
        self.test = test
        self.recovery = recovery
        self.children: dict[str, Namespace] = {}
        #: What reaches the children of this process, as one.
        self.local_adapter = local = ChildrenAdapter(self.children)
        self.adapter: Adapter = local if hub.make_adapter is None else hub.make_adapter(self, local)

    def _changed(self, event: str) -> None:
        for child in getattr(self, "children", {}).values():
            child._changed(event)

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self)
