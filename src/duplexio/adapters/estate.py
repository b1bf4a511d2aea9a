"""What a server leaves to another one when it closes: sessions whose clients are to come back, and what they missed.

It is kept there as it was, under its own offsets, beside the log of the other server: a client that comes is given its
session out of it as if the first server were still there. A copy that a living server has made is kept in the same way;
it becomes what it has left when it dies.
"""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.recovery import Entry, InheritedLog, Log, Session
from duplexio.hub.targets import Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import Inherit
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.types import Room

if TYPE_CHECKING:
    from duplexio.hub.namespace import Namespace

__all__ = [
    "SESSIONS",
    "begins_in_the_middle",
    "drop_copies",
    "estate_of",
    "forget_sessions",
    "had",
    "inherit",
    "inherit_copies",
    "missed_by",
    "sizes",
    "told_packets",
    "told_session",
    "too_large",
]

#: How large a record is, about. Some hundred events: between two, a few milliseconds, others have their turn, and
#: sessions are given to those whose clients are back.
RECORD_BYTES = 65_536
#: Sessions in one message, which take a millisecond; fewer where their data is large.
SESSIONS = 100
#: Bytes of one beside its rooms and data, about.
SESSION_BYTES = 150
#: Logs of closed servers that are kept for one namespace: of a deploy that rolls through a large host. The oldest go.
MAX_INHERITED = 32


