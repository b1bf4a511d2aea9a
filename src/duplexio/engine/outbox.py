"""What happens to a packet for a receiver whose outbox is full: a table of policies over a plain list."""

from __future__ import annotations

from collections.abc import Callable

from duplexio.options import OutboxPolicy
from duplexio.protocol.engine_packet import MESSAGE, Outgoing

__all__ = ["POLICIES", "droppable", "replace_waiting"]

_EVENTS = (ord("2"), ord("5"))


def droppable(packet: Outgoing) -> bool:
    """Only events are. CONNECT, ACK, DISCONNECT and the engine's own packets change what the peer believes."""
    if not isinstance(packet, bytes) and packet.event is not None:
        return packet.event
    text = packet if isinstance(packet, bytes) else packet.text
    return len(text) > 1 and text[0] == MESSAGE and text[1] in _EVENTS


def _drop_oldest(outbox: list[Outgoing]) -> Outgoing | None:
    for index, packet in enumerate(outbox):
        if droppable(packet):
            return outbox.pop(index)
    return None


def _drop_newest(outbox: list[Outgoing]) -> Outgoing | None:
    for index in range(len(outbox) - 1, -1, -1):
        if droppable(outbox[index]):
            return outbox.pop(index)
    return None


def _drop_nothing(outbox: list[Outgoing]) -> Outgoing | None:
    return None


#: Takes one packet out of a full outbox and returns it; None: the receiver is to be disconnected.
POLICIES: dict[OutboxPolicy, Callable[[list[Outgoing]], Outgoing | None]] = {
    "disconnect": _drop_nothing,
    "drop_oldest": _drop_oldest,
    "drop_newest": _drop_newest,
    "conflate": _drop_nothing,
}


def replace_waiting(outbox: list[Outgoing], packet: Outgoing) -> Outgoing | None:
    """Puts `packet` in the place of a waiting one with its key, and returns that one; None: none waits."""
    key = None if isinstance(packet, bytes) else packet.key
    if key is not None:
        for index, waiting in enumerate(outbox):
            if not isinstance(waiting, bytes) and waiting.key == key:
                outbox[index] = packet
                return waiting
    return None
