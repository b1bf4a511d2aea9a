"""A request as uvicorn's connection knows it, in our words."""

from __future__ import annotations

import urllib.parse
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from duplexio.protocol.engine_handshake import Request

__all__ = ["Asked", "make_request"]

Headers = list[tuple[bytes, bytes]]


class Asked(Protocol):
    """What was asked: one of the protocols that read requests."""

    config: Config
    root_path: str
    app_state: dict[str, Any]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    scheme: Any


def make_request(asked: Asked, method: str, url: bytes, headers: Headers, websocket: bool) -> Request:
    path, _, query = url.partition(b"?")
    address = asked.client[0] if asked.client else ""
    request = Request(method, path.decode("latin-1"), query, headers, address, asked.scheme == "https", websocket)
    if asked.config.proxy_headers and (request.header(b"x-forwarded-for") or request.header(b"x-forwarded-proto")):
        _resolve_proxy(asked, request)
    # The scope of interest is the handshake's: later requests of a session are spared it.
    if not request.query.get("sid"):
        request._scope = _Scope(asked)
    return request


class _Scope:
    """Makes the scope of a request when it is asked for."""

    __slots__ = ("_client", "_root_path", "_server", "_state")

    def __init__(self, asked: Asked) -> None:
        self._client = asked.client
        self._server = asked.server
        self._root_path = asked.root_path
        self._state = asked.app_state

    def __call__(self, request: Request) -> dict[str, Any]:
        websocket, secure = request.websocket, request.secure
        return {
            "type": "websocket" if websocket else "http",
            "path": self._root_path + urllib.parse.unquote(request.path),
            "query_string": request.query_string,
            "headers": request.raw_headers,
            "client": self._client,
            "server": self._server,
            "scheme": ("wss" if secure else "ws") if websocket else "https" if secure else "http",
            "root_path": self._root_path,
            "state": self._state.copy(),
        }


def _resolve_proxy(asked: Asked, request: Request) -> None:
    """Address and scheme as uvicorn's middleware makes them of the forwarding headers."""
    scope: Any = {"type": "http", "headers": request.raw_headers, "client": asked.client, "scheme": asked.scheme}

    async def keep(scope: Any, receive: Any, send: Any) -> None: ...

    nothing: Any = None
    asking: Any = ProxyHeadersMiddleware(keep, trusted_hosts=asked.config.forwarded_allow_ips)(scope, nothing, nothing)
    try:
        asking.send(None)
    except StopIteration:
        pass
    if scope["client"]:
        # Whom the same-origin check may trust is who is at the other end, not whom it speaks for.
        request.peer, request.address = request.address, scope["client"][0]
    request.secure = scope["scheme"] in ("https", "wss")
