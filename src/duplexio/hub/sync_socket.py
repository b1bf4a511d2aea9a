"""The blocking client's socket: what a client's socket has, in calls that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from duplexio.client_options import AuthSource
from duplexio.errors import Disconnected
from duplexio.hub.client_operators import ClientOperator
from duplexio.hub.client_socket import ClientSocket
from duplexio.hub.deadline import in_time
from duplexio.hub.dispatch import HandlerOptions
from duplexio.hub.receiver import AnyListener
from duplexio.hub.targets import PLAIN, Flags
from duplexio.hub.values import snapshot
from duplexio.types import CloseReason, Function

if TYPE_CHECKING:
    from duplexio.hub.sync_manager import Manager

__all__ = ["Operator", "Socket"]

F = TypeVar("F", bound=Function)


class Socket:
    """A namespace of a server, in calls that wait: what `connect` gives.

        with sync.connect("http://localhost:3000", auth={"token": "..."}) as socket:
            socket.emit("request", {"data": "Send Request"})
            print(socket.receive("response"))

    Events are kept for `receive` and `events` from the first one on (`max_inbox`): none is lost that comes before the
    first call.

    Attributes:
        io: the manager, which has the connection.
    """

    def __init__(self, io: Manager, socket: ClientSocket) -> None:
        self.io = io
        self._socket = socket
        socket._keep_events()

    def __repr__(self) -> str:
        return repr(self._socket).replace("ClientSocket", "sync.Socket", 1)

    @property
    def id(self) -> str | None:
        """What the server calls this socket; None while it is not connected."""
        return self._socket.id

    @property
    def nsp(self) -> str:
        """The name of the namespace."""
        return self._socket.nsp

    @property
    def auth(self) -> AuthSource:
        """What middlewares get: a mapping, or a function that gives one, plain (in a thread) or async. Settable."""
        return self._socket.auth

    @auth.setter
    def auth(self, auth: AuthSource) -> None:
        self._socket.auth = auth

    @property
    def connected(self) -> bool:
        """Whether the server has let it in."""
        return self._socket.connected

    @property
    def active(self) -> bool:
        """Whether it is connected, or will be when the connection is back."""
        return self._socket.active

    @property
    def recovered(self) -> bool:
        """Whether the last connect restored the session, with its id, its rooms and what was missed."""
        return self._socket.recovered

    # Registering.

    @overload
    def on(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def on(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Registers a handler of this socket's event; it takes the event's arguments only.

        A plain function runs in a thread (`max_threads`), those of one socket one after the other, and may wait; what
        it returns is the acknowledgement. An `async def` runs on the loop, and so does a plain one with `inline=True`.
        """
        if handler is None:
            return lambda function: self.on(event, function, **options)
        return self.io._apply(lambda: self._socket.on(event, handler, **options))

    @overload
    def once(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def once(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Like `on`, for the next such event only."""
        if handler is None:
            return lambda function: self.once(event, function, **options)
        return self.io._apply(lambda: self._socket.once(event, handler, **options))

    def off(self, event: str | None = None, handler: Function | None = None) -> None:
        """Removes a handler of this socket, all of an event, or all."""
        self.io._apply(lambda: self._socket.off(event, handler))

    def listeners(self, event: str) -> list[Function]:
        """This socket's handlers of an event."""
        return self.io._apply(lambda: self._socket.listeners(event))

    def on_any(self, listener: AnyListener) -> AnyListener:
        """Calls `listener(event, *args)` for every event that arrives, before its handlers.

        A plain function, called on the loop's thread: it cannot wait.
        """
        return self.io._apply(lambda: self._socket.on_any(listener))

    def prepend_any(self, listener: AnyListener) -> AnyListener:
        """Like `on_any`, before those that are there."""
        return self.io._apply(lambda: self._socket.prepend_any(listener))

    def off_any(self, listener: AnyListener | None = None) -> None:
        """Removes one, or all."""
        self.io._apply(lambda: self._socket.off_any(listener))

    def listeners_any(self) -> list[AnyListener]:
        """Those of `on_any`, in the order of their calls."""
        return self.io._apply(self._socket.listeners_any)

    def on_any_outgoing(self, listener: AnyListener) -> AnyListener:
        """Calls `listener(event, *args)` for every event that is sent. As `on_any` does, on the loop's thread."""
        return self.io._apply(lambda: self._socket.on_any_outgoing(listener))

    def prepend_any_outgoing(self, listener: AnyListener) -> AnyListener:
        """Like `on_any_outgoing`, before those that are there."""
        return self.io._apply(lambda: self._socket.prepend_any_outgoing(listener))

    def off_any_outgoing(self, listener: AnyListener | None = None) -> None:
        """Removes one, or all."""
        self.io._apply(lambda: self._socket.off_any_outgoing(listener))

    def listeners_any_outgoing(self) -> list[AnyListener]:
        """Those of `on_any_outgoing`, in the order of their calls."""
        return self.io._apply(self._socket.listeners_any_outgoing)

    # Connecting.

    def connect(self, timeout: float | None = None) -> Socket:
        """Connects, and returns this socket when the server has let it in; at once where it has already.

        Raises ConnectRefused where the server does not let it in, ConnectError where it cannot be reached: at the first
        attempt, unless `retry=True`; ConnectTimeout after `timeout` seconds. What interrupts it (Ctrl+C) gives up where
        the socket was not connected before, and so does the timeout.
        """
        socket = self._socket
        self.io._run(lambda: in_time(socket.connect(), timeout, lambda: socket._not_in(timeout)), "connect()")
        return self

    def open(self) -> None:
        """Begins to connect, and returns at once: `connect` and `connect_error` tell how it went."""
        self.io._call(self._socket.open)

    def wait_connected(self, timeout: float | None = None) -> None:
        """Returns when the socket is connected; at once where it is.

        Raises what `connect` raises where it gives up, Disconnected where it is not connecting, ConnectTimeout, which
        is a TimeoutError, after `timeout` seconds.
        """
        self.io._run(lambda: self._socket.wait_connected(timeout), "wait_connected()")

    def __enter__(self) -> Socket:
        return self.connect()

    def __exit__(self, *_: object) -> None:
        async def leave() -> None:
            self._socket._disconnect()
            await self.io._manager._gone()

        self.io._run(leave, "leaving `with`")

    def disconnect(self) -> None:
        """Leaves the namespace, and does not come back; the last socket of a connection ends it.

        Does not wait for the end: leaving `with`, or `manager.close()`, does.
        """
        self.io._apply(self._socket._disconnect)

    close = disconnect

    def wait_disconnected(self, timeout: float | None = None) -> CloseReason:
        """Waits until the socket is out and does not come back by itself, and returns the reason.

        Raises TimeoutError after `timeout` seconds.
        """

        def late() -> TimeoutError:
            return TimeoutError(f"the socket was not out within {timeout:g} s: {self!r}")

        wait = self._socket.wait_disconnected
        return self.io._run(lambda: in_time(wait(), timeout, late), "wait_disconnected()")

    # Sending.

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """Sends an event to the server; while there is no connection it waits for one.

        Hands it to the loop, and does not wait. Bytes anywhere in the arguments become attachments. `ack` is called
        with the acknowledgement, in a thread where it is plain. Raises ReservedEvent and EncodeError; LimitExceeded
        with `retries` and a full queue, or with `ack` and too many that are awaited; never for a server that is slow or
        gone: `drain()` waits for a slow one.
        """
        self._emit(event, args, PLAIN, ack)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Sends an event and waits for the server's acknowledgement.

        Returns it as a value: None, itself, or a tuple of several. Raises AckTimeout after `timeout` seconds
        (`ack_timeout` by default; of each try, with `retries`), Disconnected where the connection is lost first or the
        socket ends, LimitExceeded, ReservedEvent, EncodeError.
        """
        return self._emit_with_ack(event, args, PLAIN if timeout is None else Flags(timeout=timeout))

    @property
    def volatile(self) -> Operator:
        """What may be lost: while there is no connection, or earlier bytes still wait."""
        return Operator(self, self._socket.volatile)

    def compress(self, compress: bool) -> Operator:
        """Whether the next packet may be compressed, where compression is on."""
        return Operator(self, self._socket.compress(compress))

    def timeout(self, seconds: float) -> Operator:
        """How long to wait for an acknowledgement."""
        return Operator(self, self._socket.timeout(seconds))

    def drain(self, timeout: float | None = None) -> None:
        """Waits until the network has taken all that was emitted: by polling, until the server has.

        Returns at once where there is no connection, and when there is none any more: what waits for one goes on
        waiting. Raises TimeoutError after `timeout` seconds.
        """

        def late() -> TimeoutError:
            return TimeoutError(f"the network did not take within {timeout:g} s what was emitted")

        self.io._run(lambda: in_time(self._socket.drain(), timeout, late), "drain()")

    def _emit(self, event: str, args: Sequence[Any], flags: Flags, ack: Callable[..., object] | None) -> None:
        copied = self._checked(event, args)

        def emit() -> None:
            self._socket._emit(event, copied, flags, ack)

        if ack is None and not self._socket._sending.retrying(flags):
            self.io._post(emit)
        else:
            # A limit may be in the way, which only the loop knows.
            self.io._call(emit)

    def _checked(self, event: str, args: Sequence[Any]) -> tuple[Any, ...]:
        """What is wrong with it is said to the caller; what is changed after the call is not sent."""
        context = self.io._manager.context
        context.check_event(event)
        context.check_encodable(args)
        return snapshot(args)

    def _emit_with_ack(self, event: str, args: Sequence[Any], flags: Flags) -> Any:
        copied = self._checked(event, args)
        return self.io._run(lambda: self._socket._emit_with_ack(event, copied, flags), "emit_with_ack()")

    # Receiving.

    def receive(self, event: str, timeout: float | None = None) -> Any:
        """The oldest event of that name which nobody has received; waits for it where there is none.

        Returns its arguments as a value: None, itself, or a tuple of several. Events are kept also where they have
        handlers. Raises Disconnected when the socket is out and does not come back by itself, TimeoutError after
        `timeout` seconds.
        """
        return self.io._run(lambda: self._socket.receive(event, timeout), "receive()")

    def events(self, timeout: float | None = None) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Every event, with its arguments as a tuple, until the socket is out and does not come back by itself.

            for event, args in socket.events(): ...

        Events are kept also where they have handlers. Raises TimeoutError where the next one takes longer than
        `timeout` seconds.
        """

        def late() -> TimeoutError:
            return TimeoutError(f"no event came within {timeout:g} s")

        async def following() -> tuple[str, tuple[Any, ...]]:
            return await self._socket._claim_inbox().get()

        while True:
            try:
                item = self.io._run(lambda: in_time(following(), timeout, late), "events()")
            except Disconnected:
                return
            yield item


class Operator:
    """What the modifiers of a socket return. Immutable: each returns a new one, which can be kept and used again."""

    __slots__ = ("_operator", "_socket")

    def __init__(self, socket: Socket, operator: ClientOperator) -> None:
        self._socket = socket
        self._operator = operator

    @property
    def volatile(self) -> Operator:
        """May be lost where there is no connection, or the server is not ready for it."""
        return Operator(self._socket, self._operator.volatile)

    def compress(self, compress: bool) -> Operator:
        """Whether it may be compressed, where compression is on."""
        return Operator(self._socket, self._operator.compress(compress))

    def timeout(self, seconds: float) -> Operator:
        """How long to wait for the acknowledgement."""
        return Operator(self._socket, self._operator.timeout(seconds))

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """See `Socket.emit`. With a timeout, `ack` gets the error, or None, before the arguments."""
        self._socket._emit(event, args, self._operator._flags, ack)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """See `Socket.emit_with_ack`."""
        operator = self._operator if timeout is None else self._operator.timeout(timeout)
        return self._socket._emit_with_ack(event, args, operator._flags)
