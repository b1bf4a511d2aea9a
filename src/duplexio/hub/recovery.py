"""Connection state recovery: what a client missed while it was away, kept in memory, for one namespace.

The protocol's way: the CONNECT reply carries a secret `pid`, each event ends in an offset, and a client that comes
back sends both. The offset is the log's epoch and a number, so one that was never issued here is told from one that
is too old.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import Any, NamedTuple

from duplexio.hub.targets import Targets
from duplexio.protocol.engine_packet import Outgoing
from duplexio.types import Room

__all__ = ["Entry", "InheritedLog", "Log", "Origin", "Restored", "Session"]

#: By which the servers of a cluster know an event: who has sent it, and how many that one had sent by then.
Origin = tuple[str, int]

#: Of how many servers it is remembered what of them has gone; see `MAX_SEEN` of a cluster.
MAX_ORIGINS = 1000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Session:
    """What is kept of a socket that went away."""

    sid: str
    rooms: frozenset[Room]
    data: Any
    #: The number of the newest packet when the session began: where one that got none yet resumes.
    began: int
    left_at: float
    #: The offset of another server that the client came with: that again, until it has one of this server.
    came_with: str | None = None
    #: What was sent before has arrived: its answers to pings say so. -inf: none does.
    confirmed_at: float = -inf
    #: How many events it has of servers that have gone, and of which this one has not got as many.
    seen: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """A session that came back, and the number of the last packet it has."""

    #: The secret it came back with, and keeps: a client that is given another takes itself for a new one.
    pid: str
    session: Session
    after: int


class Entry(NamedTuple):
    """A packet that was stored; `origin` of one that every server of a cluster has got.

    A tuple, since one is made at each emit: a frozen dataclass takes more than twice as long.
    """

    number: int
    at: float
    targets: Targets
    packet: Outgoing
    origin: Origin | None


class Log:
    """The packets and sessions of one namespace. Time is an argument, in seconds of any steady clock."""

    __slots__ = (
        "_by_origin",
        "_bytes",
        "_entries",
        "_epoch",
        "_evicted",
        "_forgotten_at",
        "_forgotten_of",
        "_max_bytes",
        "_max_packets",
        "_max_sessions",
        "_number",
        "_shared_seen",
        "duration",
        "epoch",
        "forgotten",
        "on_stored",
        "sessions",
    )

    def __init__(
        self, duration: float, max_packets: int, max_bytes: int, max_sessions: int, evicted: Callable[[int], None]
    ) -> None:
        self.duration = duration
        self._max_packets = max_packets
        self._max_bytes = max_bytes
        self._max_sessions = max_sessions
        self._evicted = evicted
        #: What its offsets begin with.
        self.epoch = secrets.token_urlsafe(6)
        self._entries: deque[Entry] = deque()
        #: Those that every server of a cluster has got, by who has sent them.
        self._by_origin: dict[str, deque[Entry]] = {}
        self._bytes = 0
        self._number = 0
        self._shared_seen: dict[str, int] = {}
        #: The number of the newest packet that is not here any more, and when it was stored.
        self.forgotten = 0
        self._forgotten_at = -inf
        #: Of each server whose events have gone, the number of the newest of them, and when it was stored.
        self._forgotten_of: dict[str, tuple[int, float]] = {}
        #: Called behind each packet that was stored.
        self.on_stored: Callable[[], None] | None = None
        #: Those that may come back, by their secret, in the order of their leaving.
        self.sessions: dict[str, Session] = {}

    def another(self, epoch: str, number: int, forgotten: int) -> Log:
        """An empty log within the same limits, for what another server has left behind."""
        log = Log(self.duration, self._max_packets, self._max_bytes, self._max_sessions, self._evicted)
        log.epoch, log._number, log.forgotten = epoch, number, forgotten
        return log

    @property
    def origins(self) -> list[str]:
        """The servers of which something is stored."""
        return list(self._by_origin)

    @property
    def entries(self) -> list[Entry]:
        """All that is stored, in order."""
        return list(self._entries)

    @property
    def number(self) -> int:
        """The number of the newest packet."""
        return self._number

    def went_on(self, number: int, forgotten: int) -> None:
        """The server whose log this is has given out so many numbers, and does not know what it had up to another."""
        self._number = max(self._number, number)
        self.forgotten = max(self.forgotten, forgotten)

    def next_offset(self) -> str:
        """The offset that the next packet to be stored ends in."""
        return self.offset(self._number + 1)

    def newest_offset(self) -> str:
        """The offset for what is not stored and could be taken for one."""
        return self.offset(self._number)

    def offset(self, number: int) -> str:
        """The offset of the packet of this number."""
        text = ""
        while True:
            number, digit = divmod(number, 36)
            text = _DIGITS[digit] + text
            if not number:
                return f"{self.epoch}.{text}"

    def store(self, packet: Outgoing, targets: Targets, now: float, origin: Origin | None = None) -> None:
        """Keeps a packet that was encoded with `next_offset`."""
        self._number += 1
        self.put(Entry(self._number, now, targets, packet, origin), now)
        if self.on_stored is not None:
            self.on_stored()

    def put(self, entry: Entry, now: float) -> None:
        """Keeps a packet that has its number."""
        self._entries.append(entry)
        self._bytes += len(entry.packet)
        if entry.origin is not None:
            same = self._by_origin.get(entry.origin[0])
            if same is None:
                same = self._by_origin[entry.origin[0]] = deque()
            same.append(entry)
        self._forget_old(now)
        while len(self._entries) > self._max_packets or self._bytes > self._max_bytes:
            self._forget_oldest()
            self._evicted(1)

    def _forget_old(self, now: float) -> None:
        entries = self._entries
        while entries and entries[0].at < now - self.duration:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        entry = self._entries.popleft()
        self._bytes -= len(entry.packet)
        # One that another server has left here may lack more than has gone here.
        self.forgotten, self._forgotten_at = max(self.forgotten, entry.number), entry.at
        if entry.origin is not None:
            node, number = entry.origin
            same = self._by_origin[node]
            same.popleft()
            if not same:
                del self._by_origin[node]
            self._forgotten_of[node] = number, entry.at
            if len(self._forgotten_of) > MAX_ORIGINS:
                del self._forgotten_of[next(iter(self._forgotten_of))]

    def shared(self, seen: dict[str, int]) -> Mapping[str, int] | None:
        """The same, once for all sessions that came one after the other with the same; None where it is empty."""
        if seen != self._shared_seen:
            self._shared_seen = seen
        return self._shared_seen or None

    def knows(self, pid: str) -> bool:
        """Whether a session of this secret is kept."""
        return pid in self.sessions

    def keep(self, pid: str, session: Session) -> None:
        """A socket went away and may come back."""
        sessions = self.sessions
        sessions[pid] = session
        # In order of leaving, so the first are the ones that expire first.
        while sessions:
            oldest = next(iter(sessions))
            expired = sessions[oldest].left_at < session.left_at - self.duration
            if not expired and len(sessions) <= self._max_sessions:
                break
            del sessions[oldest]
            if not expired:
                self._evicted(1)

    def restore(self, pid: str, offset: object, now: float) -> Restored | None:
        """The session of `pid`, from after `offset`; from its beginning where that is None. It is taken out.

        None: unknown, expired, with an offset that was never issued, or with packets missing that have gone already.
        """
        session = self.sessions.get(pid)
        if session is None:
            return None
        after = session.began if offset in (None, session.came_with) else self._number_of(offset)
        if after is None or session.left_at < now - self.duration:
            return None
        self._forget_old(now)
        after = max(after, self.had(session))
        if after < self.forgotten:
            return None
        del self.sessions[pid]
        return Restored(pid, session, after)

    def had(self, session: Session) -> int:
        """The number of a packet up to which its client has all that was for it, whatever its offset is.

        One to which little is sent comes back with an offset of long ago.
        """
        return max(session.began, self.forgotten) if session.confirmed_at > self._forgotten_at else session.began

    def missed(self, after: int, rooms: frozenset[Room]) -> list[Outgoing]:
        """What a socket in these rooms did not get, in order."""
        return [entry.packet for entry in self.missed_entries(after, rooms)]

    def missed_entries(self, after: int, rooms: frozenset[Room]) -> list[Entry]:
        """The same, with what is known of each."""
        return [entry for entry in self.after(after) if entry.targets.includes(rooms)]

    def after(self, number: int) -> list[Entry]:
        """All behind the packet of this number."""
        # From the end: who comes back soon has missed little, and the log may be long.
        return list(takewhile(lambda entry: entry.number > number, reversed(self._entries)))[::-1]

    def unseen(self, seen: Mapping[str, int], rooms: frozenset[Room] | None, left_at: float) -> list[Entry]:
        """What a server that has seen so many events of each other one has not got, of those for these rooms, or all.

        Of a server that it did not know, what came after the client had left it: what is older may be older than the
        session.
        """
        unseen: list[Entry] = []
        for node, entries in self._by_origin.items():
            for entry in reversed(entries):
                assert entry.origin is not None
                if entry.origin[1] <= seen[node] if node in seen else entry.at < left_at:
                    break
                if rooms is None or entry.targets.includes(rooms):
                    unseen.append(entry)
        return sorted(unseen, key=lambda entry: entry.number)

    def lacks(self, seen: Mapping[str, int], left_at: float) -> bool:
        """Whether some of what `unseen` is about has gone already, for whichever rooms it was."""
        return any(
            number > seen[node] if node in seen else at >= left_at for node, (number, at) in self._forgotten_of.items()
        )

    def offset_of(self, entry: Entry) -> str:
        """The offset its packet ends in."""
        return self.offset(entry.number)

    def _number_of(self, offset: object) -> int | None:
        if not isinstance(offset, str) or not offset.startswith(self.epoch + "."):
            return None
        text = offset[len(self.epoch) + 1 :]
        # Twelve digits of base 36 are more packets than a server ever sends.
        if not 0 < len(text) <= 12 or not set(text) <= set(_DIGITS):
            return None
        number = int(text, 36)
        return number if number <= self._number else None


@dataclass(slots=True)
class InheritedLog:
    """What a server that has closed left to this one: sessions that nobody has come back for yet.

    Attributes:
        log: its log, of which nothing is here but what these sessions may have missed.
        seen: how many events of each server are in it at the most.
        sender: who has left it.
        until: when nobody can come back for it any more.
        copied: whether it is the copy of a server that did not close.
        alive: whether that server lives: it is nobody's yet.
        told_at: of a copy, since when it may lack what a server says that had not come by then.
        heard_at: of a copy, when something of it came last.
        records: in how many pieces it has come so far.
        complete: whether that is all.
    """

    log: Log
    seen: Mapping[str, int]
    sender: str
    until: float
    copied: bool = False
    alive: bool = False
    told_at: float = inf
    heard_at: float = inf
    records: int = 0
    complete: bool = False

    @property
    def wanted(self) -> bool:
        """Whether somebody may come back for it."""
        return bool(self.log.sessions) or not self.complete or self.alive

    def seen_with(self, seen: Mapping[str, int]) -> dict[str, int]:
        """How many events of each server are in it, together with what a server has that has seen so many."""
        return {node: max(self.seen.get(node, 0), seen.get(node, 0)) for node in {*self.seen, *seen}}

    def later_in(
        self, log: Log, rooms: frozenset[Room] | None, left_at: float, more: Mapping[str, int] | None = None
    ) -> list[Entry]:
        """What the log of the server it was left to has got since, for these rooms, or all.

        `more`: what a session has got that is not in this one.
        """
        return log.unseen(self.seen_with(more or {}), rooms, min(left_at, self.told_at))

    def lacking_in(self, log: Log, left_at: float) -> bool:
        """Whether some of that has gone already."""
        return log.lacks(self.seen, min(left_at, self.told_at))
