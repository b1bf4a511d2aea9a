"""Serving by uvicorn with our classes, and beginning to close when the process is told to end.

Relies, beyond documented use, on `startup`, `shutdown`, `capture_signals`, `servers`, `server_state` and `lifespan` of
uvicorn's server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn._types import ASGIApplication
from uvicorn.config import LOGGING_CONFIG

from duplexio.integrations.asgi import ENDPOINT, AsgiEndpoint
from duplexio.integrations.uvicorn_entry import EntryProtocol, State
from duplexio.integrations.uvicorn_websocket import WebSocketProtocol

__all__ = [
    "CLOSE",
    "HEALTH",
    "Listening",
    "SignalChain",
    "UvicornServer",
    "bound_socket",
    "configuration",
    "find_close",
    "find_health",
    "listen",
]

logger = logging.getLogger("duplexio")

#: After the drain, for requests of the surrounding application that are still running.
GRACEFUL_SECONDS = 10


def configuration(app: ASGIApplication | Callable[..., Any] | str, **options: Any) -> uvicorn.Config:
    """uvicorn's, with our protocol classes; its own options win."""
    host = options.get("host")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"the host is a str, not {host!r}; the port comes second, or by name: port={host!r}")
    defaults: dict[str, Any] = {
        "http": EntryProtocol,
        "ws": WebSocketProtocol,
        "timeout_graceful_shutdown": GRACEFUL_SECONDS,
        "ws_max_size": 16 * 1024 * 1024,
    }
    return uvicorn.Config(app, **{**defaults, **options})


def log_config() -> dict[str, Any]:
    """uvicorn's, with duplexio's own lines among its."""
    loggers = {**LOGGING_CONFIG["loggers"], "duplexio": {"handlers": ["default"], "level": "INFO", "propagate": False}}
    return {**LOGGING_CONFIG, "loggers": loggers}


def bound_socket(config: uvicorn.Config) -> socket.socket:
    """What several processes are to listen on; where it cannot be had, says of which address, and ends the program."""
    if config.uds is not None:
        _remove_socket(config.uds)
    try:
        return config.bind_socket()
    except SystemExit:
        # uvicorn has said why.
        logger.error("cannot listen on %s", config.uds or f"{config.host}:{config.port}")
        raise


def _remove_socket(path: str) -> None:
    """A server leaves its Unix socket behind, and the next cannot have it then. The loops' own servers do the same."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)


#: Serves a socket that listens, by protocols it makes and under TLS where there is a context; it is told how many
#: connections there are. Returns what `asyncio.Server` would be.
Listen = Callable[
    [socket.socket, Callable[[], asyncio.Protocol], ssl.SSLContext | None, Callable[[], int]],
    Any,
]


class UvicornServer(uvicorn.Server):
    """uvicorn's server; told to end, it first lets ours close its sessions, while their connections still stand."""

    def __init__(
        self,
        config: uvicorn.Config,
        close: Callable[[], Awaitable[None]] | None = None,
        signals: bool = True,
        began: Callable[[], None] | None = None,
        listen: Listen | None = None,
    ) -> None:
        """`began` is called on the loop when it listens; `listen` serves the sockets that `run` is given."""
        super().__init__(config)
        self._state = self.server_state = State()
        self._listen = listen
        self._endpoints: list[AsgiEndpoint] = []
        self._close = close
        self._signals = signals
        self._began = began

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if self._signals:
            with super().capture_signals():
                yield
        else:
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._listen is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._endpoints = find_endpoints(self.config.loaded_app)
            for listener in sockets or ():
                listener.listen(self.config.backlog)
                served = self._listen(listener, self._make_protocol, self.config.ssl, self._count_connections)
                self.servers.append(served)
        if self.started and self._began is not None:
            self._began()

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def _count_connections(self) -> int:
        adopted = sum([len(endpoint.engine.adopted) for endpoint in self._endpoints])
        return len(self.server_state.connections) + adopted

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        close = self._close or find_close(self.config.loaded_app)
        if close is not None:
            await close()
        self._state.ending = True
        await super().shutdown(sockets)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first socket that listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port


#: The attributes by which an application of ours offers its closing, and tells its state.
CLOSE = "__duplexio_close__"
HEALTH = "__duplexio_health__"


