"""What a client's socket emits: at once, when there is a connection, or until it is answered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from duplexio.errors import AckTimeout, Disconnected, DuplexioError, EncodeError, LimitExceeded, raised_again
from duplexio.hub.acks import Answered
from duplexio.hub.receiver import call_back, settle
from duplexio.hub.retry_queue import RetryQueue
from duplexio.hub.send_buffer import SendBuffer
from duplexio.hub.targets import Flags
from duplexio.hub.values import snapshot, to_value
from duplexio.protocol.engine_packet import Message, Outgoing, uncompressed
from duplexio.protocol.socket_packet import EVENT

if TYPE_CHECKING:
    from duplexio.client_options import ClientSettings
    from duplexio.hub.client_peer import ClientPeer
    from duplexio.hub.client_socket import ClientSocket

__all__ = ["Sending"]


class Sending:
    """Of one socket, which keeps the short way for itself: a plain event while it is connected."""

    __slots__ = ("_buffer", "_counted", "_name", "_queue", "_settings", "_socket")

    def __init__(self, socket: ClientSocket, settings: ClientSettings) -> None:
        self._socket = socket
        self._settings = settings
        self._buffer = SendBuffer(settings.max_send_buffer, settings.max_send_buffer_bytes, settings.send_buffer_policy)
        self._queue: RetryQueue | None = None
        #: Who this client is in the keys of events that may be repeated, and how many there were.
        self._name = secrets.token_urlsafe(9)
        self._counted = 0

    # What waits.

    @property
    def waiting(self) -> int:
        """How many events wait, for a connection or for their answer."""
        return len(self._buffer) + self.promised

    @property
    def promised(self) -> int:
        """How many are sent until they are answered."""
        return 0 if self._queue is None else len(self._queue)

    @property
    def held(self) -> frozenset[int]:
        """The ids of acknowledgements whose events wait for a connection."""
        return self._buffer.numbers

    def connected(self, peer: ClientPeer) -> None:
        """The server has let the socket in."""
        for packet in self._buffer.take():
            peer.send(packet)
        if self._queue is not None:
            self._queue.drain()

    def connection_lost(self, reason: str) -> None:
        """What is on its way is not answered any more."""
        if self._queue is not None:
            self._queue.connection_lost(reason)

    def close(self, error: Disconnected) -> None:
        """The socket does not come back by itself: nothing waits any more."""
        if self._queue is not None:
            self._queue.close(error)
        list(self._buffer.take())

    def moved(self) -> None:
        """To another event loop: deadlines and futures were the last one's."""
        self._queue = None

    def resolve(self, number: int, arguments: list[Any]) -> bool:
        """An acknowledgement came; False: it is not of an event that is sent until it is answered."""
        return self._queue is not None and self._queue.resolve(number, arguments)

    # What is emitted.

    def emit(self, event: str, args: Sequence[Any], flags: Flags, ack: Callable[..., object] | None) -> None:
        """See `ClientSocket.emit`."""
        socket = self._socket
        hub = socket._hub
        hub.check_event(event)
        if not hub.on_loop():
            # What is wrong with it is said here; what is changed after this call is not sent.
            hub.check_encodable(args)
            copied = snapshot(args)
            hub.call(lambda: self.emit(event, copied, flags, ack))
            return
        self._notice_sleep()
        answered: Answered | None = None
        if ack is not None:
            socket._hub_bound()
            answered = partial(call_back, hub, event, ack, flags.timeout is not None or self.retrying(flags))
        if self.retrying(flags):
            self._promise(event, args, flags, answered, hub.next_ack_id())
        elif answered is None:
            self._deliver(event, args, flags, None)
        else:
            number = hub.next_ack_id()
            pending = socket._pending_acks()
            pending.expect(number, event, self._forgetting(number, answered), self._timeout(flags))
            try:
                self._deliver(event, args, flags, number)
            except EncodeError:
                pending.forget(number)
                raise

    async def emit_with_ack(self, event: str, args: Sequence[Any], flags: Flags) -> Any:
        """See `ClientSocket.emit_with_ack`."""
        socket = self._socket
        hub = socket._hub
        socket._hub_bound()
        hub.check_event(event)
        if not socket.active and socket._end is not None:
            raise raised_again(socket._end)
        self._notice_sleep()
        number = hub.next_ack_id()
        if self.retrying(flags):
            future: asyncio.Future[list[Any]] = hub.loop.create_future()
            self._promise(event, args, flags, partial(settle, future), number)
            return to_value(await future)
        try:
            return await socket._answer(number, event, self._timeout(flags), self._deliver, event, args, flags, number)
        except asyncio.CancelledError:
            self._buffer.forget(number)
            raise
        except AckTimeout as error:
            if self._buffer.forget(number):
                raise AckTimeout(error.event, error.timeout, sent=False) from None
            raise

    def _forgetting(self, number: int, answered: Answered) -> Answered:
        """An event that nobody waits for any more is not sent later: whoever repeats it would send it twice."""

        def told(error: DuplexioError | None, arguments: list[Any]) -> None:
            if isinstance(error, AckTimeout) and self._buffer.forget(number):
                error = AckTimeout(error.event, error.timeout, sent=False)
            answered(error, arguments)

        return told

    def _notice_sleep(self) -> None:
        """Now, so that the wait for an acknowledgement outlives a connection that has ended meanwhile."""
        if self._socket._peer is not None:
            self._socket._peer.asleep()

    def retrying(self, flags: Flags) -> bool:
        """Whether an event with these flags is sent until it is answered."""
        return self._settings.retries is not None and not flags.volatile

    def _timeout(self, flags: Flags) -> float:
        return self._settings.ack_timeout if flags.timeout is None else flags.timeout

    def _promise(self, event: str, args: Sequence[Any], flags: Flags, answered: Answered | None, number: int) -> None:
        socket, settings = self._socket, self._settings
        socket._hub_bound()
        if self._queue is None:
            assert settings.retries is not None
            self._queue = RetryQueue(
                settings.retries, settings.max_retry_queue, socket._hub.wheel, self._send_if_connected
            )
        self._queue.check()
        if settings.dedup_key:
            args = (*args, f"{self._name}-{self._counted}")
            self._counted += 1
        packet = self._encode(event, args, flags, number)
        self._tell_outgoing(event, args)
        self._queue.add(event, packet, number, self._timeout(flags), answered)

    def _send_if_connected(self, packet: Outgoing) -> bool:
        socket = self._socket
        return socket.connected and socket._peer is not None and socket._peer.send(packet)

    def _encode(self, event: str, args: Sequence[Any], flags: Flags, number: int | None) -> Outgoing:
        packet = self._socket._hub.encode(EVENT, self._socket.nsp, [event, *args], number)
        if flags.compress is False:
            packet = uncompressed(packet)
        key = self._settings.conflate_key
        if key is not None and number is None:
            packet = Message(packet) if isinstance(packet, bytes) else packet
            packet.key = key(event, tuple(args))
        return packet

    def _tell_outgoing(self, event: str, args: Sequence[Any]) -> None:
        for listener in self._socket._any_outgoing or ():
            self._socket._call_listener(listener, event, args)

    def _deliver(self, event: str, args: Sequence[Any], flags: Flags, number: int | None) -> None:
        socket = self._socket
        packet = self._encode(event, args, flags, number)
        peer = socket._peer
        if flags.volatile and (not socket.connected or peer is None or peer.connection.congested):
            socket._hub.reporter.count("volatile_dropped")
            return
        self._tell_outgoing(event, args)
        if not socket.connected or peer is None or not peer.send(packet):
            self.hold(packet, number)

    def hold(self, packet: Outgoing, number: int | None) -> None:
        """Until there is a connection, or again."""
        socket, settings = self._socket, self._settings
        for _, dropped in self._buffer.add(packet, number):
            socket._hub.reporter.fault(
                "send_buffer_dropped",
                socket._remote,
                f"more is emitted than waits for a connection: over max_send_buffer={settings.max_send_buffer}"
                f" packets or max_send_buffer_bytes={settings.max_send_buffer_bytes}; an event was dropped",
            )
            if dropped is not None and socket._acks is not None:
                socket._acks.fail(dropped, LimitExceeded("max_send_buffer", settings.max_send_buffer, "connect"))
