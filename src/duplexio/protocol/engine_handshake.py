"""A request to the endpoint: what it asks for, and whether it is let in. Engine.IO's codes, and the origin check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from duplexio.observe import shown
from duplexio.options import Options
from duplexio.protocol import engine_packet, engine_packet3

__all__ = [
    "BAD_HANDSHAKE_METHOD",
    "BAD_REQUEST",
    "FORBIDDEN",
    "MESSAGES",
    "UNKNOWN_SID",
    "UNKNOWN_TRANSPORT",
    "UNSUPPORTED_PROTOCOL_VERSION",
    "Refusal",
    "Request",
    "check_handshake",
    "check_origin",
    "check_transport",
    "cookie_header",
    "cors_headers",
    "origin_allowed",
    "parse_query",
    "preflight_headers",
    "protocol_of",
    "without_upgrade",
]

UNKNOWN_TRANSPORT, UNKNOWN_SID, BAD_HANDSHAKE_METHOD, BAD_REQUEST, FORBIDDEN, UNSUPPORTED_PROTOCOL_VERSION = range(6)

#: The protocol's texts, to the byte: clients compare them. [engine.io/lib/server.ts]
MESSAGES = {
    UNKNOWN_TRANSPORT: "Transport unknown",
    UNKNOWN_SID: "Session ID unknown",
    BAD_HANDSHAKE_METHOD: "Bad handshake method",
    BAD_REQUEST: "Bad request",
    FORBIDDEN: "Forbidden",
    UNSUPPORTED_PROTOCOL_VERSION: "Unsupported protocol version",
}

Headers = list[tuple[bytes, bytes]]

#: Between packed headers: what none may contain. RFC 9110 §5.5.
_BETWEEN = b"\n"


@dataclass(slots=True)
class Request:
    """An HTTP request, or a WebSocket handshake, as every host hands it over."""

    method: str
    path: str
    query_string: bytes
    #: Names in lower case, in the order they came; or all of them in one, see `forget`.
    _given: Headers | bytes
    #: The peer's address; a proxy's, unless the host in front resolves it.
    address: str
    secure: bool
    websocket: bool = False
    #: The ASGI scope, where the request came through one; or what makes it of the request.
    _scope: Mapping[str, Any] | Callable[[Request], Mapping[str, Any]] = field(default_factory=dict)
    #: Origins that something around this server admits, such as a CORS middleware; it writes the headers then.
    surrounding_origins: Any = None
    #: Who is at the other end, where `address` is whom it speaks for.
    peer: str = ""
    _query: dict[str, str] | None = None
    _headers: dict[str, str] | None = None
    _raw: dict[bytes, bytes] | None = None

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope; empty where no ASGI server is involved."""
        scope = self._scope
        if callable(scope):
            # Of most sessions nobody asks for it, and it is half a kilobyte.
            scope = self._scope = scope(self)
        return scope

    @property
    def raw_headers(self) -> Headers:
        """Names in lower case, in the order they came."""
        given = self._given
        if isinstance(given, bytes):
            words = given.split(_BETWEEN)
            given = self._given = list(zip(words[::2], words[1::2], strict=True))
        return given

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated, the last, as on Node."""
        query = self._query
        if query is None:
            query = self._query = parse_query(self.query_string.decode("latin-1"))
        return query

    @property
    def headers(self) -> dict[str, str]:
        """By name in lower case; values of a repeated one are joined by commas. RFC 9110 §5.3."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {}
            for raw_name, raw_value in self.raw_headers:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @property
    def url(self) -> str:
        """Path and query as the client sent them."""
        return f"{self.path}?{self.query_string.decode('latin-1')}" if self.query_string else self.path

    def header(self, name: bytes) -> bytes | None:
        """One header as it came; of one that is repeated, the last."""
        raw = self._raw
        if raw is None:
            raw = self._raw = dict(self.raw_headers)
        return raw.get(name)

    def forget(self) -> None:
        """Gives back what was made to look things up, and packs the headers: a session keeps them for its lifetime, and
        as objects they are thrice as large. All of it is made again where somebody asks."""
        self._query = self._headers = self._raw = None
        given = self._given
        # A scope that was given has them as well.
        if given and not isinstance(given, bytes) and callable(self._scope):
            packed = _BETWEEN.join([word for header in given for word in header])
            # No parser lets one through.
            if packed.count(_BETWEEN) == 2 * len(given) - 1:
                self._given = packed


