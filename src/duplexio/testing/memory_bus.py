"""A bus in memory: several servers on one event loop form a cluster, without any socket."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque

from duplexio.adapters.bus import BusHealth, BusLimits, Receiver
from duplexio.errors import ConfigurationError
from duplexio.observe import Reporter

__all__ = ["MemoryBus", "MemoryCluster"]


class MemoryCluster:
    """What buses in memory are ends of: `Server(adapter=cluster.bus())`, for each server. All on one event loop."""

    def __init__(self) -> None:
        self._members: dict[str, MemoryBus] = {}

    def bus(self) -> MemoryBus:
        """Another end."""
        return MemoryBus(self)

    def kill(self, bus: MemoryBus) -> None:
        """Its process has died: what it has sent and nobody has read yet is lost, and the others notice."""
        bus._end("its connection was lost")


class MemoryBus:
    """See `adapters.bus.Bus`. Messages are received in a later turn of the loop, as if they had travelled.

    Attributes:
        reading: False keeps what was sent to this node waiting, as if its process stood still.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self._node = ""
        self._receiver: Receiver
        self._limits: BusLimits
        self._reporter: Reporter
        self._loop: asyncio.AbstractEventLoop
        self._inbox: deque[tuple[MemoryBus, str, bytes]] = deque()
        self._inbox_bytes = 0
        self._scheduled = False
        self._dropped = 0
        #: Who waits, and for what one node is still to get, or all.
        self._waiters: dict[asyncio.Future[None], str] = {}
        self._reading = True

    @property
    def node(self) -> str:
        """The name of this node; empty before `start` and after the end."""
        return self._node

    @property
    def alone(self) -> bool:
        """Whether there is no other end."""
        return len(self._cluster._members) < 2

    @property
    def reading(self) -> bool:
        """Whether it receives."""
        return self._reading

    @reading.setter
    def reading(self, reading: bool) -> None:
        self._reading = reading
        if reading and self._node:
            self._schedule()

    def start(self, receiver: Receiver, limits: BusLimits, reporter: Reporter) -> None:
        """See `Bus.start`. Raises ConfigurationError where it was started already."""
        if self._node:
            raise ConfigurationError("one bus is one server's: this one was started already")
        self._receiver, self._limits, self._reporter = receiver, limits, reporter
        self._loop = asyncio.get_running_loop()
        self._node = secrets.token_urlsafe(9)
        others = list(self._cluster._members.values())
        self._cluster._members[self._node] = self
        for other in others:
            self._tell_seen(other)
            other._tell_seen(self)

    def _tell_seen(self, other: MemoryBus) -> None:
        try:
            self._receiver.bus_node_seen(other._node)
        except Exception as error:
            self._reporter.failure("a node of the bus could not be added", error)

    def _tell_lost(self, node: str, reason: str) -> None:
        try:
            self._receiver.bus_node_lost(node, reason)
        except Exception as error:
            self._reporter.failure("a node of the bus could not be removed", error)

    async def meet(self) -> None:
        """See `Bus.meet`: `start` has done so."""

    def publish(self, channel: str, message: bytes, to: str = "") -> bool:
        """See `Bus.publish`."""
        members = self._cluster._members
        if not self._node or (to and to not in members):
            return False
        if len(message) > self._limits.max_message:
            text = f"a message of {len(message)} bytes was not sent: {self._limits.max_message} are allowed"
            self._reporter.fault("bus_oversized", self._node, text)
            self._dropped += 1
            return False
        taken = True
        for member in [members[to]] if to else list(members.values()):
            if member is not self:
                taken = member._put(self, channel, bytes(message)) and taken
        return taken

    def _put(self, sender: MemoryBus, channel: str, message: bytes) -> bool:
        if self._inbox_bytes + len(message) > sender._limits.max_queue:
            sender._dropped += 1
            sender._reporter.fault("bus_overflow", self._node, "it does not read; a message to it was dropped")
            return False
        self._inbox.append((sender, channel, message))
        self._inbox_bytes += len(message)
        self._schedule()
        return True

    def _schedule(self) -> None:
        if not self._scheduled and self._reading:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        # What is sent meanwhile comes in the next turn.
        for _ in range(len(self._inbox)):
            if not self._inbox or not self._reading:
                break
            sender, channel, message = self._inbox.popleft()
            self._inbox_bytes -= len(message)
            try:
                self._receiver.bus_received(sender._node, channel, message)
            except Exception as error:
                self._reporter.failure("a message of the bus could not be handled", error)
        if self._inbox:
            self._schedule()
        self._release()

    def _release(self) -> None:
        for member in list(self._cluster._members.values()):
            for waiter, to in member._waiters.items():
                if not waiter.done() and not member._queued(to):
                    waiter.set_result(None)

    def _queued(self, to: str = "") -> int:
        """How many bytes of this end wait, for one node or all."""
        members = [m for node, m in self._cluster._members.items() if not to or node == to]
        return sum(len(message) for m in members for sender, _, message in m._inbox if sender is self)

    async def drain(self, to: str = "") -> None:
        """See `Bus.drain`."""
        if self._node and self._queued(to):
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters[waiter] = to
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    async def close(self) -> None:
        """See `Bus.close`."""
        if not self._node:
            return
        receiver = self._receiver
        self._receiver = _Nobody()
        try:
            await asyncio.wait_for(self.drain(), 1.0)
        except TimeoutError:
            pass
        finally:
            self._receiver = receiver
            self._end("it has closed")

    def _end(self, reason: str) -> None:
        node, self._node = self._node, ""
        if self._cluster._members.pop(node, None) is None:
            return
        self._inbox.clear()
        self._inbox_bytes = 0
        for member in list(self._cluster._members.values()):
            waiting = [item for item in member._inbox if item[0] is not self]
            member._inbox = deque(waiting)
            member._inbox_bytes = sum(len(message) for _, _, message in waiting)
            member._tell_lost(node, reason)
        self._release()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def health(self) -> BusHealth:
        """See `Bus.health`."""
        if not self._node:
            return BusHealth("down", problem="it is not open")
        queued = self._queued()
        if self._dropped:
            return BusHealth("degraded", queued, self._dropped, f"{self._dropped} messages were dropped")
        return BusHealth("ok", queued)


class _Nobody:
    """Hears nothing: the end has closed."""

    def bus_received(self, sender: str, channel: str, message: bytes) -> None: ...

    def bus_node_seen(self, node: str) -> None: ...

    def bus_node_lost(self, node: str, reason: str) -> None: ...
