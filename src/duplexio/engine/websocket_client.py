"""The client's end of a WebSocket by picows: dialled, and masked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from picows import WSError, WSHandshakeError, WSTransport, ws_connect
from python_socks.async_.asyncio import Proxy

from duplexio.engine.lent_socket import LentSocket
from duplexio.engine.transport import Sink
from duplexio.engine.websocket import CLOSE_GRACE, HIGH_WATER, LOW_WATER, TEXT, WebSocketTransport
from duplexio.protocol import websocket_masked_frame
from duplexio.protocol.engine_packet import Message, Outgoing

__all__ = ["ClientWebSocket", "WebSocketRefused", "WebSocketWay", "dial"]

#: picows masks in C, which pays from here on; below, one write for several frames is worth more.
MASK_BY_PICOWS = 4096
#: A client has few connections, and servers send it more than clients send a server.
READ_BUFFER = 16_384

#: Waits for what picows tells nobody else: it is held here, since the loop keeps no reference.
_hearing: set[asyncio.Task[None]] = set()
_no_sink: Any = None
_silent = logging.Logger("duplexio.picows", logging.CRITICAL + 1)


class WebSocketRefused(Exception):
    """The answer to the handshake was none that opens a WebSocket."""

    def __init__(self, status: int | None, body: bytes, text: str) -> None:
        super().__init__(status, body, text)
        self.status = status
        self.body = body
        self.text = text


class ClientWebSocket(WebSocketTransport):
    """See `Transport`."""

    __slots__ = ("_deadline", "gone")

    _frame = websocket_masked_frame
    _limit = "max_message_bytes"

    def __init__(self, sink: Sink, max_size: int) -> None:
        super().__init__(sink, max_size)
        #: Done when its connection has ended.
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deadline: asyncio.TimerHandle | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._raw = transport.underlying_transport
        self._write = self._raw.write
        self._raw.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        super().on_ws_disconnected(transport)
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.gone.done():
            self.gone.set_result(None)
        task = asyncio.get_running_loop().create_task(_hear(transport))
        _hearing.add(task)
        task.add_done_callback(_hearing.discard)

    def _hear_no_more(self) -> None:
        super()._hear_no_more()
        if not self._lost and self._deadline is None:
            # The other end of TLS may leave the end of the connection unanswered.
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_GRACE, self._abort)

    def _data_frame(self, kind: int, frame: Any) -> None:
        # Of binary messages and fragments, as of whole texts.
        self.direct = frame.last_in_buffer and self.writable
        super()._data_frame(kind, frame)
        self.direct = False

    def write(self, packets: Sequence[Outgoing]) -> None:  # type: ignore[override]
        frames: list[bytes] = []
        for packet in packets:
            if type(packet) is bytes and len(packet) < MASK_BY_PICOWS:
                # What nearly all packets are.
                frames.append(websocket_masked_frame.text(packet))
            elif isinstance(packet, bytes):
                self._frame_of(TEXT, packet, frames)
            else:
                self._frames_of(packet, frames)
        if frames:
            self._write_raw(b"".join(frames))

    def write_shared(self, message: Message) -> None:
        self.write((message,))

    def _frames_of(self, message: Message, frames: list[bytes]) -> None:
        if message.text:
            self._frame_of(TEXT, message.text, frames)
        for attachment in message.attachments:
            frames.append(websocket_masked_frame.binary(attachment))

    def _frame_of(self, kind: Any, payload: bytes, frames: list[bytes]) -> None:
        if len(payload) < MASK_BY_PICOWS or self._lost or self._raw.is_closing():
            frames.append(websocket_masked_frame.text(payload))
            return
        if frames:
            self._write_raw(b"".join(frames))
            frames.clear()
        self._send(kind, payload)

    # The read buffer of a client may grow: it has one.

    def _look_at_buffer(self, size: int, frame: Any) -> None:
        self._several = False


@dataclass(frozen=True, slots=True)
class WebSocketWay:
    """How a server is reached: of all of a client's WebSockets the same."""

    ssl: ssl.SSLContext | None
    proxy: str | None
    local_address: tuple[str, int] | None
    max_size: int


