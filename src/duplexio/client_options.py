"""Every option of a client: one table, from which its checks and its reference page are made.

`CLIENT_OPTIONS` has a row for each, as `options.OPTIONS` has for a server; `ClientOptions` is the same list for type
checkers, `ClientSettings` the values in force; a test compares the three.
"""

from __future__ import annotations

import math
import ssl as tls
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from duplexio.client_values import (
    check_auth,
    check_proxy,
    check_texts,
    check_transport_options,
    local_address,
    websocket_protocols,
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
from duplexio.options import OutboxPolicy
from duplexio.types import TransportName

if TYPE_CHECKING:
    from duplexio.protocol.parser import Parser

__all__ = ["CLIENT_OPTIONS", "SOCKET_OPTIONS", "AuthSource", "ClientOptions", "ClientSettings"]

Texts: TypeAlias = Mapping[str, str]
#: What is asked anew at each attempt, where it is a function.
TextsSource: TypeAlias = Texts | Callable[[], Texts | Awaitable[Texts]]
AuthSource: TypeAlias = Mapping[str, Any] | Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]] | None
BufferPolicy: TypeAlias = Literal["drop_oldest", "drop_newest"]


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `connect` and `Manager`; `docs/reference/client-options.md` explains each."""

    path: str
    add_trailing_slash: bool
    transports: Iterable[TransportName]
    upgrade: bool
    remember_upgrade: bool
    try_all_transports: bool
    eio: Literal[3, 4]
    query: TextsSource
    extra_headers: TextsSource
    transport_options: Mapping[str, Mapping[str, Any]]
    with_credentials: bool
    protocols: Iterable[str]
    ssl: tls.SSLContext | None
    proxy: str | None
    local_address: str | tuple[str, int] | None
    request_timeout: float | None
    timeout: float
    retry: bool
    reconnection: bool
    reconnection_attempts: float
    reconnection_delay: float
    reconnection_delay_max: float
    randomization_factor: float
    multiplex: bool
    force_new: bool
    auth: AuthSource
    retries: int | None
    dedup_key: bool
    ack_timeout: float
    ordered: bool
    cancel_on_disconnect: bool
    parser: Literal["json", "msgpack"] | Parser
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None
    observer: Observer | None
    debug: bool
    max_send_buffer: int
    max_send_buffer_bytes: int
    send_buffer_policy: BufferPolicy
    max_inbox: int
    max_retry_queue: int
    max_pending_acks: int
    max_outbox_packets: int
    max_outbox_bytes: int
    outbox_policy: OutboxPolicy
    conflate_key: Callable[[str, tuple[Any, ...]], Hashable] | None
    max_message_bytes: int
    max_attachments: int
    attachment_timeout: float
    max_name_length: int
    max_payload_packets: int
    max_handlers_in_flight: int
    max_ordered_queue: int
    max_threads: int
    max_thread_queue: int


CLIENT_OPTIONS: tuple[Option, ...] = (
    row("path", "/socket.io", "where the server's endpoint is; the URL's own path is the namespace", js="path"),
    row("add_trailing_slash", True, "whether requests go to `/socket.io/` or to `/socket.io`", js="addTrailingSlash"),
    row(
        "transports",
        ("polling", "websocket"),
        "which transports are used; the first one opens the session",
        "polling gets through where a proxy lets no WebSocket pass",
        js="transports",
    ),
    row("upgrade", True, "whether a session on polling moves to WebSocket where the server offers it", js="upgrade"),
    row(
        "remember_upgrade",
        False,
        "whether the next session begins with WebSocket where the last one had moved to it",
        js="rememberUpgrade",
    ),
    row(
        "try_all_transports",
        False,
        "whether the next transport is tried where the first one cannot open a session",
        js="tryAllTransports",
    ),
    row("eio", 4, "the version of Engine.IO: 3 for a server of Socket.IO 2, else 4", js=""),
    row("query", {}, "parameters of the handshake's URL, or a function that gives them, plain or async", js="query"),
    row("extra_headers", {}, "headers of every request, or a function that gives them", js="extraHeaders"),
    row(
        "transport_options",
        {},
        "options of one transport alone: `{'polling': {'extra_headers': ...}}`",
        js="transportOptions",
    ),
    row(
        "with_credentials",
        False,
        "keeps the cookies that the server sets, and sends them with every request and WebSocket",
        "as a program that is no browser does",
        js="withCredentials",
    ),
    row("protocols", (), "subprotocols that the WebSocket offers", js="protocols"),
    row("ssl", None, "an `ssl.SSLContext`, for a certificate authority or certificate of your own; None: the system's"),
    row("proxy", None, "the URL of a proxy: `http://`, `https://`, `socks5://` or `socks4://`, with user and password"),
    row("local_address", None, "the address of this machine that connections come from", js="localAddress"),
    row(
        "request_timeout",
        None,
        "how long a request of polling may take; None: as long as the server holds it",
        js="requestTimeout",
        unit="s",
    ),
    row(
        "timeout",
        20.0,
        "an attempt to connect that takes longer is given up: ConnectTimeout",
        "Node's",
        js="timeout",
        unit="s",
        minimum=0.001,
    ),
    row(
        "retry",
        False,
        "whether a first connection that fails is tried again, as a lost one is",
        "a wrong address is told at once",
    ),
    row("reconnection", True, "whether a lost connection is opened again", js="reconnection"),
    row(
        "reconnection_attempts",
        math.inf,
        "how many attempts in a row; then `reconnect_failed`",
        js="reconnectionAttempts",
        minimum=0,
    ),
    row(
        "reconnection_delay",
        1.0,
        "how long the first attempt is waited for; twice as long for each one after it",
        "Node's",
        js="reconnectionDelay",
        unit="s",
        minimum=0.001,
    ),
    row(
        "reconnection_delay_max",
        5.0,
        "the longest such wait",
        "Node's",
        js="reconnectionDelayMax",
        unit="s",
        minimum=0.001,
    ),
    row(
        "randomization_factor",
        0.5,
        "by how much of itself each wait is made longer or shorter, from 0 to 1",
        "without it, all clients of a server that restarts come back in the same moment",
        js="randomizationFactor",
        minimum=0,
    ),
    row(
        "multiplex",
        True,
        "whether sockets of several namespaces of one server share a connection",
        js="multiplex",
    ),
    row("force_new", False, "whether this socket gets a connection of its own", js="forceNew"),
    row(
        "auth",
        None,
        "what the server's middlewares get: a mapping, or a function that gives one, plain or async, asked anew at each"
        " connection",
        js="auth",
    ),
    row(
        "retries",
        None,
        "how often an event without an answer is sent again, one at a time and in order; None: events are sent once",
        js="retries",
    ),
    row(
        "dedup_key",
        False,
        "adds a key as the last argument of events that may be repeated, for a server's `dedup`",
        "a server that does not expect it would get an argument too many",
    ),
    row(
        "ack_timeout",
        30.0,
        "how long `emit_with_ack` waits: AckTimeout; with `retries`, how long each try waits",
        js="ackTimeout",
        unit="s",
        minimum=0.001,
    ),
    row("ordered", False, "each handler waits for the one before to end"),
    row("cancel_on_disconnect", False, "cancels the handlers of a socket when it disconnects"),
    row(
        "parser",
        "json",
        "how packets are written: `json`, `msgpack`, or a parser of your own; the server needs the same",
        js="parser",
    ),
    row("dumps", None, "a JSON encoder of your own: value to bytes; bytes never reach it"),
    row("loads", None, "a JSON decoder of your own: bytes to value; it must raise ValueError on malformed input"),
    row("observer", None, "what counts events of this client: see `Observer`"),
    row("debug", False, "warns of events that no handler hears: mistyped names, mostly"),
    row(
        "max_send_buffer",
        10_000,
        "events that are emitted while there is no connection wait; over this, `send_buffer_policy` decides",
        unit="packets a socket",
        counter="fault.send_buffer_dropped",
        minimum=0,
    ),
    row(
        "max_send_buffer_bytes",
        16 * 1024 * 1024,
        "the same, by size",
        unit="bytes a socket",
        counter="fault.send_buffer_dropped",
        minimum=0,
    ),
    row(
        "send_buffer_policy",
        "drop_oldest",
        "which event goes: `drop_oldest` or `drop_newest`",
        "what is newest is what a server wants to know of a client that comes back",
    ),
    row(
        "max_inbox",
        1000,
        "events that wait for `receive` or `events`; the oldest go",
        unit="events a socket",
        counter="inbox_dropped",
        minimum=1,
    ),
    row(
        "max_retry_queue",
        10_000,
        "events that wait for their turn with `retries`: `emit` raises LimitExceeded",
        "what is promised to arrive is not dropped in silence",
        unit="events a socket",
        minimum=1,
    ),
    row("max_pending_acks", 1000, "`emit_with_ack` raises LimitExceeded", unit="acks a socket", minimum=1),
    row(
        "max_outbox_packets",
        10_000,
        "packets for a server that does not read; over this, the outbox policy applies",
        counter="outbox_overflows",
        minimum=1,
    ),
    row(
        "max_outbox_bytes",
        16 * 1024 * 1024,
        "the same, by size",
        unit="bytes",
        counter="outbox_overflows",
        minimum=1,
    ),
    row(
        "outbox_policy",
        "disconnect",
        "what happens then: `disconnect`, `drop_oldest`, `drop_newest`, `conflate`",
        counter="packets_dropped",
    ),
    row("conflate_key", None, "`(event, arguments)` to the key under which a newer event replaces a waiting one"),
    row(
        "max_message_bytes",
        100_000_000,
        "a larger message, or body of polling, ends the connection",
        "a hundred times what a server takes by default",
        unit="bytes",
        minimum=1,
    ),
    row(
        "max_attachments",
        100,
        "a packet that announces more is a parse error",
        "ten times what a server takes by default",
        counter="fault.parse_error",
        minimum=0,
    ),
    row(
        "attachment_timeout",
        60.0,
        "a packet whose attachments have not all come by then is a parse error",
        "a slow link needs a minute for a large picture",
        unit="s",
        counter="fault.parse_error",
        minimum=0.01,
    ),
    row("max_name_length", 256, "a longer name of an event or namespace is a parse error", unit="bytes", minimum=1),
    row(
        "max_payload_packets",
        100_000,
        "an answer of polling with more packets ends the connection",
        "servers put all that waits into one answer",
        unit="packets",
        minimum=1,
    ),
    row(
        "max_handlers_in_flight",
        100,
        "the connection is not read until one ends",
        unit="handlers a socket",
        counter="reading_paused",
        minimum=1,
    ),
    row(
        "max_ordered_queue",
        100,
        "the connection is not read until one starts",
        unit="events a socket",
        counter="reading_paused",
        minimum=1,
    ),
    row("max_threads", 8, "plain handlers wait for a thread", "a program has few sockets", minimum=1),
    row("max_thread_queue", 1000, "sockets with more for the threads are not read", minimum=1),
)

#: Those of one socket; the others are of its connection, and the same for all its sockets.
SOCKET_OPTIONS = frozenset(("auth", "retries", "dedup_key", "ack_timeout"))
#: Those that only say which connection a socket gets.
SHARING = frozenset(("multiplex", "force_new"))

_ELSEWHERE = {
    "auto_connect": "there is none: connect() of a socket dials, and `async with` does",
    "autoConnect": "there is none: connect() of a socket dials, and `async with` does",
    "headers": "extra_headers= here",
    "socketio_path": "path= here",
    "wait": "open() of a socket begins to connect and does not wait; connect() waits",
    "handle_sigint": "there is none: Ctrl+C interrupts whatever waits, and leaving `with` ends the connection",
    "websocket_extra_options": "ssl=, proxy=, protocols= and max_message_bytes= are its settings here",
    "namespaces": "a socket has one namespace: the path of its URL, or manager.socket(name)",
    "json": "dumps= and loads= are its functions here",
    "serializer": "parser='msgpack' here",
    "logger": "logging.getLogger('duplexio') is its logger",
    "engineio_logger": "logging.getLogger('duplexio') is its logger",
    "ssl_verify": "ssl= takes an ssl.SSLContext that says what is verified",
    "http_session": "extra_headers=, ssl=, proxy= and with_credentials= are its settings here",
    "wait_timeout": "timeout= here",
    "rejectUnauthorized": "ssl= takes an ssl.SSLContext that says what is verified",
    "ca": "ssl= takes an ssl.SSLContext",
    "cert": "ssl= takes an ssl.SSLContext",
    "agent": "proxy= is the URL of a proxy",
    "perMessageDeflate": "there is none: a client's messages go uncompressed",
    "forceBase64": "there is none",
    "timestampRequests": "there is none: each request of polling is told from the others",
    "timestampParam": "there is none: each request of polling is told from the others",
}

_BY_NAME = {option.name: option for option in CLIENT_OPTIONS}


class ClientSettings:
    """The options in force, as attributes; read-only by custom."""

    path: str
    add_trailing_slash: bool
    transports: tuple[TransportName, ...]
    upgrade: bool
    remember_upgrade: bool
    try_all_transports: bool
    eio: Literal[3, 4]
    query: TextsSource
    extra_headers: TextsSource
    transport_options: Mapping[str, Mapping[str, Any]]
    with_credentials: bool
    protocols: tuple[str, ...]
    ssl: tls.SSLContext | None
    proxy: str | None
    local_address: tuple[str, int] | None
    request_timeout: float | None
    timeout: float
    retry: bool
    reconnection: bool
    reconnection_attempts: float
    reconnection_delay: float
    reconnection_delay_max: float
    randomization_factor: float
    multiplex: bool
    force_new: bool
    auth: AuthSource
    retries: int | None
    dedup_key: bool
    ack_timeout: float
    ordered: bool
    cancel_on_disconnect: bool
    parser: Literal["json", "msgpack"] | Parser
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None
    observer: Observer | None
    debug: bool
    max_send_buffer: int
    max_send_buffer_bytes: int
    send_buffer_policy: BufferPolicy
    max_inbox: int
    max_retry_queue: int
    max_pending_acks: int
    max_outbox_packets: int
    max_outbox_bytes: int
    outbox_policy: OutboxPolicy
    conflate_key: Callable[[str, tuple[Any, ...]], Hashable] | None
    max_message_bytes: int
    max_attachments: int
    attachment_timeout: float
    max_name_length: int
    max_payload_packets: int
    max_handlers_in_flight: int
    max_ordered_queue: int
    max_threads: int
    max_thread_queue: int

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Raises ConfigurationError for an option that is none, or cannot be."""
        unknown = sorted(set(given) - set(_BY_NAME))
        if unknown:
            raise ConfigurationError(
                " ".join(no_option("a client", name, CLIENT_OPTIONS, _ELSEWHERE) for name in unknown)
            )
        self.given = dict(given)
        for option in CLIENT_OPTIONS:
            value = given.get(option.name, option.default)
            check_value(option, value)
            setattr(self, option.name, value)
        self.path = normal_path(self.path)
        self.transports = known_transports(self.transports)
        self.protocols = websocket_protocols(self.protocols)
        self.local_address = local_address(self.local_address)
        if self.eio not in (3, 4):
            raise ConfigurationError(f"eio={self.eio!r}: expected 4, or 3 for a server of Socket.IO 2")
        for name in ("query", "extra_headers"):
            if not callable(getattr(self, name)):
                check_texts(name, getattr(self, name))
        check_auth(self.auth)
        check_transport_options(self.transport_options)
        if self.ssl is not None and not isinstance(self.ssl, tls.SSLContext):
            raise ConfigurationError(f"ssl={self.ssl!r}: expected an ssl.SSLContext")
        check_proxy(self.proxy)
        retries = self.retries
        if retries is not None and (isinstance(retries, bool) or not isinstance(retries, int) or retries < 0):
            raise ConfigurationError(f"retries={retries!r}: expected a whole number from 0, or None")
        if self.dedup_key and self.retries is None:
            raise ConfigurationError("dedup_key=True belongs to retries=...: without them no event is repeated")
        wait = self.request_timeout
        if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int | float) or not wait > 0):
            raise ConfigurationError(f"request_timeout={wait!r}: expected seconds, or None")
        if self.randomization_factor > 1:
            raise ConfigurationError(f"randomization_factor={self.randomization_factor!r}: expected 0 to 1")
        if self.send_buffer_policy not in ("drop_oldest", "drop_newest"):
            raise ConfigurationError(
                f"send_buffer_policy={self.send_buffer_policy!r}: expected drop_oldest or drop_newest"
            )
        check_outbox_and_codec(self)
        check_callable(self, ("dumps", "loads", "conflate_key"))
        check_plain(self, ("dumps", "loads", "conflate_key"))

    def of_the_connection(self) -> dict[str, Any]:
        """Those given that sockets which share a connection must agree on."""
        return {name: value for name, value in self.given.items() if name not in SOCKET_OPTIONS | SHARING}
