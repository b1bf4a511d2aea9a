"""HTTP requests by aiohttp: the one file that knows it.

It keeps connections alive, follows redirects, and has one jar of cookies for all requests; SOCKS proxies are
aiohttp-socks'. Both are loaded with the first request, since a client that uses WebSockets alone needs neither.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from duplexio.engine.lent_socket import SafeSocket
from duplexio.observe import SHOWN_CHARACTERS

__all__ = ["Cookies", "HttpClient", "HttpFailure", "Response"]

#: Redirects in a row; browsers stop at twenty, and no server sends a client that far.
MAX_REDIRECTS = 10
#: How long an idle connection is kept. Servers keep theirs for 5 s, uvicorn and Node both: a request that meets the end
#: of one is lost.
KEEPALIVE_SECONDS = 4.0


class HttpFailure(Exception):
    """There was no answer: its text says why, and its cause is what the connection raised.

    `proxy_status`: what a proxy answered in place of the server. `elsewhere`: the server that a redirect led to, where
    it is that which could not be reached.
    """

    def __init__(self, text: str, proxy_status: int | None = None, elsewhere: str = "") -> None:
        super().__init__(text)
        self.proxy_status = proxy_status
        self.elsewhere = elsewhere


class Response(NamedTuple):
    """An answer, read to its end. `url` is where it came from, after redirects."""

    status: int
    body: bytes
    binary: bool
    url: str


class Cookies:
    """What servers set, shared by requests and WebSockets of one client."""

    def __init__(self) -> None:
        self._jar: Any = None

    @property
    def jar(self) -> Any:
        """aiohttp's; made where a loop runs."""
        if self._jar is None:
            import aiohttp

            # Addresses are hosts, too: servers under development have no name.
            self._jar = aiohttp.CookieJar(unsafe=True)
        return self._jar

    def header(self, url: str) -> str:
        """The `Cookie` header for this URL; empty where there is none to send."""
        if self._jar is None:
            return ""
        from yarl import URL

        return "; ".join(f"{name}={cookie.value}" for name, cookie in self.jar.filter_cookies(URL(url)).items())

    def store(self, set_cookies: Iterable[str], url: str) -> None:
        """Takes what an answer set."""
        from http.cookies import CookieError, SimpleCookie

        from yarl import URL

        for text in set_cookies:
            try:
                self.jar.update_cookies(SimpleCookie(text), URL(url))
            except CookieError:
                continue


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Of all of a client's requests the same. `timeout` of one, in seconds; None: as long as it takes."""

    headers: Mapping[str, str]
    ssl: ssl.SSLContext | None
    proxy: str | None
    local_address: tuple[str, int] | None
    timeout: float | None
    max_size: int
    cookies: Cookies | None


