"""A server's part in a cluster: who else is there, what they say, what they ask, and what they are asked.

Written once over the contract of a bus. `ClusterAdapter` is what a namespace sees of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from duplexio.adapters.bus import Bus, BusLimits
from duplexio.adapters.cluster_adapter import ClusterAdapter
from duplexio.adapters.copying import Copying
from duplexio.adapters.estate import begins_in_the_middle, drop_copies, forget_sessions, inherit, inherit_copies
from duplexio.adapters.fan_in import FanIn
from duplexio.adapters.hearing import Hearing
from duplexio.adapters.leaving import Leaving
from duplexio.adapters.nodes import Nodes
from duplexio.adapters.session_transfer import forget_inherited, give_session
from duplexio.errors import ConfigurationError, LimitExceeded, MessageTooLarge, ProtocolError
from duplexio.hub.fanout import ChildrenAdapter, LocalAdapter
from duplexio.hub.namespace import Namespace
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import (
    Anew,
    Ask,
    Beat,
    Bye,
    Fence,
    Fetch,
    Hello,
    Inherit,
    Record,
    Recover,
    Reply,
    ServerEvent,
    Taken,
)

if TYPE_CHECKING:
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import ParentNamespace

__all__ = ["Cluster", "ClusterOptions"]

#: One channel for all: a join, and a broadcast to the room behind it, stay in order whatever their namespaces.
CHANNEL = "cluster"
#: How long a server that starts waits for those that are there. They answer in a turn of their loops; one that stands
#: still is not to keep it from serving.
MEETING_SECONDS = 2.0
#: How long one that closes waits for sessions that are on their way to it: as long as they are looked for.
ARRIVING_SECONDS = 3.0
#: Seconds in which all servers notice that another one has gone, however busy they are.
LATELY = 5.0
#: Of how many servers it is remembered what they had sent: a busy host's, through a day of deploys.
MAX_SEEN = 1000
#: Sessions on their way to this server that are waited for though their clients may have gone again meanwhile.
MAX_TASKS = 1000


class Gathering(Protocol):
    """Where the answers to a request gather: `FanIn`, or `SessionSearch`."""

    def replied(self, node: str, expected: int, values: list[Any], failed: int) -> None:
        """Some answers of a server; `expected` -1: how many it gives in all was said, or will be."""

    def gave_up(self, node: str) -> None:
        """Nothing more comes from this server."""


class ClusterOptions(Protocol):
    """What a cluster asks of a server's options. In seconds and bytes."""

    heartbeat_interval: float
    heartbeat_timeout: float
    max_bus_message: int
    max_bus_queue: int
    recovery_copies: int
    share_handshake: bool


