"""The table of sessions, and what a request to the endpoint comes to. Knows HTTP's words, but no HTTP server."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import sys
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, Literal, TypeVar, overload

import orjson

from duplexio.engine.connection import Connection, Owner
from duplexio.engine.identifiers import Identifiers
from duplexio.engine.neighbour import Elsewhere, Neighbour
from duplexio.engine.polling import Exchange, PollingTransport
from duplexio.engine.transport import Transport
from duplexio.engine.upgrade import Upgrade
from duplexio.engine.websocket3 import WebSocket3
from duplexio.engine.wheel import Wheel
from duplexio.errors import ConfigurationError
from duplexio.observe import Reporter, shown
from duplexio.options import Options
from duplexio.protocol import engine_packet3, jsonp
from duplexio.protocol.engine_handshake import (
    BAD_REQUEST,
    FORBIDDEN,
    UNKNOWN_SID,
    Refusal,
    Request,
    check_handshake,
    check_origin,
    check_transport,
    cookie_header,
    cors_headers,
    preflight_headers,
    protocol_of,
    without_upgrade,
)
from duplexio.protocol.engine_session import State
from duplexio.protocol.payload_format import PayloadFormat

__all__ = ["EngineServer"]

Headers = list[tuple[bytes, bytes]]
F = TypeVar("F", bound=Callable[..., Any])
EngineEvent = Literal["initial_headers", "headers", "connection_error"]

#: What has become of a session that was this process' own, as its id tells; of one that was not, where this process
#: knows of no others; and where it does, and its process is not among them.
OVER = "it has ended"
ELSEWHERE = (
    "another process has it, or had it and has ended; those that were started apart find each other's sessions by one "
    "cluster_id"
)
GONE = "it was another process', and that one has ended, or is none of those that this one finds"
#: Longer than the shortest time that closings are apart, so that a server with a few clients is out at once.
CLOSING_INTERVAL = 0.02
#: How long before its end a client is pinged whose answer is of use: some round trips around the world.
CONFIRMING_SECONDS = 0.5
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


class EngineServer:
    """All sessions of a server; `io.engine`."""

    client = False

    def __init__(self, options: Options, reporter: Reporter, owner: Callable[[Connection], Owner]) -> None:
        self.options = options
        self.reporter = reporter
        self.connections: dict[str, Connection] = {}
        #: No new sessions; and none at all any more.
        self.closing = False
        self.closed = False
        self.loop: asyncio.AbstractEventLoop
        self.wheel: Wheel
        self._owner = owner
        self._listeners: dict[str, list[Callable[..., Any]]] = {}
        #: Four characters say whose session it is, to whoever else could get the request.
        self.tag = "".join(secrets.choice(_ALPHABET) for _ in range(4))
        #: Finds the worker that has a session which is not here; None where there are no others.
        self.locate: Callable[[str], Neighbour | None] | None = None
        #: WebSockets that other workers have given to this one: no host here knows their connections.
        self.adopted: set[Transport] = set()
        self._identifiers = Identifiers()
        #: What the handshakes of a transport end in, behind the session id.
        self._terms: dict[str, bytes] = {}
        self._drained: asyncio.Event

    def start(self) -> None:
        """Binds to the running loop, and opens again what was closed. Called before anything else."""
        loop = asyncio.get_running_loop()
        if getattr(self, "loop", None) is loop and not self.closed:
            return
        if self.connections:
            raise ConfigurationError("one Server serves one event loop: it has sessions on another")
        self.loop = loop
        # Late by a four-hundredth is on time for a client that measures; 50 ms keep an idle server asleep.
        shortest = min(self.options.ping_interval, self.options.ping_timeout)
        self.wheel = Wheel(loop, min(max(shortest / 400, 0.0005), 0.05))
        self._drained = asyncio.Event()
        self.closing = self.closed = False

    @property
    def clients_count(self) -> int:
        """How many sessions are open."""
        return len(self.connections)

    # Events: initial_headers, headers, connection_error.

    @overload
    def on(self, event: EngineEvent) -> Callable[[F], F]: ...
    @overload
    def on(self, event: EngineEvent, listener: F) -> F: ...
    def on(self, event: EngineEvent, listener: F | None = None) -> Any:
        """Registers a listener, called on the loop: a plain function; usable as a decorator.

        `initial_headers(headers, request)`: the first answer of a session; `headers` is a dict to change.
        `headers(headers, request)`: every answer, and the handshake of a WebSocket.
        `connection_error(error)`: a refusal, as a dict of `req`, `code`, `message`, `context`.
        """
        if listener is None:
            return lambda function: self.on(event, function)
        if event not in ("initial_headers", "headers", "connection_error"):
            raise ConfigurationError(
                f"the engine has no event {event!r}; it has initial_headers, headers, connection_error"
            )
        if inspect.iscoroutinefunction(listener):
            raise TypeError(f"a listener of the engine's {event!r} must be a plain def: it is called on the event loop")
        self._listeners.setdefault(event, []).append(listener)
        return listener

    def response_headers(self, request: Request, sid: str = "") -> Headers:
        """What every answer to this request carries besides its content; `sid` where it begins a session."""
        if not self._listeners and not sid and self.options.cors_allowed_origins is None:
            return []
        headers = [] if request.surrounding_origins is not None else self._cors_headers(request)
        if sid and self.options.cookie is not None:
            headers.append((b"set-cookie", cookie_header(self.options.cookie, sid)))
        if self._listeners:
            added: dict[str, str] = {}
            for event in ("initial_headers", "headers") if sid else ("headers",):
                for listener in self._listeners.get(event, ()):
                    self._call(listener, event, added, request)
            headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in added.items()]
        return headers

    def file_headers(self, request: Request) -> Headers:
        """What lets a foreign page load a file of the client's as a module; it takes a plain script without."""
        if request.surrounding_origins is not None:
            return []
        try:
            return cors_headers(request, self.options)
        except Exception as error:
            self.reporter.failure("cors_allowed_origins raised", error)
            return []

    def preflight_headers(self, request: Request) -> Headers | None:
        """The answer to OPTIONS, where CORS is configured."""
        try:
            return preflight_headers(request, self.options)
        except Exception as error:
            self.reporter.failure("cors_allowed_origins raised", error)
            return []

    def _cors_headers(self, request: Request) -> Headers:
        try:
            return cors_headers(request, self.options)
        except Exception:
            # The user's function raised before, in the origin check, and was logged there.
            return []

    def _call(self, listener: Callable[..., Any], event: str, *args: object) -> None:
        try:
            listener(*args)
        except Exception as error:
            self.reporter.failure(f"a listener of the engine's {event!r} raised", error)

    # Refusing.

    def refuse(self, request: Request, refusal: Refusal) -> Refusal:
        """Counts, logs and tells a refusal; returns it."""
        self.reporter.fault(refusal.cause, request.address, f"refused ({refusal.text}): {refusal.hint}")
        for listener in self._listeners.get("connection_error", ()):
            error = {
                "req": request,
                "code": refusal.code,
                "message": refusal.text,
                "context": {"name": refusal.cause, "hint": refusal.hint},
            }
            self._call(listener, "connection_error", error)
        return refusal

    def hint_headers(self, refusal: Refusal) -> Headers:
        """In debug, what the log says, for whoever looks at the browser's network tab."""
        return [(b"duplexio-hint", refusal.hint.encode("ascii", "replace"))] if self.options.debug else []

    def check(self, request: Request) -> Refusal | Connection | None:
        """Whether the request may go on: the session it belongs to, None for a new one, or why not.

        Nothing is changed. A new session is let in by `admit`, which may take time.
        """
        refusal = check_transport(request, self.options) or self._check_origin(request)
        if refusal is not None:
            return refusal
        query = request.query
        sid = query.get("sid")
        if not sid:
            return check_handshake(request, self.options) or self._room_for_one_more()
        connection = self.connections.get(sid)
        if connection is None or not connection.still_open():
            # Not all of it: it may be the secret of a session that lives elsewhere.
            named = shown(sid if len(sid) <= 8 else sid[:8] + "…")
            fate = OVER if sid.startswith(self.tag) else ELSEWHERE if self.locate is None else GONE
            hint = f"no session {named} here: {fate}"
            if connection is None and self.locate is not None:
                neighbour = self.locate(sid)
                if neighbour is not None:
                    return Elsewhere(UNKNOWN_SID, "unknown_sid", hint, neighbour=neighbour)
            return Refusal(UNKNOWN_SID, "unknown_sid", hint)
        if request.method == "GET" and query["transport"] == "websocket" and not request.websocket:
            return without_upgrade()
        if not request.websocket and not connection.transport.name == query["transport"] == "polling":
            return Refusal(
                BAD_REQUEST,
                "transport_mismatch",
                f"the session is on {connection.transport.name}, the request for {request.query['transport']}",
            )
        return connection

    def _check_origin(self, request: Request) -> Refusal | None:
        try:
            return check_origin(request, self.options)
        except Exception as error:
            self.reporter.failure("cors_allowed_origins raised", error)
            return Refusal(FORBIDDEN, "origin", "cors_allowed_origins raised; its traceback is in the log")

    def _room_for_one_more(self) -> Refusal | None:
        if self.closing:
            return Refusal(BAD_REQUEST, "closing", "the server is closing", "Server closing", status=503)
        if len(self.connections) >= self.options.max_connections:
            allowed = self.options.max_connections
            return Refusal(
                BAD_REQUEST,
                "too_many_connections",
                f"{allowed} sessions are open; max_connections=... changes it",
                "Too many connections",
                status=503,
            )
        return None

    @property
    def admits_at_once(self) -> bool:
        """Whether no function of the user has a say, so that a handshake needs no waiting."""
        return self.options.allow_request is None

    async def admit(self, request: Request) -> Refusal | None:
        """Asks the user's `allow_request`. Once per session."""
        ask = self.options.allow_request
        if ask is None:
            return None
        try:
            answer = ask(request)
            if inspect.isawaitable(answer):
                answer = await asyncio.wait_for(_awaited(answer), self.options.allow_request_timeout)
        except TimeoutError:
            hint = f"allow_request took over {self.options.allow_request_timeout:g} s; allow_request_timeout changes it"
            return Refusal(FORBIDDEN, "allow_request_timeout", hint)
        except Exception as error:
            self.reporter.failure("allow_request raised", error)
            return Refusal(FORBIDDEN, "allow_request_error", "allow_request raised; its traceback is in the log")
        if answer is None or answer is True:
            return self._room_for_one_more()
        message = answer if isinstance(answer, str) else ""
        return Refusal(FORBIDDEN, "forbidden", "allow_request refused it", message)

    # Sessions.

    def open(self, request: Request, transport: Callable[[Connection], Transport], sid: str) -> Connection:
        """A new session over the transport that is made for it."""
        connection = Connection(sid, self, request, protocol_of(request))
        connection.transport = transport(connection)
        connection.owner = self._owner(connection)
        self.connections[sid] = connection
        self.reporter.count("connections_opened")
        connection.open(self._handshake(sid, connection.transport.name))
        return connection

    def _handshake(self, sid: str, transport: str) -> bytes:
        terms = self._terms.get(transport)
        if terms is None:
            terms = self._terms[transport] = orjson.dumps(self._session_terms(transport))
        # The id's characters need no escaping.
        return b'0{"sid":"%b",%b' % (sid.encode("ascii"), terms[1:])

    def _session_terms(self, transport: str) -> dict[str, Any]:
        options = self.options
        upgrades = options.allow_upgrades and transport == "polling" and "websocket" in options.transports
        return {
            "upgrades": ["websocket"] if upgrades else [],
            "pingInterval": round(options.ping_interval * 1000),
            "pingTimeout": round(options.ping_timeout * 1000),
            "maxPayload": options.max_http_buffer_size,
        }

    def new_sid(self) -> str:
        """A session id: whose it is in four characters, and 96 random bits. It is a credential."""
        return self.tag + self._identifiers.take(16)

    def open_polling(self, request: Request, exchange: Exchange, sid: str) -> None:
        """Begins a polling session with the request that asked for it."""
        payload_format, compression = self._payload_format(request), self.options.http_compression
        compress_from = sys.maxsize if compression is None else compression["threshold"]
        connection = self.open(request, lambda sink: PollingTransport(sink, payload_format, compress_from), sid)
        assert isinstance(connection.transport, PollingTransport)
        connection.transport.poll(exchange)
        connection.owner.opened()
        request.forget()

    def _payload_format(self, request: Request) -> PayloadFormat:
        query = request.query
        callback = jsonp.callback_of(query["j"]) if "j" in query else b""
        return PayloadFormat(self.options.max_payload_packets, protocol_of(request), "b64" in query, callback)

    def open_websocket(self, request: Request, transport: Transport, sid: str, upgraded: Connection | None) -> None:
        """Begins a session on an accepted WebSocket, or the upgrade of the one that it names."""
        protocol = protocol_of(request) if upgraded is None else upgraded.protocol
        if protocol == engine_packet3.PROTOCOL:
            transport = WebSocket3(transport, "b64" in request.query)
        if upgraded is None:
            connection = self.open(request, lambda sink: _bound(transport, sink), sid)
            connection.owner.opened()
            request.forget()
        else:
            text = self._upgrade_obstacle(upgraded)
            if text:
                self.reporter.fault("upgrade", request.address, text)
                transport.close()
            else:
                Upgrade(upgraded, transport, self)

    def _upgrade_obstacle(self, connection: Connection) -> str:
        """Why the session cannot move now. Such a WebSocket is accepted and closed, as on Node."""
        if connection.state is not State.OPEN:
            return "an upgrade of a session that has ended"
        if connection.upgrading:
            return "a second upgrade while one is being tried"
        if connection.transport.name != "polling":
            return "a second upgrade of a session that has moved already"
        if not self.options.allow_upgrades:
            return "an upgrade, which Server(allow_upgrades=False) does not allow"
        return ""

    def forget(self, connection: Connection) -> None:
        """The session ended."""
        self.connections.pop(connection.id, None)
        if not self.connections and self.closing:
            self._drained.set()

    # Closing.

    def begin_closing(self) -> None:
        """No new sessions from now on; polls that are open are answered with the end of theirs at once."""
        if self.closing or getattr(self, "loop", None) is None:
            return
        self.closing = True
        for connection in list(self.connections.values()):
            if connection.transport.name == "polling":
                connection.close("server shutting down")
        if not self.connections:
            self._drained.set()

    async def close(self, seconds: float, confirm: bool = False) -> None:
        """Ends all sessions, spread over `seconds` at the most, and waits until they have ended.

        `confirm`: each client is pinged a moment before, so that it is known what it has had (`confirmed_at`).
        """
        if getattr(self, "loop", None) is None:
            return
        self.begin_closing()
        waiting = [c for c in self.connections.values() if c.state is State.OPEN]
        interval = min(seconds / len(waiting), CLOSING_INTERVAL) if waiting else 0.0
        early = min(CONFIRMING_SECONDS, seconds / 2) if confirm and waiting else 0.0
        unconfirmed = iter(waiting if early else ())
        if early:
            for connection in islice(unconfirmed, round(early / interval)):
                connection.ping()
            await asyncio.sleep(early)
        for connection in waiting:
            for next_one in islice(unconfirmed, 1):
                next_one.ping()
            connection.close("server shutting down")
            if interval:
                await asyncio.sleep(interval)
        if self.connections:
            try:
                # A session that cannot be told is ended by its own deadline, 3 s after it was closed.
                await asyncio.wait_for(self._drained.wait(), 5.0)
            except TimeoutError:
                pass
        for connection in list(self.connections.values()):
            connection.end("server shutting down", "closed by the server")
        self.wheel.close()
        self.closed = True


def _bound(transport: Transport, sink: Connection) -> Transport:
    transport.sink = sink
    return transport


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
