"""WebSocket by picows: the one file that knows it.

picows parses and writes frames in C; it leaves to us to answer CLOSE and PING, to join fragments, to bound a message,
and to keep its read buffer, which only grows, from keeping what one large message once needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from duplexio.engine.transport import Sink
from duplexio.protocol import websocket_frame
from duplexio.protocol.engine_packet import Message, Outgoing

__all__ = ["WebSocketTransport"]

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10

#: Codes that only stand for closes without a code. RFC 6455 §7.4.1.
_NEVER_SENT = frozenset((1004, 1005, 1006, 1015))
#: picows' own floor. Its default of 16 KiB is most of what an idle connection costs.
READ_BUFFER = 2048
#: After a message of this size the read buffer is replaced by a small one. Below, replacing costs more than it frees.
SHRINK_AFTER = 65_536
#: How many bytes may wait in the loop's transport before packets wait in the session's outbox, where limits hold.
HIGH_WATER, LOW_WATER = 65_536, 16_384

#: Seconds that a peer has to read what was written before the end.
CLOSE_GRACE = 2.0

#: What picows logs are things we log ourselves; an adapter keeps it from making a logger for each connection.
_silent = logging.Logger("duplexio.picows", logging.CRITICAL + 1)

# picows parses a handshake before frames. Ours was answered already, so it is shown this one, and its answer is
# dropped.
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class WebSocketTransport(WSListener):
    """See `Transport`."""

    __slots__ = (
        "_fragments",
        "_fragments_size",
        "_fragments_type",
        "_late_ping",
        "_lost",
        "_max_size",
        "_parser",
        "_raw",
        "_reading",
        "_send",
        "_several",
        "_violated",
        "_write",
        "closing",
        "direct",
        "on_lost",
        "sink",
        "writable",
    )

    name = "websocket"

    def __init__(self, sink: Sink, max_size: int) -> None:
        self.sink = sink
        self.writable = True
        #: True while a packet may be written at once: the last frame of a read is being worked off.
        self.direct = False
        self.closing = False
        #: Called when the connection is lost, for whoever keeps track of connections.
        self.on_lost: Callable[[], None] | None = None
        self._max_size = max_size
        self._lost = False
        self._fragments: list[bytes] | None = None
        self._fragments_size = 0
        self._fragments_type = 0
        self._late_ping: bytes | None = None
        self._reading = True
        self._several = False
        self._violated = 0, ""

    def attach(self, raw: asyncio.Transport) -> None:
        """Takes over a connection whose WebSocket handshake was answered."""
        self._raw = raw
        self._write = raw.write
        raw.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._swap_parser()

    def feed(self, data: bytes) -> None:
        """Bytes that were read with the handshake."""
        _feed(self._parser, data)

    # picows calls these.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._send = transport.send
        # 2 KB a connection that nothing reads again.
        transport.request.headers = transport.response.headers = cast(Any, None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind: Any = frame.msg_type
        size = frame.payload_size
        plain = not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        if kind == _TEXT and frame.fin and self._fragments is None and plain and size <= self._max_size:
            last = frame.last_in_buffer
            self.direct = last and self.writable
            self.sink.receive(frame.get_payload_as_bytes())
            self.direct = False
            if not last:
                self._several = True
                return
            if self.sink.outbox:
                self.sink.transport_ready()
            if size > SHRINK_AFTER or (self._several and self._buffer_has_grown()):
                self._shrink(frame)
        else:
            self._other_frame(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        # A parser that was replaced is not told; the last one is.
        self._lost = True
        self.writable = False
        if self.on_lost is not None:
            self.on_lost()
        code, text = self._violated
        handshake = transport.close_handshake
        if not code and handshake is not None and handshake.sent is not None:
            # picows found the fault, and closed.
            code, text = cast(int, handshake.sent.code), handshake.sent.reason
        if code in (0, 1000):
            self.sink.transport_closed(self, "transport close", "the connection was lost")
        elif code == 1009:
            details = f"a WebSocket message of over {self._max_size} bytes; Server(max_http_buffer_size=...) changes it"
            self.sink.transport_closed(self, "transport error", details, "message_too_big")
        else:
            self.sink.transport_closed(self, "transport error", f"a WebSocket frame against RFC 6455: {text}")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        if not self._lost and not self.closing:
            self.writable = True
            late, self._late_ping = self._late_ping, None
            if late is not None:
                self._write_raw(websocket_frame.pong(late))
            self.sink.transport_ready()

    # The rarer frames.

    def _other_frame(self, kind: int, frame: WSFrame) -> None:
        if self.closing and kind != _CLOSE:
            # §5.5.1: nothing is heard behind a close.
            return
        if frame.payload_size > self._max_size:
            # picows has closed for it, and delivers it all the same when the rest has come.
            self._violation(1009, "")
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._violation(1002, "a reserved bit without an extension")
        elif kind == _PING:
            self._answer_ping(frame.get_payload_as_bytes())
        elif kind == _CLOSE:
            self._close_frame(frame.get_payload_as_bytes())
        elif kind in (_TEXT, _BINARY, _CONTINUATION):
            self._data_frame(kind, frame)
        if frame.last_in_buffer and self.sink.outbox:
            self.sink.transport_ready()
        if not frame.last_in_buffer:
            self._several = True
        elif frame.payload_size > SHRINK_AFTER or (self._several and self._buffer_has_grown()):
            self._shrink(frame)

    def _answer_ping(self, payload: bytes) -> None:
        """At once, or, where the peer does not read, the newest when it does: RFC 6455 §5.5.3 allows that."""
        if self.writable:
            self._write_raw(websocket_frame.pong(payload))
        else:
            self._late_ping = payload

    def _close_frame(self, payload: bytes) -> None:
        """Answered with the same code, then the connection ends. §5.5.1"""
        code = int.from_bytes(payload[:2], "big") if payload else 1000
        if code in _NEVER_SENT or not 1000 <= code < 5000:
            self._violation(1002, f"a close of code {code}")
            return
        if not self.closing:
            self._write_raw(bytes((0x88, len(payload))) + payload)
        self._hear_no_more()
        self._raw.close()

    def _data_frame(self, kind: int, frame: WSFrame) -> None:
        """Joins fragments. RFC 6455 §5.4."""
        if (kind == _CONTINUATION) != (self._fragments is not None):
            self._violation(1002, "fragments out of order")
            return
        data = frame.get_payload_as_bytes()
        if kind != _CONTINUATION:
            if frame.fin:
                self.sink.receive_binary(data)
                return
            self._fragments, self._fragments_size, self._fragments_type = [], 0, kind
        assert self._fragments is not None
        self._fragments.append(data)
        self._fragments_size += len(data)
        if self._fragments_size > self._max_size or len(self._fragments) > self._max_size // 64 + 64:
            self._violation(1009, f"a message of over {self._max_size} bytes")
            return
        if frame.fin:
            data, self._fragments = b"".join(self._fragments), None
            if self._fragments_type == _TEXT:
                self.sink.receive(data)
            else:
                self.sink.receive_binary(data)

    # What the session calls.

    @property
    def congested(self) -> bool:
        # Not any byte: the loop keeps what was written in this turn until its end.
        return not self.writable or self._raw.get_write_buffer_size() > LOW_WATER

    def write(self, packets: Iterable[Outgoing]) -> None:
        self._write_raw(b"".join([websocket_frame.text(p) if isinstance(p, bytes) else p.frames() for p in packets]))

    def write_one(self, packet: bytes) -> None:
        self._send(TEXT, packet)

    def write_shared(self, message: Message) -> None:
        self._write(message.frames())

    def close(self) -> None:
        self._end(websocket_frame.CLOSE_WITHOUT_CODE)

    def fail(self, code: int, text: str) -> None:
        self._end(websocket_frame.close(code, text.encode()))

    def shutdown(self) -> None:
        """The server ends: 1012, service restart."""
        self._end(websocket_frame.close(1012))

    def _end(self, frame: bytes) -> None:
        self.writable = self.direct = False
        if not self.closing and not self._lost:
            self._write_raw(frame)
            self._hear_no_more()
            self._raw.close()
            if self._raw.get_write_buffer_size():
                # What waits for a peer that may never read it; the loop's transport would keep it for ever.
                asyncio.get_running_loop().call_later(CLOSE_GRACE, self._abort)

    def _abort(self) -> None:
        # asyncio's own transports cannot be aborted once they are closed.
        if not self._lost:
            self._raw.abort()

    def _violation(self, code: int, text: str) -> None:
        """The peer broke RFC 6455: told so by a close, and reported when the connection has ended."""
        if not self.closing:
            self._violated = code, text
            self.fail(code, text)

    def _hear_no_more(self) -> None:
        self.closing = True
        # Out of the hot path with what still comes: it asks whether fragments wait, and not for more.
        self._fragments = []

    def pause_reading(self) -> None:
        if self._reading and not self._lost:
            self._reading = False
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._lost and not self._raw.is_closing():
            self._reading = True
            self._raw.resume_reading()

    def _write_raw(self, data: bytes) -> None:
        if not self._lost and not self._raw.is_closing():
            self._write(data)

    # The read buffer.

    def _buffer_has_grown(self) -> bool:
        """Many small frames in one read make it grow, too; asked only after such a read."""
        # Asked again after the next read, where bytes of a next frame are in the way now.
        self._several = len(self._parser.get_buffer(0)) > SHRINK_AFTER
        return self._several

    def _shrink(self, frame: WSFrame) -> None:
        """Replaces the parser, and with it its grown buffer, where no byte of a next frame is in it."""
        if frame.last_in_buffer and not frame.tail_size and self._raw.get_extra_info("ssl_object") is None:
            # Not here: the parser that is to go is on the stack. Nothing may be read into it in between.
            self._raw.pause_reading()
            asyncio.get_running_loop().call_soon(self._replace_parser)

    def _replace_parser(self) -> None:
        if not self._lost and not self._raw.is_closing():
            self._swap_parser()
            if self._reading:
                self._raw.resume_reading()

    def _swap_parser(self) -> None:
        parser = self._parser = _new_parser(self, self._max_size)
        parser.connection_made(_Mute(self._raw))
        _feed(parser, _HANDSHAKE)
        self._raw.set_protocol(parser)


class _Mute:
    """The loop's transport as picows sees it while it is shown the handshake: the first write is dropped."""

    __slots__ = ("_muted", "_raw")

    def __init__(self, raw: asyncio.Transport) -> None:
        self._raw = raw
        self._muted = True

    def write(self, data: bytes) -> None:
        if self._muted:
            self._muted = False
        else:
            self._raw.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _feed(parser: Any, data: bytes) -> None:
    """Hands bytes to a protocol that reads into its own buffer, as a loop would."""
    while data:
        buffer = parser.get_buffer(len(data))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        parser.buffer_updated(count)
        data = data[count:]


