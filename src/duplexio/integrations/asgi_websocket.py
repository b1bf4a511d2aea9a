"""A WebSocket by the messages of any ASGI server. https://asgi.readthedocs.io/en/latest/specs/www.html#websocket"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY, Sink
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.types import CloseReason

__all__ = ["AsgiWebSocket"]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


#: Seconds that a peer has to read what was sent before the end.
CLOSE_GRACE = 2.0
#: The code of an end that is no fault. RFC 6455 §7.4.1
NORMAL = 1000
#: Codes with which a server, or a client, says that the other broke RFC 6455. §7.4.1
_FAULTS = {
    1002: "a frame against RFC 6455",
    1003: "a frame of a kind that is not taken",
    1007: "text that is not UTF-8",
    1009: "a message over the server's own limit",
}


class AsgiWebSocket:
    """See `engine.transport.Transport`."""

    __slots__ = (
        "_closed",
        "_engine",
        "_given_up",
        "_interrupted",
        "_pending",
        "_receiving",
        "_resumed",
        "_send",
        "_task",
        "_writer",
        "sink",
    )

    name = "websocket"
    direct = False

    def __init__(self, engine: EngineServer, send: Send) -> None:
        self.sink: Sink = NOBODY
        self._engine = engine
        self._send = send
        self._pending: list[MutableMapping[str, Any]] = []
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False
        self._receiving = False
        self._interrupted = False
        self._resumed: asyncio.Event | None = None

    async def serve(self, receive: Receive) -> None:
        """Reads until the WebSocket ends."""
        limit = self._engine.options.max_http_buffer_size
        code = 1005
        self._task = asyncio.current_task()
        try:
            while True:
                if self._resumed is not None:
                    await self._resumed.wait()
                if self._closed and self._writer is not None:
                    await asyncio.wait((self._writer,))
                message = await self._next(receive)
                if message is None:
                    continue
                if message["type"] != "websocket.receive":
                    code = message.get("code") or 1005
                    break
                text = message.get("text")
                data = message.get("bytes") if text is None else text.encode()
                if data is None or self._closed:
                    continue
                if len(data) > limit:
                    self.fail(1009, "message too big")
                    details = f"a WebSocket message of over {limit} bytes; max_http_buffer_size=... changes it"
                    self._tell_closed("transport error", details, "message_too_big")
                elif text is not None:
                    self.sink.receive(data)
                else:
                    self.sink.receive_binary(data)
        except asyncio.CancelledError:
            if not self._given_up:
                raise
        finally:
            self._task = None
            self._closed = True
            if code in _FAULTS:
                cause = "message_too_big" if code == 1009 else ""
                self._tell_closed("transport error", f"the WebSocket ended with {code}: {_FAULTS[code]}", cause)
            else:
                self._tell_closed("transport close", "the connection was lost")
            if self._writer is not None:
                await asyncio.wait((self._writer,), timeout=1.0)

    async def _next(self, receive: Receive) -> MutableMapping[str, Any] | None:
        """The next message; None where what is to be sent before the end waits for this call to be over."""
        self._receiving = True
        try:
            return await receive()
        except asyncio.CancelledError:
            task = self._task
            if not self._interrupted or task is None:
                raise
            self._interrupted = False
            if task.uncancel():
                raise
            return None
        finally:
            self._receiving = False

    def _tell_closed(self, reason: CloseReason, details: str, cause: str = "") -> None:
        self.sink.transport_closed(self, reason, details, cause)

    @property
    def writable(self) -> bool:
        return not self._closed and self._writer is None

    @property
    def congested(self) -> bool:
        return not self.writable

    def write(self, packets: Iterable[Outgoing]) -> None:
        for packet in packets:
            if isinstance(packet, bytes):
                self._pending.append({"type": "websocket.send", "text": packet.decode()})
            else:
                if packet.text:
                    self._pending.append({"type": "websocket.send", "text": packet.text.decode()})
                self._pending += [{"type": "websocket.send", "bytes": data} for data in packet.attachments]
        self._write_pending()

    def write_one(self, packet: bytes) -> None:
        self.write((packet,))

    def write_shared(self, message: Message) -> None:
        self.write((message,))

    def _write_pending(self) -> None:
        if self._writer is None and self._pending:
            self._writer = self._engine.loop.create_task(self._write())

    async def _write(self) -> None:
        """A task while there is something to send: what an ASGI server does to slow a sender down is make it wait."""
        message: MutableMapping[str, Any] = {}
        try:
            while self._pending:
                messages, self._pending = self._pending, []
                for message in messages:
                    await self._send(message)
        except Exception:
            # The server's own way to say that the peer is gone; `receive` tells the same.
            self._pending.clear()
            if message.get("code", NORMAL) != NORMAL:
                # Or that it takes no code that RFC 6455 has defined for endpoints, as daphne.
                with contextlib.suppress(Exception):
                    await self._send({"type": "websocket.close", "code": NORMAL})
        finally:
            self._writer = None
        if not self._closed:
            self.sink.transport_ready()

    def close(self) -> None:
        self._end({"type": "websocket.close", "code": NORMAL})

    def fail(self, code: int, text: str) -> None:
        self._end({"type": "websocket.close", "code": code, "reason": text})

    def _end(self, message: MutableMapping[str, Any]) -> None:
        if not self._closed:
            self._closed = True
            self._pending.append(message)
            self._write_pending()
            self.resume_reading()
            if self._receiving and self._task is not None:
                # granian sends no close while a `receive` is waiting.
                self._interrupted = True
                self._task.cancel()
            self._engine.loop.call_later(CLOSE_GRACE, self._give_up)

    def _give_up(self) -> None:
        """The peer has not read what was sent before the end, or does not answer it."""
        if self._writer is not None:
            self._writer.cancel()
        if self._task is not None:
            self._given_up = True
            self._task.cancel()

    def pause_reading(self) -> None:
        if self._resumed is None:
            self._resumed = asyncio.Event()

    def resume_reading(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
