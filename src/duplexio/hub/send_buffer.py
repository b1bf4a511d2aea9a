"""What is emitted while there is no connection: bounded, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from duplexio.client_options import BufferPolicy
from duplexio.protocol.engine_packet import Outgoing

__all__ = ["SendBuffer"]

#: A packet, and the id of its acknowledgement.
Held = tuple[Outgoing, int | None]


class SendBuffer:
    """Of one socket."""

    __slots__ = ("_bytes", "_held", "_max_bytes", "_max_packets", "_policy")

    def __init__(self, max_packets: int, max_bytes: int, policy: BufferPolicy) -> None:
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._policy = policy
        self._held: deque[Held] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def numbers(self) -> frozenset[int]:
        """The acknowledgements of what waits here."""
        return frozenset(number for _, number in self._held if number is not None)

    def add(self, packet: Outgoing, number: int | None) -> list[Held]:
        """Keeps it. Returns what had to go for it, or it itself."""
        self._held.append((packet, number))
        self._bytes += len(packet)
        dropped: list[Held] = []
        while len(self._held) > self._max_packets or self._bytes > self._max_bytes:
            gone = self._held.popleft() if self._policy == "drop_oldest" else self._held.pop()
            self._bytes -= len(gone[0])
            dropped.append(gone)
        return dropped

    def forget(self, number: int) -> bool:
        """Nobody waits for this one's acknowledgement: it is not sent. Returns whether it was here."""
        for held in self._held:
            if held[1] == number:
                self._held.remove(held)
                self._bytes -= len(held[0])
                return True
        return False

    def take(self) -> Iterator[Outgoing]:
        """All of it, in order; nothing is left."""
        held, self._held = self._held, deque()
        self._bytes = 0
        return (packet for packet, _ in held)