#: More parameters than any client sends; what is behind them is not read.
_MAX_PARAMETERS = 100


def parse_query(text: str) -> dict[str, str]:
    """`parse_qs` for the common case at a fifth of its cost: it runs for every poll."""
    query: dict[str, str] = {}
    for pair in text.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        name, _, value = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, value = unquote_plus(name), unquote_plus(value)
        if name:
            query[name] = value
    return query


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let in: the protocol's code for the client, cause and hint for the log."""

    code: int
    cause: str
    hint: str
    message: str = ""
    #: Where HTTP has a better word than 400 or 403.
    status: int = 0

    @property
    def text(self) -> str:
        return self.message or MESSAGES[self.code]

    @property
    def http_status(self) -> int:
        return self.status or (403 if self.code == FORBIDDEN else 400)

    @property
    def body(self) -> bytes:
        """As Node writes it: no spaces."""
        text = self.text.translate({ord('"'): '\\"', ord("\\"): "\\\\", **dict.fromkeys(range(32), " ")})
        return f'{{"code":{self.code},"message":"{text}"}}'.encode()


def check_transport(request: Request, options: Options) -> Refusal | None:
    """Is it one of the transports offered?"""
    query = request.query
    transport = query.get("transport")
    if transport in options.transports:
        if request.websocket and transport != "websocket":
            hint = f"a WebSocket handshake with transport={transport} in the query; it has to say websocket"
            return Refusal(BAD_REQUEST, "transport_mismatch", hint)
        if "j" in query and not options.jsonp:
            return Refusal(BAD_REQUEST, "jsonp", "j in the query: JSONP, which Server(jsonp=True) offers")
        return None
    return Refusal(
        UNKNOWN_TRANSPORT,
        "unknown_transport",
        f"transport={shown(transport)} in the query; this server offers {', '.join(options.transports)}"
        " (Server(transports=...) changes it)",
    )


#: Versions of the Engine.IO protocol by how clients write them.
_VERSIONS = {"4": engine_packet.PROTOCOL, "3": engine_packet3.PROTOCOL}


def protocol_of(request: Request) -> int:
    """The protocol's version that a handshake asked for, once it was let in."""
    return _VERSIONS[request.query["EIO"]]


def check_handshake(request: Request, options: Options) -> Refusal | None:
    """Can a request without a session id begin one?"""
    if request.method != "GET":
        return Refusal(
            BAD_HANDSHAKE_METHOD,
            "bad_handshake_method",
            f"{shown(request.method)} without a session id; a session begins with GET",
        )
    if request.query.get("transport") == "websocket" and not request.websocket:
        return without_upgrade()
    version = request.query.get("EIO")
    if version == "3" and options.allow_eio3:
        return None
    if version != "4":
        advice = (
            "that is a Socket.IO 2 client: Server(allow_eio3=True) lets it in, or give it socket.io-client 3 or 4"
            if version == "3"
            else "EIO=4 was expected in the query, as socket.io-client 3 and 4 send it"
        )
        return Refusal(UNSUPPORTED_PROTOCOL_VERSION, "unsupported_protocol", f"EIO={shown(version)}; {advice}")
    return None


def without_upgrade() -> Refusal:
    """A request for the WebSocket transport that is an ordinary one: to begin a session, or to upgrade one."""
    return Refusal(
        BAD_REQUEST,
        "websocket_without_upgrade",
        "transport=websocket, but the request asks for no upgrade; a proxy may have removed"
        " the Upgrade and Connection headers",
    )