async def dial(
    url: str, headers: dict[str, str], accept: Callable[[ClientWebSocket], None], way: WebSocketWay
) -> list[tuple[str, str]]:
    """Opens a WebSocket. `accept` gets it before its first frame is reported, and gives it its sink.

    Returns the headers of the answer, names in lower case. Raises WebSocketRefused for another answer than the
    handshake's, OSError, ssl.SSLError, TimeoutError. Cancelling it closes what was opened.
    """
    found: list[tuple[str, str]] = []
    accepted = False
    lent: list[LentSocket] = []

    def listen(request: Any, response: Any) -> ClientWebSocket:
        nonlocal accepted
        found.extend((name.lower(), value) for name, value in response.headers.items())
        transport = ClientWebSocket(_no_sink, way.max_size)
        accept(transport)
        accepted = True
        return transport

    async def reach(target: Any) -> socket.socket:
        connection = await _reach(target.host, target.port, way)
        lent.append(LentSocket(connection))
        return connection

    http_proxy = way.proxy if way.proxy is not None and way.proxy.startswith("http") else None
    try:
        await ws_connect(
            listen,
            url,
            ssl_context=way.ssl,
            websocket_handshake_timeout=None,
            # It would take the headers along, to wherever.
            max_redirects=0,
            logger_name=logging.LoggerAdapter(_silent, {}),
            enable_auto_pong=False,
            max_frame_size=way.max_size,
            extra_headers=headers,
            proxy=http_proxy,
            proxy_ssl_context=way.ssl if http_proxy is not None and http_proxy.startswith("https") else None,
            read_buffer_init_size=READ_BUFFER,
            socket_factory=reach,
            use_aiofastnet=False,
        )
        if not accepted:
            # picows takes the end of the connection for the end of the handshake.
            raise ConnectionResetError("the connection was closed")
    except BaseException as error:
        # picows waits for the answer in a way that leaves the connection open where the waiting is cancelled.
        for connection in lent:
            connection.end()
        if isinstance(error, WSHandshakeError):
            status = _old_status(str(error)) if error.response is None else int(error.response.status)
            raise WebSocketRefused(status, _body(error), str(error)) from error
        if isinstance(error, WSError):
            raise WebSocketRefused(None, b"", str(error)) from error
        raise
    return found


def _old_status(text: str) -> int | None:
    """Of an answer of HTTP/1.0, which picows does not read."""
    found = re.search(r"http/1\.0 (\d{3})\b", text)
    return None if found is None else int(found[1])


def _body(refused: WSHandshakeError) -> bytes:
    """What the answer says; picows leaves it in its chunks. RFC 9112 §7.1."""
    body, response = refused.raw_body or b"", refused.response
    if response is None or response.headers.get("transfer-encoding", "").lower() != "chunked":
        return body
    chunks: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size.partition(b";")[0], 16)
        except ValueError:
            break
        chunks.append(body[:length])
        body = body[length + 2 :]
    return b"".join(chunks)


async def _reach(host: str, port: int, way: WebSocketWay) -> socket.socket:
    """A connection to this host: the server's, or its HTTP proxy's; through a SOCKS proxy where there is one."""
    if way.proxy is not None and not way.proxy.startswith("http"):
        return await Proxy.from_url(way.proxy).connect(dest_host=host, dest_port=port, local_addr=way.local_address)
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            if way.local_address is not None:
                connection.bind(way.local_address)
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failed = failed or error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failed or OSError(f"the name {host} has no address")


async def _hear(transport: WSTransport) -> None:
    """What picows found wrong was reported by then, and would be logged by the loop where nobody asks for it."""
    with contextlib.suppress(Exception):
        await transport.wait_disconnected()
