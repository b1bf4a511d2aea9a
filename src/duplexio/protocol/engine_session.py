"""What an Engine.IO session does with a packet, and during an upgrade: tables, and nothing else.

No bytes are written here and no time is read. `engine.connection` asks, and does what the answer says.
"""

from __future__ import annotations

from enum import Enum, auto

from duplexio.protocol import engine_packet, engine_packet3
from duplexio.protocol.engine_packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE

__all__ = ["Action", "State", "during_probe", "during_upgrade", "on_packet", "pings"]


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
    #: The peer is there: it answered our ping.
    HEARTBEAT = auto()
    #: The peer is there: it pings, as a server does in protocol 4 and a client in protocol 3.
    ANSWER_PING = auto()
    #: End the session: the peer said so.
    PEER_CLOSED = auto()
    #: End the session: only the server pings in protocol 4, only the client in protocol 3.
    WRONG_DIRECTION = auto()
    #: Of an upgrade, by a client: the probe was answered.
    PROBE_ANSWERED = auto()
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

# A client bears with a server that sends what it should not, as the JavaScript one does.
_CLIENT: dict[int, Action] = {**_SERVER, PING: Action.ANSWER_PING, PONG: Action.IGNORE}

#: By role, client or not, and the version of the protocol.
_TABLES: dict[tuple[bool, int], dict[int, Action]] = {
    (False, engine_packet.PROTOCOL): _SERVER,
    (False, engine_packet3.PROTOCOL): {**_SERVER, PING: Action.ANSWER_PING, PONG: Action.WRONG_DIRECTION},
    (True, engine_packet.PROTOCOL): _CLIENT,
    (True, engine_packet3.PROTOCOL): {**_CLIENT, PING: Action.IGNORE, PONG: Action.HEARTBEAT},
}

_UPGRADE: dict[bytes, Action] = {
    b"2probe": Action.ANSWER_PROBE,
    b"5": Action.COMPLETE,
}


def pings(client: bool, protocol: int) -> bool:
    """Whether this end pings and the other answers: the server in protocol 4, the client in protocol 3."""
    return client == (protocol == engine_packet3.PROTOCOL)


def on_packet(packet_type: int, protocol: int, client: bool = False) -> Action:
    """What an open session of a server, or of a client, does with a packet of this type of this protocol."""
    return _TABLES[client, protocol][packet_type]


def during_upgrade(packet: bytes) -> Action:
    """What the candidate for a session's next transport does with a packet; all but the probe's two end it."""
    return _UPGRADE.get(packet, Action.ABANDON)


def during_probe(packet: bytes) -> Action:
    """What a client's candidate does with a packet; all but the answer to the probe end it."""
    return Action.PROBE_ANSWERED if packet == b"3probe" else Action.ABANDON
