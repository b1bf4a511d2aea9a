"""The blocking client's connection: calls from any thread, carried to the event loop in the background."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar, Unpack, cast, overload

from duplexio.client_options import ClientOptions, ClientSettings
from duplexio.engine.connection import Connection
from duplexio.errors import ConfigurationError, ConnectTimeout, Disconnected
from duplexio.hub import background
from duplexio.hub import manager as client_manager
from duplexio.hub.background import Background
from duplexio.hub.daemon_executor import DaemonExecutor
from duplexio.hub.deadline import in_time
from duplexio.hub.manager import ManagerEvent
from duplexio.hub.sync_socket import Socket
from duplexio.observe import Counts
from duplexio.types import Function

__all__ = ["Manager"]

F = TypeVar("F", bound=Function)
T = TypeVar("T")

#: How long the main thread waits at a time: a signal that comes just before the kernel waits is seen after this.
PATIENCE = 0.5


class Manager:
    """A connection to a server, and the sockets that share it: `duplexio.Manager` in calls that wait.

        with sync.Manager("http://localhost:3000") as manager:
            orders, news = manager.socket("/orders").connect(), manager.socket("/news").connect()

    Options are keyword arguments, the same ones. Functions among them (`auth`, `extra_headers`, `query`) run in
    threads where they are plain. Raises ConfigurationError for an option that cannot be.

    Attributes:
        url: the server's, without a path.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self._manager = client_manager.Manager(url, **options)
        self._manager.context.make_executor = DaemonExecutor
        self._manager.context.plain_in_threads = True
        self.url = self._manager.url
        self._sockets: dict[str, Socket] = {}
        #: The loop that it was last used on.
        self._background: Background | None = None
        #: How many calls are running on the loop.
        self._calls = 0
        #: Holds the loop while anything is connected.
        self._watcher: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<sync.Manager {self.url}>"

    @property
    def settings(self) -> ClientSettings:
        """The options in force."""
        return self._manager.settings

    @property
    def engine(self) -> Connection | None:
        """The connection, while there is one: `.id`, `.transport.name`. It belongs to the loop's thread: to be read."""
        return self._manager.engine

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being opened again."""
        return self._manager.reconnecting

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters that its URL had."""
        return self._manager.query

    @property
    def usable_here(self) -> bool:
        """Whether it belongs to this process, and not to one that this was forked from while it was in use."""
        return self._background is None or not self._background.inherited

    @property
    def in_use(self) -> bool:
        """Whether a socket is connected, or connecting."""
        return self._manager.in_use

    @property
    def counts(self) -> Counts:
        """Plain totals of this client's events, such as `manager.counts["volatile_dropped"]`.

        Raises ConfigurationError where an `observer` of yours counts.
        """
        return self._manager.counts

    # Sockets.

    def socket(self, nsp: str = "/", **options: Unpack[ClientOptions]) -> Socket:
        """The socket of a namespace: the same one for the same name.

        Options are `auth`, `retries`, `dedup_key` and `ack_timeout`, and count where the socket is made. Raises
        ConfigurationError for others: they belong to the manager.
        """

        with background.lock:
            self._check_process()
            inner = self._manager.socket(nsp, **options)
            known = self._sockets.get(inner.nsp)
            if known is None:
                known = self._sockets[inner.nsp] = Socket(self, inner)
            return known

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """Those that were made, by namespace."""
        return dict(self._sockets)

    # Listeners.

    @overload
    def on(self, event: ManagerEvent) -> Callable[[F], F]: ...
    @overload
    def on(self, event: ManagerEvent, listener: F) -> F: ...
    def on(self, event: ManagerEvent, listener: F | None = None) -> Any:
        """Registers a listener, which runs in a thread where it is plain; usable as a decorator.

        `open`; `close(reason, details)`; `error(error)` of every attempt that failed; `ping`;
        `reconnect_attempt(number)`, `reconnect(number)`, `reconnect_error(error)`, `reconnect_failed`.
        """
        if listener is None:
            return lambda function: self.on(event, function)
        return self._apply(lambda: self._manager.on(event, listener))

    @overload
    def once(self, event: ManagerEvent) -> Callable[[F], F]: ...
    @overload
    def once(self, event: ManagerEvent, listener: F) -> F: ...
    def once(self, event: ManagerEvent, listener: F | None = None) -> Any:
        """Like `on`, for the next time only."""
        if listener is None:
            return lambda function: self.once(event, function)
        return self._apply(lambda: self._manager.once(event, listener))

    def off(self, event: ManagerEvent | None = None, listener: Function | None = None) -> None:
        """Removes a listener, all of an event, or all."""
        self._apply(lambda: self._manager.off(event, listener))

    def listeners(self, event: ManagerEvent) -> list[Function]:
        """Those of an event."""
        return self._apply(lambda: self._manager.listeners(event))

    # Beginning and end.

    def connect(self, timeout: float | None = None) -> None:
        """Opens the connection without any namespace, and returns when it is open; `socket.connect()` does both.

        Raises ConnectError; ConnectTimeout after `timeout` seconds. Servers close a connection that joins no namespace
        within some 45 seconds.
        """

        def late() -> TimeoutError:
            return ConnectTimeout(f"not connected within {timeout:g} s", self.url)

        self._run(lambda: in_time(self._manager.connect(), timeout, late), "Manager.connect()")

    def disconnect(self) -> None:
        """Disconnects all sockets, and so ends the connection. Does not wait for its end; `close` does."""
        self._apply(self._manager._disconnect)

    def close(self, timeout: float | None = None) -> None:
        """Disconnects all sockets, and waits until the connection is gone. Raises TimeoutError after `timeout` s."""

        async def close() -> None:
            self._manager._disconnect()
            async with asyncio.timeout(timeout):
                await self._manager._gone()

        self._run(close, "Manager.close()")

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The loop.

    def _run(self, make: Callable[[], Awaitable[T]], what: str) -> T:
        """Waits for a coroutine that runs on the loop; what interrupts the waiting cancels it."""
        held = self._hold()
        if held.here:
            held.release()
            raise ConfigurationError(
                f"{what} waits, and was called on the event loop's own thread, which would wait for ever: an async"
                " handler cannot wait this way, nor can on_any listeners; a plain `def` handler runs in another thread"
            )
        return self._wait(held, make)

    def _call(self, function: Callable[[], T]) -> T:
        """Calls it on the loop, started where there is none, and waits for that; it does not wait itself."""
        held = self._hold()
        if not held.here:
            return self._wait(held, _made(function))
        try:
            self._manager._bind()
            return function()
        finally:
            self._look_after(held)

    def _post(self, function: Callable[[], object]) -> None:
        """Calls it on the loop, and does not wait."""
        held = self._hold()
        if held.here:
            self._posted(held, function)
        else:
            held.loop.call_soon_threadsafe(self._posted, held, function)

    def _apply(self, function: Callable[[], T]) -> T:
        """Calls what only changes or reads a state: on the loop, where there is one, and here where there is none."""
        with background.lock:
            running = background.current_or_none()
            if running is None or running.here:
                self._check_process()
                return function()
            held = self._hold()
        return self._wait(held, _made(function), bind=False)

    def _hold(self) -> Background:
        self._check_process()
        held = self._background = background.hold()
        return held

    def _check_process(self) -> None:
        if not self.usable_here:
            raise ConfigurationError(f"{self!r} was connected before this process was forked: it connects anew")

    def _wait(self, held: Background, make: Callable[[], Awaitable[T]], bind: bool = True) -> T:
        """Until it has run on the loop; what interrupts the waiting cancels it."""
        call: _Call[T] = _Call()
        try:
            held.loop.call_soon_threadsafe(self._begin, held, call, make, bind)
            return call.result()
        except BaseException:
            if not call.ended:
                held.loop.call_soon_threadsafe(call.abandon)
            raise

    def _begin(self, held: Background, call: _Call[T], make: Callable[[], Awaitable[T]], bind: bool) -> None:
        held.loop.create_task(self._called(held, call, make, bind))

    async def _called(self, held: Background, call: _Call[T], make: Callable[[], Awaitable[T]], bind: bool) -> None:
        self._calls += 1
        error: BaseException | None = None
        value: T | None = None
        try:
            call.begin()
            if bind:
                self._manager._bind()
            value = await make()
        except BaseException as raised:
            error = raised
        self._calls -= 1
        self._look_after(held)
        call.end(error, value)

    def _posted(self, held: Background, function: Callable[[], object]) -> None:
        try:
            self._manager._bind()
            function()
        except Exception as error:
            self._manager.context.reporter.failure("a call from another thread failed", error)
        finally:
            self._look_after(held)

    def _look_after(self, held: Background) -> None:
        """A call has ended: what it left running keeps the loop."""
        if self._watcher is None and self._running:
            held.hold()
            self._watcher = held.loop.create_task(self._watch(held))
        self._close_threads()
        held.release()

    def _close_threads(self) -> None:
        """Where nothing is connected, nothing runs in them."""
        if self._watcher is None and not self._calls and hasattr(self._manager.context, "threads"):
            self._manager.context.threads.close()

    @property
    def _running(self) -> set[asyncio.Future[Any]]:
        return {*self._manager._connecting, *self._manager.context.running}

    async def _watch(self, held: Background) -> None:
        held.enders.add(self._end)
        try:
            while running := self._running:
                await asyncio.wait(running)
                await asyncio.sleep(0)
        finally:
            held.enders.discard(self._end)
            self._watcher = None
            self._close_threads()
            held.release()

    async def _end(self) -> None:
        """The process ends."""
        self._manager._disconnect()
        while running := self._running:
            await asyncio.wait(running)
            await asyncio.sleep(0)


