"""One connection between two workers, over a Unix socket: frames out of a bounded queue, or frames in.

    4 bytes  length of what follows
    2 bytes  length of the channel's name
    …        the channel's name, in UTF-8
    …        the message

A connection carries messages one way only: each worker writes to the one that it has opened. Sockets are used by
themselves, without a transport of asyncio's: what waits is then in one queue alone, whose bound is exact.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from itertools import islice
from math import inf

__all__ = ["FRAME_OVERHEAD", "FrameReader", "FrameWriter", "frame"]

_HEAD = struct.Struct(">IH")
_LENGTH = struct.Struct(">I")
#: More in front of a message than this no frame has: its lengths and a channel's name.
FRAME_OVERHEAD = 2 + 0xFFFF
#: Buffers in one write. Linux takes 1,024 (IOV_MAX).
BUFFERS = 512
#: Bytes offered in one write: several times what a socket's buffer takes, so that one write fills it.
WRITE_BYTES = 1024 * 1024
#: Bytes taken in one read: what a socket's buffer holds, by Linux's default.
READ_BYTES = 256 * 1024
#: Larger messages are not copied to be joined with their heads.
JOINED = 16 * 1024


def frame(channel: str, message: bytes) -> tuple[bytes, ...]:
    """What is written for a message: one buffer, or two where joining them would copy much."""
    name = channel.encode()
    head = _HEAD.pack(2 + len(name) + len(message), len(name)) + name
    return (head + message,) if len(message) <= JOINED else (head, bytes(message))


class FrameWriter:
    """The side that writes. `lost` is told once that the other end is gone, with the reason.

    Attributes:
        queued: how many bytes wait.
    """

    __slots__ = ("_closed", "_loop", "_lost", "_queue", "_taken", "_waiters", "_waits", "queued", "sock")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, lost: Callable[[str], None]) -> None:
        self.sock = sock
        self.queued = 0
        self._loop = loop
        self._lost = lost
        #: How many bytes the socket has taken so far, and who waits until it is so many.
        self._taken = 0
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._queue: deque[bytes | memoryview] = deque()
        self._waits = False
        self._closed = False

    def put(self, buffers: tuple[bytes, ...], size: int) -> None:
        """Queues them; `write` sends them."""
        self._queue.extend(buffers)
        self.queued += size

    def write(self) -> None:
        """One write of what waits; where that was not all, more follows when the socket takes it."""
        if self._closed or not self._queue:
            return
        offered: list[bytes | memoryview] = []
        size = 0
        for buffer in islice(self._queue, BUFFERS):
            offered.append(buffer)
            size += len(buffer)
            if size >= WRITE_BYTES:
                break
        try:
            sent = self.sock.sendmsg(offered)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.fail(f"its connection is lost: {error}")
            return
        self._sent(sent)
        if bool(self._queue) is not self._waits:
            self._waits = not self._waits
            if self._waits:
                self._loop.add_writer(self.sock, self.write)
            else:
                self._loop.remove_writer(self.sock)

    def drained(self) -> asyncio.Future[None]:
        """Done when the socket has taken what is queued now, or when it is closed. Cancelling it leaves no trace."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self.queued:
            self._waiters[waiter] = self._taken + self.queued
            waiter.add_done_callback(self._waiters.pop)
        else:
            waiter.set_result(None)
        return waiter

    def _release(self, taken: float) -> None:
        for waiter, wanted in self._waiters.items():
            # In the order of what they wait for.
            if wanted > taken:
                break
            if not waiter.done():
                waiter.set_result(None)

    def _sent(self, count: int) -> None:
        queue = self._queue
        self.queued -= count
        self._taken += count
        if self._waiters:
            self._release(self._taken)
        while count:
            first = queue[0]
            if len(first) > count:
                queue[0] = memoryview(first)[count:]
                return
            count -= len(first)
            queue.popleft()

    def fail(self, reason: str) -> None:
        """The other end is gone."""
        if not self._closed:
            self.close()
            self._lost(reason)

    def close(self) -> None:
        """Drops what waits, and ends the connection. `lost` is not told."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self.sock)
        if self._waits:
            self._loop.remove_writer(self.sock)
        self.sock.close()
        self._queue.clear()
        self.queued = 0
        self._release(inf)


class FrameReader:
    """Bytes to frames, however they are cut. Knows no socket.

    `received` is told of each frame, and `refused` of each that is none, with the cause and a text; it is passed over.
    """

    __slots__ = ("_max_frame", "_need", "_pending", "_received", "_refused", "_skip", "stopped")

    def __init__(
        self, max_message: int, received: Callable[[str, bytes], None], refused: Callable[[str, str], None]
    ) -> None:
        self._max_frame = max_message + FRAME_OVERHEAD
        self._received = received
        self._refused = refused
        self._pending = bytearray()
        self._need = 4
        self._skip = 0
        #: Nothing more is wanted: set by whoever is told of a frame.
        self.stopped = False

    def allow(self, max_message: int) -> None:
        """From now on messages may be so large."""
        self._max_frame = max_message + FRAME_OVERHEAD

    @property
    def inside(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return bool(self._pending or self._skip)

    def feed(self, data: memoryview) -> None:
        """Takes what was read."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        if self._pending:
            self._pending += data
            if len(self._pending) < self._need:
                return
            data, self._pending = memoryview(self._pending), bytearray()
        position, end = 0, len(data)
        while not self.stopped:
            if end - position < 4:
                self._need = 4
                break
            (length,) = _LENGTH.unpack_from(data, position)
            if length > self._max_frame:
                self._refused("bus_oversized", f"a message of {length} bytes was passed over")
                passed = min(4 + length, end - position)
                self._skip = 4 + length - passed
                position += passed
                continue
            self._need = 4 + length
            if end - position < self._need:
                break
            self._frame(data[position + 4 : position + self._need])
            position += self._need
        if position < end and not self.stopped:
            self._pending += data[position:]

    def _frame(self, data: memoryview) -> None:
        size = 2 + int.from_bytes(data[:2], "big")
        try:
            if len(data) < size:
                raise ValueError("shorter than the name of its channel")
            channel = str(data[2:size], "utf-8")
        except ValueError as error:
            self._refused("bus_garbage", f"a frame that is none: {error}")
            return
        self._received(channel, bytes(data[size:]))
