"""What a server leaves to another one when it closes: sessions whose clients are to come back, and what they missed.

It is kept there as it was, under its own offsets, beside the log of the other server: a client that comes is given its
session out of it as if the first server were still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.recovery import Entry, InheritedLog, Log, Session
from duplexio.hub.targets import Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import Inherit

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
    # As they are now: what comes while they are sent is another server's to know.
    estates = [(own, [(entry.number, own, entry) for entry in own.entries], own.number, dict(seen))]
    for left in namespace.inherited:
        # With what has come since: the next heir may have come after that.
        packets = [(entry.number, left.log, entry) for entry in left.log.entries]
        later = [
            (left.log.number + index, own, entry) for index, entry in enumerate(left.later_in(own, None, left.at), 1)
        ]
        estates.append((left.log, packets + later, left.log.number + len(later), left.seen_with(seen)))
    for log, packets, number, known in estates:
        if log.sessions:
            head = Inherit(namespace.name, log.epoch, number, known, [], [])
            yield from _records(namespace, head, log, packets, size)


#: An event of a log that is left, under the number it is left with; and the log that has it here.
LeftEntry: TypeAlias = tuple[int, Log, Entry]


def _records(namespace: Namespace, head: Inherit, left: Log, entries: list[LeftEntry], size: int) -> Iterator[Inherit]:
    def record(told: list[Any], packets: list[Any]) -> Inherit:
        return Inherit(head.namespace, head.epoch, head.number, head.seen, told, packets)

    # Those whose packets these are.
    sessions = dict(left.sessions)
    packets: list[Any] = []
    filled = 0
    for number, log, entry in entries:
        try:
            packet = _told_packet(namespace, number, log, entry)
        except (EncodeError, SocketPacketError) as error:
            namespace.hub.reporter.fault("data_not_shared", "session", f"an event cannot be left behind: {error}")
            # With a gap, nobody who missed it can be told that this is all.
            return
        packets.append(packet)
        filled += len(entry.packet) + 100
        if filled >= size:
            yield record([], packets)
            packets, filled = [], 0
    if packets:
        yield record([], packets)
    # Behind their packets: who is found has all of them.
    told: list[Any] = []
    for pid, session in sessions.items():
        if left.sessions.get(pid) is not session:
            # Its client has come back to another server meanwhile.
            continue
        try:
            told.append(_told_session(namespace, pid, session))
        except EncodeError as error:
            namespace.hub.reporter.fault("data_not_shared", "session", f"a session cannot be left behind: {error}")
        if len(told) >= SESSIONS:
            yield record(told, [])
            told = []
    if told:
        yield record(told, [])


def _told_packet(namespace: Namespace, number: int, log: Log, entry: Entry) -> tuple[Any, ...]:
    encoded = EncodedEvent.of_stored(namespace, entry.packet, log.offset_of(entry))
    age = namespace.hub.loop.time() - entry.at
    targets = entry.targets
    where = (list(targets.rooms), list(targets.except_), entry.origin)
    return (number, age, *where, encoded.form, encoded.text, list(encoded.attachments))


def _told_session(namespace: Namespace, pid: str, session: Session) -> tuple[Any, ...]:
    away = namespace.hub.loop.time() - session.left_at
    data = cluster_message.plain(session.data)
    rooms = cluster_message.plain(list(session.rooms))
    return (pid, session.sid, rooms, data, session.began, away, session.came_with)


def inherit(namespace: Namespace, record: Inherit) -> None:
    """Keeps what a server has left. Raises SocketPacketError, and EncodeError, for what cannot be."""
    own = namespace.log
    assert own is not None
    _forget_expired(namespace)
    now = namespace.hub.loop.time()
    left = next((known for known in namespace.inherited if _is_of(known, record)), None)
    if left is None:
        left = InheritedLog(own.another(record.epoch, record.number), record.seen, now, now + own.duration)
        namespace.inherited.append(left)
        del namespace.inherited[:-MAX_INHERITED]
        namespace.hub.wheel.call_later(own.duration + 1, lambda: _forget_expired(namespace))
    for number, age, rooms, except_, origin, form, text, attachments in record.packets:
        if number <= left.log.newest:
            # Two have left it: the server itself, and one that closed while it was being left to that one.
            continue
        encoded = EncodedEvent(namespace, form, text, attachments)
        encoded.check()
        targets = Targets(frozenset(rooms), frozenset(except_))
        packet = encoded.packet(True, offset=left.log.offset(number))
        left.log.put(Entry(number, now - age, targets, packet, origin), now)
    if record.sessions and not left.log.whole:
        # Some of it was dropped on the way: nobody could be told that what he gets is all.
        raise SocketPacketError(f"{len(record.sessions)} sessions without all that their clients missed")
    for pid, sid, rooms, data, began, away, came_with in record.sessions:
        left.log.keep(pid, Session(sid, frozenset(rooms), data, began, now - away, came_with))


def _is_of(left: InheritedLog, record: Inherit) -> bool:
    # Another one that had inherited it has put more behind it, and knows of more: that is a log of its own.
    return left.log.epoch == record.epoch and left.log.number == record.number


def _forget_expired(namespace: Namespace) -> None:
    now = namespace.hub.loop.time()
    namespace.inherited[:] = [left for left in namespace.inherited if left.until > now and _is_left(left)]


def _is_left(left: InheritedLog) -> bool:
    # One whose sessions have not come yet has packets.
    return bool(left.log.sessions or left.log.entries)
