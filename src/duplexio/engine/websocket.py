"""WebSocket by picows: the one file that knows it.

picows parses and writes frames in C; it leaves to us to answer CLOSE and PING, to join fragments, to bound a message,
and to keep its read buffer, which only grows, from keeping what one large message once needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from duplexio.engine.grown_buffers import KEPT_SECONDS, give_back, take
from duplexio.engine.transport import Sink
from duplexio.protocol import websocket_frame
from duplexio.protocol.engine_packet import Message, Outgoing

__all__ = ["WebSocketTransport"]

TEXT, BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
#: What a message of one frame may be.
_WHOLE = (_TEXT, _BINARY)

#: Codes that only stand for closes without a code. RFC 6455 §7.4.1.
_NEVER_SENT = frozenset((1004, 1005, 1006, 1015))
#: picows' own floor. Its default of 16 KiB is most of what an idle connection costs.
READ_BUFFER = 2048
#: From this size of a message on the read buffer is replaced by a small one when it is not kept for the next such
#: message. Below, replacing costs more than it frees.
SHRINK_AFTER = 65_536
#: From this size on a message is a reason to keep a grown buffer for longer.
LARGE = SHRINK_AFTER // 2
#: How many bytes may wait in the loop's transport before packets wait in the session's outbox, where limits hold.
HIGH_WATER, LOW_WATER = 65_536, 16_384

#: Seconds that a peer has to read what was written before the end.
CLOSE_GRACE = 2.0

# picows parses a handshake before frames. Ours was answered already, so it is shown this one.
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
        "_kept",
        "_kept_at",
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
    #: How frames are written: a client masks them.
    _frame: Any = websocket_frame
    #: The option that bounds a message.
    _limit = "max_http_buffer_size"

    def __init__(self, sink: Sink, max_size: int) -> None:
        self.sink = sink
        self.writable = True
        #: True while a packet may be written at once: the last frame of a read is being worked off.
        self.direct = False
        self.closing = False
        #: Called when the connection is lost, for whoever keeps track of connections.
        self.on_lost: Callable[[WebSocketTransport], None] | None = None
        self._max_size = max_size
        self._lost = False
        self._fragments: list[bytes] | None = None
        self._fragments_size = 0
        self._fragments_type = 0
        self._late_ping: bytes | None = None
        self._reading = True
        #: Whether the next message is to be followed by a look at the buffer.
        self._several = False
        #: Bytes of a grown buffer that is kept, and since when.
        self._kept = 0
        self._kept_at = 0.0
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
        if kind in _WHOLE and frame.fin and self._fragments is None and plain and size <= self._max_size:
            last = frame.last_in_buffer
            self.direct = last and self.writable
            if kind == _TEXT:
                self.sink.receive(frame.get_payload_as_bytes())
            else:
                self.sink.receive_binary(frame.get_payload_as_bytes())
            self.direct = False
            if not last:
                self._several = True
                return
            if self.sink.outbox:
                self.sink.transport_ready()
            if size > SHRINK_AFTER or self._several:
                self._look_at_buffer(size, frame)
        else:
            self._other_frame(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        # A parser that was replaced is not told; the last one is.
        self._lost = True
        self.writable = False
        self._keep_no_more()
        if self.on_lost is not None:
            self.on_lost(self)
        code, text = self._violated
        handshake = transport.close_handshake
        if not code and handshake is not None and handshake.sent is not None:
            # picows found the fault, and closed.
            code, text = cast(int, handshake.sent.code), handshake.sent.reason
        if code in (0, 1000):
            self.sink.transport_closed(self, "transport close", "the connection was lost")
        elif code == 1009:
            details = f"a WebSocket message of over {self._max_size} bytes; {self._limit}=... changes it"
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
                self._write_raw(self._frame.pong(late))
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
        if self._bad_bits(kind, frame):
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
        elif frame.payload_size > SHRINK_AFTER or self._several:
            self._look_at_buffer(frame.payload_size, frame)

    def _bad_bits(self, kind: int, frame: WSFrame) -> bool:
        """Whether a reserved bit is set that nothing was agreed on. §5.2."""
        return bool(frame.rsv1 or frame.rsv2 or frame.rsv3)

    def _answer_ping(self, payload: bytes) -> None:
        """At once, or, where the peer does not read, the newest when it does: RFC 6455 §5.5.3 allows that."""
        if self.writable:
            self._write_raw(self._frame.pong(payload))
        else:
            self._late_ping = payload

    def _close_frame(self, payload: bytes) -> None:
        """Answered with the same code, then the connection ends. §5.5.1"""
        code = int.from_bytes(payload[:2], "big") if payload else 1000
        if code in _NEVER_SENT or not 1000 <= code < 5000:
            self._violation(1002, f"a close of code {code}")
            return
        if not self.closing:
            self._write_raw(self._frame.close_with(payload))
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
                self._deliver(kind, data)
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
            self._deliver(self._fragments_type, data)

    def _deliver(self, kind: int, data: bytes) -> None:
        """A whole message."""
        if kind == _TEXT:
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
        self._end(self._frame.close_with(b""))

    def fail(self, code: int, text: str) -> None:
        self._end(self._frame.close(code, text.encode()))

    def shutdown(self) -> None:
        """The server ends: 1012, service restart."""
        self._end(self._frame.close(1012))

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

    def _look_at_buffer(self, size: int, frame: WSFrame) -> None:
        """Behind a large message, behind many in one read, which make it grow, too, and while a grown one is kept."""
        if self._kept and size < LARGE and time.monotonic() - self._kept_at < KEPT_SECONDS:
            return
        room = max(len(self._parser.get_buffer(0)), size)
        if room <= SHRINK_AFTER:
            # Looked at again after the next read of many: bytes of a next frame may be in the way now.
            self._several = False
            self._keep_no_more()
            return
        # It grows by doubling.
        more = max(2 * room - self._kept, 0)
        if size >= LARGE and take(more):
            self._kept += more
            self._kept_at = time.monotonic()
            self._several = True
        else:
            self._keep_no_more()
            self._shrink(frame)

    def _keep_no_more(self) -> None:
        give_back(self._kept)
        self._kept = 0

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
        parser.connection_made(_Unasked(self._raw))
        _feed(parser, _HANDSHAKE)
        self._raw.set_protocol(parser)


class _Unasked:
    """The loop's transport and its socket, as picows is shown them.

    For a line of its log, which nobody hears, picows asks the kernel for both addresses and five options of the socket,
    each of them a call and an object of the loop's; and it sets the one that every loop has set. That is most of what a
    parser costs, so nothing is asked.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: asyncio.Transport) -> None:
        self._raw = raw

    def get_extra_info(self, name: str) -> Any:
        if name == "socket":
            return self
        return None if name in ("peername", "sockname") else self._raw.get_extra_info(name)

    def fileno(self) -> Any:
        return self._raw.get_extra_info("socket").fileno()

    def setsockopt(self, *_: int) -> None: ...

    def getsockopt(self, *_: int) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class _Answered:
    """What picows is told to answer to the handshake that it is shown: nothing goes out."""

    __slots__ = ("headers",)

    status = 101

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def to_bytes(self) -> bytearray:
        return bytearray()


class _NoLog:
    """What picows logs are things we log ourselves. No logger of `logging`'s, which takes longer to say no."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return False

    def log(self, *_: object, **__: object) -> None: ...

    debug = info = warning = error = exception = log


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
        lambda request: WSUpgradeResponseWithListener(cast(Any, _Answered()), _next_listener.pop()),
        use_aiofastnet=False,
        websocket_handshake_timeout=None,
        logger_name=cast(Any, _NoLog()),
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
