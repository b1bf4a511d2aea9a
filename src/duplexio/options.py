"""Every option of a server: one table, from which its checks and its reference page are made.

`OPTIONS` has a row for each: the JavaScript name where there is one, the default, the unit, what happens at a limit,
the counter that tells, and why the default is what it is. `ServerOptions` is the same list for type checkers,
`Options` the values in force; a test compares the three.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from duplexio.compression import (
    HttpCompression,
    PerMessageDeflate,
    http_compression_options,
    per_message_deflate_options,
)
from duplexio.errors import ConfigurationError
from duplexio.observe import Observer
from duplexio.option_table import (
    Option,
    check_callable,
    check_outbox_and_codec,
    check_plain,
    check_value,
    known_transports,
    no_option,
    normal_path,
    row,
)
from duplexio.types import TransportName

if TYPE_CHECKING:
    from duplexio.protocol.engine_handshake import Request
    from duplexio.protocol.parser import Parser

__all__ = ["OPTIONS", "Option", "Options", "Recovery", "ServerOptions"]

Origins: TypeAlias = Literal["*"] | str | Iterable[str] | Callable[[str], bool]
AllowRequest: TypeAlias = Callable[["Request"], bool | str | Awaitable[bool | str | None] | None]
OutboxPolicy: TypeAlias = Literal["disconnect", "drop_oldest", "drop_newest", "conflate"]
Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


class Recovery(TypedDict, total=False):
    """Connection state recovery, of a server or of one namespace."""

    max_disconnection_duration: float
    skip_middlewares: bool


class ServerOptions(TypedDict, total=False):
    """The keyword arguments of `Server`; `docs/reference/options.md` explains each."""

    path: str
    transports: Iterable[TransportName]
    allow_upgrades: bool
    allow_eio3: bool
    jsonp: bool
    upgrade_timeout: float
    ping_interval: float
    ping_timeout: float
    max_http_buffer_size: int
    http_compression: bool | HttpCompression
    per_message_deflate: bool | PerMessageDeflate
    cookie: bool | str | Mapping[str, Any] | None
    cors_allowed_origins: Origins | None
    cors_credentials: bool
    cors_headers: bool
    allow_request: AllowRequest | None
    trusted_proxies: Iterable[str]
    connect_timeout: float
    ack_timeout: float
    middleware_timeout: float
    allow_request_timeout: float
    attachment_timeout: float
    connection_state_recovery: bool | Recovery | None
    cleanup_empty_child_namespaces: bool
    ordered: bool
    cancel_on_disconnect: bool
    data: Callable[[], Any]
    serve_client: bool
    client_directory: str | Path | None
    drain_seconds: float
    handle_signals: bool
    cluster_id: str | None
    lifespan: Lifespan | None
    observer: Observer | None
    debug: bool
    parser: Literal["json", "msgpack"] | Parser
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None
    outbox_policy: OutboxPolicy
    conflate_key: Callable[[str, tuple[Any, ...]], Hashable] | None
    max_outbox_bytes: int
    max_outbox_packets: int
    max_handlers_in_flight: int
    max_ordered_queue: int
    max_threads: int
    max_thread_queue: int
    max_pending_acks: int
    max_pending_connects: int
    max_namespaces_per_client: int
    max_dynamic_namespaces: int
    max_rooms_per_socket: int
    max_name_length: int
    max_payload_packets: int
    max_attachments: int
    max_recovery_packets: int
    max_recovery_bytes: int
    max_recovery_sessions: int
    max_connections: int
    max_relayed_requests: int
    heartbeat_interval: float
    heartbeat_timeout: float
    share_handshake: bool
    recovery_copies: int
    max_bus_message: int
    max_bus_queue: int


OPTIONS: tuple[Option, ...] = (
    row("path", "/socket.io", "where the server answers when it is not mounted", "clients ask there", js="path"),
    row(
        "transports",
        ("polling", "websocket"),
        "which transports are offered; another one is refused with code 0",
        "polling is the way in where a proxy lets no WebSocket through",
        js="transports",
    ),
    row("allow_upgrades", True, "whether a polling session may move to WebSocket", js="allowUpgrades"),
    row(
        "allow_eio3",
        False,
        "lets clients of Socket.IO 2 in, which speak protocol 3 of Engine.IO",
        "their `socket.id` is the session's id, which is a secret: who sees it can take the session over",
        js="allowEIO3",
        counter="fault.unsupported_protocol",
    ),
    row(
        "jsonp",
        False,
        "lets old browsers poll by scripts and forms; only pages of this server, or any where all origins are allowed",
        "a script runs whatever its origin, so that any page could read what it brings",
        counter="fault.jsonp",
    ),
    row(
        "upgrade_timeout",
        10.0,
        "an upgrade not completed by then is given up; the session stays on polling",
        "Node's",
        js="upgradeTimeout",
        unit="s",
        minimum=0.001,
    ),
    row("ping_interval", 25.0, "how often a session is pinged", "Node's", js="pingInterval", unit="s", minimum=0.01),
    row(
        "ping_timeout",
        20.0,
        "a ping unanswered for so long ends the session: `ping timeout`",
        "Node's",
        js="pingTimeout",
        unit="s",
        minimum=0.01,
    ),
    row(
        "max_http_buffer_size",
        1_000_000,
        "a larger body is answered 413, a larger WebSocket message closes with 1009",
        "Node's; the client is told it as maxPayload",
        js="maxHttpBufferSize",
        unit="bytes",
        counter="fault.message_too_big",
        minimum=1,
    ),
    row(
        "http_compression",
        True,
        "compresses the answers to polls as the client accepts it; False turns it off, a mapping changes the"
        " `threshold` of 1,024 bytes",
        "Node's; a small body gains nothing",
        js="httpCompression",
    ),
    row(
        "per_message_deflate",
        False,
        "compresses WebSocket messages for clients that offer it, where duplexio serves the WebSocket itself:"
        " True, or a mapping of [its parameters](../how-to/compression.md#websocket)",
        "Node's; it costs time for each message, and memory for each connection that keeps a context",
        js="perMessageDeflate",
    ),
    row("cookie", None, "sets a cookie with the session id at the handshake: True, a name, or attributes", js="cookie"),
    row(
        "cors_allowed_origins",
        None,
        'origins besides the page\'s own that may connect: a list, "*", or a function of the origin',
        "same origin is the only safe default",
        js="cors.origin",
        counter="fault.origin",
    ),
    row(
        "cors_credentials", False, "lets a foreign page send cookies; its origin is then echoed", js="cors.credentials"
    ),
    row("cors_headers", True, "False where something around this server writes the CORS headers"),
    row(
        "allow_request",
        None,
        "asked once per new session; False or a text refuses with 403, code 4 and that text",
        js="allowRequest",
        counter="fault.forbidden",
    ),
    row(
        "trusted_proxies",
        (),
        "addresses whose X-Forwarded-Host counts in the same-origin check",
        "anybody can send that header, so nobody is trusted unless named",
    ),
    row(
        "connect_timeout",
        45.0,
        "a connection that joined no namespace by then is closed",
        "Node's",
        js="connectTimeout",
        unit="s",
        counter="fault.connect_timeout",
        minimum=0.01,
    ),
    row("ack_timeout", 30.0, "how long `emit_with_ack` waits: AckTimeout", js="ackTimeout", unit="s", minimum=0.001),
    row(
        "middleware_timeout",
        10.0,
        "the connection middlewares of one socket together: CONNECT_ERROR `Internal error`",
        unit="s",
        counter="middleware_timeouts",
        minimum=0.001,
    ),
    row("allow_request_timeout", 10.0, "the handshake is refused: 403, code 4", unit="s", minimum=0.001),
    row(
        "attachment_timeout",
        10.0,
        "a packet whose attachments have not all come by then is a parse error",
        "a slow uplink needs seconds for a picture, an attacker would keep it open for ever",
        unit="s",
        counter="fault.parse_error",
        minimum=0.01,
    ),
    row(
        "connection_state_recovery",
        None,
        "True or its options: a client that comes back soon gets what it missed",
        "off: the offset is an argument more that clients do not remove",
        js="connectionStateRecovery",
    ),
    row(
        "cleanup_empty_child_namespaces",
        True,
        "namespaces made by a pattern or a function go with their last socket",
        "Node keeps them, which grows without end",
        js="cleanupEmptyChildNamespaces",
    ),
    row("ordered", False, "each handler of a socket waits for the one before to end"),
    row("cancel_on_disconnect", False, "cancels the handlers of a socket when it disconnects"),
    row("data", dict, "makes `socket.data`"),
    row("serve_client", True, "serves the JavaScript client beside the endpoint", js="serveClient"),
    row("client_directory", None, "where the npm package `socket.io-client` is; searched for when not given"),
    row(
        "drain_seconds",
        10.0,
        "closings are spread over so long at the most, so that not all clients come back at once",
        unit="s",
        minimum=0,
    ),
    row("handle_signals", True, "begin closing at SIGTERM and SIGINT, before the server around does"),
    row(
        "cluster_id",
        None,
        "names the processes of this host that share their sessions, where no common parent shows it:"
        " [Workers](../how-to/workers.md)",
    ),
    row("lifespan", None, "an asynchronous context manager of your own, entered at start"),
    row("observer", None, "what watches this server: see `Observer`"),
    row(
        "debug",
        False,
        "adds a `duplexio-hint` header to refusals, and warns of events that no handler hears: mistyped names, mostly",
    ),
    row(
        "parser",
        "json",
        "how packets are written: `json`, `msgpack`, or a parser of your own; clients need the same",
        "what stock clients speak",
        js="parser",
    ),
    row("dumps", None, "a JSON encoder of your own: value to bytes; bytes never reach it"),
    row("loads", None, "a JSON decoder of your own: bytes to value; it must raise ValueError on malformed input"),
    row(
        "outbox_policy",
        "disconnect",
        "what happens to a receiver over its outbox: `disconnect`, `drop_oldest`, `drop_newest`, `conflate`",
        "a client that misses events silently is worse off than one that reconnects",
        counter="packets_dropped",
    ),
    row("conflate_key", None, "`(event, arguments)` to the key under which a newer event replaces a waiting one"),
    row(
        "max_outbox_bytes",
        4 * 1024 * 1024,
        "the outbox policy applies",
        "four of the largest messages",
        unit="bytes",
        counter="outbox_overflows",
        minimum=1,
    ),
    row(
        "max_outbox_packets",
        10_000,
        "the outbox policy applies",
        "small packets cost objects rather than bytes",
        unit="packets",
        counter="outbox_overflows",
        minimum=1,
    ),
    row(
        "max_handlers_in_flight",
        100,
        "the socket's connection is not read until one ends",
        "a client cannot make more work than that at a time",
        unit="handlers a socket",
        counter="reading_paused",
        minimum=1,
    ),
    row(
        "max_ordered_queue",
        100,
        "the socket's connection is not read until one starts",
        unit="events a socket",
        counter="reading_paused",
        minimum=1,
    ),
    row("max_threads", 32, "plain handlers wait for a thread", "the standard library's, on most machines", minimum=1),
    row(
        "max_thread_queue", 1000, "sockets with more for the threads are not read", counter="reading_paused", minimum=1
    ),
    row("max_pending_acks", 1000, "`emit_with_ack` raises LimitExceeded", unit="acks a socket", minimum=1),
    row(
        "max_pending_connects",
        10,
        "CONNECT_ERROR `Too many pending connections`",
        "each holds a middleware chain open",
        unit="a connection",
        counter="fault.too_many_connects",
        minimum=1,
    ),
    row(
        "max_namespaces_per_client",
        100,
        "CONNECT_ERROR `Too many namespaces`",
        unit="a connection",
        counter="fault.too_many_namespaces",
        minimum=1,
    ),
    row(
        "max_dynamic_namespaces",
        10_000,
        "CONNECT_ERROR `Too many namespaces`",
        "a pattern lets clients invent names",
        counter="fault.too_many_namespaces",
        minimum=1,
    ),
    row("max_rooms_per_socket", 1000, "`join` raises LimitExceeded", unit="rooms a socket", minimum=1),
    row(
        "max_name_length",
        256,
        "a longer name of an event or namespace is a parse error, of a room a LimitExceeded",
        "they are keys of tables and parts of log lines",
        unit="bytes",
        counter="fault.parse_error",
        minimum=1,
    ),
    row(
        "max_payload_packets",
        1000,
        "a polling body with more is answered 400 and ends the session",
        "a megabyte of one-byte packets would be half a million events",
        unit="packets",
        counter="fault.parse_error",
        minimum=1,
    ),
    row(
        "max_attachments",
        10,
        "a packet that announces more is a parse error",
        "Node's",
        js="maxAttachments",
        unit="a packet",
        counter="fault.parse_error",
        minimum=0,
    ),
    row("max_recovery_packets", 100_000, "the oldest go", unit="a namespace", counter="recovery_evicted", minimum=1),
    row(
        "max_recovery_bytes",
        64 * 1024 * 1024,
        "the oldest go",
        unit="bytes a namespace",
        counter="recovery_evicted",
        minimum=1,
    ),
    row("max_recovery_sessions", 100_000, "the oldest go", unit="a namespace", counter="recovery_evicted", minimum=1),
    row(
        "max_connections",
        100_000,
        "a new session is answered 503",
        "what one process holds in some 2 GB",
        unit="sessions",
        counter="fault.too_many_connections",
        minimum=1,
    ),
    row(
        "max_relayed_requests",
        10_000,
        "polling requests of one worker that wait for the answers of others; more are answered 503",
        "each is a client that polls: 9 KB here, with its connection, and 2 KB in the other worker",
        unit="requests",
        counter="fault.relay_overload",
        minimum=1,
    ),
    row(
        "heartbeat_interval",
        5.0,
        "how often a server of a cluster tells the others that it is there",
        "Node's",
        js="heartbeatInterval",
        unit="s",
        minimum=0.01,
    ),
    row(
        "heartbeat_timeout",
        10.0,
        "a server not heard of for so long is waited for no more",
        "Node's; it has to be longer than `heartbeat_interval`",
        js="heartbeatTimeout",
        unit="s",
        minimum=0.01,
    ),
    row(
        "share_handshake",
        False,
        "`fetch_sockets` tells other servers all of a handshake, not only what is no secret",
        "a cookie, an Authorization header and `auth` say who somebody is, to whoever reads them",
    ),
    row(
        "recovery_copies",
        0,
        "so many other servers keep a copy of this one's sessions, which goes on if it is killed:"
        " [Recovery](../how-to/recovery.md#a-server-that-is-killed)",
        "each event is sent once more",
        minimum=0,
    ),
    row(
        "max_bus_message",
        16 * 1024 * 1024,
        "`emit` to many raises MessageTooLarge, and nobody is sent it; an answer to another server is left out",
        "four times what may wait for one client",
        unit="bytes",
        counter="fault.bus_oversized",
        minimum=1024,
    ),
    row(
        "max_bus_queue",
        64 * 1024 * 1024,
        "what waits for one server; over this, messages to it are dropped, and `io.health()` tells",
        "a second of a busy server's broadcasts; a server that reads nothing for longer stands still",
        unit="bytes a server",
        counter="fault.bus_overflow",
        minimum=1024,
    ),
)

_BY_NAME = {option.name: option for option in OPTIONS}
#: Options that are True, False, or more.
_NOT_ONLY_SWITCHES = frozenset(("http_compression", "per_message_deflate"))
#: Options of python-socketio and of Node's server that are something else here.
_ELSEWHERE = {
    "json": "dumps= and loads= are its functions here",
    "serializer": "parser='msgpack' here",
    "async_mode": "there is none: a Server is an ASGI application",
    "logger": "logging.getLogger('duplexio') is its logger",
    "engineio_logger": "logging.getLogger('duplexio') is its logger",
    "compression_threshold": "http_compression={'threshold': ...} here",
    "client_manager": "adapter= here, a bus",
    "namespaces": "a namespace is made by io.of(name)",
    "always_connect": "there is none: middlewares are asked before CONNECT is answered",
    "addTrailingSlash": "there is none: both forms of the path are answered",
    "wsEngine": "there is none",
    "destroyUpgrade": "there is none: a request that is not ours is answered 404",
    "destroyUpgradeTimeout": "there is none: a request that is not ours is answered 404",
    "initialHeaders": "io.engine.on('initial_headers', ...) adds them",
}


class Options:
    """The options in force, as attributes; read-only by custom."""

    path: str
    transports: tuple[TransportName, ...]
    allow_upgrades: bool
    allow_eio3: bool
    jsonp: bool
    upgrade_timeout: float
    ping_interval: float
    ping_timeout: float
    max_http_buffer_size: int
    http_compression: HttpCompression | None
    per_message_deflate: PerMessageDeflate | None
    cookie: Mapping[str, Any] | None
    cors_allowed_origins: Origins | None
    cors_credentials: bool
    cors_headers: bool
    allow_request: AllowRequest | None
    trusted_proxies: frozenset[str]
    connect_timeout: float
    ack_timeout: float
    middleware_timeout: float
    allow_request_timeout: float
    attachment_timeout: float
    connection_state_recovery: Recovery | None
    cleanup_empty_child_namespaces: bool
    ordered: bool
    cancel_on_disconnect: bool
    data: Callable[[], Any]
    serve_client: bool
    client_directory: str | Path | None
    drain_seconds: float
    handle_signals: bool
    cluster_id: str | None
    lifespan: Lifespan | None
    observer: Observer | None
    debug: bool
    parser: Literal["json", "msgpack"] | Parser
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None
    outbox_policy: OutboxPolicy
    conflate_key: Callable[[str, tuple[Any, ...]], Hashable] | None
    max_outbox_bytes: int
    max_outbox_packets: int
    max_handlers_in_flight: int
    max_ordered_queue: int
    max_threads: int
    max_thread_queue: int
    max_pending_acks: int
    max_pending_connects: int
    max_namespaces_per_client: int
    max_dynamic_namespaces: int
    max_rooms_per_socket: int
    max_name_length: int
    max_payload_packets: int
    max_attachments: int
    max_recovery_packets: int
    max_recovery_bytes: int
    max_recovery_sessions: int
    max_connections: int
    max_relayed_requests: int
    heartbeat_interval: float
    heartbeat_timeout: float
    share_handshake: bool
    recovery_copies: int
    max_bus_message: int
    max_bus_queue: int

    def __init__(self, given: Mapping[str, Any]) -> None:
        unknown = sorted(set(given) - set(_BY_NAME))
        if unknown:
            raise ConfigurationError(" ".join(no_option("Server", name, OPTIONS, _ELSEWHERE) for name in unknown))
        for option in OPTIONS:
            value = given.get(option.name, option.default)
            check_value(option, value, switch=option.name not in _NOT_ONLY_SWITCHES)
            setattr(self, option.name, value)
        self.path = normal_path(self.path)
        self.transports = known_transports(self.transports)
        self.http_compression = http_compression_options(self.http_compression)
        self.per_message_deflate = per_message_deflate_options(self.per_message_deflate)
        self.cookie = _cookie(self.cookie)
        self.trusted_proxies = frozenset(self.trusted_proxies)
        self.connection_state_recovery = recovery_options(self.connection_state_recovery)
        self.cors_allowed_origins = _origins(self.cors_allowed_origins)
        if self.cluster_id is not None and (not isinstance(self.cluster_id, str) or not self.cluster_id):
            raise ConfigurationError(f"cluster_id={self.cluster_id!r}: expected a name, such as 'chat'")
        check_callable(self, ("dumps", "loads", "conflate_key"))
        check_plain(self, ("cors_allowed_origins", "conflate_key", "data", "dumps", "loads"))
        check_outbox_and_codec(self)


def _origins(given: Any) -> Any:
    """A list is checked: one that no browser ever sends would only look as if it let somebody in. RFC 6454 §6.2."""
    if given is None or given == "*" or callable(given):
        return given
    origins = (given,) if isinstance(given, str) else tuple(given)
    if "*" in origins:
        return "*"
    for origin in origins:
        scheme, _, rest = str(origin).partition("://")
        if origin != "null" and (not scheme or not (rest or scheme == "file") or set(rest) & set("/?#* ")):
            raise ConfigurationError(
                f"cors_allowed_origins: {origin!r} is no origin, such as 'https://example.com' or"
                " 'http://localhost:5173': scheme and host, no slash behind them; for patterns give a function"
            )
    return origins


#: One that is misspelt would be left out, and a cookie be less safe than it was meant to be.
_COOKIE_ATTRIBUTES = frozenset(("name", "path", "domain", "max_age", "samesite", "httponly", "secure"))


def _cookie(cookie: Any) -> Mapping[str, Any] | None:
    """Node's defaults: not readable by scripts, sent with top-level navigation only."""
    if not cookie:
        return None
    given = {"name": cookie} if isinstance(cookie, str) else {} if cookie is True else dict(cookie)
    unknown = sorted(set(given) - _COOKIE_ATTRIBUTES)
    if unknown:
        raise ConfigurationError(
            f"cookie has no {', '.join(map(repr, unknown))}; it has {', '.join(sorted(_COOKIE_ATTRIBUTES))}"
        )
    return {"name": "io", "path": "/", "httponly": True, "samesite": "Lax", **given}


def recovery_options(given: Any) -> Recovery | None:
    """What `connection_state_recovery=` means: nothing, the defaults, or some of them changed."""
    if not given:
        return None
    if given is not True and not isinstance(given, Mapping):
        raise ConfigurationError(f"connection_state_recovery={given!r}: expected True, False or a mapping")
    chosen = {} if given is True else dict(given)
    unknown = sorted(set(chosen) - set(Recovery.__annotations__))
    if unknown:
        raise ConfigurationError(
            f"connection_state_recovery has no {', '.join(unknown)}; it has {', '.join(Recovery.__annotations__)}"
        )
    # Two minutes are Node's: a tunnel, a lift, a laptop that changes networks.
    return Recovery(max_disconnection_duration=120.0, skip_middlewares=False) | chosen  # type: ignore[return-value]
