"""What all namespaces of a server share: its options, codec, threads, and the table of the namespaces themselves."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from duplexio.engine.connection import Connection
from duplexio.engine.server import EngineServer
from duplexio.engine.wheel import Wheel
from duplexio.errors import ConfigurationError, ReservedEvent
from duplexio.hub.functions import is_async, require_plain
from duplexio.hub.namespace import Namespace, ParentNamespace, TooManyNamespaces
from duplexio.hub.peer import Peer
from duplexio.hub.threads import Threads
from duplexio.observe import Reporter
from duplexio.options import Options, Recovery
from duplexio.protocol.codec_json import Codec, JsonCodec, UserCodec
from duplexio.protocol.socket_packet import RESERVED_EVENTS
from duplexio.types import Auth

__all__ = ["Hub"]

#: How a dynamic namespace decides: whether this name, with this `auth`, may exist.
NamespaceTest = Callable[[str, Auth], bool | Awaitable[bool]]


class Hub:
    """The context of every namespace, socket and peer of one server."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self.options = options
        self.reporter = reporter
        self.codec: Codec = JsonCodec()
        if options.dumps is not None or options.loads is not None:
            self.codec = UserCodec(options.dumps, options.loads)
        self.namespaces: dict[str, Namespace] = {}
        self.parents: list[ParentNamespace] = []
        self.loop: asyncio.AbstractEventLoop
        self.wheel: Wheel
        self.threads: Threads
        #: The thread that runs the loop; 0 before there is one.
        self.thread = 0
        #: Handlers that are running: the loop itself keeps no reference to a task.
        self.running: set[asyncio.Future[Any]] = set()
        self.error_listeners: list[Callable[..., Any]] = []
        self.namespace_listeners: list[Callable[..., Any]] = []
        self.server_listeners: dict[str, list[Callable[..., Any]]] = {}
        self._ack_id = 0
        self._dynamic = 0

    def start(self, engine: EngineServer) -> None:
        """Binds to the running loop."""
        self.loop = engine.loop
        self.wheel = engine.wheel
        self.thread = threading.get_ident()
        self.threads = Threads(self.loop, self.options.max_threads)

    def owner(self, connection: Connection) -> Peer:
        """What gets the packets of a new connection."""
        return Peer(connection, self)

    def next_ack_id(self) -> int:
        """One counter for all, so that a broadcast has one id for all its receivers."""
        self._ack_id += 1
        return self._ack_id

    def check_event(self, event: str) -> None:
        """Raises ReservedEvent, or TypeError for a name that is no str."""
        if not isinstance(event, str):
            raise TypeError(f"an event's name is a str, not {type(event).__name__}: {event!r}")
        if event in RESERVED_EVENTS:
            raise ReservedEvent(event)

    def on_loop(self) -> bool:
        """Whether the caller is on the loop's thread, or there is no loop yet."""
        return threading.get_ident() == self.thread or not self.thread

    def call(self, function: Callable[[], object]) -> None:
        """Calls it now on the loop's thread, and from any other queues it to the loop, in the order of the calls."""
        if self.on_loop():
            function()
        else:
            self.loop.call_soon_threadsafe(partial(self._called, function))

    def _called(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            self.reporter.failure("a call from another thread failed", error)

    def keep(self, future: asyncio.Future[Any]) -> None:
        """Holds a running handler until it ends."""
        self.running.add(future)
        future.add_done_callback(self.running.discard)

    def tell_error(self, error: BaseException, socket: Any, event: str) -> None:
        """The user's `on_error` listeners."""
        for listener in self.error_listeners:
            try:
                listener(error, socket, event)
            except Exception as failure:
                self.reporter.failure("an on_error listener raised", failure)

    # Namespaces.

    def of(self, name: Any, recovery: Recovery | None, ordered: bool) -> Namespace | ParentNamespace:
        """The namespace of that name, made where it is new; a parent for a pattern or a function."""
        if isinstance(name, str):
            name = name if name.startswith("/") else "/" + name
            namespace = self.namespaces.get(name)
            if namespace is None:
                self._check_name(name)
                namespace = self._add(Namespace(name, self, recovery, ordered))
            return namespace
        if isinstance(name, re.Pattern):
            pattern = name
            parent = ParentNamespace(self, lambda asked, auth: pattern.search(asked) is not None, recovery, ordered)
        elif callable(name):
            parent = ParentNamespace(self, name, recovery, ordered)
        else:
            raise ConfigurationError(
                f"of({name!r}): expected a name, a compiled pattern or a function of name and auth"
            )
        self.parents.append(parent)
        return parent

    def _check_name(self, name: str) -> None:
        if "," in name or len(name.encode()) > self.options.max_name_length:
            raise ConfigurationError(
                f"the namespace {name!r} cannot be: no comma, and at most {self.options.max_name_length} bytes"
            )

    def _add(self, namespace: Namespace) -> Namespace:
        self.namespaces[namespace.name] = namespace
        if namespace.name != "/":
            for listener in self.namespace_listeners:
                try:
                    listener(namespace)
                except Exception as error:
                    self.reporter.failure("a new_namespace listener raised", error)
        return namespace

    async def resolve(self, name: str, auth: Auth) -> Namespace | None:
        """The namespace a client asks for; static ones win, then parents in order of registration.

        Raises TooManyNamespaces.
        """
        for parent in list(self.parents):
            answer = parent.test(name, auth)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                # While a function was awaited, another client may have made it.
                existing = self.namespaces.get(name)
                return existing if existing is not None else self._child(parent, name)
        return None

    def _child(self, parent: ParentNamespace, name: str) -> Namespace:
        if self._dynamic >= self.options.max_dynamic_namespaces:
            raise TooManyNamespaces
        self._dynamic += 1
        child = Namespace(name, self, parent.recovery, parent.ordered, parent)
        parent.children[name] = child
        return self._add(child)

    def emptied(self, namespace: Namespace) -> None:
        """Nobody is in the namespace, or on the way into it."""
        parent = namespace.parent
        # One whose sockets may be recovered has to stay: their sessions are in it.
        if parent is not None and self.options.cleanup_empty_child_namespaces and namespace.log is None:
            self._dynamic -= parent.children.pop(namespace.name, None) is not None
            self.namespaces.pop(namespace.name, None)

    def add_error_listener(self, listener: Callable[..., Any]) -> None:
        require_plain(listener, "an on_error listener")
        self.error_listeners.append(listener)

    def add_namespace_listener(self, listener: Callable[..., Any]) -> None:
        require_plain(listener, "a new_namespace listener")
        self.namespace_listeners.append(listener)

    def add_server_listener(self, event: str, listener: Callable[..., Any]) -> None:
        if is_async(listener):
            raise TypeError("an on_server listener must be a plain def; what it returns is its answer")
        self.server_listeners.setdefault(event, []).append(listener)
