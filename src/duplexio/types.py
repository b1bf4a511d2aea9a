"""Names for what would otherwise be bare strings, and the shapes of callables users give."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

__all__ = [
    "Auth",
    "CloseReason",
    "Function",
    "Room",
    "Rooms",
    "TransportName",
]

Room: TypeAlias = str
#: One room, or several.
Rooms: TypeAlias = Room | Iterable[Room]
#: What a client gave as `auth`; always an object on the wire.
Auth: TypeAlias = Mapping[str, Any]
TransportName: TypeAlias = Literal["polling", "websocket"]
#: A user's handler, plain or `async`.
Function: TypeAlias = Callable[..., Any] | Callable[..., Awaitable[Any]]

#: Why a session ended: the words of the Engine.IO and Socket.IO servers on Node, which clients and dashboards know.
CloseReason: TypeAlias = Literal[
    "transport error",
    "transport close",
    "forced close",
    "ping timeout",
    "parse error",
    "server shutting down",
    "forced server close",
    "client namespace disconnect",
    "server namespace disconnect",
    # A client's own words.
    "io server disconnect",
    "io client disconnect",
]
