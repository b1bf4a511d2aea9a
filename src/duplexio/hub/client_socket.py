"""A client's socket: one namespace of a server, over a connection that may come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any

from duplexio.client_options import AuthSource
from duplexio.errors import (
    ConfigurationError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    Disconnected,
    DuplexioError,
    raised_again,
)
from duplexio.hub.client_entering import Entering
from duplexio.hub.client_operators import ClientOperator
from duplexio.hub.client_peer import ClientPeer
from duplexio.hub.client_receiving import Receiving
from duplexio.hub.client_sending import Sending
from duplexio.hub.deadline import in_time
from duplexio.hub.dispatch import Handler, HandlerOptions, Handlers, make_handler
from duplexio.hub.inbox import Inbox
from duplexio.hub.offset import is_offset
from duplexio.hub.receiver import Receiver
from duplexio.hub.targets import PLAIN, Flags
from duplexio.hub.values import to_value
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.socket_packet import ACK, EVENT, RESERVED_EVENTS, head_of
from duplexio.types import CloseReason

if TYPE_CHECKING:
    from duplexio.client_options import ClientSettings
    from duplexio.hub.context import Context
    from duplexio.hub.manager import Manager

__all__ = ["ClientSocket"]

#: What a client's own events are called; no packet can bring one.
LIFECYCLE = ("connect", "connect_error", "disconnect")
_NEVER = frozenset(("disconnecting", "new_listener", "remove_listener", "newListener", "removeListener"))
#: Ids of acknowledgements have 53 bits; those above say which session the id is of.
ID_BITS = 54


class ClientSocket(Receiver):
    """A namespace of a server: what `connect` gives.

        async with duplexio.connect("http://localhost:3000", auth={"token": "..."}) as socket:
            socket.emit("request", {"data": "Send Request"})
            print(await socket.receive("response"))

    Attributes:
        id: what the server calls this socket; None while it is not connected.
        nsp: the name of the namespace.
        io: the manager, which has the connection.
        auth: what middlewares get: a mapping, or a function that gives one, plain or async.
        connected: whether the server has let it in.
        active: whether it is connected, or will be when the connection is back.
        recovered: whether the last connect restored the session, with its id, its rooms and what was missed.
    """

    __slots__ = (
        "__weakref__",
        "_ack_head",
        "_awaited_connect",
        "_connect_told",
        "_early",
        "_end",
        "_ends",
        "_entering",
        "_error",
        "_head",
        "_last_failure",
        "_lifecycle",
        "_lives",
        "_offset",
        "_offset_session",
        "_paused",
        "_peer",
        "_pid",
        "_receiving",
        "_sending",
        "_session",
        "_settings",
        "_table",
        "_was_in",
        "active",
        "auth",
        "connected",
        "id",
        "io",
        "nsp",
        "recovered",
    )

    def __init__(self, manager: Manager, nsp: str, settings: ClientSettings, auth: AuthSource) -> None:
        super().__init__()
        self.io = manager
        self.nsp = nsp
        self.auth = auth
        self.id: str | None = None
        self.connected = False
        self.active = False
        self.recovered = False
        self._settings = settings
        self._head = head_of(EVENT, nsp)
        self._ack_head = head_of(ACK, nsp)
        self._lifecycle = Handlers()
        self._handlers = Handlers()
        self._table = self._handlers.table
        self._peer: ClientPeer | None = None
        self._pid = ""
        self._offset = ""
        #: The session that brought it.
        self._offset_session = 0
        #: Why it did not get in, or is out: for who waits to be in.
        self._error: DuplexioError | None = None
        #: The same for who waits for anything else; None where it was never out.
        self._end: Disconnected | None = None
        #: Of the attempts so far.
        self._last_failure: ConnectError | None = None
        self._entering = Entering(self)
        #: What handlers of `connect` are called with, while the session lasts.
        self._connect_told: list[Any] | None = None
        self._awaited_connect: list[asyncio.Future[None]] = []
        self._ends: list[asyncio.Future[CloseReason]] = []
        self._sending = Sending(self, settings)
        #: Events that came before the answer to CONNECT.
        self._early: list[tuple[list[Any], int | None]] = []
        self._receiving = Receiving(self)
        self._paused: ClientPeer | None = None
        #: Whether it was let in since it is active: until then, what goes wrong is told to whoever connects.
        self._was_in = False
        #: How often it began to connect.
        self._lives = 0
        #: How often it was let in: an acknowledgement's id means nothing to another session than its own.
        self._session = 0

    def __repr__(self) -> str:
        state = f"connected as {self.id}" if self.connected else "connecting" if self.active else "not connected"
        return f"<ClientSocket {self.nsp} of {self.io.url}, {state}>"

    # What `Receiver` asks.

    @property
    def _hub(self) -> Context:
        return self.io.context

    @property
    def _ordered(self) -> bool:
        return self._settings.ordered

    @property
    def _logged_id(self) -> str:
        return str(self.id)

    @property
    def _logged_namespace(self) -> str:
        return self.nsp

    @property
    def _remote(self) -> str:
        return self.io.url

    def _check_event(self, event: str) -> None:
        if event in _NEVER:
            raise ConfigurationError(
                f"{event!r} never reaches a client's socket; its own events are {', '.join(LIFECYCLE)}"
            )

    def _register(self, event: str, function: Any, options: HandlerOptions, once: bool) -> Any:
        if event in LIFECYCLE and function is not None:
            ordered = self._ordered and event == "connect"
            handler = make_handler(function, event, with_socket=False, once=once, ordered=ordered, options=options)
            self._lifecycle.add(handler)
            return function
        return super()._register(event, function, options, once)

    def off(self, event: str | None = None, handler: Any = None) -> None:
        """Removes a handler of this socket, all of an event, or all."""
        super().off(event, handler)
        self._lifecycle.remove(event, handler)

    def listeners(self, event: str) -> list[Any]:
        """This socket's handlers of an event."""
        return self._lifecycle.functions(event) if event in LIFECYCLE else super().listeners(event)

    def _update(self) -> None:
        self._slow = bool(self._any or not self.connected or self._receiving.inbox is not None or self._pid)
        self._special = bool(
            self._any_outgoing
            or not self.connected
            or self._settings.retries is not None
            or self._settings.conflate_key is not None
            or self._hub.parser is not None
        )

    def _forget(self, handler: Handler) -> None:
        table = self._lifecycle if handler.event in LIFECYCLE else self._handlers
        assert table is not None
        table.remove(handler.event, handler=handler)

    def _pause_reading(self) -> None:
        if self._peer is not None and self._paused is not self._peer:
            self._paused = self._peer
            self._peer.connection.pause_reading()

    def _resume_reading(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.connection.resume_reading()

    @property
    def _awaited(self) -> int:
        return super()._awaited + self._sending.promised

    @property
    def _waits_for_acks(self) -> bool:
        return self._acks is not None and len(self._acks) > 0

    # Connecting.

    async def connect(self) -> ClientSocket:
        """Connects, and returns this socket when the server has let it in; at once where it has already.

        Raises ConnectRefused where the server does not let it in, ConnectError where it cannot be reached: at the first
        attempt, unless `retry=True`; while a lost connection is being opened again, this waits. Raises Disconnected
        where the socket is sent away, or is told to disconnect, meanwhile. Cancelling it gives up where the socket was
        not connected before.
        """
        self._hub_bound()
        if self.connected:
            return self
        begun = not self.active
        self._activate()
        future: asyncio.Future[None] = self._loop.create_future()
        self._awaited_connect.append(future)
        try:
            self.io._socket_wants_in(self)
            await future
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and begun:
                # Even where it got in at this moment: no `async with` will end it.
                self.disconnect()
            # Whoever does not get in leaves nothing behind: no `async with` waits for the end.
            await self.io._settled()
            raise
        finally:
            if future in self._awaited_connect:
                self._awaited_connect.remove(future)
        return self

    def open(self) -> None:
        """Begins to connect, and returns at once: `connect` and `connect_error` tell how it went."""
        self._hub_bound()
        if not self.connected:
            self._activate()
            self.io._socket_wants_in(self)

    def _hub_bound(self) -> None:
        self.io._bind()
        self._loop = self._hub.loop

    def _moved(self, loop: asyncio.AbstractEventLoop) -> None:
        """To another event loop: what was of the last one has ended with it, but for events that nobody received."""
        # First, since their futures are that loop's, and so is the connection.
        self._loop = loop
        self._paused = None
        self._acks = self._lane = None
        self._sending.moved()
        self._awaited_connect, self._ends = [], []
        self._running = 0
        self._receiving.move(loop)
        self.active = False
        self._lost("forced close", "the event loop was closed")

    def _activate(self) -> None:
        if not self.active:
            self._was_in = False
            self._lives += 1
        self.active = True
        self._error = None
        self._receiving.open()

    async def wait_connected(self, timeout: float | None = None) -> None:
        """Returns when the socket is connected; at once where it is.

        Raises what `connect` raises where it gives up, Disconnected where it is not connecting, ConnectTimeout, which
        is a TimeoutError, after `timeout` seconds. Cancelling it only stops the waiting.
        """
        if self.connected:
            return
        if not self.active:
            if self._error is not None:
                raise raised_again(self._error)
            raise Disconnected("io client disconnect", "it is not connecting: connect() or open() would")
        future: asyncio.Future[None] = self._loop.create_future()
        self._awaited_connect.append(future)
        try:
            await in_time(future, timeout, lambda: self._not_in(timeout))
        finally:
            if future in self._awaited_connect:
                self._awaited_connect.remove(future)

    def _not_in(self, timeout: float | None) -> ConnectTimeout:
        """What to raise where it was not let in in time."""
        last = self._last_failure
        told = f"; the last attempt: {last.message}" if last is not None else ""
        return ConnectTimeout(f"not connected within {timeout:g} s{told}", self.io.url, hint=last.hint if last else "")

    async def __aenter__(self) -> ClientSocket:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        await self.io._settled()

    def disconnect(self) -> None:
        """Leaves the namespace, and does not come back; the last socket of a connection ends it.

        Returns at once: leaving `async with`, or `manager.close()`, waits for the end. May be called from any thread.
        """
        self._hub.call(self._disconnect)

    close = disconnect

    def _disconnect(self) -> None:
        if not self.active:
            # It is out already, for a reason of its own; what was to be sent when it is in again is not, now.
            self._end_waiting(Disconnected("io client disconnect"))
            return
        peer = self._peer
        if peer is not None and self.connected:
            peer.send_disconnect(self.nsp)
        self._leave("io client disconnect", "", Disconnected("io client disconnect"))

    def _leave(
        self,
        reason: CloseReason,
        details: str,
        error: DuplexioError,
        failed: ConnectError | ConnectRefused | None = None,
    ) -> None:
        """It is out, and will not come back by itself, unless a handler that is told of it connects again.

        `failed`: what `connect_error` is told.
        """
        was_active, was_connected = self.active, self.connected
        self.active = False
        self._error = error
        if self._peer is not None:
            self._peer.leave(self)
        self._end_session(reason)
        if was_active:
            self._ended(reason, error)
        if failed is not None:
            self._tell("connect_error", failed)
        if was_connected:
            self._tell("disconnect", reason, details)
        if was_active:
            self.io._end_if_unwanted()

    def _ended(self, reason: CloseReason, error: DuplexioError) -> None:
        if isinstance(error, Disconnected):
            end = error
        else:
            end = Disconnected(reason, str(error))
            end.__cause__ = error
            if not self._awaited_connect and "connect_error" not in self._lifecycle.table:
                self._hub.reporter.warning(f"{self!r} has ended: {error}")
        self._end = end
        waiting, self._awaited_connect = self._awaited_connect, []
        for future in waiting:
            if not future.done():
                # The first gets the one that handlers are told; each of the others its own.
                future.set_exception(error if future is waiting[0] else raised_again(error))
        self._receiving.close(end)
        self._end_waiting(end)
        ends, self._ends = self._ends, []
        for future_end in ends:
            if not future_end.done():
                future_end.set_result(reason)

    def _end_waiting(self, end: Disconnected) -> None:
        self._sending.close(end)
        if self._acks is not None:
            self._acks.close(end.reason, details=end.details)

    async def wait_disconnected(self) -> CloseReason:
        """Waits until the socket is out and does not come back by itself, and returns the reason."""
        if not self.active:
            return "io client disconnect" if self._end is None else self._end.reason  # type: ignore[return-value]
        future: asyncio.Future[CloseReason] = self._loop.create_future()
        self._ends.append(future)
        return await future

    # What the manager and the peer tell.

    def _enter(self, peer: ClientPeer) -> None:
        """There is a connection: it wants to be let in."""
        self._peer = peer
        self._entering.begin(peer)

    def _ask(self, peer: ClientPeer) -> None:
        """Nothing stands in the way of its CONNECT."""
        self._entering.ask(peer)

    @property
    def _gives_up(self) -> bool:
        """Whether somebody waits for this very attempt, the first one."""
        return bool(self._awaited_connect) and not self._was_in and not self._settings.retry

    def _step_back(self) -> None:
        """From a connection that goes on without it."""
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.leave(self)

    def _session_to_recover(self) -> dict[str, str]:
        """What a CONNECT says of the session that was lost."""
        if not self._pid:
            return {}
        return {"pid": self._pid, **({"offset": self._offset} if self._offset else {})}

    def _joined(self, data: Mapping[str, Any], eio3: bool) -> None:
        """The server has let it in."""
        if self.connected:
            return
        peer = self._peer
        assert peer is not None
        sid, pid = data.get("sid"), data.get("pid")
        if eio3:
            sid = peer.connection.id if self.nsp == "/" else f"{self.nsp}#{peer.connection.id}"
        if not isinstance(sid, str):
            transport = peer.connection.transport.name
            hint = "eio=3 speaks it"
            error = ConnectError("the server speaks Socket.IO 2", self.io.url, transport, hint=hint)
            self._leave("parse error", str(error), error, error)
            return
        self._entering.stop()
        self._last_failure = None
        self.id = sid
        self.recovered = bool(pid) and pid == self._pid
        if not self.recovered:
            self._offset = ""
        self._pid = pid if isinstance(pid, str) else ""
        self.connected = self._was_in = True
        self._receiving.connected()
        self._update()
        self._session += 1
        session = self._session
        if self._lane is not None and self._lane.paused:
            # By what the last connection brought.
            self._pause_reading()
        early, self._early = self._early, []
        for args, ack in early:
            self._receive_slowly(args, ack)
        if not self.connected or self._session != session:
            # By a handler of one of these.
            return
        self._sending.connected(peer)
        self.io._socket_joined()
        self._connect_told = ["connect"]
        self._tell_connect(self._connect_told)
        waiting, self._awaited_connect = self._awaited_connect, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _refused(self, data: Any) -> None:
        """The server does not let it in."""
        if isinstance(data, Mapping) and "message" in data:
            error = ConnectRefused(str(data["message"]), data.get("data"))
        else:
            # Protocol 4 has one value for it: a text, or whatever the middleware gave.
            error = (
                ConnectRefused(data)
                if isinstance(data, str)
                else ConnectRefused(f"the server does not let this client into {self.nsp}", data)
            )
        self._leave("io server disconnect", error.message, error, error)

    def _connection_failed(self, error: ConnectError) -> None:
        """An attempt to open the connection has failed."""
        self._last_failure = error
        self._tell("connect_error", error)

    def _given_up(self, error: ConnectError) -> None:
        """There will be no further attempt."""
        self._leave("transport error", str(error), error, error)

    def _connection_lost(self, reason: CloseReason, details: str, comes_back: bool) -> None:
        """Whether or not it is to be opened again, nobody knows that it can be before it was once."""
        if self.connected or not self.active:
            if comes_back or not self.active:
                self._lost(reason, details)
            else:
                self._leave(reason, details, Disconnected(reason))
            return
        error = ConnectError(
            f"the session ended before the namespace {self.nsp} was joined ({reason}: {details})",
            self.io.url,
            hint="Does the server write packets with another parser? parser=... names it",
        )
        if comes_back and (self._was_in or self._settings.retry):
            self._last_failure = error
            self._lost(reason, details)
            self._tell("connect_error", error)
        else:
            self._leave(reason, details, error, error)

    def _disconnected_by_server(self) -> None:
        self._leave("io server disconnect", "", Disconnected("io server disconnect"))

    def _lost(self, reason: CloseReason, details: str) -> None:
        """The connection is gone, or the namespace."""
        was_connected = self.connected
        self._end_session(reason)
        if was_connected:
            self._tell("disconnect", reason, details)

    def _end_session(self, reason: CloseReason) -> None:
        self._entering.stop()
        # Others share the connection, where it lives on.
        self._resume_reading()
        self._peer = None
        self._early = []
        self._connect_told = None
        if not self.connected:
            return
        self.connected = False
        self.id = None
        self._update()
        if self._acks is not None:
            # What waits to be sent is answered later.
            self._acks.close(reason, keep=self._sending.held)
        self._sending.connection_lost(reason)
        for task in list(self._tasks or ()):
            task.cancel()

    def _may_start(self, handler: Handler, args: list[Any]) -> bool:
        return handler.event != "connect" or args is self._connect_told

    def _tell_connect(self, told: list[Any]) -> None:
        """Calls the handlers of `connect` in their turn; none, where the session has ended before that."""
        for handler in self._lifecycle.table.get("connect", ()):
            if handler.once:
                self._forget(handler)
            self._run(handler, told, None)

    def _tell(self, event: str, *arguments: Any) -> None:
        """Calls the handlers of `disconnect` or `connect_error` at once, whatever the socket's others wait for."""
        for handler in self._lifecycle.table.get(event, ()):
            if handler.once:
                self._forget(handler)
            running = handler.launch(self, [event, *arguments], None)
            if running is not None:
                self._hub.keep(running)

    # Sending.

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """Sends an event to the server; while there is no connection it waits for one.

        Never blocks; from another thread it is queued to the loop. Bytes anywhere in the arguments become attachments.
        `ack` is called with the acknowledgement. Raises ReservedEvent and EncodeError; LimitExceeded with `retries`
        and a full queue; never for a server that is slow or gone: `await drain()` waits for a slow one.
        """
        hub = self.io.context
        peer = self._peer
        other_thread = get_ident() != hub.thread
        odd = type(event) is not str or event in RESERVED_EVENTS
        if ack is not None or self._special or odd or peer is None or other_thread:
            self._emit(event, args, PLAIN, ack)
            return
        try:
            packet: Outgoing = self._head + hub.codec.dumps([event, *args])
        except TypeError:
            packet = hub.encode(EVENT, self.nsp, [event, *args], refused=True)
        if not peer.send(packet):
            self._sending.hold(packet, None)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Sends an event and waits for the server's acknowledgement.

        Returns it as a value: None, itself, or a tuple of several. Raises AckTimeout after `timeout` seconds
        (`ack_timeout` by default; of each try, with `retries`), Disconnected where the connection is lost first or the
        socket ends, LimitExceeded, ReservedEvent, EncodeError. Cancelling it only stops the waiting.
        """
        hub, peer = self.io.context, self._peer
        # Python 3.11, asked for the running loop, asks the system for the process: 0.4 us.
        elsewhere = get_ident() != hub.thread or not hub.loop.is_running()
        odd = type(event) is not str or event in RESERVED_EVENTS
        if elsewhere or odd or self._special or peer is None or peer.asleep():
            return await self._emit_with_ack(event, args, PLAIN if timeout is None else Flags(timeout=timeout))
        number = hub.next_ack_id()
        packet = hub.encode_numbered(self._head, EVENT, self.nsp, [event, *args], number)
        seconds = self._settings.ack_timeout if timeout is None else timeout
        return await self._answer(number, event, seconds, peer.connection.send, packet)

    @property
    def volatile(self) -> ClientOperator:
        """What may be lost: while there is no connection, or earlier bytes still wait."""
        return ClientOperator(self, Flags(volatile=True))

    def compress(self, compress: bool) -> ClientOperator:
        """Whether the next packet may be compressed, where compression is on."""
        return ClientOperator(self, Flags(compress=compress))

    def timeout(self, seconds: float) -> ClientOperator:
        """How long to wait for an acknowledgement."""
        return ClientOperator(self, Flags(timeout=seconds))

    async def drain(self) -> None:
        """Waits until the network has taken all that was emitted: by polling, until the server has.

        Returns at once where there is no connection, and when there is none any more: what waits for one goes on
        waiting. Cancelling it only stops the waiting.
        """
        if self._peer is not None and self.connected:
            await self._peer.connection.flush()
        else:
            # Who emits without an end, and waits for nothing else, would keep the loop from connecting again.
            await asyncio.sleep(0)

    def _emit(self, event: str, args: Sequence[Any], flags: Flags, ack: Callable[..., object] | None) -> None:
        self._sending.emit(event, args, flags, ack)

    async def _emit_with_ack(self, event: str, args: Sequence[Any], flags: Flags) -> Any:
        return await self._sending.emit_with_ack(event, args, flags)

    # Receiving.

    def _receive(self, args: list[Any], ack: int | None) -> None:
        if ack is not None:
            ack |= self._session << ID_BITS
        if self._slow:
            self._receive_slowly(args, ack)
            return
        handlers = self._table.get(args[0])
        if handlers is None:
            assert self._peer is not None
            if self._peer.check_name(args[0]):
                self._receiving.passed_by(args[0])
        elif len(handlers) == 1 and self._lane is None and handlers[0].immediate:
            running = handlers[0].launch(self, args, ack)
            if running is not None:
                self._in_flight(running)
        else:
            self._run_all(handlers, args, ack)

    def _receive_slowly(self, args: list[Any], ack: int | None) -> None:
        if self._peer is None or not self._peer.check_name(args[0]):
            return
        if not self.connected:
            if len(self._early) >= self._settings.max_inbox:
                self._early.pop(0)
                self._hub.reporter.count("inbox_dropped")
            # It comes with the session that is about to begin.
            self._early.append((args, None if ack is None else ack + (1 << ID_BITS)))
            return
        if self._pid and ack is None and len(args) > 1:
            self._take_offset(args)
        for listener in self._any or ():
            self._call_listener(listener, args[0], args[1:])
        handlers = self._table.get(args[0], ())
        if self._receiving.inbox is not None:
            self._receiving.put(args[0], tuple(args[1:]))
        elif not handlers:
            self._receiving.passed_by(args[0])
        self._run_all(handlers, args, ack)

    def _take_offset(self, args: list[Any]) -> None:
        """What ends an event for a client that may come back is not for its handlers."""
        last = args[-1]
        if isinstance(last, str) and is_offset(last, self._offset, moved=self._offset_session != self._session):
            self._offset, self._offset_session = last, self._session
            del args[-1]

    def _heard(self, event: str) -> bool:
        """Whether anybody listens to it."""
        return event in self._table or bool(self._any)

    def _unheard(self, event: str) -> None:
        known = ", ".join(sorted(self._table)[:10]) or "none"
        text = f"no handler for the event {shown(event)} in {self.nsp} of {self.io.url}; there are: {known}"
        self._hub.reporter.unheard(f"{self.nsp} {event}", text, self._settings.debug)

    def _keep_events(self) -> None:
        self._receiving.keep()

    def _claim_inbox(self) -> Inbox:
        self._hub_bound()
        inbox = self._receiving.claim()
        if not self.active and self._end is not None:
            self._receiving.close(self._end)
        return inbox

    async def receive(self, event: str, timeout: float | None = None) -> Any:
        """The oldest event of that name which nobody has received; waits for it where there is none.

        Returns its arguments as a value: None, itself, or a tuple of several. From the first call on, events are kept
        for the next one (`max_inbox`), also those that have handlers. Raises Disconnected when the socket is out and
        does not come back by itself, TimeoutError after `timeout` seconds. Cancelling it loses nothing.
        """
        inbox = self._claim_inbox()
        _, arguments = await in_time(inbox.get(event), timeout, lambda: self._receiving.late(event, timeout))
        return to_value(arguments)

    async def events(self) -> AsyncIterator[tuple[str, tuple[Any, ...]]]:
        """Every event, with its arguments as a tuple, until the socket is out and does not come back by itself.

            async for event, args in socket.events(): ...

        From the first step on, events are kept for the next one (`max_inbox`), also those that have handlers.
        """
        inbox = self._claim_inbox()
        with contextlib.suppress(Disconnected):
            while True:
                yield await inbox.get()

    # Acknowledging.

    def _reply_arguments(self, number: int, arguments: list[Any]) -> None:
        hub = self._hub
        packet = hub.encode_numbered(self._ack_head, ACK, self.nsp, arguments, number & ((1 << ID_BITS) - 1))
        session = number >> ID_BITS
        if get_ident() == hub.thread:
            self._send_reply(session, packet)
        else:
            hub.call(lambda: self._send_reply(session, packet))

    def _send_reply(self, session: int, packet: Outgoing) -> None:
        if session == self._session and self.connected and self._peer is not None:
            self._peer.send(packet)

    def _acknowledged(self, number: int, arguments: list[Any]) -> None:
        acks = self._acks
        if (acks is None or not acks.resolve(number, arguments)) and not self._sending.resolve(number, arguments):
            self._hub.reporter.count("unknown_acks")
