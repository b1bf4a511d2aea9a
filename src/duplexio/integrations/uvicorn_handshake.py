"""A WebSocket handshake at our endpoint under uvicorn: decided, answered, and its connection handed to picows."""

from __future__ import annotations

import asyncio
import binascii
from typing import Any, Protocol

from uvicorn.server import ServerState

from duplexio.engine.connection import Connection
from duplexio.engine.websocket_deflate import accept_websocket
from duplexio.integrations.asgi import AsgiEndpoint, refusal_headers
from duplexio.integrations.asgi_websocket import NOBODY
from duplexio.integrations.uvicorn_exchange import STATUS_LINES
from duplexio.integrations.uvicorn_websocket import hand_over, switching_protocols
from duplexio.protocol.engine_handshake import Refusal, Request

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
    key = _websocket_key(request)
    engine = endpoint.engine
    if key is None:
        text = "no Sec-WebSocket-Key of 16 bytes, or no Sec-WebSocket-Version: 13"
        engine.reporter.fault("bad_websocket_handshake", request.peer or request.address, text)
        body = b"Not a WebSocket handshake of version 13."
        _refuse(reader.transport, 400, body, [(b"sec-websocket-version", b"13")])
        return
    verdict = engine.check(request)
    if verdict is not None or engine.admits_at_once:
        _decide(reader, endpoint, request, key, leftover, verdict)
    else:
        reader.transport.pause_reading()
        tasks = reader.server_state.tasks
        task = engine.loop.create_task(_ask(reader, endpoint, request, key, leftover))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


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
    engine, raw, state = endpoint.engine, reader.transport, reader.server_state
    if isinstance(verdict, Refusal):
        engine.refuse(request, verdict)
        headers = [(b"content-type", b"text/html"), *refusal_headers(verdict, engine)]
        _refuse(raw, verdict.status or 400, verdict.text.encode(), headers)
        return
    sid = "" if verdict is not None else engine.new_sid()
    transport, extensions = accept_websocket(request, engine.options, NOBODY)
    raw.write(switching_protocols(key, [*engine.response_headers(request, sid), *extensions]))
    connections: set[Any] = state.connections
    hand_over(raw, transport, state, lambda: engine.open_websocket(request, transport, sid, verdict), leftover)
    connections.discard(reader)
    state.total_requests += 1
    reader.upgraded()


def _refuse(raw: asyncio.Transport, status: int, body: bytes, headers: Headers) -> None:
    parts = [STATUS_LINES[status], b"connection: close\r\ncontent-length: %d\r\n" % len(body)]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    raw.write(b"".join((*parts, b"\r\n", body)))
    raw.close()


def _websocket_key(request: Request) -> bytes | None:
    """The key of a handshake that can be answered: RFC 6455 §4.2.1."""
    key = request.header(b"sec-websocket-key")
    if request.method != "GET" or key is None or request.header(b"sec-websocket-version") != b"13":
        return None
    try:
        return key if len(binascii.a2b_base64(key, strict_mode=True)) == 16 else None
    except ValueError:
        return None