def find_close(app: Any) -> Callable[[], Awaitable[None]] | None:
    """The closing of the Socket.IO server in an application: itself, wrapped around it, or mounted in it."""
    return _find(app, CLOSE)  # type: ignore[no-any-return]


def find_health(app: Any) -> Callable[[], dict[str, Any]] | None:
    """What tells the state of the Socket.IO server in an application."""
    return _find(app, HEALTH)  # type: ignore[no-any-return]


def find_endpoints(app: Any) -> list[AsgiEndpoint]:
    """Those of all Socket.IO servers in an application."""
    return list(dict.fromkeys(getattr(part, ENDPOINT) for part in _parts(app) if getattr(part, ENDPOINT, None)))


def _find(app: Any, attribute: str) -> Any:
    for part in _parts(app):
        found = getattr(part, attribute, None)
        if found is not None:
            return found
    return None


def _parts(app: Any) -> Iterator[Any]:
    """An application, what it wraps and what is mounted in it."""
    seen: set[int] = set()
    waiting = [app]
    # An application's tree of mounts and middlewares is small; a thousand nodes are a cycle of wrappers.
    while waiting and len(seen) < 1000:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting.append(getattr(part, "app", None))
        routes = getattr(part, "routes", None)
        if isinstance(routes, list | tuple):
            waiting.extend(routes)


class Listening:
    """A server that listens in this event loop; leaving `async with` closes it.

    Attributes:
        host, port: where; the port that was found where 0 was asked for.
    """

    def __init__(self, server: UvicornServer, task: asyncio.Task[None]) -> None:
        self._server = server
        self._task = task
        self.host, self.port = server.address

    @property
    def url(self) -> str:
        scheme = "https" if self._server.config.is_ssl else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    async def close(self) -> None:
        """Ends every session and stops listening. Idempotent."""
        self._server.should_exit = True
        await asyncio.wait((self._task,))

    async def wait_closed(self) -> None:
        """Waits until it is closed, by whomever."""
        await asyncio.wait((self._task,))

    async def __aenter__(self) -> Listening:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def listen(app: Any, host: str, port: int, close: Callable[[], Awaitable[None]], **options: Any) -> Listening:
    """Serves `app` in the running loop. Returns when it listens.

    Raises OSError where the address cannot be had, ssl.SSLError for a certificate that cannot be used.
    """
    config = configuration(app, host=host, port=port, **{"log_level": "warning", "access_log": False, **options})
    sockets = [_bind(host, port)]
    try:
        config.load()
        server = UvicornServer(config, close, signals=False)
    except (OSError, ssl.SSLError):
        sockets[0].close()
        raise
    task = asyncio.create_task(_serve(server, sockets))
    # uvicorn sets a flag and nothing else.
    while not server.started and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    if task.done():
        sockets[0].close()
        await task
        raise OSError(f"could not serve on {host}:{port}: the application failed to start; its log says why")
    return Listening(server, task)


async def _serve(server: UvicornServer, sockets: list[socket.socket]) -> None:
    with contextlib.suppress(SystemExit):
        # uvicorn's way to say that the application failed to start; it would end the whole program.
        await server.serve(sockets)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


class SignalChain:
    """Hears SIGTERM and SIGINT before whoever handles them now.

    A pending poll is a running request, and servers wait for those before they tell an application to stop. Signals
    reach only the main thread; elsewhere nothing is done.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._installed: dict[int, _Link] = {}

    def chain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Calls `heard` on the loop at either signal, then the handlers that are installed now."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.restore()
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            if previous is not None:
                link = self._installed[number] = _Link(previous, self._heard, loop)
                signal.signal(number, link)

    def restore(self) -> None:
        """Puts back what was there; where somebody has come after, whoever goes last does."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, link in self._installed.items():
            link.given_up = True
            handler = installed = signal.getsignal(number)
            while isinstance(handler, _Link) and handler.given_up:
                handler = handler.previous
            if handler is not installed:
                signal.signal(number, handler)
        self._installed.clear()


class _Link:
    """A handler of a signal that calls the one before it."""

    def __init__(self, previous: Any, heard: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.previous = previous
        self.given_up = False
        self._heard = heard
        self._loop = loop

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.given_up and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard)
        if callable(self.previous):
            self.previous(number, frame)
        elif self.previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
