"""The packet that opens a session, as a client reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from duplexio.errors import EnginePacketError
from duplexio.observe import shown

__all__ = ["Opened", "decode_open"]

#: Characters of a session id that a client takes: it is part of each URL.
MAX_SID = 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """What a server says of a session. Durations in seconds, `max_payload` in bytes; 0: it says none."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int


def decode_open(packet: bytes) -> Opened:
    """The session that this packet opens. Raises EnginePacketError for any other."""
    if packet[:1] != b"0":
        raise EnginePacketError(f"a session begins with an open packet, this one began with {shown(packet)}")
    try:
        found: Any = orjson.loads(packet[1:])
    except orjson.JSONDecodeError as error:
        raise EnginePacketError(f"malformed JSON in an open packet: {shown(packet)}") from error
    if not isinstance(found, dict) or "sid" not in found:
        raise EnginePacketError(f"an open packet has a sid, this one has none: {shown(packet)}")
    if not isinstance(found["sid"], str) or not 0 < len(found["sid"]) <= MAX_SID:
        raise EnginePacketError(f"an open packet whose sid is no text of 1 to {MAX_SID} characters")
    upgrades = found.get("upgrades", ())
    if not isinstance(upgrades, list):
        upgrades = ()
    return Opened(
        found["sid"],
        tuple(str(name) for name in upgrades),
        _milliseconds(found, "pingInterval"),
        _milliseconds(found, "pingTimeout"),
        int(_number(found, "maxPayload", 0)),
    )


def _milliseconds(found: dict[str, Any], name: str) -> float:
    seconds = _number(found, name, None) / 1000
    if seconds <= 0:
        raise EnginePacketError(f"an open packet whose {name} is not above 0: {shown(found[name])}")
    return seconds


def _number(found: dict[str, Any], name: str, default: int | None) -> float:
    # The packet is not shown: the id of the session is in it.
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        raise EnginePacketError(f"an open packet without a number as its {name}: {shown(value)}")
    return value
