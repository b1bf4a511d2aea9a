"""A WebSocket handshake at our endpoint under uvicorn: decided, answered, and its connection handed to picows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from uvicorn.server import ServerState

from duplexio.engine.connection import Connection
from duplexio.engine.neighbour import Elsewhere, Neighbour
from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY
from duplexio.engine.websocket import WebSocketTransport
from duplexio.engine.websocket_deflate import accept_websocket
from duplexio.integrations.asgi import AsgiEndpoint, refusal_headers
from duplexio.integrations.uvicorn_websocket import give_away, hand_over
from duplexio.protocol.engine_handshake import Refusal, Request
from duplexio.protocol.websocket_handshake import refusing, switching_protocols, websocket_key

__all__ = ["Reader", "asks_for_websocket", "begin_websocket"]

Headers = list[tuple[bytes, bytes]]


class Reader(Protocol):
    """One of the protocols that read handshakes."""

    transport: asyncio.Transport
    server_state: ServerState

    def upgraded(self) -> None:
        """The connection is another's now."""


def asks_for_websocket(headers: Headers) -> bool:
    """Whether a request is to change the protocol, and to this one. Names are in lower case."""
    connection = upgrade = b""
    for name, value in headers:
        if name == b"connection":
            connection = value
        elif name == b"upgrade":
            upgrade = value
    return upgrade.lower() == b"websocket" and b"upgrade" in [token.strip() for token in connection.lower().split(b",")]


def begin_websocket(reader: Reader, endpoint: AsgiEndpoint, request: Request, leftover: bytes) -> None:
    """Refuses the handshake, or answers it and makes the connection a session's. `leftover`: what came behind it."""
    key = websocket_key(request)
    engine = endpoint.engine
    if key is None:
        text = "no Sec-WebSocket-Key of 16 bytes, or no Sec-WebSocket-Version: 13"
        engine.reporter.fault("bad_websocket_handshake", request.peer or request.address, text)
        body = b"Not a WebSocket handshake of version 13."
        _refuse(reader.transport, 400, body, [(b"sec-websocket-version", b"13")])
        return
    verdict = engine.check(request)
    if isinstance(verdict, Elsewhere) and verdict.neighbour is not None:
        if give_away(reader.transport, request, leftover, verdict.neighbour):
            reader.server_state.total_requests += 1
        else:
            _wait_for(reader, engine, _bridge(reader, endpoint, request, key, leftover, verdict.neighbour))
    elif verdict is not None or engine.admits_at_once:
        _decide(reader, endpoint, request, key, leftover, verdict)
    else:
        _wait_for(reader, engine, _ask(reader, endpoint, request, key, leftover))


def _wait_for(reader: Reader, engine: EngineServer, deciding: Coroutine[Any, Any, None]) -> None:
    """Nothing is read until it is decided."""
    reader.transport.pause_reading()
    tasks = reader.server_state.tasks
    task = engine.loop.create_task(deciding)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _bridge(
    reader: Reader, endpoint: AsgiEndpoint, request: Request, key: bytes, leftover: bytes, neighbour: Neighbour
) -> None:
    bridge = await neighbour.bridge(request)
    raw = reader.transport
    if isinstance(bridge, Refusal):
        if not raw.is_closing():
            raw.resume_reading()
            _decide(reader, endpoint, request, key, leftover, bridge)
        return
    if raw.is_closing():
        bridge.cancel()
        return
    raw.resume_reading()
    transport, extensions = accept_websocket(request, endpoint.engine.options, NOBODY)
    raw.write(switching_protocols(key, [*bridge.headers, *extensions]))
    _hand_over(reader, transport, lambda: bridge.carry(transport), leftover)


def _hand_over(reader: Reader, transport: WebSocketTransport, opened: Callable[[], None], leftover: bytes) -> None:
    state = reader.server_state
    connections: set[Any] = state.connections
    hand_over(reader.transport, transport, state, opened, leftover)
    connections.discard(reader)
    state.total_requests += 1
    reader.upgraded()


async def _ask(reader: Reader, endpoint: AsgiEndpoint, request: Request, key: bytes, leftover: bytes) -> None:
    refusal = await endpoint.engine.admit(request)
    if not reader.transport.is_closing():
        reader.transport.resume_reading()
        _decide(reader, endpoint, request, key, leftover, refusal)


def _decide(
    reader: Reader,
    endpoint: AsgiEndpoint,
    request: Request,
    key: bytes,
    leftover: bytes,
    verdict: Refusal | Connection | None,
) -> None:
    engine, raw = endpoint.engine, reader.transport
    if isinstance(verdict, Refusal):
        engine.refuse(request, verdict)
        headers = [(b"content-type", b"text/html"), *refusal_headers(verdict, engine)]
        _refuse(raw, verdict.status or 400, verdict.text.encode(), headers)
        return
    sid = "" if verdict is not None else engine.new_sid()
    transport, extensions = accept_websocket(request, engine.options, NOBODY)
    raw.write(switching_protocols(key, [*engine.response_headers(request, sid), *extensions]))
    _hand_over(reader, transport, lambda: engine.open_websocket(request, transport, sid, verdict), leftover)


def _refuse(raw: asyncio.Transport, status: int, body: bytes, headers: Headers) -> None:
    raw.write(refusing(status, body, headers))
    raw.close()
