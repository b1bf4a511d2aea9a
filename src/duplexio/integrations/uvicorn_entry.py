"""`http=` under uvicorn: what a connection begins with says whose it is.

A WebSocket handshake at our endpoint comes whole in the first segment, nearly always: it is parsed, answered and handed
to picows here, and none of uvicorn's objects are made for it, which cost a fourth of opening a session. Anything else
is `HttpProtocol`'s from its first byte on, and what is wrong with it is found there. Relies, beyond documented use, on
the constructor's keyword arguments.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from duplexio.integrations import uvicorn_http
from duplexio.integrations.asgi import AsgiEndpoint
from duplexio.integrations.unread import close_when_read
from duplexio.integrations.uvicorn_handshake import asks_for_websocket, begin_websocket
from duplexio.integrations.uvicorn_http import MAX_HEAD, HttpProtocol, endpoint_of
from duplexio.integrations.uvicorn_request import make_request

__all__ = ["EntryProtocol", "State"]

Headers = list[tuple[bytes, bytes]]


#: Seconds for the first request on a connection, where the server ends: a busy client's own delay.
LAST_REQUEST = 0.5


class _Head:
    """What httptools tells of a head."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


class State(ServerState):
    """uvicorn's, of a server that says when it ends.

    Attributes:
        ending: connections have been told to end; those that are made from now on are not.
    """

    ending = False


class EntryProtocol(asyncio.Protocol):
    """What uvicorn makes for each connection."""

    __slots__ = (
        "_due",
        "_ending",
        "app_state",
        "client",
        "config",
        "connections",
        "root_path",
        "scheme",
        "server",
        "server_state",
        "transport",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.root_path = config.root_path
        self.server_state = server_state
        self.app_state = app_state
        self.connections: set[Any] = server_state.connections
        self.transport: asyncio.Transport
        #: When a head has to be here that has not begun yet.
        self._due: asyncio.TimerHandle | None = None
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.connections.add(self)
        self._due = asyncio.get_running_loop().call_later(uvicorn_http.HEADER_TIMEOUT, self._too_late)
        if isinstance(self.server_state, State) and self.server_state.ending:
            # Its TLS handshake took until now; the server waits for it to end.
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._heard()

    def _too_late(self) -> None:
        self._due = None
        close_when_read(self.transport, None)

    def _heard(self) -> float:
        """Something came. Until when the head has to be whole, by the loop's clock."""
        due, self._due = self._due, None
        if due is None:
            return 0.0
        due.cancel()
        return due.when()

    def shutdown(self) -> None:
        """uvicorn ends. Who has connected just now is about to ask: other workers' sessions may hang on the answer."""
        self._ending = True
        asyncio.get_running_loop().call_later(LAST_REQUEST, self._end)

    def _end(self) -> None:
        # Not what somebody else has taken over.
        if self._due is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        due = self._heard()
        endpoint = endpoint_of(self.config.loaded_app)
        if endpoint is None or not _may_be_handshake(data, endpoint) or not self._shake_hands(data, endpoint):
            self.connections.discard(self)
            protocol = HttpProtocol(self.config, self.server_state, self.app_state)
            protocol.take_over(self.transport, data, due)
            if self._ending and self.transport.get_protocol() is protocol:
                # The answer is the connection's last.
                protocol.shutdown()

    def _shake_hands(self, data: bytes, endpoint: AsgiEndpoint) -> bool:
        """False: it is something else, or not whole; nothing was done then."""
        head = _Head()
        try:
            httptools.HttpRequestParser(head).feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            leftover = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            return False
        else:
            return False
        if self.config.ws_protocol_class is None or not asks_for_websocket(head.headers):
            return False
        self.client, self.server = get_remote_addr(self.transport), get_local_addr(self.transport)
        self.scheme = "https" if is_ssl(self.transport) else "http"
        endpoint.start()
        begin_websocket(self, endpoint, make_request(self, "GET", head.url, head.headers, websocket=True), leftover)
        return True

    def upgraded(self) -> None:
        """The connection is another's now."""


def _may_be_handshake(data: bytes, endpoint: AsgiEndpoint) -> bool:
    """Only a guess by the request line: it keeps what is none from being parsed twice."""
    if not data.startswith(b"GET ") or len(data) > MAX_HEAD:
        return False
    path, _, query = data[4 : data.find(b"\r")].partition(b"?")
    return path in endpoint.raw_paths and b"transport=websocket" in query
