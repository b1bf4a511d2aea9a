"""A client's session: dialled, opened, and moved to a better transport where the server has one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit, urlunsplit

from python_socks import ProxyError

from duplexio.client_options import ClientSettings
from duplexio.engine.connection import Connection, Owner
from duplexio.engine.http_client import Cookies, HttpClient, HttpFailure, HttpOptions, Response
from duplexio.engine.polling_client import ClientPolling
from duplexio.engine.probe import Probe, ProbeFailed
from duplexio.engine.refused import of_failure, of_response, of_timeout, of_websocket, of_websocket_end, root_of
from duplexio.engine.transport import Sink, Transport
from duplexio.engine.websocket import CLOSE_GRACE
from duplexio.engine.websocket3 import WebSocket3
from duplexio.engine.websocket_client import ClientWebSocket, WebSocketRefused, WebSocketWay, dial
from duplexio.engine.wheel import Wheel
from duplexio.errors import ConnectError, ConnectTimeout, EnginePacketError
from duplexio.observe import Reporter
from duplexio.options import OutboxPolicy
from duplexio.protocol import engine_packet3
from duplexio.protocol.engine_handshake import Request
from duplexio.protocol.engine_open import Opened, decode_open
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.engine_session import State
from duplexio.protocol.payload_format import PayloadFormat
from duplexio.protocol.server_url import ServerUrl, with_query
from duplexio.types import CloseReason

__all__ = ["EngineClient"]

_stamps = itertools.count()
#: How long the ends of WebSockets are waited for: each is aborted before, where the other end does not answer.
WEBSOCKET_SECONDS = CLOSE_GRACE + 1.0
#: Headers that are for one server, in lower case.
CREDENTIALS = frozenset(("authorization", "cookie"))


class SessionOptions:
    """See `EngineOptions`: the client's limits, and the server's heartbeat once it is known."""

    def __init__(self, settings: ClientSettings) -> None:
        self.ping_interval = self.ping_timeout = 0.0
        self.max_outbox_bytes = settings.max_outbox_bytes
        self.max_outbox_packets = settings.max_outbox_packets
        self.outbox_policy: OutboxPolicy = settings.outbox_policy


class EngineClient:
    """One session with a server, from the dial to its end. See `connection.Engine`."""

    client = True

    def __init__(
        self,
        url: ServerUrl,
        settings: ClientSettings,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        cookies: Cookies | None,
        wheel: Wheel,
        reporter: Reporter,
        owner: Callable[[Connection], Owner],
    ) -> None:
        """`owner` makes what gets the packets of the connection that is opened."""
        self.loop = asyncio.get_running_loop()
        self.wheel = wheel
        self.options = SessionOptions(settings)
        self.reporter = reporter
        self.connection: Connection | None = None
        self.failed_upgrade = ""
        self._url = url
        self._settings = settings
        self._headers = dict(headers)
        self._query = dict(query)
        self._cookies = cookies
        self._owner = owner
        self._endpoint = url.endpoint(settings.path, settings.add_trailing_slash)
        self._sid = ""
        #: Whether a redirect led to another server than the one that the credentials are for.
        self._elsewhere = False
        self._http: HttpClient | None = None
        self._polling: ClientPolling | None = None
        self._probing: asyncio.Task[None] | None = None
        self._carriers: list[ClientWebSocket] = []
        #: What is being tried, and what there is to say of it where it takes too long.
        self._stage = "", ""

    # Opening.

    async def open(self, websocket_first: bool = False) -> Connection:
        """Opens a session by the first transport, or, where that was asked for, by the next that can.

        Raises ConnectError. Cancelling it leaves nothing behind but what `wait_closed` waits for.
        """
        names = list(self._settings.transports)
        if websocket_first and "websocket" in names:
            names.sort(key=lambda name: name != "websocket")
        while True:
            name = names.pop(0)
            try:
                return await (self._open_websocket() if name == "websocket" else self._open_polling())
            except ConnectError as error:
                if not names or not self._settings.try_all_transports:
                    raise
                self.reporter.note(f"{error}; trying {names[0]}")
            finally:
                if self.connection is None and self._polling is not None:
                    self._polling.close()

    async def _open_polling(self) -> Connection:
        http = self._http = HttpClient(self._http_options("polling"))
        url = self._request_url("polling")
        self._stage = "polling", "no answer came"
        try:
            response = await http.get(url)
        except HttpFailure as failure:
            raise of_failure(failure, self._endpoint, "polling", self._settings) from root_of(failure)
        if response.status != 200:
            raise of_response(response, self._endpoint, "polling", self._settings)
        self._follow(response, url)
        payload = PayloadFormat(self._settings.max_payload_packets, self._settings.eio)
        try:
            packets = payload.decode(response.body, response.binary)
            opened = decode_open(bytes(packets[0]))
        except EnginePacketError as error:
            raise of_response(response, self._endpoint, "polling", self._settings, str(error)) from None
        polling = self._polling = ClientPolling(_Nobody(), http, lambda: self._request_url("polling"), payload)
        polling.max_payload = opened.max_payload
        connection = self._opened(opened, polling)
        polling.deliver(packets[1:])
        if connection.state is State.OPEN:
            polling.start()
            if "websocket" in opened.upgrades and "websocket" in self._settings.transports and self._settings.upgrade:
                self._probing = self.loop.create_task(self._probe(connection))
        return connection

    def _follow(self, response: Response, url: str) -> None:
        """Where a redirect led: the rest of the session goes there at once, and credentials stay where they belong."""
        if response.url != url:
            found, asked = urlsplit(response.url), urlsplit(url)
            if (found.scheme, found.hostname, found.port) != (asked.scheme, asked.hostname, asked.port):
                self._elsewhere = True
                assert self._http is not None
                self._http.forget(CREDENTIALS)
            # A user and password of the redirect are none of this session's.
            self._endpoint = urlunsplit(found._replace(netloc=found.netloc.rpartition("@")[2], query="", fragment=""))

    async def _open_websocket(self) -> Connection:
        opening = _Opening(self._opened)
        self._stage = "websocket", "no answer came"
        transport = await self._dial(opening, opening.take)
        self._stage = "websocket", "the WebSocket was opened, and no session on it"
        try:
            return await opening.connection
        except (EnginePacketError, ConnectionError) as error:
            raise of_websocket_end(error, self._endpoint, self._settings) from None
        finally:
            if not opening.connection.done() or opening.connection.cancelled() or opening.connection.exception():
                transport.close()

    def late(self) -> ConnectTimeout:
        """The error for an attempt that took too long."""
        transport, text = self._stage
        return of_timeout(text, self._endpoint, transport, self._settings)

    async def _dial(self, sink: Sink, take: Callable[[Transport], None]) -> Transport:
        """A WebSocket that reports to `sink`; `take` gets it before the first report."""
        settings = self._settings
        taken: list[Transport] = []

        def accept(carrier: ClientWebSocket) -> None:
            carrier.sink = sink
            self._carriers.append(carrier)
            old = settings.eio == engine_packet3.PROTOCOL
            taken.append(WebSocket3(carrier, base64=False) if old else carrier)
            take(taken[0])

        url = self._request_url("websocket")
        headers = self._websocket_headers(url)
        way = WebSocketWay(settings.ssl, settings.proxy, settings.local_address, settings.max_message_bytes)
        try:
            answered = await dial("ws" + url.removeprefix("http"), headers, accept, way)
        except WebSocketRefused as refused:
            raise of_websocket(refused, self._endpoint, settings) from None
        except (OSError, EOFError, ProxyError, ValueError) as error:
            raise of_failure(error, self._endpoint, "websocket", settings) from root_of(error)
        if self._cookies is not None:
            self._cookies.store([value for name, value in answered if name == "set-cookie"], url)
        return taken[0]

    def _opened(self, opened: Opened, transport: Transport) -> Connection:
        """The server has opened the session: from here on its packets have somebody to go to."""
        self._sid = opened.sid
        self.options.ping_interval, self.options.ping_timeout = opened.ping_interval, opened.ping_timeout
        connection = self.connection = Connection(opened.sid, self, self._request(transport.name), self._settings.eio)
        connection.transport = transport
        transport.sink = connection
        connection.owner = self._owner(connection)
        connection.opened()
        connection.owner.opened()
        return connection

    def _request(self, transport: str) -> Request:
        """The handshake as a request, as a server's connection has it."""
        url = urlsplit(self._request_url(transport))
        return Request(
            "GET",
            url.path,
            url.query.encode(),
            [(name.lower().encode(), value.encode()) for name, value in self._headers.items()],
            self._url.origin,
            self._url.secure,
            transport == "websocket",
        )

    # The upgrade.

    async def _probe(self, connection: Connection) -> None:
        """Tries to move the session to a WebSocket; it stays where it is where that cannot be."""
        probe = Probe(connection)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await probe.run(await self._dial(probe, lambda transport: None))
        except (ConnectError, ProbeFailed, TimeoutError) as error:
            text = str(error) or f"the upgrade was not completed within {self._settings.timeout:g} s"
            self.failed_upgrade = text
            if connection.state is State.OPEN:
                self.reporter.note(f"{self._url.origin} stays on polling: {text}")

    # URLs and headers.

    @property
    def url(self) -> str:
        """Of the endpoint."""
        return self._endpoint

    def _request_url(self, transport: str) -> str:
        query = {**self._url.query, **self._query, "EIO": str(self._settings.eio), "transport": transport}
        if self._sid:
            query["sid"] = self._sid
        if transport == "polling":
            # Caches that know no better would answer a second poll with the first one's packets.
            query["t"] = f"{next(_stamps):x}"
        return with_query(self._endpoint, query)

    def _headers_of(self, transport: str) -> dict[str, str]:
        credentials = {"Authorization": self._url.credentials} if self._url.credentials else {}
        more = self._settings.transport_options.get(transport, {}).get("extra_headers", {})
        headers = _merged(credentials, self._headers, more)
        if self._elsewhere:
            headers = {name: value for name, value in headers.items() if name.lower() not in CREDENTIALS}
        return headers

    def _websocket_headers(self, url: str) -> dict[str, str]:
        headers = self._headers_of("websocket")
        if self._settings.protocols:
            headers = _merged(headers, {"Sec-WebSocket-Protocol": ", ".join(self._settings.protocols)})
        cookie = "" if self._cookies is None else self._cookies.header(url)
        if cookie:
            given = [value for name, value in headers.items() if name.lower() == "cookie"]
            headers = _merged(headers, {"Cookie": "; ".join([*given, cookie])})
        return headers

    def _http_options(self, transport: str) -> HttpOptions:
        settings = self._settings
        return HttpOptions(
            self._headers_of(transport),
            settings.ssl,
            settings.proxy,
            settings.local_address,
            settings.request_timeout,
            settings.max_message_bytes,
            self._cookies,
        )

    # Ending.

    def forget(self, connection: Connection) -> None:
        """The session ended."""
        if self._probing is not None:
            self._probing.cancel()

    async def wait_closed(self) -> None:
        """Returns when nothing of it is left; the session has ended, or was never opened.

        Cancelling it ends requests that are not answered.
        """
        try:
            if self._probing is not None:
                await asyncio.wait((self._probing,))
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Ends its requests, those too that are not answered."""
        if self._polling is not None:
            await self._polling.wait_closed()
        if self._http is not None:
            await self._http.close()
        if self._carriers:
            # Waited for in a way that a cancellation does not cancel them.
            await asyncio.wait([carrier.gone for carrier in self._carriers], timeout=WEBSOCKET_SECONDS)


def _merged(*several: Mapping[str, str]) -> dict[str, str]:
    """Headers: later ones take the place of earlier ones of that name, however it is written."""
    merged: dict[str, tuple[str, str]] = {}
    for headers in several:
        for name, value in headers.items():
            merged[name.lower()] = name, value
    return dict(merged.values())


class _Nobody:
    """The sink of a transport before there is a session."""

    outbox: list[Outgoing] = []

    def receive(self, packet: bytes) -> None: ...

    def receive_binary(self, data: bytes) -> None: ...

    def transport_ready(self) -> None: ...

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None: ...


class _Opening(_Nobody):
    """The sink of a WebSocket until its first packet, which opens the session."""

    def __init__(self, opened: Callable[[Opened, Transport], Connection]) -> None:
        self.connection: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self.transport: Transport
        self._opened = opened

    def take(self, transport: Transport) -> None:
        self.transport = transport

    def receive(self, packet: bytes) -> None:
        if self.connection.done():
            return
        try:
            self.connection.set_result(self._opened(decode_open(packet), self.transport))
        except EnginePacketError as error:
            self._failed(error)

    def receive_binary(self, data: bytes) -> None:
        self._failed(EnginePacketError("a session begins with an open packet, this one began with a binary message"))

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        self._failed(ConnectionError(details))

    def _failed(self, error: Exception) -> None:
        if not self.connection.done():
            self.connection.set_exception(error)
            # Whoever waits may have been cancelled.
            self.connection.exception()
