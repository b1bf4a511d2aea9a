"""The server's half of the behaviours, one module a subject; the client's half lies beside it as ``.mjs``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from duplexio import Server
from duplexio.options import ServerOptions

from . import (
    acks,
    binary,
    connecting,
    disconnecting,
    dispatch,
    emitting,
    listeners,
    middlewares,
    namespaces,
    recovery,
    rooms,
    transports,
    values,
)
from .stage import Stage

SUBJECTS: tuple[Callable[[Stage], None], ...] = (
    connecting.prepare,
    namespaces.prepare,
    values.prepare,
    binary.prepare,
    acks.prepare,
    rooms.prepare,
    emitting.prepare,
    listeners.prepare,
    middlewares.prepare,
    dispatch.prepare,
    disconnecting.prepare,
    transports.prepare,
    recovery.prepare,
)


def make_servers(**common: Unpack[ServerOptions]) -> dict[str, Server]:
    """Most behaviours share ``main``; the others need an option which would be wrong for the rest."""
    options: dict[str, ServerOptions] = {
        "main": {},
        **connecting.servers(),
        **disconnecting.servers(),
        **middlewares.servers(),
        **rooms.servers(),
        **transports.servers(),
        **recovery.servers(),
    }
    servers: dict[str, Server] = {}
    for name, own in options.items():
        merged: ServerOptions = {**common, **own}
        servers[name] = Server(**merged)
    return servers
