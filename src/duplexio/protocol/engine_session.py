"""What an Engine.IO session does with a packet, and during an upgrade: tables, and nothing else.

No bytes are written here and no time is read. `engine.connection` asks, and does what the answer says.
"""

from __future__ import annotations

from enum import Enum, auto

from duplexio.protocol.engine_packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE

__all__ = ["Action", "State", "during_upgrade", "on_packet"]


class State(Enum):
    """Of a session."""

    OPEN = auto()
    #: Closed by this side; what waits in the outbox still goes out.
    CLOSING = auto()
    CLOSED = auto()


class Action(Enum):
    """What to do."""

    DELIVER = auto()
    IGNORE = auto()
    HEARTBEAT = auto()
    #: End the session: the peer said so.
    PEER_CLOSED = auto()
    #: End the session: only the server pings in protocol 4, so a ping from the client is an error.
    WRONG_DIRECTION = auto()
    #: Of an upgrade: answer the probe.
    ANSWER_PROBE = auto()
    #: Of an upgrade: move the session to the new transport.
    COMPLETE = auto()
    #: Of an upgrade: close the new transport; the session stays where it is.
    ABANDON = auto()


_SERVER: dict[int, Action] = {
    MESSAGE: Action.DELIVER,
    PONG: Action.HEARTBEAT,
    CLOSE: Action.PEER_CLOSED,
    PING: Action.WRONG_DIRECTION,
    OPEN: Action.IGNORE,
    UPGRADE: Action.IGNORE,
    NOOP: Action.IGNORE,
}

_UPGRADE: dict[bytes, Action] = {
    b"2probe": Action.ANSWER_PROBE,
    b"5": Action.COMPLETE,
}


def on_packet(packet_type: int) -> Action:
    """What an open session of a server does with a packet of this type."""
    return _SERVER[packet_type]


def during_upgrade(packet: bytes) -> Action:
    """What the candidate for a session's next transport does with a packet; all but the probe's two end it."""
    return _UPGRADE.get(packet, Action.ABANDON)
