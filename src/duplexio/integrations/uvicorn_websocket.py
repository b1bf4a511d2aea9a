"""`ws=` under uvicorn: its own class, with offers to whoever accepts: to take the connection over, for picows, or to
give it to the worker that has the session.

Relies, beyond documented use, on the constructor's keyword arguments and on `scope`, `transport`, `request`, `conn`,
`handshake_initiated`, `handshake_complete`, `close_timer`, `connections` and `default_headers` of the base class.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from duplexio.engine.neighbour import Gift, Neighbour
from duplexio.engine.websocket import WebSocketTransport
from duplexio.integrations.asgi import GIVING, HANDOVER
from duplexio.protocol.engine_handshake import Request
from duplexio.protocol.websocket_handshake import switching_protocols

__all__ = ["WebSocketProtocol", "give_away", "hand_over"]

Headers = list[tuple[bytes, bytes]]

_NO_HANDSHAKE = (
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 24\r\n\r\nNot a WebSocket request."
)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own class, with offers in the scope: whoever accepts may take the connection over, or give it away."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._server_state = server_state
        self._taker: tuple[WebSocketTransport, Callable[[], None]] | None = None
        self._gift: Gift | None = None
        self._early = bytearray()

    async def run_asgi(self) -> None:
        extensions = cast(dict[str, Any], self.scope["extensions"])
        extensions[HANDOVER] = self._take
        if self.transport.get_extra_info("sslcontext") is None:
            extensions[GIVING] = self._give
        await super().run_asgi()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            # Frames before the answer to the handshake: for whoever will own the connection. More waits in the kernel.
            self._early += data
            self.transport.pause_reading()
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            # No handshake to websockets, by a body or a header of over 8 KB. The base class waits for another for ever.
            self.transport.write(_NO_HANDSHAKE)
            self.transport.close()

    def _take(self, transport: WebSocketTransport | None, opened: Callable[[], None] | None) -> None:
        self._taker = None if transport is None or opened is None else (transport, opened)

    def _give(self, gift: Gift | None) -> None:
        self._gift = gift

    async def send(self, message: Any) -> None:
        if self._gift is not None and message["type"] == "websocket.accept":
            gift, self._gift = self._gift, None
            if self.transport.is_closing():
                return
            headers = self._headers_of(message)
            if give_away(self.transport, gift.request, bytes(self._early), gift.neighbour, headers):
                self.handshake_complete = True
            else:
                gift.refused = True
            return
        if self._taker is not None and message["type"] == "websocket.accept":
            if self.transport.is_closing():
                return
            key = (self.request.headers.get("Sec-WebSocket-Key") or "").encode()
            self.transport.write(switching_protocols(key, self._headers_of(message)))
            (transport, opened), self._taker = self._taker, None
            self.handshake_complete = True
            if self._early:
                self.transport.resume_reading()
            self.connections.discard(self)
            hand_over(self.transport, transport, self._server_state, opened, bytes(self._early))
            # So that the end of the application's call closes nothing.
            self.close_timer = self.loop.call_later(0, _nothing)
            return
        await super().send(message)
        if self._early and not self.transport.is_closing():
            self.transport.resume_reading()
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # A refused handshake is a complete one; the base class would log an error when the application returns.
            self.handshake_complete = True
        if self._early and self.handshake_complete and not self.close_sent:
            early, self._early = bytes(self._early), bytearray()
            super().data_received(early)

    def _headers_of(self, message: Any) -> Headers:
        """What the answer to the handshake has besides WebSocket's own; what middlewares have added is in `message`."""
        headers = [*self.default_headers, *((name, value) for name, value in message.get("headers", ()))]
        subprotocol = message.get("subprotocol")
        if subprotocol:
            # Browsers end a WebSocket for which they named some, and none was chosen.
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        return headers


def give_away(
    raw: asyncio.Transport, request: Request, leftover: bytes, neighbour: Neighbour, headers: Headers | None = None
) -> bool:
    """Whether the worker that has the session has the connection now, whose handshake is not answered yet. One under
    TLS cannot be given away: its keys are in this process."""
    connection = raw.get_extra_info("socket")
    if raw.get_extra_info("sslcontext") is not None or connection is None or raw.get_write_buffer_size():
        return False
    if not neighbour.pass_on(request, connection.fileno(), leftover, headers):
        return False
    # Closed, and not shut down: that would be seen at the other end.
    raw.abort()
    return True


def hand_over(
    raw: asyncio.Transport,
    transport: WebSocketTransport,
    state: ServerState,
    opened: Callable[[], None],
    leftover: bytes,
) -> None:
    """Makes `transport` the owner of a connection whose handshake was answered, and tells uvicorn of it.

    uvicorn asks whatever is in its set of connections to shut down, and waits until it has left.
    """
    connections: set[Any] = state.connections
    connections.add(transport)
    transport.on_lost = connections.discard
    transport.attach(raw)
    opened()
    if leftover:
        transport.feed(leftover)


def _nothing() -> None: ...
