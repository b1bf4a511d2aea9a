"""What a server leaves to another one when it closes: sessions whose clients are to come back, and what they missed.

It is kept there as it was, under its own offsets, beside the log of the other server: a client that comes is given its
session out of it as if the first server were still there.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.recovery import Entry, InheritedLog, Log, Session
from duplexio.hub.targets import Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import Inherit
from duplexio.types import Room

if TYPE_CHECKING:
    from duplexio.hub.namespace import Namespace

__all__ = ["estate_of", "inherit"]

#: Sessions in one message: what is in their `data` is to fit in as well.
SESSIONS = 100
#: Logs of other servers that are kept for one namespace: of a deploy that rolls through a large host. The oldest go.
MAX_INHERITED = 32


def estate_of(namespace: Namespace, seen: Mapping[str, int], size: int) -> Iterator[Inherit]:
    """What there is to be left, in records of some `size` bytes; nothing where nobody is to come back."""
    if namespace.log is None:
        return
    _forget_expired(namespace)
    own = namespace.log
    # As they are when it is their turn: what comes while they are sent is another server's to know.
    if own.sessions:
        entries = [(entry.number, own, entry) for entry in own.entries]
        yield from _records(namespace, own, entries, own.number, dict(seen), size)
    for left in list(namespace.inherited):
        if left.log.sessions:
            packets = [(entry.number, left.log, entry) for entry in left.log.entries]
            # With what has come since: the next heir may have come after that.
            later = left.later_in(own, None, min(session.left_at for session in left.log.sessions.values()))
            packets += [(left.log.number + index, own, entry) for index, entry in enumerate(later, 1)]
            number = left.log.number + len(later)
            yield from _records(namespace, left.log, packets, number, left.seen_with(seen), size)


#: An event of a log that is left, under the number it is left with; and the log that has it here.
LeftEntry: TypeAlias = tuple[int, Log, Entry]


def _records(
    namespace: Namespace, left: Log, entries: list[LeftEntry], number: int, seen: dict[str, int], size: int
) -> Iterator[Inherit]:
    """Those of one log: its packets, and behind them the sessions, so that who is found has all of them."""
    sessions = {pid: (session, _had(left, session, entries)) for pid, session in left.sessions.items()}
    place = itertools.count()

    def record(last: bool, told: list[Any], packets: list[Any]) -> Inherit:
        return Inherit(namespace.name, left.epoch, next(place), last, number, left.forgotten, seen, told, packets)

    packets: list[Any] = []
    filled = 0
    for number_left, log, entry in _missed_by(sessions.values(), entries):
        try:
            packet = _told_packet(namespace, number_left, log, entry)
        except (EncodeError, SocketPacketError) as error:
            namespace.hub.reporter.fault("data_not_shared", "session", f"an event cannot be left behind: {error}")
            # With a gap, nobody who missed it can be told that this is all.
            return
        packets.append(packet)
        filled += len(entry.packet) + 100
        if filled >= size:
            yield record(False, [], packets)
            packets, filled = [], 0
    told: list[Any] = []
    for pid, (session, had) in sessions.items():
        if left.sessions.get(pid) is not session:
            # Its client has come back to another server meanwhile.
            continue
        if len(told) >= SESSIONS:
            yield record(False, told, packets)
            told, packets = [], []
        try:
            told.append(_told_session(namespace, pid, session, had))
        except EncodeError as error:
            namespace.hub.reporter.fault("data_not_shared", "session", f"a session cannot be left behind: {error}")
    yield record(True, told, packets)


def _had(log: Log, session: Session, entries: list[LeftEntry]) -> int:
    """The number of a packet up to which its client has all that was for it."""
    # One that has shown nothing since it came, and all that another server has left here.
    if session.confirmed_at == -inf:
        return session.began
    first = bisect_left(entries, session.confirmed_at, key=lambda left: left[2].at)
    return max(log.had(session), entries[first - 1][0] if first else 0)


def _missed_by(sessions: Collection[tuple[Session, int]], entries: list[LeftEntry]) -> list[LeftEntry]:
    """Those that one of these sessions may have missed, each of which has all up to a number."""
    everybody = min((had for _, had in sessions), default=0)
    by_room: dict[Room, int] = {}
    for session, had in sessions:
        for room in session.rooms:
            by_room[room] = min(had, by_room.get(room, had))
    newest = takewhile(lambda left: left[0] > everybody, reversed(entries))
    return [left for left in newest if _may_be_missed(left, by_room)][::-1]


def _may_be_missed(left: LeftEntry, by_room: Mapping[Room, int]) -> bool:
    number, _, entry = left
    rooms = entry.targets.rooms
    return not rooms or any(room in by_room and number > by_room[room] for room in rooms)


def _told_packet(namespace: Namespace, number: int, log: Log, entry: Entry) -> tuple[Any, ...]:
    encoded = EncodedEvent.of_stored(namespace, entry.packet, log.offset_of(entry))
    age = namespace.hub.loop.time() - entry.at
    targets = entry.targets
    where = (list(targets.rooms), list(targets.except_), entry.origin)
    return (number, age, *where, encoded.form, encoded.text, list(encoded.attachments))


def _told_session(namespace: Namespace, pid: str, session: Session, had: int) -> tuple[Any, ...]:
    away = namespace.hub.loop.time() - session.left_at
    data = cluster_message.plain(session.data)
    rooms = cluster_message.plain(list(session.rooms))
    return (pid, session.sid, rooms, data, had, away, session.came_with)


def inherit(namespace: Namespace, record: Inherit, sender: str) -> None:
    """Keeps what a server has left. Raises SocketPacketError, and EncodeError, for what cannot be."""
    own = namespace.log
    assert own is not None
    now = namespace.hub.loop.time()
    left = _begun(namespace, record, sender)
    if record.place != (0 if left is None else left.records):
        # Some of it was dropped on the way: nobody could be told that what he gets is all.
        raise SocketPacketError(f"part {record.place} of what {sender} leaves, and not the one before it")
    if left is None:
        _forget_expired(namespace)
        log = own.another(record.epoch, record.number, record.forgotten)
        left = InheritedLog(log, record.seen, sender, now + own.duration)
        namespace.inherited.append(left)
        del namespace.inherited[:-MAX_INHERITED]
        namespace.hub.wheel.call_later(own.duration + 1, lambda: _forget_expired(namespace))
    for number, age, rooms, except_, origin, form, text, attachments in record.packets:
        encoded = EncodedEvent(namespace, form, text, attachments)
        encoded.check()
        targets = Targets(frozenset(rooms), frozenset(except_))
        packet = encoded.packet(True, offset=left.log.offset(number))
        left.log.put(Entry(number, now - age, targets, packet, origin), now)
    for pid, sid, rooms, data, had, away, came_with in record.sessions:
        left.log.keep(pid, Session(sid, frozenset(rooms), data, had, now - away, came_with))
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
        if (left.sender, left.log.epoch) == (sender, record.epoch) and not left.complete:
            return left
    return None


def _forget_expired(namespace: Namespace) -> None:
    now = namespace.hub.loop.time()
    namespace.inherited[:] = [left for left in namespace.inherited if left.until > now and left.wanted]