class Cluster:
    """Of one server. It is the receiver of its bus: see `adapters.bus.Receiver`."""

    def __init__(self, bus: Bus, options: ClusterOptions, quiet: bool = False) -> None:
        """`quiet`: who comes and goes is told at debug level, as somebody else tells of it.

        Raises ConfigurationError for options that do not go together.
        """
        if options.heartbeat_timeout <= options.heartbeat_interval:
            raise ConfigurationError(
                f"heartbeat_timeout={options.heartbeat_timeout:g}: expected more than heartbeat_interval="
                f"{options.heartbeat_interval:g}; else servers that are well would be taken for lost"
            )
        self.bus = bus
        self.share_handshake = options.share_handshake
        self.nodes = Nodes(options.heartbeat_interval, options.heartbeat_timeout, self._came, self._went)
        self._interval = options.heartbeat_interval
        self._quiet = quiet
        self._limits = BusLimits(options.max_bus_message, options.max_bus_queue)
        self._hub: Hub
        self._loop: asyncio.AbstractEventLoop
        #: Between its start and its end.
        self.is_open = False
        #: Whether those that were there when it began are known.
        self._has_met = False
        self._are_copied = options.recovery_copies > 0
        #: When a server has gone whose sessions others may have.
        self._left_at = -LATELY
        self._beat_timer: asyncio.TimerHandle | None = None
        self._requests: dict[int, Gathering] = {}
        self._request = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: Servers that have said that they close; whether this one does; and what it does with its sessions then.
        self._closing_nodes: set[str] = set()
        #: Of each other server, the namespaces whose sessions it can take.
        self._kept_by: dict[str, frozenset[str]] = {}
        #: What this one has said of itself to all.
        self._keeps: list[str] = []
        self._is_closing = False
        self._leaving = Leaving(self)
        self._copying = Copying(self, options.recovery_copies)
        self._hearing = Hearing(self)
        #: How many events of each server have come, this one's own included.
        self.seen: dict[str, int] = {}
        #: How many of them were sent before this server could get them.
        self._before: dict[str, int] = {}
        self._handlers: dict[type, Callable[[str, Any], None]] = {
            Hello: self._hello,
            Beat: self._beat,
            Bye: self._bye,
            Reply: self._reply,
            Recover: self._recover,
            Inherit: self._inherit,
            Taken: self._taken,
            Fence: self._fence,
            Anew: self._anew,
            **self._hearing.handlers,
        }

    def adapter(self, namespace: Namespace | ParentNamespace, local: LocalAdapter | ChildrenAdapter) -> ClusterAdapter:
        """What a namespace reaches the sockets of all servers by; `local`: those of this one."""
        if self.is_open:
            # When it is made.
            self._loop.call_soon_threadsafe(self._made, namespace)
        return ClusterAdapter(namespace, local, self)

    def start(self, hub: Hub) -> None:
        """Binds to the hub's loop. Raises what the bus raises."""
        if self.is_open:
            if not self._loop.is_closed():
                return
            # That loop has ended without a word to this server, and whoever waited in it.
            self.is_open = False
            self._requests.clear()
            for node in self.nodes.names:
                self.nodes.lost(node, "the event loop was closed")
        self._hub = hub
        self._loop = hub.loop
        self._hearing.start(hub)
        self.bus.start(self, self._limits, hub.reporter)
        self.is_open = True
        self._left_at = -LATELY
        self._is_closing = False
        self._has_met = False
        for namespace in hub.namespaces.values():
            # Of a time before: another server has them, or others have said what is not in this log.
            forget_sessions(namespace)
        self.seen.clear()
        self._before.clear()
        self.seen[self.bus.node] = 0
        self._copying.start(hub)
        self.publish(Hello())
        self._beat_for_all()
        self._beat_timer = self._loop.call_later(self._interval, self._tick)

    async def meet(self) -> None:
        """Waits, behind the start, until this server is one with those that are there: they get what it sends, and it
        gets what they send. Whom it serves before would miss that, and have no session that another server has."""
        if self._has_met or not self.is_open:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEETING_SECONDS):
                await self.bus.meet()
                # Each answers a `Hello`.
                while not self.seen.keys() >= set(self.nodes.names):  # noqa: ASYNC110 - a moment, and once
                    await asyncio.sleep(0.002)
        self._has_met = True

    def begin_closing(self) -> None:
        """Tells the others that this server is about to close, so that none of them leaves its sessions to it."""
        if self.is_open and not self._is_closing:
            self._is_closing = True
            self._beat_for_all()

    async def close(self) -> None:
        """Says goodbye, and closes the bus. Whoever waits for an answer gets what came. Idempotent."""
        if not self.is_open:
            return
        self.begin_closing()
        try:
            if self._tasks:
                # Sessions that come from another server just now: with whom would their clients find them?
                await asyncio.wait(self._tasks, timeout=ARRIVING_SECONDS)
            self._copying.stop()
            await self._leaving.leave(self._hub)
        finally:
            await self._close_bus()

    async def _close_bus(self) -> None:
        self.publish(Bye())
        self.is_open = False
        self._copying.stop()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        for task in self._tasks:
            task.cancel()
        try:
            await self.bus.close()
        finally:
            for node in self.nodes.names:
                self.nodes.lost(node, "this server has closed")

    @property
    def leaves_sessions(self) -> bool:
        """Whether clients may come back to another server at the end of this one, and have it all."""
        return any(self.heirs_of(namespace) for namespace in self._hub.namespaces.values())

    @property
    def heirs(self) -> list[str]:
        """Servers that are not about to close."""
        return [node for node in self.nodes.names if node not in self._closing_nodes]

    def heirs_of(self, namespace: Namespace) -> list[str]:
        """Those of them that can take this namespace's sessions; nobody, where it has none."""
        if namespace.log is None:
            return []
        names = {namespace.name} if namespace.parent is None else {namespace.name, namespace.parent.name}
        return [node for node in self.heirs if not names.isdisjoint(self._kept_by.get(node, ()))]

    def health(self) -> dict[str, Any]:
        """The state of the bus, and how many other servers are there."""
        state = self.bus.health()
        return {
            "status": state.status,
            "servers": len(self.nodes),
            "queued": state.queued,
            "dropped": state.dropped,
            "problem": state.problem,
        }

    def is_behind(self, seen: Mapping[str, int]) -> bool:
        """Whether something is still to come that another server has seen already."""
        names = self.nodes.names
        return any(self.seen.get(node, 0) < number for node, number in seen.items() if node in names)

    def is_too_young(self, seen: Mapping[str, int]) -> bool:
        """Whether something has not come to another server that was sent before it could come to this one."""
        return any(self._before.get(node, 0) > seen.get(node, 0) for node in self.nodes.names)

    def saw(self, node: str, number: int, before: int) -> None:
        """Of this server's events, so many have come. `before`: how many of them were sent before this message."""
        seen = self.seen
        if node not in seen:
            self._before[node] = before
        if number > seen.get(node, -1):
            seen[node] = number
        if len(seen) > MAX_SEEN:
            # Not at once when it goes: what it had sent before is in the logs of recovery still.
            names = {self.bus.node, *self.nodes.names}
            gone = next((known for known in seen if known not in names), node)
            del seen[gone]
            self._before.pop(gone, None)

    # Sending.

    @property
    def was_left_sessions(self) -> bool:
        """Whether a server has gone a moment ago whose sessions another one may have got, and not have seen it go yet:
        one that was closing, or of which copies are kept."""
        return self._loop.time() - self._left_at < LATELY

    @property
    def is_single(self) -> bool:
        """Whether there is no other server, for certain."""
        return self.alone and (self._has_met or not self.is_open)

    @property
    def alone(self) -> bool:
        """Whether there is nobody to send to."""
        return not self.is_open or self.bus.alone

    @property
    def max_message(self) -> int:
        """How many bytes a message to other servers may have."""
        return self._limits.max_message

    def publish(self, record: Record, to: str = "") -> bool:
        """Sends a record of the cluster's own to all others, or to one.

        Raises EncodeError; False: not everybody gets it. One that is too large is counted, by the bus.
        """
        return self.is_open and self.bus.publish(CHANNEL, cluster_message.encode(record), to)

    def encoded(self, record: Record, spare: int = 0) -> bytes:
        """The message of a record that a user's call makes, who is to hear of it: raises EncodeError, MessageTooLarge.

        It does so whether or not another server is there just now. `spare`: bytes that have to stay free.
        """
        message = cluster_message.encode(record)
        size = len(message) + spare
        if size > self._limits.max_message:
            raise MessageTooLarge(size, self._limits.max_message)
        return message

    def send(self, message: bytes, to: str = "") -> None:
        """Sends an encoded record to all others, or to one."""
        if self.is_open:
            self.bus.publish(CHANNEL, message, to)

    @property
    def next_number(self) -> int:
        """The number of the next event of this server's that is sent to all; `counted` is told when it was sent."""
        return self.seen[self.bus.node] + 1

    def counted(self, number: int) -> None:
        """Its events are so many now. One that could not be encoded is none: the others would wait for it."""
        self.seen[self.bus.node] = number

    @contextlib.contextmanager
    def request(self) -> Iterator[tuple[int, FanIn]]:
        """A number for a request, and where its answers gather, of the servers that are there now."""
        fan_in = FanIn(self._loop, self.nodes.names)
        with self.gathering(fan_in) as number:
            yield number, fan_in

    @contextlib.contextmanager
    def gathering(self, answers: Gathering) -> Iterator[int]:
        """A number for a request whose answers gather there."""
        self._request = number = self._request + 1
        self._requests[number] = answers
        try:
            yield number
        finally:
            del self._requests[number]

    async def to_its_end(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Waits for it. Cancelling only stops the waiting: what another server gives away has to arrive here."""
        task = self._loop.create_task(coroutine)
        if len(self._tasks) >= MAX_TASKS or not self.is_open:
            await task
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    def ask(self, record: Ask | Fetch | ServerEvent | Recover, answers: Gathering) -> None:
        """Sends a request. Raises EncodeError and MessageTooLarge: see `encoded`.

        A `Recover` never is: what a client may name in it is shorter than the least that `max_bus_message` can be.
        """
        message = self.encoded(record)
        if not self.alone:
            self.send(message)
            return
        # The bus knows it before heartbeats tell.
        for node in self.nodes.names:
            answers.gave_up(node)

    async def worked_off(self, node: str) -> None:
        """Waits until a server has worked off what it was sent before, or has gone."""
        answers = FanIn(self._loop, [node])
        with self.gathering(answers) as number:
            self.publish(Fence(number), node)
            await answers.done()

    def _tick(self) -> None:
        self._beat_timer = self._loop.call_later(self._interval, self._tick)
        self._beat_for_all()
        self.nodes.check(self._loop.time())

    # Hearing. See `adapters.bus.Receiver`.

    def bus_node_seen(self, node: str) -> None:
        self.nodes.heard(node, self._loop.time())
        # How many events there were before it came: those are none that its clients have missed.
        self.publish(self._beat_now(), node)

    def bus_node_lost(self, node: str, reason: str) -> None:
        self.nodes.lost(node, reason)

    def bus_received(self, sender: str, channel: str, message: bytes) -> None:
        try:
            record = cluster_message.decode(message)
            self.nodes.heard(sender, self._loop.time())
            self._handlers[type(record)](sender, record)
        except ProtocolError as error:
            self._hub.reporter.fault("bus_garbage", sender, f"passed over: {error}")
        except Exception as error:
            self._hub.reporter.failure("a message of another server could not be handled", error)

    def _came(self, node: str) -> None:
        self._hub.reporter.note(f"the server {node} has come; others now: {len(self.nodes)}", self._quiet)
        self._drop_copies(node)
        self._copying.choose()

    def _went(self, node: str, reason: str) -> None:
        if self.is_open:
            text = f"the server {node} has gone: {reason}; others now: {len(self.nodes)}"
            self._hub.reporter.note(text, self._quiet)
            if self._are_copied or node in self._closing_nodes:
                self._left_at = self._loop.time()
        self._closing_nodes.discard(node)
        self._kept_by.pop(node, None)
        self._leaving.goes(node)
        self._copying.choose()
        if self.is_open:
            for namespace in self._hub.namespaces.values():
                if namespace.log is not None:
                    inherit_copies(namespace, node)
        else:
            # It is this one that goes.
            self._drop_copies(node)
        for answers in list(self._requests.values()):
            answers.gave_up(node)

    def _hello(self, sender: str, record: Hello) -> None:
        self.saw(sender, record.number, record.number)
        self.publish(self._beat_now(), sender)

    def _beat_now(self) -> Beat:
        return Beat(self.seen.setdefault(self.bus.node, 0), self._is_closing, self._what_is_kept())

    def _beat_for_all(self) -> None:
        beat = self._beat_now()
        self._keeps = beat.keeps
        self.publish(beat)

    def _what_is_kept(self) -> list[str]:
        """The namespaces with recovery; a parent stands for those that it makes."""
        hub = self._hub
        made = [name for name, one in hub.namespaces.items() if one.log is not None and one.parent is None]
        return made + [name for name, parent in hub.parents.items() if parent.recovery is not None]

    def _made(self, namespace: Namespace | ParentNamespace) -> None:
        """The others may leave sessions of it here, and keep those that are here."""
        if not self.is_open:
            return
        by_itself = True
        if isinstance(namespace, Namespace):
            self._copying.made(namespace)
            # Its parent stands for one that a parent has made: there may be thousands of them.
            by_itself = namespace.parent is None
        if by_itself and namespace.recovery is not None and self._what_is_kept() != self._keeps:
            self._beat_for_all()

    def _beat(self, sender: str, record: Beat) -> None:
        self.saw(sender, record.number, record.number)
        keeps = frozenset(record.keeps)
        closes = record.closing and sender not in self._closing_nodes
        changed = closes or keeps != self._kept_by.get(sender)
        self._kept_by[sender] = keeps
        if closes:
            self._closing_nodes.add(sender)
            self._leaving.goes(sender)
        if changed:
            self._copying.choose()

    def _bye(self, sender: str, record: Bye) -> None:
        self._drop_copies(sender)
        self.nodes.lost(sender, "it is closing")

    def _recover(self, sender: str, record: Recover) -> None:
        namespace = self._hub.namespaces.get(record.namespace)
        values = [] if namespace is None else give_session(namespace, record.pid, record.offset, self.seen)
        self._hearing.reply_to(sender, record.request, len(values), values, 0)

    def _inherit(self, sender: str, record: Inherit) -> None:
        try:
            # One that a pattern stands for may not have had a client here yet.
            namespace = self._hub.namespaces.get(record.namespace) or self._hub._made_by_name(record.namespace)
        except LimitExceeded:
            return
        if namespace is None or namespace.log is None:
            return
        if begins_in_the_middle(namespace, record, sender):
            # The namespace is younger than the copy, or its sender was taken for lost.
            self.publish(Anew(record.namespace), sender)
            return
        try:
            inherit(namespace, record, sender)
        except ProtocolError:
            if record.copied:
                self.publish(Anew(record.namespace), sender)
            raise

    def _anew(self, sender: str, record: Anew) -> None:
        self._copying.anew(sender, record.namespace)

    def _drop_copies(self, node: str) -> None:
        for namespace in self._hub.namespaces.values():
            drop_copies(namespace, node)

    def _taken(self, sender: str, record: Taken) -> None:
        namespace = self._hub.namespaces.get(record.namespace)
        if namespace is not None:
            forget_inherited(namespace, record.pid)
            self._copying.moved(namespace, record.pid)

    def _fence(self, sender: str, record: Fence) -> None:
        self._hearing.reply_to(sender, record.request, 0, [], 0)

    def _reply(self, sender: str, record: Reply) -> None:
        answers = self._requests.get(record.request)
        if answers is not None:
            answers.replied(sender, record.expected, record.values, record.failed)
