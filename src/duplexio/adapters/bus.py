"""The contract of a bus, which carries bytes between the servers of a cluster, and knows nothing of what they mean.

A driver puts one of these over a transport: Unix sockets, Redis, Postgres, NATS. What the bytes say is the business of
`adapters.cluster`, written once. `duplexio.testing.check_bus` is this contract as a suite that a driver passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from duplexio.errors import ConfigurationError
from duplexio.observe import Reporter

__all__ = ["Bus", "BusHealth", "BusLimits", "Receiver", "check_is_bus"]


BUS_METHODS = ("start", "meet", "publish", "drain", "close", "health")


@dataclass(frozen=True, slots=True)
class BusLimits:
    """What a bus may hold.

    Attributes:
        max_message: bytes of one message; a larger one is not sent, and one that arrives is passed over.
        max_queue: bytes that wait for one receiver, or for the transport; what would exceed it is dropped, and counted.
    """

    max_message: int
    max_queue: int


@dataclass(frozen=True, slots=True)
class BusHealth:
    """How a bus is.

    Attributes:
        status: `ok`; `degraded`, where messages were dropped a moment ago or some servers are out of reach; `down`,
            where nothing is sent or received.
        queued: how many bytes wait to be sent.
        dropped: how many messages were dropped since the start.
        problem: what is wrong, for a reader; empty while all is well.
    """

    status: Literal["ok", "degraded", "down"]
    queued: int = 0
    dropped: int = 0
    problem: str = ""


class Receiver(Protocol):
    """Who listens to a bus. Called on the loop; what these raise is logged by the bus, and stops nothing."""

    def bus_received(self, sender: str, channel: str, message: bytes) -> None:
        """A message of another node. The messages of one sender in one channel arrive in the order it sent them."""

    def bus_node_seen(self, node: str) -> None:
        """From now on this node gets what is published. Before anything of that node is received."""

    def bus_node_lost(self, node: str, reason: str) -> None:
        """It gets nothing more, and nothing more comes from it. `reason` is for the log."""


class Bus(Protocol):
    """One server's end of a bus. All of it is called on one event loop, between `start` and `close`.

    A node is one end: its name is its own for as long as it runs, and nobody had it before. A driver that cannot tell
    who else is there never calls `bus_node_seen` or `bus_node_lost`: heartbeats then tell, only later.
    """

    @property
    def node(self) -> str:
        """The name of this node; empty before `start`."""

    @property
    def alone(self) -> bool:
        """Whether it is certain that nobody would get what is published, so that it need not be encoded."""

    def start(self, receiver: Receiver, limits: BusLimits, reporter: Reporter) -> None:
        """Binds to the running loop, and begins to receive and to look for others. Does not wait for any.

        Raises ConfigurationError for what can never work, OSError for what the system refuses. A transport that is out
        of reach just now is no error: `health` tells, and the driver tries again. After `close` it may be called anew,
        on whichever loop; the node has another name then.
        """

    def publish(self, channel: str, message: bytes, to: str = "") -> bool:
        """Sends to every other node, or to the one named by `to`; never to this one. Never blocks, and never raises.

        In order per channel: what one receiver gets of it has gaps at most, where something was dropped. Across
        channels the order is the driver's own affair.

        Returns False where it was not taken, which is counted and logged: it is larger than `max_message`, would
        exceed a receiver's `max_queue` (the others get it), or the bus is not open. Also for a `to` that is not there.
        """

    async def meet(self) -> None:
        """Waits until the nodes that were there at the start have been seen, as far as the driver can tell.

        There is no limit to how long one of them takes: use a timeout. Cancelling it only stops the waiting.
        """

    async def drain(self, to: str = "") -> None:
        """Waits until what was published so far has left this process, or cannot any more.

        With `to`, what that node is to get of it, whether it alone or all others are: who waits for one that reads
        does not wait for another that stands still. A driver whose receivers have one queue waits for that. One that
        is not there is nothing to wait for.

        There is no limit to how long a receiver takes: use a timeout. Cancelling it only stops the waiting.
        """

    async def close(self) -> None:
        """Sends what waits, for a second at the most, and lets go of everything: others lose this node. Idempotent.

        The receiver is told nothing more from the moment of the call.
        """

    def health(self) -> BusHealth:
        """How it is just now."""


def check_is_bus(bus: object) -> None:
    """Raises ConfigurationError for what is none, before anything is done with it."""
    if isinstance(bus, type):
        raise ConfigurationError(f"adapter={bus.__name__}: expected a bus, this is its class: {bus.__name__}(...)")
    missing = [name for name in BUS_METHODS if not callable(getattr(bus, name, None))]
    if missing:
        # Not shown: a URL may have a password in it.
        raise ConfigurationError(
            f"adapter: expected a bus, such as UnixBus of duplexio.adapters.unix, not an object of type "
            f"{type(bus).__name__}, which has no {', '.join(missing)}"
        )