def sizes(max_message: int) -> tuple[int, int]:
    """How many bytes a record has, about, and one packet or session in it at the most.

    Beside the largest there is room for as much again, and for its rooms.
    """
    return min(RECORD_BYTES, max_message // 4), max_message // 2


def estate_of(namespace: Namespace, seen: Mapping[str, int], size: int, most: int = sys.maxsize) -> Iterator[Inherit]:
    """What there is to be left, in records of some `size` bytes; nothing where nobody is to come back.

    A packet of more bytes than `most` is not left: who has not got it cannot go on.
    """
    if namespace.log is None:
        return
    _forget_expired(namespace)
    own = namespace.log
    # As they are when it is their turn: what comes while they are sent is another server's to know.
    if own.sessions:
        yield from _records(namespace, own, own.entries, own.number, dict(seen), size, most)
    for left in list(namespace.inherited):
        if left.log.sessions and not left.alive:
            since = min(session.left_at for session in left.log.sessions.values())
            if left.lacking_in(own, since):
                # More has come since than is kept.
                continue
            try:
                later = _later(namespace, left, since)
            except (EncodeError, SocketPacketError) as error:
                namespace.hub.reporter.fault("data_not_shared", "session", f"an event cannot be left behind: {error}")
                # With a gap, nobody who missed it can be told that this is all.
                continue
            number = left.log.number + len(later)
            entries = left.log.entries + later
            yield from _records(namespace, left.log, entries, number, left.seen_with(seen), size, most)


def _later(namespace: Namespace, left: InheritedLog, since: float) -> list[Entry]:
    """What has come since, as if it were in that log: the next heir may have come after it."""
    own = namespace.log
    assert own is not None
    later = []
    for number, entry in enumerate(left.later_in(own, None, since), left.log.number + 1):
        encoded = EncodedEvent.of_stored(namespace, entry.packet, own.offset_of(entry))
        later.append(entry._replace(number=number, packet=encoded.packet(True, offset=left.log.offset(number))))
    return later


def _records(
    namespace: Namespace, left: Log, entries: list[Entry], number: int, seen: dict[str, int], size: int, most: int
) -> Iterator[Inherit]:
    """Those of one log: its packets, and behind them the sessions, so that who is found has all of them."""
    now = namespace.hub.loop.time()
    sessions = {pid: (session, had(left, session, entries)) for pid, session in left.sessions.items()}
    missed = missed_by(sessions.values(), entries)
    forgotten = max(left.forgotten, too_large(missed, most))
    place = itertools.count()

    def record(last: bool, told: list[Any], packets: list[Any]) -> Inherit:
        return Inherit(namespace.name, left.epoch, next(place), last, number, forgotten, seen, told, packets)

    for packets in told_packets([entry for entry in missed if entry.number > forgotten], size, now):
        yield record(False, [], packets)
    told: list[Any] = []
    filled = 0
    for pid, (session, number_had) in sessions.items():
        try:
            one, bytes_of_it = told_session(pid, session, number_had, namespace.hub.loop.time(), most)
        except EncodeError as error:
            namespace.hub.reporter.fault("data_not_shared", "session", f"a session cannot be left behind: {error}")
            continue
        if told and (len(told) >= SESSIONS or filled + bytes_of_it > size):
            yield record(False, told, [])
            told, filled = [], 0
        if left.sessions.get(pid) is session:
            told.append(one)
            filled += bytes_of_it
        # Else its client has come back to another server meanwhile.
    yield record(True, told, [])


def had(log: Log, session: Session, entries: list[Entry]) -> int:
    """The number of a packet up to which the session's client has all that was for it; `entries`: those of the log."""
    # One that has shown nothing since it came, and all that another server has left here.
    if session.confirmed_at == -inf:
        return session.began
    first = bisect_left(entries, session.confirmed_at, key=lambda entry: entry.at)
    return max(log.had(session), entries[first - 1].number if first else 0)


def missed_by(sessions: Collection[tuple[Session, int]], entries: list[Entry]) -> list[Entry]:
    """Those that one of these sessions may have missed, each of which has all up to a number."""
    everybody = min((number for _, number in sessions), default=0)
    by_room: dict[Room, int] = {}
    for session, number in sessions:
        for room in session.rooms:
            by_room[room] = min(number, by_room.get(room, number))
    newest = takewhile(lambda entry: entry.number > everybody, reversed(entries))
    return [entry for entry in newest if _may_be_missed(entry, by_room)][::-1]


def _may_be_missed(entry: Entry, by_room: Mapping[Room, int]) -> bool:
    rooms = entry.targets.rooms
    return not rooms or any(room in by_room and entry.number > by_room[room] for room in rooms)


def too_large(entries: list[Entry], most: int) -> int:
    """The number of the newest that no record can have; 0 where each can be told."""
    return next((entry.number for entry in reversed(entries) if len(entry.packet) > most), 0)


def told_packets(entries: list[Entry], size: int, now: float) -> Iterator[list[Any]]:
    """As they are in records, in lists of some `size` bytes."""
    packets: list[Any] = []
    filled = 0
    for entry in entries:
        packet, targets = entry.packet, entry.targets
        text, attachments = (packet, ()) if isinstance(packet, bytes) else (packet.text, packet.attachments)
        where = (list(targets.rooms), list(targets.except_), entry.origin)
        packets.append((entry.number, now - entry.at, *where, text, list(attachments)))
        filled += len(packet) + 100
        if filled >= size:
            yield packets
            packets, filled = [], 0
    if packets:
        yield packets


def told_session(
    pid: str, session: Session, number_had: int, now: float, most: int
) -> tuple[tuple[str, str, list[Room], Any, int, float, str | None, Mapping[str, int]], int]:
    """As it is in records, and how many bytes it takes, about.

    Raises EncodeError for data or rooms that cannot travel, or are more than `most` bytes.
    """
    (rooms, data), size = cluster_message.sized([list(session.rooms), session.data])
    if size > most:
        raise EncodeError(f"rooms and data of {size} bytes; a session may have {most}, half of max_bus_message")
    seen = session.seen or {}
    told = (pid, session.sid, rooms, data, number_had, now - session.left_at, session.came_with, seen)
    return told, size + SESSION_BYTES + sum(map(len, seen)) + 10 * len(seen)


def inherit(namespace: Namespace, record: Inherit, sender: str) -> None:
    """Keeps what a server has left, or copies here. Raises SocketPacketError where a part of it is missing."""
    own = namespace.log
    assert own is not None
    now = namespace.hub.loop.time()
    left = _begun(namespace, record, sender)
    if record.place != (0 if left is None else left.records):
        # Some of it was dropped on the way: nobody could be told that what he gets is all.
        raise SocketPacketError(f"part {record.place} of what {sender} leaves, and not the one before it")
    if left is None:
        left = _begin(namespace, record, sender, now)
    log = left.log
    for number, age, rooms, except_, origin, text, attachments in record.packets:
        packet: Outgoing = Message(text, tuple(attachments)) if attachments or not text else text
        log.put(Entry(number, now - age, Targets(frozenset(rooms), frozenset(except_)), packet, origin), now)
    for pid, sid, rooms, data, began, away, came_with, seen in record.sessions:
        # A copy's never expires: its client is there, or its own server counts the time.
        left_at = inf if left.alive else now - away
        log.keep(pid, Session(sid, frozenset(rooms), data, began, left_at, came_with, seen=log.shared(seen)))
    for pid in record.gone:
        log.sessions.pop(pid, None)
    log.went_on(record.number, record.forgotten)
    left.seen = record.seen
    if record.copied:
        # Not from now: what came just before this record may have got to its sender after it.
        left.told_at, left.heard_at = left.heard_at, now
    left.records += 1
    left.complete = record.last
    if not left.wanted:
        namespace.inherited.remove(left)


def _begun(namespace: Namespace, record: Inherit, sender: str) -> InheritedLog | None:
    """What this record goes on with; None: it is the first, or what came before it is not here."""
    if record.place == 0:
        # Where there is one already, it was left half, and is left anew.
        return None
    for left in reversed(namespace.inherited):
        same = (left.sender, left.log.epoch, left.copied) == (sender, record.epoch, record.copied)
        if same and not left.complete:
            return left
    return None


def begins_in_the_middle(namespace: Namespace, record: Inherit, sender: str) -> bool:
    """Whether it goes on with a copy of which nothing is here."""
    return record.copied and record.place > 0 and _begun(namespace, record, sender) is None


def _begin(namespace: Namespace, record: Inherit, sender: str, now: float) -> InheritedLog:
    own = namespace.log
    assert own is not None
    _forget_expired(namespace)
    if record.copied:
        drop_copies(namespace, sender)
    log = own.another(record.epoch, record.number, record.forgotten)
    until = inf if record.copied else now + own.duration
    left = InheritedLog(log, record.seen, sender, until, copied=record.copied, alive=record.copied)
    namespace.inherited.append(left)
    if not record.copied:
        _will_expire(namespace)
    return left


def _will_expire(namespace: Namespace) -> None:
    log = namespace.log
    assert log is not None
    dead = [left for left in namespace.inherited if not left.alive]
    for left in dead[:-MAX_INHERITED]:
        namespace.inherited.remove(left)
    namespace.hub.wheel.call_later(log.duration + 1, lambda: _forget_expired(namespace))


def inherit_copies(namespace: Namespace, sender: str) -> None:
    """A server is lost, without having left anything: what was copied here is its inheritance."""
    own = namespace.log
    assert own is not None
    copies = [left for left in namespace.inherited if left.alive and left.sender == sender]
    if not copies:
        return
    now = namespace.hub.loop.time()
    for left in copies:
        left.alive, left.complete, left.until = False, True, now + own.duration
        for pid, session in left.log.sessions.items():
            left.log.sessions[pid] = replace(session, left_at=now)
    _will_expire(namespace)
    _forget_expired(namespace)


def drop_copies(namespace: Namespace, sender: str) -> None:
    """A server closes, and leaves what it has itself; or is there again, or makes a new copy."""
    namespace.inherited[:] = [left for left in namespace.inherited if not (left.copied and left.sender == sender)]


def forget_sessions(namespace: Namespace) -> None:
    """Nobody goes on with what was here up to now."""
    if namespace.log is not None:
        namespace.log.sessions.clear()
    namespace.inherited.clear()


def _forget_expired(namespace: Namespace) -> None:
    now = namespace.hub.loop.time()
    namespace.inherited[:] = [left for left in namespace.inherited if left.until > now and left.wanted]
