"""HTTP long-polling: a GET that waits for packets, a POST that brings them. One of each at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from duplexio.engine.transport import Sink
from duplexio.errors import EnginePacketError
from duplexio.protocol.engine_packet import Binary, Message, Outgoing
from duplexio.protocol.payload_format import PayloadFormat

__all__ = ["Exchange", "PollingTransport"]

#: Not text/plain: some browsers offered that as a download. [engine.io/lib/transports/polling.ts]
HTML = b"text/html"


class Exchange(Protocol):
    """A request that waits for its answer, whatever HTTP server holds it."""

    def respond(self, status: int, body: bytes, content_type: bytes = b"", compressible: bool = False) -> None:
        """Answers it, once; nothing happens where the peer is gone.

        A `compressible` body is sent in a content coding that the request accepts, where there is one.
        """


class PollingTransport:
    """See `Transport`."""

    __slots__ = (
        "_again",
        "_binary",
        "_compress_from",
        "_format",
        "_held_post",
        "_losses",
        "_paused",
        "_poll",
        "_post",
        "forgotten",
        "sink",
    )

    name = "polling"
    #: Never: all packets of one turn of the loop go out in one body.
    direct = False

    def __init__(self, sink: Sink, payload_format: PayloadFormat, compress_from: int = sys.maxsize) -> None:
        self.sink = sink
        #: Bodies of so many bytes may be compressed.
        self._compress_from = compress_from
        self._format = payload_format
        self._poll: Exchange | None = None
        self._post: Exchange | None = None
        self._binary = False
        self._paused = False
        self._held_post = False
        self._losses = 0
        #: Which of the requests that went missing was the last, if the client has not polled since; else 0.
        self.forgotten = 0
        #: An answer that went missing: the next poll's.
        self._again: tuple[bytes, bytes, bool] | None = None

    @property
    def writable(self) -> bool:
        return self._poll is not None

    @property
    def congested(self) -> bool:
        return self._poll is None

    @property
    def takes_binary(self) -> bool:
        """Whether a POST may be of `application/octet-stream`."""
        return self._format.has_binary

    # What the HTTP side calls.

    def poll(self, exchange: Exchange) -> None:
        """A GET: answered at once where packets wait, else when the first comes."""
        if self._poll is not None:
            self.sink.transport_closed(self, "transport error", "a second poll while one is open")
            exchange.respond(400, b"")
            return
        if self.forgotten:
            self.forgotten = 0
            again, self._again = self._again, None
            if again is not None:
                exchange.respond(200, *again)
                return
        self._poll = exchange
        self.sink.transport_ready()

    def begin_post(self, exchange: Exchange, binary: bool = False) -> bool:
        """The head of a POST is here; `binary`: it is of `application/octet-stream`.

        False: it overlaps another, and was answered.
        """
        if self._post is not None:
            self.sink.transport_closed(self, "transport error", "a second POST while one is open")
            exchange.respond(400, b"")
            return False
        self._post = exchange
        self._binary = binary
        return True

    def end_post(self, body: bytes) -> None:
        """The body of the POST that was begun."""
        exchange = self._post
        assert exchange is not None
        try:
            packets = self._format.decode(body, self._binary)
        except EnginePacketError as error:
            self._post = None
            self.sink.transport_closed(self, "parse error", str(error))
            exchange.respond(400, b"")
            return
        for packet in packets:
            if isinstance(packet, Binary):
                self.sink.receive_binary(bytes(packet))
            else:
                self.sink.receive(packet)
        if self._paused:
            self._held_post = True
        else:
            self._post = None
            exchange.respond(200, b"ok", HTML)

    def refuse_post(self, status: int) -> None:
        """The body was not taken: too large, or of the wrong type. The session lives."""
        exchange, self._post = self._post, None
        if exchange is not None:
            exchange.respond(status, b"")

    def refuse_binary(self) -> bool:
        """The POST that was begun is of `application/octet-stream`: whether it was refused, and its session ended.

        Binary bodies were protocol 3's.
        """
        if self.takes_binary:
            return False
        self.refuse_post(400)
        self.sink.transport_closed(self, "transport error", "a POST of application/octet-stream")
        return True

    def release(self, exchange: Exchange) -> None:
        """Answers this poll, if it is the one that waits: its client is to ask again on another connection."""
        if exchange is self._poll:
            self.write((b"6",))

    def forget(self, exchange: Exchange) -> None:
        """Whoever held this request for the client is gone. The client may be there: its proxy asks again for it."""
        if exchange is self._poll:
            self._poll = None
            self._miss()
        elif exchange is self._post:
            self._post = None
            self._held_post = False
            self._miss()

    def _miss(self) -> None:
        self._losses += 1
        self.forgotten = self._losses

    def answer_again(self, body: bytes, content_type: bytes, compressible: bool) -> None:
        """Whoever had this answer for the client is gone, and has not sent it: the next poll gets it."""
        self._again = body, content_type, compressible
        self._miss()

    def end_forgotten(self, loss: int) -> None:
        """The client has had its time to ask again, since `forgotten` was that."""
        if loss and self.forgotten == loss:
            self.sink.transport_closed(self, "transport error", "a request was lost with the worker that held it")

    def answer_lost(self, details: str) -> None:
        """The client has gone before its answer."""
        self.sink.transport_closed(self, "transport error", details)

    def lost(self, exchange: Exchange) -> None:
        """The peer went away in the middle of a request."""
        if exchange is self._poll:
            self._poll = None
            self.sink.transport_closed(self, "transport error", "the poll's connection closed prematurely")
        elif exchange is self._post:
            self._post = None
            self.sink.transport_closed(self, "transport error", "the POST's connection closed prematurely")

    # What the session calls.

    def write(self, packets: Sequence[Outgoing]) -> None:
        exchange, self._poll = self._poll, None
        if exchange is not None:
            body, content_type = self._format.encode(packets)
            # One packet that may not be is enough: a secret is not compressed together with what others chose.
            if len(body) >= self._compress_from and _compressible(packets):
                exchange.respond(200, body, content_type, compressible=True)
            else:
                exchange.respond(200, body, content_type)

    def write_one(self, packet: bytes) -> None:
        self.write((packet,))

    def write_shared(self, message: Message) -> None:
        self.write((message,))

    def close(self) -> None:
        self.discard(b"1")

    def discard(self, last: bytes) -> None:
        """Answers what is open with this packet, and nothing after it."""
        if self._poll is not None:
            self.write((last,))
        if self._held_post:
            self.resume_reading()

    def fail(self, code: int, text: str) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._held_post:
            self._held_post = False
            exchange, self._post = self._post, None
            assert exchange is not None
            exchange.respond(200, b"ok", HTML)


def _compressible(packets: Sequence[Outgoing]) -> bool:
    for packet in packets:  # noqa: SIM110
        # A loop costs a third of a generator and `all`, and long bodies have many packets.
        if type(packet) is not bytes and not packet.compress:  # type: ignore[union-attr]
            return False
    return True
