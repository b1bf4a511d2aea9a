"""Whom `to`, `in_` and `except_` select, and how a packet is to travel."""

from __future__ import annotations

from dataclasses import dataclass

from duplexio.types import Room

__all__ = ["EVERYBODY", "PLAIN", "Flags", "Targets"]


@dataclass(frozen=True, slots=True)
class Targets:
    """Rooms to reach, or all where there are none, and rooms to leave out."""

    rooms: frozenset[Room] = frozenset()
    except_: frozenset[Room] = frozenset()

    def includes(self, rooms: frozenset[Room]) -> bool:
        """Whether a socket that is in these rooms is meant."""
        return (not self.rooms or not self.rooms.isdisjoint(rooms)) and self.except_.isdisjoint(rooms)


@dataclass(frozen=True, slots=True)
class Flags:
    """Modifiers of an emit. `timeout` in seconds, for acknowledgements."""

    volatile: bool = False
    compress: bool = True
    local: bool = False
    timeout: float | None = None


EVERYBODY = Targets()
PLAIN = Flags()
