"""The client's end of HTTP long-polling: a GET that is asked again and again, and POSTs, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from duplexio.engine.http_client import HttpClient, HttpFailure, Response
from duplexio.engine.transport import Sink
from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Binary, Message, Outgoing
from duplexio.protocol.payload_format import PayloadFormat
from duplexio.types import CloseReason

__all__ = ["ClientPolling"]

#: How long the end of a session may take to be told, in seconds. A server that is there takes milliseconds.
CLOSE_SECONDS = 1.0


class ClientPolling:
    """See `Transport`."""

    name = "polling"
    #: Never: all packets of one turn of the loop go out in one body.
    direct = False

    def __init__(self, sink: Sink, http: HttpClient, url: Callable[[], str], payload: PayloadFormat) -> None:
        """`url` makes that of the next request."""
        self.sink = sink
        self.max_payload = 0
        self._http = http
        self._url = url
        self._payload = payload
        self._loop = asyncio.get_running_loop()
        self._poll: asyncio.Task[None] | None = None
        self._post: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._leaving = False
        self._closed = False
        #: Whether the other end may be told of the end: it is there, and does not know.
        self._alive = True
        self._reading = asyncio.Event()
        self._reading.set()

    # For the dial.

    def start(self) -> None:
        """The session is open: polls until it ends."""
        self._poll = self._loop.create_task(self._keep_polling())

    async def leave(self) -> None:
        """Another transport is about to take over: returns when no request is open, and nothing is sent by this one.

        `stay` takes it back. Cancelling it does not.
        """
        self._leaving = True
        for task in (self._poll, self._post):
            if task is not None:
                await asyncio.wait((task,))

    def stay(self) -> None:
        """The other one came to nothing."""
        self._leaving = False
        if not self._closed and (self._poll is None or self._poll.done()):
            self.start()
        if not self._closed:
            self.sink.transport_ready()

    async def wait_closed(self) -> None:
        """Returns when no task of it is left; `close` was called before."""
        for task in (self._ending, self._poll, self._post):
            if task is not None:
                await asyncio.wait((task,))

    # Receiving.

    async def _keep_polling(self) -> None:
        while not self._closed and not self._leaving:
            await self._reading.wait()
            if self._closed or self._leaving:
                return
            try:
                response = await self._http.get(self._url())
            except HttpFailure as failure:
                self._failed(f"a poll failed: {failure}")
                return
            if response.status != 200:
                self._failed(f"a poll was answered {_told(response)}")
                return
            self._received(response)

    def _received(self, response: Response) -> None:
        try:
            packets = self._payload.decode(response.body, response.binary)
        except EnginePacketError as error:
            self._failed(f"a poll's answer: {error}", "parse error")
            return
        self.deliver(packets)

    def deliver(self, packets: Sequence[bytes | Binary]) -> None:
        """Reports packets that came."""
        for packet in packets:
            if self._closed:
                return
            if isinstance(packet, Binary):
                self.sink.receive_binary(bytes(packet))
            else:
                if packet == b"1":
                    self._alive = False
                self.sink.receive(packet)
        if self.sink.outbox and self.writable:
            self.sink.transport_ready()

    def _failed(self, text: str, reason: CloseReason = "transport error") -> None:
        if not self._closed:
            self._alive = False
            self.sink.transport_closed(self, reason, text)

    # What the session calls.

    @property
    def writable(self) -> bool:
        return self._post is None and not self._leaving and not self._closed

    @property
    def congested(self) -> bool:
        return not self.writable

    def write(self, packets: Sequence[Outgoing]) -> None:
        if self._closed:
            return
        self._alive = self._alive and packets[-1] != b"1"
        self._post = self._loop.create_task(self._post_all(self._bodies(packets)))

    def _bodies(self, packets: Sequence[Outgoing]) -> list[tuple[bytes, bytes]]:
        """As many packets in each as the server takes; one that is too large alone is the server's to refuse."""
        bodies: list[tuple[bytes, bytes]] = []
        batch: list[Outgoing] = []
        size = 0
        for packet in packets:
            # base64 of attachments, and a separator or length.
            cost = len(packet) + 10 if isinstance(packet, bytes) else packet.size * 4 // 3 + 20
            over_bytes = bool(self.max_payload) and size + cost > self.max_payload
            if batch and (over_bytes or len(batch) >= MAX_BATCH):
                bodies.append(self._payload.encode(batch))
                batch, size = [], 0
            batch.append(packet)
            size += cost
        bodies.append(self._payload.encode(batch))
        return bodies

    async def _post_all(self, bodies: Sequence[tuple[bytes, bytes]]) -> None:
        try:
            for body, content_type in bodies:
                response = await self._http.post(self._url(), body, content_type.decode())
                if response.status != 200:
                    hint = ""
                    if response.status == 413:
                        hint = f"; the body has {len(body)} bytes, and the server takes {self.max_payload or 'fewer'}"
                    self._failed(f"a POST was answered {_told(response)}{hint}")
                    return
        except HttpFailure as failure:
            self._failed(f"a POST failed: {failure}")
            return
        finally:
            self._post = None
        if not self._closed and not self._leaving:
            self.sink.transport_ready()

    def write_one(self, packet: bytes) -> None:
        self.write((packet,))

    def write_shared(self, message: Message) -> None:
        self.write((message,))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reading.set()
        self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        """What is on its way goes out, then the end of the session; a poll is then answered, or given up."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._post is not None:
                    await asyncio.wait((self._post,))
                if self._alive and not self._leaving:
                    body, content_type = self._payload.encode((b"1",))
                    await self._http.post(self._url(), body, content_type.decode())
                    if self._poll is not None:
                        await asyncio.wait((self._poll,))
        except (TimeoutError, HttpFailure):
            pass
        finally:
            for task in (self._poll, self._post):
                if task is not None and not task.done():
                    task.cancel()

    def fail(self, code: int, text: str) -> None:
        self.close()

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()


#: Packets in a body. Servers of ours take a thousand.
MAX_BATCH = 500


def _told(response: Response) -> str:
    return f"{response.status} {shown(response.body)}" if response.body else str(response.status)
