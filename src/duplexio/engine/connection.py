"""A session: one peer, whatever carries its packets just now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal, Protocol

from duplexio.engine.outbox import POLICIES, replace_waiting
from duplexio.engine.polling import PollingTransport
from duplexio.engine.transport import Transport
from duplexio.engine.wheel import Timer, Wheel
from duplexio.errors import EnginePacketError
from duplexio.observe import Reporter, shown
from duplexio.options import OutboxPolicy
from duplexio.protocol.engine_handshake import Request
from duplexio.protocol.engine_packet import MESSAGE, PROTOCOL, Message, Outgoing, check_type
from duplexio.protocol.engine_payload import decode_base64
from duplexio.protocol.engine_session import Action, State, on_packet, pings
from duplexio.types import CloseReason

__all__ = ["Connection", "Engine", "EngineOptions", "Move", "Owner"]

#: So many bytes are handed to the transport before the turn of the loop ends, where it would take them: a handler that
#: emits a great deal in one go then fills the kernel's buffers rather than the outbox.
FLUSH_AT = 65_536
#: Some clients of protocol 3 listen only once they were told that their WebSocket is open: a packet in one segment with
#: the answer to the handshake is lost to them. So long it waits, in seconds; a turn of a client's loop is far shorter.
OPENING_DELAY = 0.01
#: How long a polling client has to fetch the end of its session. Node's is 30 s; a client polls again at once.
CLOSE_TIMEOUT = 3.0
#: Members of an Enum cost 80 ns more to look up than a global before Python 3.12, and every packet asks.
_OPEN, _CLOSING, _CLOSED = State.OPEN, State.CLOSING, State.CLOSED
_NEVER = -inf


class Owner(Protocol):
    """Who gets what a session brings. The layer above implements it; engine tests do, too."""

    def opened(self) -> None:
        """The session has begun, and its handshake has gone out; called once, before anything else."""

    def receive(self, packet: bytes) -> None:
        """A text message, its type digit included."""

    def receive_binary(self, data: bytes) -> None:
        """A binary message."""

    def closed(self, reason: CloseReason, details: str) -> None:
        """The session ended; called once, and nothing after it."""


class EngineOptions(Protocol):
    """What a session asks of its options. In seconds, bytes and packets; a client learns the first two."""

    @property
    def ping_interval(self) -> float: ...
    @property
    def ping_timeout(self) -> float: ...
    @property
    def max_outbox_bytes(self) -> int: ...
    @property
    def max_outbox_packets(self) -> int: ...
    @property
    def outbox_policy(self) -> OutboxPolicy: ...


class Engine(Protocol):
    """What a session stands on: a server's engine or a client's."""

    loop: asyncio.AbstractEventLoop
    wheel: Wheel

    @property
    def client(self) -> bool:
        """Which role its sessions have."""

    @property
    def options(self) -> EngineOptions: ...
    @property
    def reporter(self) -> Reporter: ...

    def forget(self, connection: Connection) -> None:
        """The session ended."""


class Move(Protocol):
    """A session that is about to move to another transport."""

    def release_poll(self) -> None:
        """Nothing waits for the transport that is to be left."""

    def session_ended(self) -> None:
        """It will not move any more."""


class Connection:
    """A session, in the role of the server or of the client.

    Attributes:
        id: the session id; a credential of the client, never to be shown to others.
        transport: what carries the packets now; `.name` is `polling` or `websocket`.
        request: the handshake.
        confirmed_at: when the newest ping was sent that was answered, by the loop's clock: what had been sent before
            has arrived. -inf: none was.
        protocol: the Engine.IO protocol's version: 4, or 3 of an old client or server.
    """

    __slots__ = (
        "_close_reason",
        "_closing_timer",
        "_deadline",
        "_drain_waiters",
        "_engine",
        "_flush_scheduled",
        "_heartbeat",
        "_listeners",
        "_loop",
        "_pauses",
        "_pinged_at",
        "_pong_missing",
        "_queued",
        "_upgrade",
        "confirmed_at",
        "id",
        "outbox",
        "owner",
        "protocol",
        "request",
        "state",
        "transport",
        "upgraded",
    )

    def __init__(self, sid: str, engine: Engine, request: Request, protocol: int = PROTOCOL) -> None:
        self.id = sid
        self.request = request
        self.protocol = protocol
        self.state = _OPEN
        self.transport: Transport
        self.owner: Owner
        self.outbox: list[Outgoing] = []
        self.upgraded = False
        self._engine = engine
        self._loop = engine.loop
        self._queued = 0
        self._flush_scheduled = False
        self._heartbeat: Timer | None = None
        self._pong_missing = False
        self._pinged_at = self.confirmed_at = _NEVER
        self._deadline = 0.0
        self._upgrade: Move | None = None
        self._pauses = 0
        self._listeners: dict[str, list[Callable[..., Any]]] | None = None
        self._drain_waiters: list[asyncio.Future[None]] | None = None
        self._closing_timer: Timer | None = None
        self._close_reason: CloseReason = "forced close"

    @property
    def remote_address(self) -> str:
        """The peer's address, as the server in front of us tells it."""
        return self.request.address

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope of the handshake: session, user, state. Empty where no ASGI server is involved."""
        return self.request.scope

    def on(self, event: Literal["upgrade", "upgrading", "heartbeat", "close"], listener: Callable[..., Any]) -> None:
        """Calls `listener` on the loop: `upgrade`, `upgrading` with the transport, `close` with reason and details,
        `heartbeat` when the other end has shown that it is there."""
        if self._listeners is None:
            self._listeners = {}
        self._listeners.setdefault(event, []).append(listener)

    @property
    def _peer(self) -> str:
        return "server" if self._engine.client else "client"

    def _tell(self, event: str, *args: object) -> None:
        for listener in (self._listeners or {}).get(event, ()):
            try:
                listener(*args)
            except Exception as error:
                self._engine.reporter.failure(f"a listener of the connection's {event!r} raised", error)

    # Opening and the heartbeat.

    def open(self, first: bytes) -> None:
        """A server's: sends the handshake and starts the heartbeat."""
        self.outbox.append(first)
        self._queued += len(first)
        if self.protocol != PROTOCOL and self.transport.name == "websocket":
            self._flush_scheduled = True
            self._loop.call_later(OPENING_DELAY, self._flush)
        else:
            self.transport_ready()
        self._await_beat()

    def opened(self) -> None:
        """A client's: the server has opened it, and the heartbeat starts."""
        self._await_beat()

    @property
    def _pings(self) -> bool:
        return pings(self._engine.client, self.protocol)

    def _await_beat(self) -> None:
        """Where this end pings, the next ping; where the other does, the end of the wait for one."""
        options = self._engine.options
        if self._pings:
            self._pong_missing = False
            self._beat_at(self._loop.time() + options.ping_interval)
        else:
            self._pong_missing = True
            self._beat_at(self._loop.time() + options.ping_interval + options.ping_timeout)

    def _beat_at(self, deadline: float) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._deadline = deadline
        self._heartbeat = self._engine.wheel.call_at(deadline, self._beat)

    def _beat(self) -> None:
        if self._pong_missing and self._pauses:
            # The answer may be here, and not be read: whoever pauses the reading is no proof that the peer is gone.
            self._beat_at(self._loop.time() + self._engine.options.ping_timeout)
            return
        if self._pong_missing:
            self._expire()
            return
        self._pong_missing = True
        # From when the ping was due, not from when it went out: being late twice would add up.
        self._beat_at(self._deadline + self._engine.options.ping_timeout)
        self._pinged_at = self._loop.time()
        self.send(b"2")

    def ping(self) -> None:
        """Pings before it is due, where this end pings and no answer is awaited: for `confirmed_at`."""
        if self.state is _OPEN and self._pings and not self._pong_missing:
            self._deadline = self._loop.time()
            self._beat()

    def _expire(self) -> None:
        options = self._engine.options
        if self._pings:
            text, details = f"a ping was not answered within {options.ping_timeout:g} s", "the ping was not answered"
        else:
            text = f"no ping came within {options.ping_interval + options.ping_timeout:g} s"
            details = "no ping came"
        self._engine.reporter.fault("ping_timeout", self.remote_address, text)
        self.end("ping timeout", f"{details} in time")

    def expire(self) -> bool:
        """The peer was not heard of for too long, by another clock than the loop's, which sleeps with the machine.

        Returns whether that ended the session: not where nothing was read that may be here.
        """
        if self._pauses or self.state is _CLOSED:
            return False
        self._expire()
        return True

    def still_open(self) -> bool:
        """Whether a request finds the session; one whose ping is overdue ends now, not at the wheel's next turn."""
        overdue = self._pong_missing and not self._pauses and self._loop.time() >= self._deadline
        if overdue and self.state is not _CLOSED:
            self._expire()
        return self.state is not _CLOSED

    # Sending.

    def send(self, packet: Outgoing) -> None:
        """Hands a packet to the transport, or to the outbox where that cannot take it yet. Dropped after the end."""
        transport = self.transport
        if transport.direct and not self.outbox:
            transport.direct = False
            if type(packet) is bytes:
                transport.write_one(packet)
            else:
                transport.write((packet,))
        elif self.state is _OPEN:
            self._queue(packet)

    def send_shared(self, message: Message) -> None:
        """A message for many: written at once where nothing of this session waits, without a task or timer."""
        if not self.outbox and self.transport.writable and self.transport.name == "websocket" and self.state is _OPEN:
            self.transport.write_shared(message)
        elif self.state is _OPEN:
            self._queue(message)

    @property
    def congested(self) -> bool:
        """Whether a volatile packet would have to wait."""
        if self.state is not _OPEN or self.transport.congested:
            return True
        return bool(self.outbox) and not self._flush_scheduled

    def _queue(self, packet: Outgoing) -> None:
        outbox, options = self.outbox, self._engine.options
        if type(packet) is Message and packet.key is not None:
            replaced = replace_waiting(outbox, packet)
            if replaced is not None:
                self._queued += len(packet) - len(replaced)
                self._engine.reporter.count("packets_conflated")
                return
        outbox.append(packet)
        self._queued += len(packet)
        if self._queued >= FLUSH_AT and self.transport.writable and self.transport.name == "websocket":
            self.transport_ready()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        if (self._queued > options.max_outbox_bytes or len(outbox) > options.max_outbox_packets) and len(outbox) > 1:
            self._overflow()

    def _overflow(self) -> None:
        """The receiver is too slow. RFC 6455 has no code for that; 1008 is its word for a policy. §7.4.1."""
        options, reporter = self._engine.options, self._engine.reporter
        reporter.count("outbox_overflows")
        drop = POLICIES[options.outbox_policy]
        while len(self.outbox) > 1 and (
            self._queued > options.max_outbox_bytes or len(self.outbox) > options.max_outbox_packets
        ):
            dropped = drop(self.outbox)
            if dropped is None:
                text = (
                    f"the {self._peer} does not read: {self._queued} bytes in {len(self.outbox)} packets wait for it"
                    f" (max_outbox_bytes={options.max_outbox_bytes}, max_outbox_packets={options.max_outbox_packets})"
                )
                reporter.fault("outbox_overflow", self.remote_address, text)
                self.transport.fail(1008, "slow reader")
                self.end("transport error", text)
                return
            self._queued -= len(dropped)
            reporter.count("packets_dropped")

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.outbox:
            self.transport_ready()

    def transport_ready(self) -> None:
        """The transport can take what waits."""
        transport = self.transport
        if self.outbox and transport.writable:
            packets, self.outbox = self.outbox, []
            self._queued = 0
            # The end of a polling session is not in the same body: clients would see it before what is in front of it.
            transport.write(packets)
        if self._drain_waiters is not None and not self.outbox:
            self._drained()
        if self.state is _CLOSING and transport.writable:
            self._finish_closing()
        elif self._upgrade is not None and not self.outbox:
            self._upgrade.release_poll()

    # Waiting for a slow receiver.

    async def drain(self) -> None:
        """Waits while the receiver is behind: its transport takes nothing more, or packets wait.

        Returns at once otherwise, and when the session ends. Cancelling it only stops the waiting.
        """
        if self.state is not _OPEN or (self.transport.writable and self._queued < FLUSH_AT) or not self.outbox:
            return
        await self._next_drain()

    async def flush(self) -> None:
        """Waits until the transport has taken all packets: polling, until its request was answered.

        Returns when the session ends. Cancelling it only stops the waiting.
        """
        while self.state is _OPEN and (self.outbox or not self.transport.writable):
            await self._next_drain()

    async def _next_drain(self) -> None:
        waiter = self._loop.create_future()
        if self._drain_waiters is None:
            self._drain_waiters = []
        self._drain_waiters.append(waiter)
        await waiter

    def _drained(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # Receiving.

    def receive(self, packet: bytes) -> None:
        """A text packet from the transport."""
        if packet and packet[0] == MESSAGE:
            if self.state is _OPEN:
                try:
                    self.owner.receive(packet)
                except Exception as error:
                    self._failed(error)
        else:
            self._receive_control(packet)

    def receive_binary(self, data: bytes) -> None:
        """A binary message from the transport."""
        if self.state is _OPEN:
            try:
                self.owner.receive_binary(data)
            except Exception as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        """This server's own code raised: nobody may take that for the client's fault. RFC 6455 §7.4.1: 1011."""
        self._engine.reporter.failure("a packet could not be handled, which ends its session", error)
        self.transport.fail(1011, "internal error")
        self.end("forced close", "a packet could not be handled")

    def _receive_control(self, packet: bytes) -> None:
        if self.state is _CLOSED:
            return
        try:
            if packet[:1] == b"b":
                # A client made with `forceBase64` sends no binary frames.
                self.receive_binary(decode_base64(packet))
                return
            action = on_packet(check_type(packet), self.protocol, self._engine.client)
        except EnginePacketError as error:
            self.reject("parse error", str(error), packet)
            return
        if action is Action.HEARTBEAT:
            self.confirmed_at = self._pinged_at
            self._await_beat()
            if self._listeners is not None:
                self._tell("heartbeat")
        elif action is Action.IGNORE:
            return
        elif action is Action.ANSWER_PING:
            if not _is_utf8(packet):
                # What a text packet must be, and one that comes as bytes or base64 need not: it goes back as text.
                self.reject("parse error", f"a ping that is not UTF-8: {shown(packet)}", packet)
                return
            self._await_beat()
            self.send(b"3" + packet[1:])
            if self._listeners is not None:
                self._tell("heartbeat")
        elif action is Action.PEER_CLOSED:
            if self.transport.name == "polling":
                self._discard_poll(b"6")
            self.end("transport close", f"the {self._peer} closed the session")
        elif action is Action.WRONG_DIRECTION:
            text = (
                "a ping from the client; in protocol 4 the server pings"
                if self.protocol == PROTOCOL
                else "a pong from the client; in protocol 3 the client pings"
            )
            self.reject("transport error", text, packet)

    def reject(self, reason: CloseReason, text: str, packet: bytes | None = None) -> None:
        """Ends the session because of what the peer sent; says so in the log."""
        if self.state is _CLOSED:
            return
        self._engine.reporter.fault(reason.replace(" ", "_"), self.remote_address, text)
        if packet is not None and not _is_utf8(packet):
            # RFC 6455 §8.1; checked only for what was refused, since JSON's decoder checks the rest.
            self.transport.fail(1007, "not UTF-8")
        self.end(reason, text)

    def pause_reading(self) -> None:
        """Counted: as many `resume_reading` end it."""
        self._pauses += 1
        if self._pauses == 1:
            self._engine.reporter.count("reading_paused")
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._pauses -= 1
        if self._pauses == 0:
            self.transport.resume_reading()

    # Upgrading.

    @property
    def upgrading(self) -> bool:
        return self._upgrade is not None

    def begin_upgrade(self, move: Move, candidate: Transport) -> None:
        """A second transport offers itself; it gets the session when it has proved that it works."""
        self._upgrade = move
        self._tell("upgrading", candidate)

    def complete_upgrade(self, candidate: Transport) -> None:
        """The session has moved: the old transport gets its last answer, the new one what waits."""
        self._upgrade = None
        self.upgraded = True
        self._discard_poll(b"6")
        self.transport = candidate
        candidate.sink = self
        if self._pauses:
            candidate.pause_reading()
        self._tell("upgrade", candidate)
        self.transport_ready()

    def abandon_upgrade(self, move: Move) -> None:
        """This one came to nothing; another may have begun since."""
        if self._upgrade is move:
            self._upgrade = None

    def _discard_poll(self, last: bytes) -> None:
        if isinstance(self.transport, PollingTransport):
            self.transport.discard(last)

    # Ending.

    def close(self, reason: CloseReason = "forced close") -> None:
        """Ends the session from this side, once what waits has gone out; a polling client fetches it."""
        if self.state is not _OPEN:
            return
        self.state = _CLOSING
        self._close_reason = reason
        # An upgrade goes on: the client may have moved already, and fetches what waits from there.
        if self.transport.writable:
            self.transport_ready()
        if self.state is _CLOSING:
            self._closing_timer = self._engine.wheel.call_later(CLOSE_TIMEOUT, self._finish_closing)

    def _finish_closing(self) -> None:
        self.end(self._close_reason, f"closed by the {'client' if self._engine.client else 'server'}")

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        """The transport's own report."""
        if transport is self.transport:
            if reason in ("transport error", "parse error") and self.state is _OPEN:
                self._engine.reporter.fault(cause or reason.replace(" ", "_"), self.remote_address, details)
            self.end(reason, details)

    def end(self, reason: CloseReason, details: str) -> None:
        """The session is over now. Idempotent."""
        if self.state is _CLOSED:
            return
        self.state = _CLOSED
        for timer in (self._heartbeat, self._closing_timer):
            if timer is not None:
                timer.cancel()
        if self._upgrade is not None:
            self._upgrade.session_ended()
        if self.outbox and self.transport.writable and reason != "transport error":
            # A refusal's last words, such as CONNECT_ERROR, go out before the end.
            packets, self.outbox = self.outbox, []
            if self.transport.name == "polling":
                packets.append(b"1")
            self.transport.write(packets)
        self.outbox = []
        self._drained()
        self.transport.close()
        self._engine.forget(self)
        self._engine.reporter.count("connections_closed")
        self.owner.closed(reason, details)
        self._tell("close", reason, details)
        self._listeners = None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
