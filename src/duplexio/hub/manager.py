"""A client's connection to one server: opened, kept, opened again, and shared by the sockets of several namespaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

from duplexio.client_options import (
    CLIENT_OPTIONS,
    SOCKET_OPTIONS,
    AuthSource,
    ClientOptions,
    ClientSettings,
)
from duplexio.engine.client import EngineClient
from duplexio.engine.connection import Connection
from duplexio.engine.http_client import Cookies
from duplexio.engine.wheel import Wheel
from duplexio.errors import ConfigurationError, ConnectError, Disconnected, DuplexioError, raised_again
from duplexio.hub.backoff import Backoff
from duplexio.hub.client_dial import Dial
from duplexio.hub.client_peer import ClientPeer
from duplexio.hub.client_socket import ClientSocket
from duplexio.hub.context import Context, current_task_or_none
from duplexio.hub.listeners import Listeners
from duplexio.observe import Counts, Observer, Reporter, own_counts
from duplexio.option_table import is_unicode, probably_milliseconds
from duplexio.protocol.server_url import parse_server_url
from duplexio.types import CloseReason, Function

__all__ = ["Manager", "ManagerEvent"]

F = TypeVar("F", bound=Function)
ManagerEvent = Literal[
    "open", "close", "error", "ping", "reconnect_attempt", "reconnect", "reconnect_error", "reconnect_failed"
]
EVENTS: tuple[ManagerEvent, ...] = (
    "open",
    "close",
    "error",
    "ping",
    "reconnect_attempt",
    "reconnect",
    "reconnect_error",
    "reconnect_failed",
)
logger = logging.getLogger("duplexio")

#: Deadlines of a client are seconds, and a hundredth of one is what a measurement of them would notice.
RESOLUTION = 0.01


class Manager:
    """A connection to a server, and the sockets that share it.

        manager = duplexio.Manager("http://localhost:3000")
        orders, news = manager.socket("/orders"), manager.socket("/news")
        async with orders, news: ...

    `connect` makes one for its socket: `socket.io`. Options are keyword arguments; `docs/reference/client-options.md`
    lists them. Raises ConfigurationError for one that cannot be.

    Attributes:
        url: the server's, without a path.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self.settings = ClientSettings(options)
        self._server = parse_server_url(url, self.settings.path)
        self.url = self._server.origin
        self._observer: Observer = Counts() if self.settings.observer is None else self.settings.observer
        self.context = Context(self.settings, Reporter(self._observer, logger), "connect")
        for text in probably_milliseconds(CLIENT_OPTIONS, self.settings):
            self.context.reporter.warning(text)
        self._sockets: dict[str, ClientSocket] = {}
        self._listeners = Listeners("a manager", EVENTS, self.context)
        settings = self.settings
        self._backoff = Backoff(
            settings.reconnection_delay, settings.reconnection_delay_max, settings.randomization_factor
        )
        self._cookies = Cookies() if settings.with_credentials else None
        #: Dials, and dials again: while any socket is active.
        self._task: asyncio.Task[None] | None = None
        #: What is left of connections that have ended.
        self._leftovers: set[asyncio.Task[None]] = set()
        self._dial: Dial | None = None
        self._peer: ClientPeer | None = None
        self._was_websocket = False
        self._reconnecting = False
        #: Whether the connection is being closed, since no socket needed it.
        self._ending = False
        #: Whether the task was cancelled by this manager, and not with all others of its loop.
        self._stopped = False
        #: Of those that wait for a connection without any socket.
        self._awaited_open: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        return f"<Manager {self.url}>"

    @property
    def engine(self) -> Connection | None:
        """The connection, while there is one: `.id`, `.transport.name`, `.on("upgrade", …)`."""
        return None if self._peer is None else self._peer.connection

    @property
    def _dialled(self) -> EngineClient | None:
        """What dialled last."""
        return None if self._dial is None else self._dial.engine

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being opened again."""
        return self._reconnecting

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters that its URL had."""
        return self._server.query

    @property
    def in_use(self) -> bool:
        """Whether a socket is connected, or connecting, and not on an event loop that is closed."""
        return self._wanted and not self.context.loop.is_closed()

    @property
    def usable_here(self) -> bool:
        """Whether it is bound to the running event loop, or to none, or to one that is closed."""
        loop = getattr(self.context, "loop", None)
        return loop is None or loop.is_closed() or loop is _running_loop()

    @property
    def counts(self) -> Counts:
        """Plain totals of this client's events, such as `manager.counts["volatile_dropped"]`.

        Raises ConfigurationError where an `observer` of yours counts.
        """
        return own_counts(self._observer)

    # Sockets.

    def socket(self, nsp: str = "/", **options: Unpack[ClientOptions]) -> ClientSocket:
        """The socket of a namespace: the same one for the same name.

        Options are `auth`, `retries`, `dedup_key` and `ack_timeout`, and count where the socket is made. Raises
        ConfigurationError for others: they belong to the manager.
        """
        nsp = nsp if nsp.startswith("/") else "/" + nsp
        if not is_unicode(nsp):
            raise ConfigurationError(f"the namespace {nsp!r} has a lone surrogate, which cannot be sent")
        socket = self._sockets.get(nsp)
        if socket is None:
            misplaced = sorted(set(options) - SOCKET_OPTIONS)
            if misplaced:
                raise ConfigurationError(
                    f"{', '.join(misplaced)} belong to the Manager: its sockets share a connection"
                )
            settings = ClientSettings({**self.settings.given, **options}) if options else self.settings
            auth: AuthSource = settings.auth
            socket = ClientSocket(self, nsp, settings, auth)
            # A new mapping: another thread may make one while the loop's goes through them.
            self._sockets = {**self._sockets, nsp: socket}
        return socket

    @property
    def sockets(self) -> Mapping[str, ClientSocket]:
        """Those that were made, by namespace."""
        return dict(self._sockets)

    # Listeners.

    @overload
    def on(self, event: ManagerEvent) -> Callable[[F], F]: ...
    @overload
    def on(self, event: ManagerEvent, listener: F) -> F: ...
    def on(self, event: ManagerEvent, listener: F | None = None) -> Any:
        """Registers a listener, plain or async; usable as a decorator.

        `open`; `close(reason, details)`; `error(error)` of every attempt that failed; `ping`;
        `reconnect_attempt(number)`, `reconnect(number)`, `reconnect_error(error)`, `reconnect_failed`.
        """
        if listener is None:
            return lambda function: self.on(event, function)
        self._listeners.add(event, listener)
        return listener

    @overload
    def once(self, event: ManagerEvent) -> Callable[[F], F]: ...
    @overload
    def once(self, event: ManagerEvent, listener: F) -> F: ...
    def once(self, event: ManagerEvent, listener: F | None = None) -> Any:
        """Like `on`, for the next time only."""
        if listener is None:
            return lambda function: self.once(event, function)
        self._listeners.add(event, listener, once=True)
        return listener

    def off(self, event: ManagerEvent | None = None, listener: Function | None = None) -> None:
        """Removes a listener, all of an event, or all."""
        self._listeners.remove(event, listener)

    def listeners(self, event: ManagerEvent) -> list[Function]:
        """Those of an event."""
        return self._listeners.functions(event)

    # Beginning and end.

    async def connect(self) -> None:
        """Opens the connection without any namespace, and returns when it is open; `socket.connect()` does both.

        Raises what `connect` of a socket raises. Cancelling it gives up where nobody else wants the connection.
        Servers close one that joins no namespace within some 45 seconds.
        """
        self._bind()
        if self._peer is not None and not self._ending:
            return
        opened: asyncio.Future[None] = self.context.loop.create_future()
        self._awaited_open.append(opened)
        self._start()
        try:
            await opened
        except BaseException:
            if opened in self._awaited_open:
                self._awaited_open.remove(opened)
            self._end_if_unwanted()
            await self._settled()
            raise

    def _tell_awaited(self, error: DuplexioError | None) -> None:
        waiting, self._awaited_open = self._awaited_open, []
        for opened in waiting:
            if opened.done():
                continue
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(raised_again(error))

    def disconnect(self) -> None:
        """Disconnects all sockets, and so ends the connection. Returns at once; `close` waits for the end."""
        self.context.call(self._disconnect)

    def _disconnect(self) -> None:
        for socket in list(self._sockets.values()):
            socket._disconnect()
        self._tell_awaited(Disconnected("io client disconnect"))
        self._end_if_unwanted()

    async def close(self) -> None:
        """Disconnects all sockets, and waits until nothing is left: no connection, task or timer."""
        self._disconnect()
        await self._settled()

    async def __aenter__(self) -> Manager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _settled(self) -> None:
        """Returns when the connection is gone with all that belongs to it; at once while somebody still needs it."""
        await self._gone()
        if self._to_stay or not hasattr(self.context, "loop"):
            return
        if not any(socket._waits_for_acks for socket in list(self._sockets.values())):
            self.context.wheel.close()
        # Handlers of `disconnect` may still wait for their turn.
        self.context.threads.close(cancel=False)

    async def _gone(self) -> None:
        """The same for what is left of connections alone."""
        while not self._to_stay and (connecting := self._connecting):
            await asyncio.wait(connecting)
            await asyncio.sleep(0)

    @property
    def _to_stay(self) -> bool:
        """Whether the connection is to stay: a socket needs it, or somebody has opened it without one."""
        return self._wanted or (self._peer is not None and not self._ending)

    @property
    def _connecting(self) -> set[asyncio.Task[Any]]:
        """What dials, keeps a connection, or is left of one; without the task that asks: it would wait for itself."""
        return (self._leftovers | ({self._task} if self._task is not None else set())) - {current_task_or_none()}

    def _bind(self) -> None:
        """To the running loop; another one than before only where nothing is left there."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "a client connects on a running event loop; duplexio.sync is the client for code that has none"
            ) from None
        context = self.context
        if getattr(context, "loop", None) is loop:
            return
        if self._task is not None and not self._task.get_loop().is_closed():
            raise ConfigurationError(f"{self!r} is connected on another event loop")
        self._task, self._peer, self._dial = None, None, None
        self._leftovers.clear()
        self._awaited_open.clear()
        bound_before = hasattr(context, "loop")
        context.bind(loop, Wheel(loop, RESOLUTION))
        if bound_before:
            for socket in list(self._sockets.values()):
                socket._moved(loop)

    # Keeping the connection.

    def _socket_wants_in(self, socket: ClientSocket) -> None:
        peer = self._peer
        if peer is None:
            self._start()
        elif socket._peer is None and not self._ending:
            if peer.old and peer.main_left and socket.nsp == "/" and self._active() == [socket]:
                # Servers of Socket.IO 2 let nobody in there twice over one connection.
                self._end_connection(peer)
            else:
                socket._enter(peer)

    def _start(self) -> None:
        if self._task is None:
            self._ending = False
            self._task = self.context.loop.create_task(self._keep_connected())
            self._task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        self._reconnecting = False
        stopped, self._stopped = self._stopped, False
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            assert error is not None
            self.context.reporter.failure("the client's connection failed", error)
            self._give_up(ConnectError(f"{error!r}", self.url), self._begun())
        elif self._wanted and (stopped or not task.cancelled()):
            # Not where the loop ends. A socket has asked while the last of the others made an end.
            self._start()

    @property
    def _wanted(self) -> bool:
        return bool(self._awaited_open) or any(socket.active for socket in self._sockets.values())

    def _active(self) -> list[ClientSocket]:
        return [socket for socket in self._sockets.values() if socket.active]

    async def _keep_connected(self) -> None:
        """Opens the connection, waits for its end, and opens it again."""
        settings = self.settings
        first = True
        self._backoff.reset()
        while self._wanted:
            try:
                if not await self._open():
                    return
            except ConnectError as error:
                if (first and not settings.retry) or not settings.reconnection:
                    self._fail(error, for_good=True)
                    return
                if self._exhausted:
                    self._fail(error, for_good=True, exhausted=True)
                    return
                self.context.reporter.attempt_failed(f"{error}; trying again")
                self._fail(error)
            else:
                first = False
                assert self._dial is not None
                await self._dial.closed
                if self._ending or not self._wanted or not settings.reconnection:
                    return
                if self._exhausted:
                    lost = ConnectError("the connection was lost, and is not to be opened again", self.url)
                    self._give_up(lost, self._begun(), exhausted=True)
                    return
            await self._wait_for_next()

    @property
    def _exhausted(self) -> bool:
        return self._backoff.attempts >= self.settings.reconnection_attempts

    def _fail(self, error: ConnectError, *, for_good: bool = False, exhausted: bool = False) -> None:
        """An attempt has failed. Whoever is told may begin anew: those that do are not told of this one."""
        begun = self._begun()
        if self._reconnecting:
            self._listeners.tell("reconnect_error", error)
        self._listeners.tell("error", error)
        if for_good:
            self._give_up(error, begun, exhausted)
        else:
            for socket in _unchanged(begun):
                socket._connection_failed(error)

    def _give_up(self, error: ConnectError, begun: list[tuple[ClientSocket, int]], exhausted: bool = False) -> None:
        self._reconnecting = False
        self._tell_awaited(error)
        for socket in _unchanged(begun):
            socket._given_up(error)
        if exhausted:
            self._listeners.tell("reconnect_failed")

    def _begun(self) -> list[tuple[ClientSocket, int]]:
        return [(socket, socket._lives) for socket in self._active()]

    async def _wait_for_next(self) -> None:
        if not self._wanted:
            return
        self._reconnecting = True
        attempt = self._backoff.attempts + 1
        await asyncio.sleep(self._backoff.next())
        if self._wanted:
            self._listeners.tell("reconnect_attempt", attempt)

    async def _open(self) -> bool:
        """Raises ConnectError. False: nobody wants a connection any more."""
        dial = self._dial = Dial(self.context, self.settings, self._server, self._cookies, self._make_peer)
        try:
            return await dial.open(lambda: self._wanted, self.settings.remember_upgrade and self._was_websocket)
        finally:
            task = self.context.loop.create_task(dial.wait_closed())
            self._leftovers.add(task)
            task.add_done_callback(self._leftovers.discard)

    def _make_peer(self, connection: Connection) -> ClientPeer:
        peer = self._peer = ClientPeer(connection, self)
        connection.on("heartbeat", lambda: self._heard(peer))
        return peer

    def _opened(self, peer: ClientPeer) -> None:
        """Before any packet: a server of protocol 4 lets its clients into the main namespace at once."""
        self.context.reporter.note(f"connected to {self.url} by {peer.connection.transport.name}")
        self._listeners.tell("open")
        self._tell_awaited(None)
        for socket in self._active():
            if socket._peer is None and self._peer is peer:
                socket._enter(peer)
        if self._reconnecting:
            # In front of the sockets' own `connect`, whatever the protocol.
            self._reconnecting = False
            self._listeners.tell("reconnect", self._backoff.attempts)

    def _heard(self, peer: ClientPeer) -> None:
        peer.heard()
        self._listeners.tell("ping")

    def _enter_later(self, socket: ClientSocket) -> None:
        """It could not be let in now: once more, soon."""
        peer = self._peer
        if peer is None or not socket.active:
            return

        def again() -> None:
            if self._peer is peer and socket.active and socket._peer is None:
                socket._enter(peer)

        self.context.wheel.call_later(self.settings.reconnection_delay, again)

    def _connection_closed(
        self, peer: ClientPeer, sockets: list[ClientSocket], reason: CloseReason, details: str
    ) -> None:
        if self._peer is peer:
            self._peer = None
            self._was_websocket = peer.connection.transport.name == "websocket"
        if self._dial is not None and not self._dial.closed.done():
            self._dial.closed.set_result(None)
        self.context.reporter.note(f"the connection to {self.url} has ended: {reason} ({details})")
        comes_back = self.settings.reconnection
        if not comes_back and not self._ending:
            # Those, too, that were about to ask once more.
            sockets = [*sockets, *(socket for socket in self._active() if socket._peer is None)]
        # A handler of one may let another one begin anew.
        for socket in _unchanged([(socket, socket._lives) for socket in sockets]):
            socket._connection_lost(reason, details, comes_back)
        self._listeners.tell("close", reason, details)

    def _end_connection(self, peer: ClientPeer) -> None:
        """Whoever wants in from now on gets another one, without a wait."""
        self._ending = True
        peer.connection.close()

    def _socket_joined(self) -> None:
        """A session that lets nobody in is no success: the waits go on growing until one does."""
        self._backoff.reset()

    def _end_if_unwanted(self) -> None:
        """A socket is out: without any, there is no connection."""
        if self._wanted:
            return
        if self._peer is not None:
            self._end_connection(self._peer)
        elif self._task is not None and self._task is not current_task_or_none():
            self._stopped = True
            self._task.cancel()


def _unchanged(sockets: list[tuple[ClientSocket, int]]) -> Iterator[ClientSocket]:
    """Those that have not begun anew since, one after the other."""
    for socket, lives in sockets:
        if socket.active and socket._lives == lives:
            yield socket


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