class _Call(Generic[T]):
    """A coroutine that a thread waits for.

    By a lock that nobody else takes: an interrupt in the middle of a condition, as `concurrent.futures` has, can leave
    it locked, and the loop waits for ever.
    """

    __slots__ = ("_abandoned", "_error", "_finished", "_task", "_value", "ended")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._abandoned = False
        self._finished = threading.Lock()
        self._finished.acquire()
        self._error: BaseException | None = None
        self._value: T
        self.ended = False

    def result(self) -> T:
        """Waits for it."""
        main = threading.current_thread() is threading.main_thread()
        while not self._finished.acquire(timeout=PATIENCE if main else -1):
            pass
        if isinstance(self._error, asyncio.CancelledError):
            # The process ends, and its loop has.
            raise Disconnected("io client disconnect")
        if self._error is not None:
            raise self._error
        return self._value

    # On the loop.

    def begin(self) -> None:
        """In its task."""
        if self._abandoned:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()

    def end(self, error: BaseException | None, value: T | None = None) -> None:
        if error is None:
            self._value = cast(T, value)
        self._error = error
        self.ended = True
        self._finished.release()

    def abandon(self) -> None:
        """Nobody waits any more."""
        self._abandoned = True
        if self._task is not None and not self.ended:
            self._task.cancel()


def _made(function: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def call() -> T:
        return function()

    return call
