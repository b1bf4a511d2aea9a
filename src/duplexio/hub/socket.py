"""A client in a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from duplexio.engine.connection import Connection
from duplexio.errors import ConfigurationError, Disconnected, LimitExceeded
from duplexio.hub.acks import Ack
from duplexio.hub.dispatch import Handler
from duplexio.hub.functions import require_arguments
from duplexio.hub.gate import Gate
from duplexio.hub.handshake import Handshake, read_handshake
from duplexio.hub.namespace import IMPOSSIBLE
from duplexio.hub.operators import BroadcastOperator, SocketOperator
from duplexio.hub.receiver import Receiver, call_back
from duplexio.hub.recovery import Restored, Session
from duplexio.hub.rooms import room_names
from duplexio.hub.targets import PLAIN, Flags, Targets
from duplexio.hub.values import snapshot
from duplexio.observe import shown
from duplexio.protocol import engine_packet3
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.protocol.socket_packet import ACK, DISCONNECT, EVENT, RESERVED_EVENTS
from duplexio.types import Auth, CloseReason, Function, Room, Rooms

if TYPE_CHECKING:
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import Namespace
    from duplexio.hub.peer import Peer

__all__ = ["Socket"]

F = TypeVar("F", bound=Function)

#: Endings after which a client may come back for what it missed. A disconnect that somebody asked for is none.
RECOVERABLE: frozenset[CloseReason] = frozenset(
    (
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "forced server close",
    )
)


class Socket(Receiver):
    """A client in a namespace: what handlers get, and what they emit to.

    Attributes:
        id: public; others may be told it. A recovered socket keeps it.
        nsp: the namespace.
        conn: the session that carries it: `.transport.name`, `.remote_address`, `.scope`, `.on("upgrade", …)`.
        data: yours, whatever you like; a dict, or what `Server(data=…)` makes.
        connected: from the end of the middlewares to the beginning of `disconnect`.
        recovered: whether it was restored, with its id, rooms, data and what it missed.
    """

    __slots__ = (
        "__weakref__",
        "_auth",
        "_began",
        "_came_with",
        "_ending",
        "_gate",
        "_handshake",
        "_held",
        "_issued",
        "_offsetless",
        "_opened_at",
        "_peer",
        "_pid",
        "_reason",
        "_restored",
        "_rooms",
        "_seen",
        "_waiters",
        "conn",
        "connected",
        "data",
        "id",
        "nsp",
        "recovered",
    )

    def __init__(self, nsp: Namespace, peer: Peer, auth: Auth, issued: float, restored: Restored | None) -> None:
        super().__init__()
        self.nsp = nsp
        self.conn: Connection = peer.connection
        self.connected = False
        self.recovered = restored is not None
        self._peer = peer
        self._auth = auth
        self._issued = issued
        self._loop = nsp.hub.loop
        self._rooms: set[Room] = set()
        # What is emitted before the CONNECT reply waits for it.
        self._held: list[Outgoing] | None = []
        self._handshake: Handshake | None = None
        self._gate: Gate | None = None
        self._waiters: list[asyncio.Future[CloseReason]] | None = None
        self._reason: CloseReason | None = None
        self._ending = False
        self._restored = restored
        #: Whether the namespace's events end in offsets that this client could do nothing with: it cannot come back.
        self._offsetless = nsp.log is not None and peer.connection.protocol == engine_packet3.PROTOCOL
        self._pid = ""
        self._began = 0
        self._came_with: str | None = None
        self._opened_at = 0.0
        self._seen: Mapping[str, int] | None = None
        if restored is not None:
            self.id: str = restored.session.sid
            self.data: Any = restored.session.data
            self._pid = restored.pid
            self._began = restored.session.began
            self._came_with = restored.session.came_with
            self._seen = restored.session.seen
        else:
            self.data = nsp.hub.options.data()
            if self.conn.protocol == engine_packet3.PROTOCOL:
                # Clients of protocol 4 are not told their id: they make it of the session's, like this.
                self.id = self.conn.id if nsp.name == "/" else f"{nsp.name}#{self.conn.id}"
            else:
                # Without the tag of its server: a recovered socket keeps its id, and may be on another one then.
                self.id = nsp.hub.identifiers.take(20)
                if nsp.log is not None:
                    self._began = nsp.log.number
                    self._pid = self.conn.id[:4] + nsp.hub.identifiers.take(16)

    def __repr__(self) -> str:
        return f"<Socket {self._logged_id} in {self.nsp.name}>"

    @property
    def _logged_id(self) -> str:
        """The id as a log may show it: of a client of protocol 4 not all of it, since it is the session's, a secret."""
        return self.id if self.conn.protocol != engine_packet3.PROTOCOL else f"{self.id[:-12]}…"

    @property
    def namespace(self) -> Namespace:
        """The same as `nsp`."""
        return self.nsp

    @property
    def handshake(self) -> Handshake:
        """The request that began it, and the client's `auth`."""
        handshake = self._handshake
        if handshake is None:
            handshake = self._handshake = read_handshake(self.conn.request, self._auth, self._issued)
        return handshake

    @property
    def rooms(self) -> frozenset[Room]:
        """The rooms it is in, now; its own id is one of them."""
        return frozenset(self._rooms)

    # What `Receiver` asks.

    @property
    def _hub(self) -> Hub:
        return self.nsp.hub

    @property
    def _ordered(self) -> bool:
        return self.nsp.ordered

    @property
    def _logged_namespace(self) -> str:
        return self.nsp.name

    @property
    def _remote(self) -> str:
        return self.conn.remote_address

    def _check_event(self, event: str) -> None:
        if event in IMPOSSIBLE or event == "connect":
            raise ConfigurationError(f"{event!r} never reaches a server's socket: it is a client's own event")

    def _pause_reading(self) -> None:
        self.conn.pause_reading()

    def _resume_reading(self) -> None:
        self.conn.resume_reading()

    # Registering.

    def use(self, middleware: F) -> F:
        """Registers a packet middleware: `async def (event, args)`, called for every event before its handlers.

        `args` is a list that may be changed. Raising drops the packet and goes to `on_error`; `EventError` is its
        acknowledgement.
        """
        require_arguments(middleware, 2, "a packet middleware takes the event and the list of its arguments")
        if self._gate is None:
            self._gate = Gate(self)
        self._gate.middlewares.append(middleware)
        self._update()
        return middleware

    def _update(self) -> None:
        """Which of the short ways are open still."""
        self._slow = bool(self._handlers is not None or self._any or self._gate is not None)
        self._special = bool(self._any_outgoing or self._held is not None or not self.connected or self._offsetless)

    # Sending.

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """Sends an event to this client.

        Never blocks; from another thread it is queued to the loop. Bytes anywhere in the arguments become
        attachments. `ack` is called with the client's acknowledgement. Raises ReservedEvent and EncodeError; never
        for a client that is slow or gone: `await drain()` waits for a slow one.
        """
        nsp = self.nsp
        hub = nsp.hub
        if ack is not None or self._special or not nsp.plain or event in RESERVED_EVENTS or get_ident() != hub.thread:
            self._emit(event, args, PLAIN, ack)
            return
        packet: Outgoing | None = None
        try:
            packet = nsp.event_head + hub.codec.dumps([event, *args])
        except TypeError:
            # Not encoded in here: what cannot be sent at all is to be told by one error alone.
            pass
        self.conn.send(hub.encode(EVENT, nsp.name, [event, *args], refused=True) if packet is None else packet)

    def _emit(self, event: str, args: Sequence[Any], flags: Flags, ack: Callable[..., object] | None) -> None:
        hub = self.nsp.hub
        hub.check_event(event)
        if not hub.on_loop():
            # What is wrong with it is said here; what is changed after this call is not sent.
            hub.check_encodable(args)
            copied = snapshot(args)
            hub.call(lambda: self._emit(event, copied, flags, ack))
            return
        if self._reason is not None:
            hub.reporter.count("emits_after_disconnect")
            return
        if ack is None and self._offsetless:
            self._deliver(b"", event, args, flags)
            return
        if ack is None:
            packet = self.nsp._encode_event(event, args, Targets(rooms=frozenset((self.id,))), flags)
            self._deliver(packet, event, args, flags, stored=not flags.volatile)
            return
        number = hub.next_ack_id()
        packet = self.nsp._encode(event, args, flags, number)
        answered = partial(call_back, hub, event, ack, flags.timeout is not None)
        timeout = hub.options.ack_timeout if flags.timeout is None else flags.timeout
        self._pending_acks().expect(number, event, answered, timeout)
        self._deliver(packet, event, args, flags, number=number)

    def _deliver(
        self,
        packet: Outgoing,
        event: str,
        args: Sequence[Any],
        flags: Flags,
        stored: bool = False,
        number: int | None = None,
        shared: bool = False,
    ) -> None:
        """Hands over an encoded event, by the long way.

        `stored`: recovery has it, and will send it. `shared`: it is a broadcast's, a Message that others get, too.
        """
        if self._offsetless:
            packet = self.nsp._encode(event, args, flags, number)
            packet = self.nsp._keyed(packet, event, args) if number is None else packet
        if self._any_outgoing:
            for listener in self._any_outgoing:
                self._call_listener(listener, event, args)
        if self._held is not None:
            if not (stored and self.recovered and self.nsp.log is not None):
                self._held.append(packet)
        elif not self.connected:
            self.nsp.hub.reporter.count("emits_after_disconnect")
        elif flags.volatile and self.conn.congested:
            self.nsp.hub.reporter.count("volatile_dropped")
        elif shared and isinstance(packet, Message):
            self.conn.send_shared(packet)
        else:
            self.conn.send(packet)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Sends an event and waits for the client's acknowledgement.

        Returns it as a value: None, itself, or a tuple of several. Raises AckTimeout after `timeout` seconds (the
        server's `ack_timeout` by default), Disconnected when the socket ends first, LimitExceeded where too many are
        awaited, ReservedEvent, EncodeError. Cancelling it only stops the waiting.
        """
        hub = self.nsp.hub
        if self._special or type(event) is not str or event in RESERVED_EVENTS:
            return await self._emit_with_ack(event, args, PLAIN if timeout is None else Flags(timeout=timeout))
        number = hub.next_ack_id()
        packet = hub.encode_numbered(self.nsp.event_head, EVENT, self.nsp.name, [event, *args], number)
        seconds = hub.options.ack_timeout if timeout is None else timeout
        return await self._answer(number, event, seconds, self.conn.send, packet)

    async def _emit_with_ack(self, event: str, args: Sequence[Any], flags: Flags) -> Any:
        hub = self.nsp.hub
        hub.check_event(event)
        if self._reason is not None:
            raise Disconnected(self._reason)
        number = hub.next_ack_id()
        packet = self.nsp._encode(event, args, flags, number)
        timeout = hub.options.ack_timeout if flags.timeout is None else flags.timeout
        return await self._answer(number, event, timeout, self._deliver, packet, event, args, flags, False, number)

    async def drain(self) -> None:
        """Waits while this client is over its high-water mark; returns at once otherwise.

        Raises Disconnected when the socket ends, and when it has ended: who produces for it without an end has to stop.
        Cancelling it only stops the waiting.
        """
        await self.conn.drain()
        if self._reason is not None:
            raise Disconnected(self._reason)

    def to(self, rooms: Rooms) -> BroadcastOperator:
        """Others in these rooms: not this socket."""
        return SocketOperator(self, PLAIN).to(rooms)

    def in_(self, rooms: Rooms) -> BroadcastOperator:
        """The same as `to`."""
        return SocketOperator(self, PLAIN).to(rooms)

    def except_(self, rooms: Rooms) -> BroadcastOperator:
        """Everybody but this socket and those in these rooms."""
        return SocketOperator(self, PLAIN).except_(rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Everybody in the namespace but this socket."""
        return SocketOperator(self, PLAIN).broadcast

    @property
    def local(self) -> BroadcastOperator:
        """Everybody else in the namespace, of this process only."""
        return SocketOperator(self, PLAIN).local

    @property
    def volatile(self) -> SocketOperator:
        """What may be lost while the client is not ready for it: no open poll, or earlier bytes still waiting."""
        return SocketOperator(self, Flags(volatile=True))

    def compress(self, compress: bool) -> SocketOperator:
        """Whether the next packet may be compressed, where compression is on."""
        return SocketOperator(self, Flags(compress=compress))

    def timeout(self, seconds: float) -> SocketOperator:
        """How long to wait for an acknowledgement."""
        return SocketOperator(self, Flags(timeout=seconds))

    # Rooms.

    def join(self, rooms: Rooms) -> None:
        """Joins a room, or several; true on return, and from another thread in the order of the calls.

        Raises TypeError for anything but str, LimitExceeded over `max_rooms_per_socket` or for a name that is too long.
        """
        options = self.nsp.hub.options
        names = room_names(rooms)
        for name in names:
            if (
                len(name) * 4 > options.max_name_length
                and len(name.encode(errors="surrogatepass")) > options.max_name_length
            ):
                raise LimitExceeded("max_name_length", options.max_name_length)
        # Its own room does not count.
        allowed = options.max_rooms_per_socket + 1
        if len(self._rooms) + len(names) > allowed and len(self._rooms.union(names)) > allowed:
            raise LimitExceeded("max_rooms_per_socket", options.max_rooms_per_socket)
        self.nsp.hub.call(lambda: self._join(names))

    def _join(self, names: tuple[Room, ...]) -> None:
        if self._reason is None:
            self.nsp.adapter.rooms.add(self, names)

    def leave(self, rooms: Rooms) -> None:
        """Leaves a room, or several; nothing where it is not in it."""
        names = room_names(rooms)
        self.nsp.hub.call(lambda: self._leave(names))

    def _leave(self, names: tuple[Room, ...]) -> None:
        for name in names:
            self.nsp.adapter.rooms.remove(self, name)

    # Receiving.

    def _receive(self, args: list[Any], ack: int | None) -> None:
        """An event arrived: its name, then its arguments."""
        if self._slow:
            self._receive_slowly(args, ack)
            return
        handlers = self.nsp.dispatch.get(args[0])
        if handlers is None:
            if self._peer.check_name(args[0]):
                self._unheard(args[0])
        elif len(handlers) == 1 and self._lane is None and handlers[0].immediate:
            running = handlers[0].launch(self, args, ack)
            if running is not None:
                self._in_flight(running)
        else:
            self._run_all(handlers, args, ack)

    def _receive_slowly(self, args: list[Any], ack: int | None) -> None:
        if not self._peer.check_name(args[0]):
            return
        if self._gate is not None:
            self._gate.enter(args, ack)
        else:
            self._dispatch(args, ack)

    def _dispatch(self, args: list[Any], ack: int | None) -> None:
        if self._any:
            for listener in self._any:
                self._call_listener(listener, args[0], args[1:])
        own = () if self._handlers is None else self._handlers.table.get(args[0], ())
        handlers = (*self.nsp.dispatch.get(args[0], ()), *own)
        if not handlers and not self._any:
            self._unheard(args[0])
        self._run_all(handlers, args, ack)

    def _unheard(self, event: str) -> None:
        nsp = self.nsp
        known = ", ".join(sorted(nsp.dispatch)[:10]) or "none"
        text = f"no handler for the event {shown(event)} in {nsp.name}; there are: {known}"
        nsp.hub.reporter.unheard(f"{nsp.name} {event}", text, nsp.hub.options.debug)

    def _forget(self, handler: Handler) -> None:
        if self._handlers is not None and handler in self._handlers.table.get(handler.event, ()):
            self._handlers.remove(handler.event, handler=handler)
        else:
            self.nsp._forget_handler(handler)

    # Acknowledging.

    def _reply_arguments(self, number: int, arguments: list[Any]) -> None:
        nsp = self.nsp
        packet = nsp.hub.encode_numbered(nsp.ack_head, ACK, nsp.name, arguments, number)
        if get_ident() == nsp.hub.thread:
            self._send_reply(packet)
        else:
            nsp.hub.call(lambda: self._send_reply(packet))

    def _send_reply(self, packet: Outgoing) -> None:
        if self._reason is None:
            self.conn.send(packet)

    def _handler_failed(self, error: BaseException, event: str, ack: int | Ack | None) -> None:
        if isinstance(error, Disconnected) and self._reason is not None:
            # It waited for this client, which has gone: nobody's fault, and nobody's answer.
            self.nsp.hub.reporter.count("handlers_disconnected")
            return
        super()._handler_failed(error, event, ack)

    # Ending.

    def disconnect(self, close: bool = False) -> None:
        """Takes the client out of this namespace; with `close`, out of all, and ends its connection.

        The client does not come back by itself after this.
        """
        self.nsp.hub.call(lambda: self._disconnect(close))

    def _disconnect(self, close: bool) -> None:
        if not self.connected or self._ending:
            return
        if close:
            self._peer.disconnect_all()
        else:
            self._peer._send(DISCONNECT, self.nsp.name, None)
            self._close("server namespace disconnect", "")
            self._peer.left(self)

    async def wait_disconnected(self) -> CloseReason:
        """Waits for the socket's end, and returns the reason."""
        if self._reason is not None:
            return self._reason
        waiter: asyncio.Future[CloseReason] = self._loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return await waiter

    def _open(self) -> None:
        """The middlewares let it in and the CONNECT reply was sent: from now on it is a socket like all others."""
        held, self._held = self._held, None
        for packet in held or ():
            self.conn.send(packet)
        if self._reason is not None:
            # What it missed, or was sent so far, was more than its outbox holds: it has ended before it began.
            return
        if self.nsp.log is not None:
            self._opened_at = self._loop.time()
        self.connected = True
        self._update()
        self._run_lifecycle("connection", [])

    def _give_back(self) -> None:
        """It was not let in: what it was restored from waits for the next attempt."""
        if self._restored is not None and self.nsp.log is not None:
            self.nsp.log.keep(self._restored.pid, self._restored.session)
            self._restored = None

    def _close(self, reason: CloseReason, details: str) -> None:
        """It ends: `disconnecting` with its rooms, then `disconnect` without."""
        if self._reason is not None or self._ending:
            return
        self._ending = True
        was_connected = self.connected
        if was_connected:
            self._run_lifecycle("disconnecting", [reason, details])
        log = self.nsp.log
        if was_connected and log is not None and self._pid and reason in RECOVERABLE:
            log.keep(self._pid, self._session(self._loop.time()))
        self._reason = reason
        self.connected = False
        self._held = None
        self._update()
        self.nsp.adapter.rooms.remove_everywhere(self)
        self.nsp._removed(self)
        if self._acks is not None:
            self._acks.close(reason)
        if was_connected:
            self._run_lifecycle("disconnect", [reason, details])
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(reason)
        for task in list(self._tasks or ()):
            task.cancel()

    def _session(self, left_at: float) -> Session:
        """What is kept of it when it ends."""
        confirmed_at = self.conn.confirmed_at
        if confirmed_at <= self._opened_at:
            # What it had missed, and what was held for it, was sent when it was opened.
            confirmed_at = -inf
        rooms = frozenset(self._rooms)
        return Session(self.id, rooms, self.data, self._began, left_at, self._came_with, confirmed_at, self._seen)

    def _run_lifecycle(self, event: str, args: list[Any]) -> None:
        handlers = list(self.nsp._lifecycle_handlers(event))
        if event != "connection" and self._handlers is not None:
            handlers += self._handlers.table.get(event, ())
        for handler in handlers:
            if handler.once:
                self._forget(handler)
            if event == "connection":
                self._run(handler, [event, *args], None)
            else:
                # At once, whatever the socket's other handlers wait for.
                running = handler.launch(self, [event, *args], None)
                if running is not None:
                    self.nsp.hub.keep(running)

    def _record(self) -> dict[str, Any]:
        """What `fetch_sockets` tells of it."""
        return {"id": self.id, "handshake": self.handshake.record(), "rooms": list(self._rooms), "data": self.data}