class _Catch:
    """Stands in for the loop while `ws_create_server` runs, and keeps the factory that it would have listened with.

    picows exports no protocol class; its documented way to make one is this function.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.factory: Any = None

    async def create_server(self, factory: Any, *_: Any, **__: Any) -> None:
        self.factory = factory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


_next_listener: list[WebSocketTransport] = []
_factories: dict[tuple[int, int], Any] = {}


def _new_parser(listener: WebSocketTransport, max_size: int) -> Any:
    loop = asyncio.get_running_loop()
    key = (id(loop), max_size)
    factory = _factories.get(key)
    if factory is None:
        _factories.clear()
        factory = _factories[key] = _parser_factory(loop, max_size)
    _next_listener.append(listener)
    return factory()


def _parser_factory(loop: asyncio.AbstractEventLoop, max_size: int) -> Any:
    catch = _Catch(loop)
    steps = ws_create_server(
        lambda request: _next_listener.pop(),
        use_aiofastnet=False,
        websocket_handshake_timeout=None,
        logger_name=logging.LoggerAdapter(_silent, {}),
        enable_auto_pong=False,
        max_frame_size=max_size,
        read_buffer_init_size=READ_BUFFER,
    )
    asyncio._set_running_loop(cast(Any, catch))
    try:
        steps.send(None)
    except StopIteration:
        pass
    finally:
        asyncio._set_running_loop(loop)
    return catch.factory
