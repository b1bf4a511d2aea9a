"""The client: one function to begin with."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar, Unpack

from duplexio.client_options import SOCKET_OPTIONS, ClientOptions, ClientSettings
from duplexio.hub.client_socket import ClientSocket
from duplexio.hub.manager import Manager
from duplexio.protocol.server_url import ServerUrl, parse_server_url

__all__ = ["ClientSocket", "Manager", "SharedManagers", "connect"]


class Shareable(Protocol):
    """What is asked of a manager that sockets may share."""

    @property
    def settings(self) -> ClientSettings: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def sockets(self) -> Mapping[str, object]: ...
    @property
    def usable_here(self) -> bool: ...
    @property
    def in_use(self) -> bool: ...


M = TypeVar("M", bound=Shareable)


class SharedManagers(Generic[M]):
    """The managers that `connect` has made, for the next socket of the same server."""

    def __init__(self, make: Callable[..., M]) -> None:
        self._make = make
        #: By server and endpoint; each with the number of the call that found it last.
        self._known: dict[tuple[str, str], weakref.WeakKeyDictionary[M, int]] = {}
        self._calls = itertools.count()
        #: Held until the socket is made, too: two threads get two sockets. A handler of a signal may ask again.
        self.lock = threading.RLock()

    def find(self, url: str, options: ClientOptions) -> tuple[M, str, ClientOptions]:
        """A manager for the URL, the namespace that it names, and the options that are of its socket."""
        settings = ClientSettings(options)
        server = parse_server_url(url, settings.path)
        shares = settings.multiplex and not settings.force_new
        key = server.origin + server.credentials, settings.path
        known = self._known.setdefault(key, weakref.WeakKeyDictionary())
        manager: M | None = None
        if shares:
            shareable = [(m.in_use, call, m) for m, call in known.items() if _may_share(m, server, settings)]
            # One that is connected rather than one that nobody may use any more; then the one asked for last.
            manager = max(shareable, key=lambda found: found[:2], default=(False, 0, None))[2]
        if manager is None:
            # Without what is this socket's alone: another one's middleware is not to be shown its token.
            of_the_connection = {name: value for name, value in options.items() if name not in SOCKET_OPTIONS}
            manager = self._make(url, **of_the_connection)
        if shares:
            known[manager] = next(self._calls)
        for key in [key for key, managers in self._known.items() if not managers]:
            del self._known[key]
        own: ClientOptions = {name: value for name, value in options.items() if name in SOCKET_OPTIONS}  # type: ignore[assignment]
        return manager, server.namespace, own


_shared = SharedManagers(Manager)


def connect(url: str, **options: Unpack[ClientOptions]) -> ClientSocket:
    """A socket of the namespace that the URL's path names. Dials nothing yet.

        async with connect("http://localhost:3000/orders", auth={"token": "..."}) as socket:
            ...

    `await socket.connect()` dials, too, and `socket.open()` begins to without waiting. Sockets of several namespaces of
    one server share its connection where their other options are the same, unless `multiplex=False` or
    `force_new=True`; a namespace that is taken gets a connection of its own.

    Options are keyword arguments; `docs/reference/client-options.md` lists them with their defaults and reasons. Raises
    ConfigurationError for one that cannot be, or a URL that is none.
    """
    with _shared.lock:
        manager, namespace, own = _shared.find(url, options)
        return manager.socket(namespace, **own)


def _may_share(manager: Shareable, server: ServerUrl, settings: ClientSettings) -> bool:
    return (
        server.namespace not in manager.sockets
        and manager.usable_here
        and manager.settings.of_the_connection() == settings.of_the_connection()
        and manager.query == server.query
    )
