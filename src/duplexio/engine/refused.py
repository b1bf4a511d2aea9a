"""What a client says of a server that it could not reach, or that is none: what was seen, and what may help."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import orjson
from python_socks import ProxyError

from duplexio.client_options import ClientSettings
from duplexio.engine.http_client import HttpFailure, Response
from duplexio.engine.websocket_client import WebSocketRefused
from duplexio.errors import ConnectError, ConnectTimeout
from duplexio.observe import without_secrets
from duplexio.protocol.engine_handshake import (
    BAD_HANDSHAKE_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    MESSAGES,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_PROTOCOL_VERSION,
)

__all__ = ["of_failure", "of_response", "of_timeout", "of_websocket", "of_websocket_end", "root_of"]

#: Characters of a body that an error keeps.
KEPT = 1000
#: A body of Engine.IO 3: a length, a colon, an open packet.
_OLD_SERVER = re.compile(rb"^(\x00|[0-9]+:)")
#: Of a session that this client does not join, and others are not to.
_SID = re.compile(r'("sid"\s*:\s*")[^"]+')

_ELSEWHERE = "Is the server's endpoint elsewhere? path=... says where"
_OTHER_SERVICE = "Is it a Socket.IO server? Another service may have this port"
_BY_STATUS = {
    301: "The server sends its clients elsewhere: is there a newer URL?",
    302: "The server sends its clients elsewhere, to a login maybe",
    401: "The server wants to know who asks: extra_headers={'Authorization': ...}, or a user and password in the URL",
    403: "The server, or a proxy in front of it, does not let this client in",
    404: _ELSEWHERE,
    405: _ELSEWHERE,
    407: "A proxy wants a user and password: proxy='http://user:password@host:port'",
    426: "The server takes WebSockets only: transports=['websocket']",
    429: "The server has had too many requests of this client",
    500: "The server has failed: its log says why",
    502: "A proxy in front of the server cannot reach it",
    503: "The server is overloaded, or about to close",
    504: "A proxy in front of the server cannot reach it",
}
_BY_PROXY_STATUS = {
    403: "The proxy does not let this client through to that host and port",
    407: "It wants a user and password: proxy='http://user:password@host:port'",
    502: "The proxy cannot reach the server",
    503: "The proxy cannot reach the server",
    504: "The proxy cannot reach the server",
}
_BY_CODE = {
    UNKNOWN_TRANSPORT: "The server does not offer this transport: transports=... names others",
    UNKNOWN_SID: "The session is on another process: such servers need sticky sessions, or transports=['websocket']",
    BAD_HANDSHAKE_METHOD: "A proxy in front of the server seems to change requests",
    BAD_REQUEST: "The server could not read the request",
    FORBIDDEN: "The server does not let this client in",
    UNSUPPORTED_PROTOCOL_VERSION: "eio={other} speaks the version that this server does",
}
_CODES = {text: code for code, text in MESSAGES.items()}

_PROXY_CREDENTIALS = "It wants a user and password: proxy='{scheme}://user:password@host:port'"
_TRUST = "ssl=... takes an ssl.SSLContext that trusts its authority"
#: By OpenSSL's numbers: X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH.
_BY_VERIFICATION = {
    9: "Is this machine's clock right?",
    10: "The server needs a new one; or is this machine's clock wrong?",
    62: "The URL has to name the host as the certificate does",
    64: "The URL has to name the host as the certificate does",
}
_OWN_CERTIFICATE = (
    "It wants a certificate of this client, by an authority that it knows: ssl=... takes an ssl.SSLContext that has one"
)
_PLAIN_SERVER = "what answers there does not speak TLS", "Is it a server without TLS? Then the URL begins with http://"
#: By OpenSSL's reasons, as much of them as says it.
_BY_TLS_REASON = {
    "WRONG_VERSION_NUMBER": _PLAIN_SERVER,
    "RECORD_LAYER_FAILURE": _PLAIN_SERVER,
    "HTTP_REQUEST": _PLAIN_SERVER,
    "CERTIFICATE_REQUIRED": ("the server refused the TLS connection", _OWN_CERTIFICATE),
    "UNKNOWN_CA": ("the server refused this client's certificate", _OWN_CERTIFICATE),
    "BAD_CERTIFICATE": ("the server refused this client's certificate", _OWN_CERTIFICATE),
    "HANDSHAKE_FAILURE": ("the server refused the TLS connection", _OWN_CERTIFICATE),
    "UNEXPECTED_EOF": ("the connection was closed while TLS began", "Is it a server with TLS?"),
    "PROTOCOL_VERSION": ("the server speaks no version of TLS that this client does", ""),
}


def of_response(response: Response, url: str, transport: str, settings: ClientSettings, text: str = "") -> ConnectError:
    """The error for an answer of HTTP that opens no session; `text`: what was wrong with a body of status 200."""
    return _of_answer(response.status, response.body, url, transport, settings, text)


def of_websocket(refused: WebSocketRefused, url: str, settings: ClientSettings) -> ConnectError:
    """The error for an answer that opens no WebSocket."""
    if refused.status is None:
        return ConnectError(f"the answer is not HTTP: {refused.text}", url, "websocket", hint=_OTHER_SERVICE)
    if refused.status == 101:
        # What came after it is no text: frames, with the session's id in them.
        hint = "A proxy in between may have changed the answer: transports=['polling'] does without"
        return ConnectError("the server's answer opens no WebSocket", url, "websocket", 101, hint=hint)
    return _of_answer(refused.status, refused.body, url, "websocket", settings, "")


def of_websocket_end(error: Exception, url: str, settings: ClientSettings) -> ConnectError:
    """The error for a WebSocket that was opened, and no session on it."""
    hint = f"Is it a Socket.IO server, and of this version? eio={7 - settings.eio} is the other one"
    return ConnectError(f"the WebSocket was opened, and no session on it: {error}", url, "websocket", hint=hint)


def of_timeout(text: str, url: str, transport: str, settings: ClientSettings) -> ConnectTimeout:
    """The error for an attempt that took too long; `text` says how far it had come."""
    through = f" by the proxy {without_secrets(settings.proxy)}" if settings.proxy else ""
    return ConnectTimeout(
        f"{text}{through} within {settings.timeout:g} s (timeout)",
        url,
        transport,
        hint="Are host, port and path=... right, and does a firewall let this client through?",
    )


def _of_answer(status: int, body: bytes, url: str, transport: str, settings: ClientSettings, text: str) -> ConnectError:
    kept = _SID.sub(r"\1…", body[:KEPT].decode(errors="replace"))
    if status == 200:
        message, hint = _of_success(body, transport, settings, text)
        return ConnectError(message, url, transport, status, kept, hint)
    code, said = _engine_error(body)
    # A proxy that reads requests answers as the server would.
    maybe = settings.proxy is not None and settings.proxy.startswith("http") and url.startswith("http:")
    who = "the proxy" if status == 407 else "the server, or the proxy," if maybe and code is None else "the server"
    hint = _BY_STATUS.get(status, "")
    if code is not None and not (code == BAD_REQUEST and hint):
        # That code is of whatever has no other; the status says more then.
        hint = _BY_CODE.get(code, "").format(other=7 - settings.eio)
    elif status == 400 and transport == "websocket":
        hint = "Does it offer WebSockets? transports=['polling'] does without"
    return ConnectError(f"{who} answered {status}" + (f" {said}" if said else ""), url, transport, status, kept, hint)


def _of_success(body: bytes, transport: str, settings: ClientSettings, text: str) -> tuple[str, str]:
    """Message and hint for an answer of status 200 that is none."""
    if transport == "websocket":
        what = "with a web page" if _is_page(body) else "as if it were no WebSocket that was asked for"
        return f"the server answered {what}", f"{_ELSEWHERE}. Or a proxy in between lets no WebSocket pass"
    if _is_page(body):
        return "the answer is not Engine.IO's, but a web page", _ELSEWHERE
    if _OLD_SERVER.match(body) and settings.eio == 4:
        return "the server speaks Engine.IO 3, which is Socket.IO 2", "eio=3 speaks it"
    if body[:2] == b"0{" and settings.eio == 3:
        return "the server speaks Engine.IO 4", "eio=4 speaks it"
    text = text if body else "it is empty"
    return "the answer is not Engine.IO's" + (f" ({text})" if text else ""), _ELSEWHERE


def _engine_error(body: bytes) -> tuple[int | None, str]:
    """Code and text of one of Engine.IO's own refusals."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[:100].decode(errors="replace").strip().rstrip(".")
        return _CODES.get(text), text if text.isprintable() and not _is_page(body) else ""
    if not isinstance(found, dict):
        return None, ""
    code, message = found.get("code"), found.get("message")
    return code if isinstance(code, int) else None, message[:KEPT] if isinstance(message, str) else ""


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def of_failure(error: BaseException, url: str, transport: str, settings: ClientSettings) -> ConnectError:
    """The error for a connection that failed before there was an answer."""
    causes = list(_causes(error))
    if isinstance(error, HttpFailure) and error.elsewhere:
        elsewhere, error.elsewhere = error.elsewhere, ""
        found = of_failure(error, elsewhere, transport, settings)
        found.message = f"the server redirects to {elsewhere}, and there: {found.message}"
        found.url = url
        return found
    message, hint = str(error) or type(error).__name__, ""
    # aiohttp's own are of this class as well, and say less.
    refusal = next((c for c in causes if isinstance(c, ssl.SSLError) and type(c).__module__ == "ssl"), None)
    late = next((c for c in causes if isinstance(c, TimeoutError)), None)
    if refusal is not None:
        message, hint = _of_tls(refusal)
    elif (proxy_error := _proxy_error(causes)) is not None:
        return _of_proxy(proxy_error, url, transport, settings)
    elif _has(causes, socket.gaierror):
        whose = "the proxy's host" if settings.proxy else "the host"
        message, hint = f"the name of {whose} cannot be resolved", "Is it spelled right, and is there a network?"
    elif _has(causes, ConnectionRefusedError) or "[Errno 111]" in message:
        what = f"the proxy {without_secrets(settings.proxy)}" if settings.proxy else "the server"
        message = f"nobody listens there: {what} is not running, or on another port"
    elif _has(causes, EOFError):
        message = f"the proxy {without_secrets(settings.proxy or '')} closed the connection before it answered"
    elif late is not None:
        return ConnectTimeout(message, url, transport)
    elif message.startswith("the answer is not HTTP"):
        hint = _OTHER_SERVICE
    elif _closed(causes, message):
        message = "the connection was closed before an answer came"
        hint = "Is it a server with TLS? Then the URL begins with https://"
        if url.startswith("https:"):
            hint = "Does it ask clients for a certificate? ssl=... takes an ssl.SSLContext that has one"
    elif isinstance(causes[-1], OSError) and causes[-1].strerror:
        message = causes[-1].strerror
    return ConnectError(message, url, transport, hint=hint)