def check_origin(request: Request, options: Options) -> Refusal | None:
    """May a page of that origin connect? Native clients send none, and pass."""
    raw = request.header(b"origin")
    if "j" in request.query and options.cors_allowed_origins != "*" and not _is_own_page(request, options):
        hint = (
            "JSONP that is not shown to come from this server's own page:"
            f" Sec-Fetch-Site {shown(request.header(b'sec-fetch-site'))}, Referer {shown(request.header(b'referer'))};"
            ' no list of origins can let it in, only Server(cors_allowed_origins="*")'
        )
        return Refusal(FORBIDDEN, "origin", hint)
    if raw is None:
        if request.header(b"sec-fetch-site") != b"cross-site" or options.cors_allowed_origins == "*":
            return None
        return Refusal(FORBIDDEN, "origin", "a cross-site request without an Origin header")
    origin = raw.decode("latin-1")
    if origin_allowed(origin, request, options):
        return None
    host = _own_host(request, options)
    return Refusal(
        FORBIDDEN,
        "origin",
        f"Origin {shown(origin)} is not this server's ({shown(host)}) and not in cors_allowed_origins;"
        f" Server(cors_allowed_origins=[{shown(origin)}]) lets it in",
    )


def _is_own_page(request: Request, options: Options) -> bool:
    """Whether a script or form was sent by a page of this server: any page can include a script, and says no origin."""
    site = request.header(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    # Browsers old enough to need JSONP have no such header.
    host = _host_of((request.header(b"referer") or b"").decode("latin-1"))
    return bool(host) and host == _own_host(request, options).lower()


def origin_allowed(origin: str, request: Request, options: Options) -> bool:
    """Same origin, or one that was named."""
    allowed = options.cors_allowed_origins
    if allowed is None:
        allowed = request.surrounding_origins
    if allowed is not None and _listed(origin, allowed):
        return True
    # TLS may end before us, so the scheme cannot be compared. "null" is what sandboxed and file: pages send.
    host = _host_of(origin)
    return bool(host) and host == _own_host(request, options).lower()


def _host_of(origin: str) -> str:
    """Host and port; "" where it is none of a page's, such as "null"."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _listed(origin: str, allowed: Any) -> bool:
    if allowed == "*":
        return True
    if callable(allowed):
        return bool(allowed(origin))
    return origin == allowed if isinstance(allowed, str) else origin in allowed


def _own_host(request: Request, options: Options) -> str:
    if (request.peer or request.address) in options.trusted_proxies:
        forwarded = request.header(b"x-forwarded-host")
        if forwarded is not None:
            return forwarded.decode("latin-1").split(",")[0].strip()
    return (request.header(b"host") or b"").decode("latin-1")


def cors_headers(request: Request, options: Options) -> Headers:
    """What lets a foreign page read the answer. Nothing, unless it is asked for and configured. Fetch standard §3.2."""
    if options.cors_allowed_origins is None or not options.cors_headers:
        return []
    raw = request.header(b"origin")
    if raw is None:
        return []
    if options.cors_allowed_origins == "*" and not options.cors_credentials:
        return [(b"access-control-allow-origin", b"*")]
    if not origin_allowed(raw.decode("latin-1"), request, options):
        return [(b"vary", b"Origin")]
    headers = [(b"access-control-allow-origin", raw), (b"vary", b"Origin")]
    if options.cors_credentials:
        headers.append((b"access-control-allow-credentials", b"true"))
    return headers


def preflight_headers(request: Request, options: Options) -> Headers | None:
    """The answer to OPTIONS, where CORS is configured."""
    if options.cors_allowed_origins is None or not options.cors_headers or request.header(b"origin") is None:
        return None
    headers = cors_headers(request, options)
    headers.append((b"access-control-allow-methods", b"GET,POST"))
    wanted = request.header(b"access-control-request-headers")
    if wanted is not None:
        headers.append((b"access-control-allow-headers", wanted))
    # Two hours, the longest that Chromium keeps one.
    headers.append((b"access-control-max-age", b"7200"))
    return headers


def cookie_header(cookie: Mapping[str, Any], sid: str) -> bytes:
    """Set-Cookie with the session id. RFC 6265 §4.1."""
    parts = [f"{cookie['name']}={sid}"]
    for name, text in (("path", "Path"), ("domain", "Domain"), ("max_age", "Max-Age"), ("samesite", "SameSite")):
        value = cookie.get(name)
        if value is not None and value is not False:
            parts.append(f"{text}={value}")
    parts += [text for name, text in (("httponly", "HttpOnly"), ("secure", "Secure")) if cookie.get(name)]
    return "; ".join(parts).encode("latin-1")