class HttpClient:
    """Requests of one session."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._session: Any = None
        #: What the proxy's package raises, once it is loaded.
        self._proxy_errors: tuple[type[Exception], ...] = ()

    async def get(self, url: str) -> Response:
        """Raises HttpFailure."""
        return await self._request("GET", url, None, {})

    async def post(self, url: str, body: bytes, content_type: str) -> Response:
        """Raises HttpFailure."""
        return await self._request("POST", url, body, {"Content-Type": content_type})

    def forget(self, names: Iterable[str]) -> None:
        """Requests go without these headers from now on."""
        for name in names:
            self._session.headers.popall(name, None)

    async def _ask(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Response:
        options = self._options
        if self._session is None:
            self._session = self._open()
        proxy = options.proxy if options.proxy and options.proxy.startswith("http") else None
        try:
            async with self._session.request(
                method,
                _encoded(url),
                data=body,
                headers=headers,
                proxy=proxy,
                max_redirects=MAX_REDIRECTS,
                ssl=True if options.ssl is None else options.ssl,
            ) as answer:
                content = await self._read(answer)
                binary = answer.content_type == "application/octet-stream"
                return Response(answer.status, content, binary, str(answer.url))
        except _Lost as lost:
            # With the cause that it has: TLS' alert is one.
            raise lost.error from lost.error.__cause__

    async def _request(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Response:
        import aiohttp

        options = self._options
        try:
            return await self._ask(method, url, body, headers)
        except aiohttp.ClientHttpProxyError as error:
            raise HttpFailure(f"the proxy answered {error.status} {error.message}".strip(), error.status) from error
        except aiohttp.TooManyRedirects as error:
            raise HttpFailure(f"more than {MAX_REDIRECTS} redirects") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            # The client's own URL was made where it could be checked.
            raise HttpFailure("the server redirects to what is no URL of HTTP") from error
        except aiohttp.ClientResponseError as error:
            raise HttpFailure(f"the answer is not HTTP{_quoted(error.message)}") from error
        except aiohttp.ClientPayloadError as error:
            raise HttpFailure("the answer broke off before its end") from error
        except aiohttp.ServerDisconnectedError as error:
            raise HttpFailure("the connection was closed before an answer came") from error
        except TimeoutError as error:
            within = "" if options.timeout is None else f" within {options.timeout:g} s (request_timeout)"
            raise HttpFailure(f"no answer came{within}") from error
        except self._proxy_errors as error:
            raise HttpFailure(f"the proxy refused: {error}") from error
        except EOFError as error:
            # Of a SOCKS proxy; an end of the server's own is aiohttp's to tell.
            raise HttpFailure("the proxy closed the connection before it answered") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            elsewhere = "" if options.proxy else _elsewhere(error, url)
            raise HttpFailure(str(error) or type(error).__name__, elsewhere=elsewhere) from error

    async def _read(self, answer: Any) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > self._options.max_size:
                raise HttpFailure(f"a body of over {self._options.max_size} bytes; max_message_bytes=... changes it")
        return bytes(body)

    def _open(self) -> Any:
        import aiohttp

        options = self._options
        more: dict[str, Any] = {
            "limit": 0,
            "local_addr": options.local_address,
            "keepalive_timeout": KEEPALIVE_SECONDS,
        }
        if options.proxy and not options.proxy.startswith("http"):
            from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError

            self._proxy_errors = ProxyError, ProxyConnectionError, ProxyTimeoutError

            # The proxy resolves names: that is what most are there for.
            connector: Any = ProxyConnector.from_url(options.proxy, rdns=True, **more)
        else:
            connector = aiohttp.TCPConnector(socket_factory=_socket, **more)
        return aiohttp.ClientSession(
            connector=connector,
            headers=dict(options.headers),
            cookie_jar=aiohttp.DummyCookieJar() if options.cookies is None else options.cookies.jar,
            timeout=aiohttp.ClientTimeout(total=options.timeout),
            middlewares=(_once,),
        )

    async def close(self) -> None:
        """Ends its connections; one that is in use, too."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            # Of TLS, the loop needs a turn to take the transports apart.
            await asyncio.sleep(0)


def _socket(address: Any) -> socket.socket:
    """aiohttp gives it to the loop, which begins a connection of TLS by writing: see `LentSocket`."""
    family, kind, protocol, *_ = address
    return SafeSocket(family, kind, protocol)


def _elsewhere(error: Any, url: str) -> str:
    """The server that aiohttp could not reach, where it is not the URL's."""
    import aiohttp

    asked = _encoded(url)
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    if host is None or (host, port) == (asked.host, asked.port):
        return ""
    of_tls = isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError)
    return f"{'https://' if of_tls else ''}{host}:{port}"


def _quoted(message: str) -> str:
    """The bytes that aiohttp's text has in its middle."""
    found = re.search(r"""b'.*'|b".*\"""", message)
    return "" if found is None else f": {found[0][:SHOWN_CHARACTERS]}"


class _Lost(Exception):
    """Hides from aiohttp what it would ask again for."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


async def _once(request: Any, send: Any) -> Any:
    """aiohttp asks again where a kept connection was lost before the answer came. A poll must not be: what the server
    put into the lost answer would be missed, and nobody know."""
    import aiohttp

    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(error) from error


def _encoded(url: str) -> Any:
    """As it is: it was quoted where it was made."""
    from yarl import URL

    return URL(url, encoded=True)
