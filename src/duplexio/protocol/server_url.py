"""The URL a client is given: where the server is, and which namespace is meant."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlencode, urlsplit

from duplexio.errors import ConfigurationError
from duplexio.observe import without_secrets
from duplexio.protocol.engine_handshake import parse_query

__all__ = ["ServerUrl", "parse_server_url", "with_query"]

_SECURE = {"http": False, "https": True, "ws": False, "wss": True}


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """`authority`: host, and port where one was given. `credentials`: of basic authentication, ready to be sent."""

    secure: bool
    authority: str
    namespace: str
    query: dict[str, str]
    credentials: str = ""

    @property
    def origin(self) -> str:
        """Scheme and host, as of a page."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"

    def endpoint(self, path: str, trailing_slash: bool) -> str:
        """The URL of the server's endpoint, without a query."""
        return f"{self.origin}{quote(path, safe='/%')}{'/' if trailing_slash else ''}"


def parse_server_url(url: str, path: str) -> ServerUrl:
    """What the URL says; `path` is the endpoint's, which must not be in it.

    Raises ConfigurationError for what is no URL of a server, TypeError for what is no text.
    """
    if not isinstance(url, str):
        raise TypeError(f"the URL of a server is a str, not {type(url).__name__}")
    expected = "expected the URL of a server, such as 'http://localhost:3000' or 'https://example.com/namespace'"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url.lstrip('/')}")
        port = parts.port
    except ValueError as error:
        if "range" in str(error):
            expected = "expected a port from 0 to 65535"
        # Its text may have a part of a password in it.
        raise ConfigurationError(f"{without_secrets(url)!r}: {expected}") from None
    if (
        parts.scheme not in _SECURE
        or not parts.hostname
        or "//" in parts.path
        or set(parts.netloc) & set(" \t\"'<>\\^`{|}")
    ):
        raise ConfigurationError(f"{without_secrets(url)!r}: {expected}")
    namespace = unquote(parts.path).rstrip("/") or "/"
    if namespace == path or namespace.startswith(path + "/"):
        raise ConfigurationError(
            f"{without_secrets(url)!r}: the path of the URL is the namespace, and {namespace!r} is the endpoint; leave"
            " it out, and give path=... where the server has another than '/socket.io'"
        )
    if "," in namespace:
        raise ConfigurationError(f"{without_secrets(url)!r}: no namespace has a comma in its name")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = "Basic " + base64.b64encode(pair.encode()).decode()
    return ServerUrl(
        _SECURE[parts.scheme],
        host if port is None else f"{host}:{port}",
        namespace,
        parse_query(parts.query) if parts.query else {},
        credentials,
    )


def with_query(url: str, query: dict[str, str]) -> str:
    """The URL with these parameters more."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
