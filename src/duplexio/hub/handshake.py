"""What a client said when it connected, as the JavaScript API lays it out."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from duplexio.protocol.engine_handshake import Request
from duplexio.types import Auth

__all__ = ["Handshake", "read_handshake"]


@dataclasses.dataclass(frozen=True, slots=True)
class Handshake:
    """Read-only.

    Attributes:
        headers: by name in lower case.
        time: when the socket was made, as text.
        address: the peer's.
        xdomain: whether the request had an Origin.
        secure: whether it came over TLS, as far as this server can see.
        issued: when the socket was made, in milliseconds since 1970.
        url: path and query of the session's first request.
        query: its parameters.
        auth: what the client gave as `auth`.
    """

    headers: dict[str, str]
    time: str
    address: str
    xdomain: bool
    secure: bool
    issued: int
    url: str
    query: dict[str, str]
    auth: Auth

    def record(self) -> dict[str, Any]:
        """All of it as a dict, as other servers get it."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def read_handshake(request: Request, auth: Auth, issued: float) -> Handshake:
    """`issued`: when the socket was made, in seconds since 1970."""
    moment = datetime.datetime.fromtimestamp(issued, datetime.UTC)
    return Handshake(
        headers=request.headers,
        time=moment.strftime("%a %b %d %Y %H:%M:%S GMT+0000"),
        address=request.address,
        xdomain=request.header(b"origin") is not None,
        secure=request.secure,
        issued=round(issued * 1000),
        url=request.url,
        query=request.query,
        auth=auth,
    )