def _has(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _closed(causes: list[BaseException], message: str) -> bool:
    return message.startswith("the connection was closed before") or _has(
        causes, ConnectionResetError, ConnectionAbortedError, BrokenPipeError
    )


def _of_tls(error: ssl.SSLError) -> tuple[str, str]:
    """Message and hint."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message.rstrip(".")
        return f"the certificate does not hold: {text}", _BY_VERIFICATION.get(error.verify_code, _TRUST)
    reason = error.reason or str(error)
    for part, (message, hint) in _BY_TLS_REASON.items():
        if part in reason:
            return f"{message} ({reason})", hint
    return f"TLS failed: {reason}", ""


def _proxy_error(causes: list[BaseException]) -> BaseException | None:
    """What a proxy answered; nothing where it was not reached."""
    if _has(causes, ConnectionRefusedError, socket.gaierror):
        return None
    for cause in causes:
        if isinstance(cause, ProxyError) or (isinstance(cause, HttpFailure) and cause.proxy_status is not None):
            return cause
    return None


def _of_proxy(error: BaseException, url: str, transport: str, settings: ClientSettings) -> ConnectError:
    """The error for a proxy's refusal."""
    proxy = without_secrets(settings.proxy or "")
    text = str(error)
    status = error.proxy_status if isinstance(error, HttpFailure) else None
    if (found := re.search(r"rejected connection with status (\d+)", text)) is not None:
        status = int(found[1])
    if status is not None:
        return ConnectError(f"the proxy {proxy} answered {status}", url, transport, status, "", _by_proxy(status))
    wants = "authentication" in text.lower()
    hint = _PROXY_CREDENTIALS.format(scheme=proxy.partition(":")[0]) if wants else ""
    return ConnectError(f"the proxy {proxy} refused: {text}", url, transport, hint=hint)


def _by_proxy(status: int) -> str:
    return _BY_PROXY_STATUS.get(status, "")


def root_of(error: BaseException) -> BaseException | None:
    """What the operating system, or TLS, said at first: a cause to show. What libraries made of it says no more."""
    found = [cause for cause in _causes(error) if type(cause).__module__ in ("builtins", "ssl", "socket")]
    root = next((cause for cause in reversed(found) if isinstance(cause, OSError)), None)
    if root is not None:
        root.__cause__ = root.__context__ = None
        root.__traceback__ = None
    return root


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what libraries wrapped in it, and what it was raised from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen or not isinstance(found, BaseException):
            continue
        seen.add(id(found))
        yield found
        waiting += [getattr(found, "os_error", None), getattr(found, "certificate_error", None)]
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
