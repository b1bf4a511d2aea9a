"""The two connections of a pair of workers, one for each direction, and the greeting each begins with."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from duplexio.adapters.unix_frames import READ_BYTES, FrameReader, FrameWriter, frame

if TYPE_CHECKING:
    from duplexio.adapters.unix import UnixBus

__all__ = ["TAG", "In", "Out"]

#: The channel of greetings, which say who somebody is. The number is the format's.
GREETING = "duplexio bus 1"
#: A greeting is not longer.
MAX_GREETING = 256
#: Read at the end of a worker: what it had sent before is in the buffer of its socket, which is smaller.
LAST_READS = 16
#: What a worker may be called.
TAG = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Out:
    """A connection that this worker has opened, to write to. The other end says who it is, and nothing more."""

    def __init__(self, bus: UnixBus, tag: str, sock: socket.socket) -> None:
        self.tag = tag
        self.node = ""
        self.since = bus._loop.time()
        self._bus = bus
        self.writer = FrameWriter(bus._loop, sock, self._lost)
        self._reader = FrameReader(MAX_GREETING, self._greeting, self._refused)

    def greet(self) -> None:
        """Says who this worker is, and waits for the answer."""
        greeting = frame(GREETING, f"{self._bus._node}\n{self._bus.tag}".encode())
        self.writer.put(greeting, sum(map(len, greeting)))
        self._bus._loop.add_reader(self.writer.sock, self._read)
        self.writer.write()

    def _read(self) -> None:
        data = _read(self.writer.sock, self._bus._buffer)
        if isinstance(data, str):
            self.writer.fail(data)
        elif data:
            self._reader.feed(data)

    def _greeting(self, channel: str, message: bytes) -> None:
        node = message.decode(errors="replace").partition("\n")[0]
        if self.node or channel != GREETING or not node.startswith(self.tag + "."):
            self._refused("bus_garbage", "no greeting of a worker")
            return
        self._bus._answered(self, node)

    def _refused(self, cause: str, text: str) -> None:
        self._reader.stopped = True
        self._bus._reporter.fault("bus_garbage", self.tag, f"{text}; do all workers run the same version of duplexio?")
        self.writer.fail("it said what no worker says")

    def _lost(self, reason: str) -> None:
        if self._bus._opened.get(self.tag) is self:
            del self._bus._opened[self.tag]
        if self.node and self._bus._peers.get(self.node) is self:
            self._bus._lost(self.node, reason)
        elif not self.node:
            self._bus._unanswered(self.tag)

    def close(self) -> None:
        if self._bus._opened.get(self.tag) is self:
            del self._bus._opened[self.tag]
        self.writer.close()


class In:
    """A connection that another worker has opened. It says who it is first, and is answered."""

    def __init__(self, bus: UnixBus, sock: socket.socket) -> None:
        self.node = ""
        self.sock = sock
        self._bus = bus
        self._reader = FrameReader(MAX_GREETING, self._frame, self._refused)
        self._closed = False
        self._reading = False
        #: What came while the answer of the other connection is still to come: nothing is received of who is not seen.
        self._early: list[tuple[str, bytes]] = []
        self.resume()

    def resume(self) -> None:
        if self._closed or self._bus._closing:
            return
        if not self._reading:
            self._reading = True
            self._bus._loop.add_reader(self.sock, self._read)
        early, self._early = self._early, []
        for channel, message in early:
            self._frame(channel, message)

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._bus._loop.remove_reader(self.sock)

    def _read(self) -> None:
        self._read_into(self._bus._buffer)

    def _read_into(self, buffer: bytearray) -> bool:
        """Whether there may be more."""
        data = _read(self.sock, buffer)
        if isinstance(data, str):
            if self._reader.inside:
                self._refused("bus_garbage", "its last message was cut short")
            self.close()
            if self.node and self._bus._incoming.get(self.node) is self:
                self._bus._lost(self.node, data)
            return False
        if data:
            self._reader.feed(data)
        return bool(data)

    def read_last(self) -> None:
        """What had been sent before the end, without waiting."""
        if self._closed or not self.node or self._bus._closing:
            return
        self.pause()
        # Not the one that all share: whoever noticed the end may be reading what is in that.
        buffer = bytearray(READ_BYTES)
        for _ in range(LAST_READS):
            if self._closed or not self._read_into(buffer):
                break

    def _frame(self, channel: str, message: bytes) -> None:
        if not self.node:
            self._greeting(channel, message)
        elif self.node in self._bus._peers:
            self._bus._received(self.node, channel, message)
        else:
            self._early.append((channel, message))
            self.pause()

    def _greeting(self, channel: str, message: bytes) -> None:
        node, _, tag = message.decode(errors="replace").partition("\n")
        if channel != GREETING or not node.startswith(tag + ".") or not TAG.fullmatch(tag) or len(node) > 64:
            self._refused("bus_garbage", "no greeting of a worker; do all run the same version of duplexio?")
            self.close()
            return
        self.node = node
        self._reader.allow(self._bus._limits.max_message)
        try:
            # Shorter than the buffer of a socket that nothing was written to.
            self.sock.send(b"".join(frame(GREETING, f"{self._bus._node}\n{self._bus.tag}".encode())))
        except OSError:
            # It has gone meanwhile, as reading will tell.
            return
        self._bus._greeted(self, node, tag)

    def _refused(self, cause: str, text: str) -> None:
        where = self.node or "unix"
        if cause == "bus_oversized" and self.node:
            self._bus._reporter.fault("bus_oversized", where, text)
            return
        self._bus._reporter.fault("bus_garbage", where, text)
        if not self.node:
            # Whatever it speaks, it is not this.
            self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._reader.stopped = True
            self.pause()
            self._bus._ungreeted.pop(self, None)
            self.sock.close()


def _read(sock: socket.socket, buffer: bytearray) -> memoryview | str | None:
    """What is there to be read; None: nothing now; a text: why there will be nothing more."""
    try:
        count = sock.recv_into(buffer)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        return f"its connection is lost: {error}"
    return memoryview(buffer)[:count] if count else "it has closed its connection"
