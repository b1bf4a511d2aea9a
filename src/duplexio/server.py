"""The server: options and wiring, and the docstrings users read."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, Unpack, overload

from duplexio.adapters.bus import Bus, check_is_bus
from duplexio.adapters.cluster import Cluster
from duplexio.adapters.unix import UnixBus
from duplexio.engine.server import EngineServer
from duplexio.errors import ConfigurationError
from duplexio.hub.dispatch import HandlerOptions
from duplexio.hub.hub import Hub
from duplexio.hub.namespace import Broadcasting, Namespace, ParentNamespace
from duplexio.hub.operators import BroadcastOperator
from duplexio.hub.rooms import RoomEvent, RoomTable
from duplexio.integrations import hosting
from duplexio.integrations.asgi import ENDPOINT, AsgiEndpoint, Receive, Scope, Send, answer_health
from duplexio.integrations.client_files import ClientFiles
from duplexio.observe import Counts, Observer, Reporter, own_counts
from duplexio.option_table import probably_milliseconds
from duplexio.options import OPTIONS, Options, Recovery, ServerOptions, recovery_options
from duplexio.serving import run
from duplexio.types import Function
from duplexio.workers.identity import Identity
from duplexio.workers.neighbourhood import Neighbourhood
from duplexio.workers.supervisor import WORKER_TIMEOUT
from duplexio.wrapped import Wrapped

__all__ = ["Server"]

F = TypeVar("F", bound=Function)
logger = logging.getLogger("duplexio")

_ONE_OF_SEVERAL = (
    "cluster_id=%r: this process has other servers of that name and path, and this one is number %d of them: it meets "
    "those of that number in other processes, and nobody else. To meet the first ones, use the first one, or close it "
    "before this one is made; two that are to be apart have a cluster_id each"
)


class Server(Broadcasting):
    """A Socket.IO server: an ASGI application, and the API of the main namespace.

        io = Server()

        @io.on("request")
        async def request(socket: Socket, data: dict) -> None:
            socket.emit("response", {"data": "Receive Respond"})

        io.run("127.0.0.1", 20111)

    Options are keyword arguments; `docs/reference/options.md` lists them with their defaults and reasons. `adapter` is
    a bus by which several servers are one: see `adapter`. Raises ConfigurationError for one that cannot be.
    """

    def __init__(self, *, adapter: Bus | None = None, **options: Unpack[ServerOptions]) -> None:
        self._options = Options(options)
        self._observer: Observer = Counts() if self._options.observer is None else self._options.observer
        reporter = Reporter(self._observer, logger)
        for text in probably_milliseconds(OPTIONS, self._options):
            reporter.warning(text)
        self._hub = Hub(self._options, reporter)
        #: The layer below: `on("initial_headers" | "headers" | "connection_error", …)`, `clients_count`.
        self.engine = EngineServer(self._options, reporter, self._hub.owner)
        self._cluster: Cluster | None = None
        self._main = self.of("/")
        if adapter is not None:
            self.adapter(adapter)
        files = None
        if self._options.serve_client:
            compressed = self._options.http_compression is not None
            files = ClientFiles(self._options.client_directory, _places_of_the_application(), compressed)
        self._endpoint = AsgiEndpoint(self.engine, self._options.path, files, self._start)
        setattr(self, ENDPOINT, self._endpoint)
        setattr(self, hosting.CLOSE, self.close)
        setattr(self, hosting.HEALTH, self.health)
        #: Begun by a signal; and what every closing has while it lasts.
        self._closing: asyncio.Task[None] | None = None
        self._closes: asyncio.Lock
        self._signals = hosting.SignalChain(self._told_to_end)
        module: str = sys._getframe(1).f_globals.get("__name__", "")
        self._identity = Identity(self._options.cluster_id, module, self._options.path)
        self._neighbourhood: Neighbourhood | None = None
        #: That of the workers of this host, where no other was given.
        self._workers_bus: UnixBus | None = None

    @property
    def options(self) -> Options:
        """The options in force."""
        return self._options

    @property
    def counts(self) -> Counts:
        """Plain totals of what this server saw, such as `io.counts["connections_opened"]`.

        Raises ConfigurationError where an `observer` of yours counts.
        """
        return own_counts(self._observer)

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self._main)

    # Namespaces.

    @overload
    def of(
        self,
        name: str,
        *,
        connection_state_recovery: bool | Recovery | None = None,
        ordered: bool | None = None,
    ) -> Namespace: ...
    @overload
    def of(
        self,
        name: re.Pattern[str] | Callable[..., bool | Awaitable[bool]],
        *,
        connection_state_recovery: bool | Recovery | None = None,
        ordered: bool | None = None,
    ) -> ParentNamespace: ...
    def of(
        self, name: Any, *, connection_state_recovery: bool | Recovery | None = None, ordered: bool | None = None
    ) -> Any:
        """The namespace of that name, made at the first call.

        A compiled pattern, searched in the names clients ask for, or a function of name and auth, plain or async,
        makes a parent: what is registered on it holds for all namespaces it lets be. Static names win.

        `connection_state_recovery` and `ordered` are those of the server where they are not given; they count at the
        call that makes the namespace.
        """
        recovery = (
            self._options.connection_state_recovery
            if connection_state_recovery is None
            else recovery_options(connection_state_recovery)
        )
        return self._hub.of(name, recovery, self._options.ordered if ordered is None else ordered)

    @property
    def sockets(self) -> Namespace:
        """The main namespace, as in the JavaScript API; `io.sockets.sockets` is its map."""
        return self._main

    @overload
    def on(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def on(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Registers a handler of an event of every socket of the main namespace. See `Namespace.on`.

        `new_namespace` tells of each namespace that is made: a plain function of it.
        """
        if event == "new_namespace":
            if handler is None:
                return lambda function: self.on(event, function)
            self._hub.add_namespace_listener(handler)
            return handler
        if handler is None:
            return self._main.on(event, **options)
        return self._main.on(event, handler, **options)

    @overload
    def once(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def once(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Like `on`, for the next event of that name only."""
        if handler is None:
            return self._main.once(event, **options)
        return self._main.once(event, handler, **options)

    def off(self, event: str | None = None, handler: Function | None = None) -> None:
        """Removes a handler of the main namespace, all of an event, or all."""
        self._main.off(event, handler)

    def listeners(self, event: str) -> list[Function]:
        """The main namespace's handlers of an event."""
        return self._main.listeners(event)

    def use(self, middleware: F) -> F:
        """Registers a connection middleware of the main namespace. See `Namespace.use`."""
        return self._main.use(middleware)

    def on_error(self, listener: F) -> F:
        """Calls `listener(error, socket, event)` for every exception of a handler; they are logged all the same.

        A plain function, called on the loop; usable as a decorator.
        """
        self._hub.add_error_listener(listener)
        return listener

    @overload
    def on_server(self, event: str) -> Callable[[F], F]: ...
    @overload
    def on_server(self, event: str, listener: F) -> F: ...
    def on_server(self, event: str, listener: F | None = None) -> Any:
        """Hears `server_side_emit` of other servers. A plain function; what it returns is its answer."""
        if listener is None:
            return lambda function: self.on_server(event, function)
        self._hub.add_server_listener(event, listener)
        return listener

    @overload
    def on_room(self, event: RoomEvent) -> Callable[[F], F]: ...
    @overload
    def on_room(self, event: RoomEvent, listener: F) -> F: ...
    def on_room(self, event: RoomEvent, listener: F | None = None) -> Any:
        """Tells of the main namespace's rooms. See `Namespace.on_room`."""
        return self._main.on_room(event) if listener is None else self._main.on_room(event, listener)

    @property
    def rooms(self) -> RoomTable:
        """The main namespace's rooms, and the ids in each; read-only."""
        return self._main.rooms

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Sends an event to the other servers."""
        self._main.server_side_emit(event, *args)

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """The same, and the first argument of each server's answer; none where this server is the only one."""
        return await self._main.server_side_emit_with_ack(event, *args, timeout=timeout)

    def adapter(self, bus: Bus) -> None:
        """Joins a cluster: what goes to sockets of every server goes by this bus. Before the server starts.

        The same as `Server(adapter=bus)`. Raises ConfigurationError where the server runs or has a bus already, and for
        what is no bus.
        """
        check_is_bus(bus)
        if self._cluster is not None and self._workers_bus is None:
            raise ConfigurationError("a server has one adapter, and this one has it already")
        if self._hub.thread and not self.engine.closed:
            raise ConfigurationError("the server runs: give it its adapter before that, as Server(adapter=...)")
        self._cluster, self._workers_bus = Cluster(bus, self._options), None
        self._hub.adapt(self._cluster.adapter)

    # Hosting.

    def _start(self) -> None:
        """Binds to the running loop, at the first request at the latest. A server that was closed stays so."""
        if not self._is_of_this_loop:
            self._open()

    async def _start_again(self) -> None:
        """The same, and one that was closed opens again, unless it was the process that was told to end."""
        if self._is_of_this_loop and self.engine.closing and self._closing is None:
            await self._open_again()
        else:
            self._start()

    async def _open_again(self) -> None:
        """Opens, behind a closing that another task may be at still."""
        if self._is_of_this_loop and self.engine.closing:
            await self.close()
        self._open()

    @property
    def _is_of_this_loop(self) -> bool:
        return getattr(self.engine, "loop", None) is asyncio.get_running_loop()

    def _open(self) -> None:
        engine = self.engine
        anew = not self._is_of_this_loop or engine.closed
        engine.start()
        if anew:
            self._closes = asyncio.Lock()
            self._join_workers()
        self._hub.start(engine)
        if self._cluster is not None:
            try:
                self._cluster.start(self._hub)
            except Exception as error:
                # Where nobody waits for the start, the first request fails, and the next ones would hide it.
                self._hub.reporter.error(f"the bus could not be started: {error}")
                raise
        self._closing = None
        if self._options.handle_signals:
            self._signals.chain(self.engine.loop)

    def _join_workers(self) -> None:
        """Where this process is one of several workers: its place among them, and the bus that makes one server of all,
        unless it has another one."""
        self.engine.locate = None
        if self._neighbourhood is not None:
            # Of a loop that has ended without a word to this server.
            self._neighbourhood.abandon()
            self._neighbourhood = None
        if self._workers_bus is not None:
            self._workers_bus.abandon()
        self._identity.claim()
        folder = self._identity.folder()
        if folder is None:
            return
        if self._identity.named and self._identity.number:
            # Where a variable names the cluster, an application of several servers is nothing to warn of.
            level = logging.INFO if self._options.cluster_id is None else logging.WARNING
            logger.log(level, _ONE_OF_SEVERAL, self._identity.cluster_id, self._identity.number + 1)
        try:
            self._neighbourhood = Neighbourhood(self.engine, folder, self._workers_moved)
        except OSError as error:
            if self._identity.named:
                raise ConfigurationError(f"cluster_id={self._options.cluster_id!r}: {error}") from error
            logger.warning("this worker is alone, and needs sticky sessions: %s", error)
            return
        if self._cluster is None or self._workers_bus is not None:
            self._workers_bus = UnixBus(self._neighbourhood.folder, self._neighbourhood.tag)
            # Who starts the workers tells of them: here, each would tell of each.
            self._cluster = Cluster(self._workers_bus, self._options, quiet=not self._identity.named)
            self._hub.adapt(self._cluster.adapter)

    def _workers_moved(self, folder: Path) -> None:
        if self._workers_bus is not None:
            # Its next look at the folder is at that one.
            self._workers_bus.directory = folder

    def _told_to_end(self) -> None:
        self._begin_closing()
        if self._closing is None:
            self._closing = self.engine.loop.create_task(self.close())

    def _begin_closing(self) -> None:
        self.engine.begin_closing()
        if self._neighbourhood is not None:
            self._neighbourhood.release_polls()

    async def close(self) -> None:
        """Ends every session: `server shutting down`. New ones are refused from the first moment on.

        Polls are answered at once, closings of WebSockets spread so that not all clients come back in one moment, over
        `drain_seconds` at the most. Clients reconnect by themselves. Idempotent.
        """
        if not self._is_of_this_loop:
            return
        if self._closing is not None and self._closing is not asyncio.current_task():
            await asyncio.wait((self._closing,))
            return
        self._begin_closing()
        async with self._closes:
            await self._close()

    async def _close(self) -> None:
        if self._cluster is not None:
            self._cluster.begin_closing()
        leaves = self._cluster is not None and self._cluster.leaves_sessions
        try:
            await self.engine.close(self._options.drain_seconds, confirm=leaves)
        finally:
            if self._cluster is not None:
                await self._cluster.close()
            if self._neighbourhood is not None:
                await self._neighbourhood.leave()
                self._neighbourhood = None
            self._identity.release()
        self._hub.threads.close()
        self._signals.restore()

    def health(self) -> dict[str, Any]:
        """The state of this server: `status` is `ok`, `closing` or `degraded`; and how many sessions are open.

        `pid` is the process, and `tag` what the ids of its sessions begin with: which of several workers this one is.
        In a cluster, `bus` tells of the bus; where that is not `ok`, neither is the server.
        """
        engine = self.engine
        state: dict[str, Any] = {
            "status": "closing" if engine.closing else "ok",
            "connections": engine.clients_count,
            "pid": os.getpid(),
            "tag": engine.tag,
        }
        if self._cluster is not None:
            state["bus"] = self._cluster.health()
            # Before its start nothing is wrong with it: where there is no lifespan, the first request is the start.
            started = getattr(engine, "loop", None) is not None
            if started and state["status"] == "ok" and state["bus"]["status"] != "ok":
                state["status"] = "degraded"
        return state

    async def health_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`health()` as an ASGI application to mount: 200, and 503 while closing."""
        if scope["type"] == "http":
            await answer_health(self.health(), send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._own_lifespan(scope, receive, send)
        else:
            await self._endpoint(scope, receive, send)

    async def _own_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            context = self.lifespan(self)
            scope.get("state", {}).update(await context.__aenter__() or {})
        except Exception as error:
            if isinstance(error, ConfigurationError):
                # It says what to do; where in this library it was found does not help.
                logger.error("the lifespan failed to start: %s", error)
            else:
                logger.exception("the lifespan failed to start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await context.__aexit__(None, None, None)
        except Exception as error:
            logger.exception("the lifespan failed to end")
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            return
        await send({"type": "lifespan.shutdown.complete"})

    def lifespan(self, app: Any) -> Any:
        """For an application this server is mounted in: `FastAPI(lifespan=io.lifespan)`.

        It starts the server early, also one that was closed before, closes it at the end, and enters the `lifespan`
        option's own context. Given another lifespan instead of an application, it returns one that does both:
        `FastAPI(lifespan=io.lifespan(mine))`.
        """
        if _is_lifespan(app):
            return lambda application: self._lifespan(application, app)
        return self._lifespan(app, self._options.lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any, inner: Callable[[Any], Any] | None) -> AsyncIterator[Any]:
        await self._start_again()
        if self._cluster is not None:
            await self._cluster.meet()
        try:
            if inner is None:
                yield
            else:
                async with inner(app) as state:
                    yield state
        finally:
            await self.close()

    def wrap(self, app: Callable[..., Any]) -> Wrapped:
        """An ASGI application: this server under its `path`, and `app`, which keeps its lifespan, everywhere else."""
        return Wrapped(self, app)

    async def listen(self, host: str = "127.0.0.1", port: int = 0, **uvicorn_options: Any) -> hosting.Listening:
        """Serves in the running loop, and returns when it listens; port 0 finds a free one, `.port` says which.

        Options are uvicorn's, such as `ssl_certfile`. Raises OSError where the address cannot be had. Cancelling the
        task that called it later does not close it: use `async with`, or `.close()`.
        """
        await self._open_again()
        return await hosting.listen(self, host, port, self.close, **uvicorn_options)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 3000,
        *,
        workers: int = 1,
        worker_timeout: float = WORKER_TIMEOUT,
        **uvicorn_options: Any,
    ) -> None:
        """Serves until SIGINT or SIGTERM; for scripts. Options are uvicorn's, such as `ssl_certfile` or `log_level`.

        With several `workers` the script is started once more for each, and this call, in the first process, watches
        them: one that dies is replaced, as is one whose loop stands still for `worker_timeout` seconds. SIGHUP replaces
        all, one by one. Raises ConfigurationError where there is no script to start again.
        """
        run(self, host, port, workers, worker_timeout, **uvicorn_options)


def _is_lifespan(candidate: Any) -> bool:
    """Whether it can be called with an application; an ASGI application takes scope, receive and send."""
    try:
        inspect.signature(candidate).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def _places_of_the_application() -> list[Path]:
    """Where `node_modules` may stand: beside the file that runs, where modules are imported from, and here."""
    # A command that serves a module of another folder puts that first.
    places = [Path(sys.path[0]).resolve(), Path.cwd()] if sys.path else [Path.cwd()]
    main_file = getattr(sys.modules.get("__main__"), "__file__", None)
    if main_file is not None:
        places.insert(0, Path(main_file).resolve().parent)
    return places
