"""A session that moves: its client has come back, and to another server than the one that has kept it.

The server that has it gives it away, with what its client missed, and says how many events of each server it had seen
by then. What the new server has got beyond that is missed, too, and what it has got of it as well is not sent twice.
All of it is stored anew under the offsets of the new server, for this client alone, so that it can break off anywhere.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.recovery import Entry, InheritedLog, Log, Session
from duplexio.hub.targets import Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import CarriedEvent, MovedSession

if TYPE_CHECKING:
    from duplexio.hub.namespace import Namespace

__all__ = ["SessionSearch", "forget_inherited", "give_inherited", "give_session", "in_order", "take_session"]

#: Of how many servers that have gone a session remembers what it has of them: of those of two minutes.
MAX_GONE = 16


def give_session(namespace: Namespace, pid: str, offset: str | None, seen: Mapping[str, int]) -> list[Any]:
    """The session and what its client missed, as the answers to `Recover`; nothing where it is not here.

    It is taken out: it is the other server's from now on.
    """
    if namespace.log is None:
        return []
    stale = namespace.by_pid.get(pid)
    if stale is not None:
        # The client noticed the break before this server did: who has the secret is the one who left.
        stale.conn.end("transport close", "the client came back to another server")
    own = _give(namespace, namespace.log, pid, offset, seen, None)
    return own or give_inherited(namespace, pid, offset, seen) or give_inherited(namespace, pid, offset, seen, True)


def give_inherited(
    namespace: Namespace, pid: str, offset: str | None, seen: Mapping[str, int], copied: bool = False
) -> list[Any]:
    """The same of a session that a server which has closed left to this one, with what has come since.

    `copied`: of those of which it had a copy, when their server was lost.
    """
    for left in namespace.inherited:
        if left.alive or left.copied is not copied:
            continue
        if given := _give(namespace, left.log, pid, offset, left.seen_with(seen), left):
            forget_inherited(namespace, pid)
            return given
    return []


def forget_inherited(namespace: Namespace, pid: str) -> None:
    """Its client is back: the session is nobody's inheritance any more."""
    for left in namespace.inherited:
        left.log.sessions.pop(pid, None)
    namespace.inherited[:] = [left for left in namespace.inherited if left.wanted]


def _give(
    namespace: Namespace, log: Log, pid: str, offset: str | None, seen: Mapping[str, int], left: InheritedLog | None
) -> list[Any]:
    now = namespace.hub.loop.time()
    own = namespace.log
    kept = log.sessions.get(pid)
    if left is not None and own is not None and kept is not None and left.lacking_in(own, kept.left_at):
        # More has come since than is kept.
        return []
    restored = log.restore(pid, offset, now)
    if restored is None:
        return []
    session = restored.session
    try:
        rooms, data = cluster_message.plain([list(session.rooms), session.data])
        got, copied = {**seen, **_more_of(seen, session.seen or {})}, left is not None and left.copied
        first = MovedSession(session.sid, rooms, data, got, now - session.left_at, copied)
        missed = [_carried(namespace, log, entry, now) for entry in log.missed_entries(restored.after, session.rooms)]
        if left is not None and own is not None:
            # Here, and not by whoever takes it: that one may have started after it came.
            later = left.later_in(own, session.rooms, session.left_at, session.seen)
            missed = in_order(missed, [_carried(namespace, own, entry, now) for entry in later])
    except (EncodeError, SocketPacketError) as error:
        log.keep(pid, session)
        namespace.hub.reporter.fault("data_not_shared", "session", f"a client cannot go on elsewhere: {error}")
        return []
    return [first, *missed]


def _carried(namespace: Namespace, log: Log, entry: Entry, now: float) -> CarriedEvent:
    encoded = EncodedEvent.of_stored(namespace, entry.packet, log.offset_of(entry))
    return CarriedEvent(entry.origin, now - entry.at, encoded.form, encoded.text, list(encoded.attachments))


def take_session(
    namespace: Namespace,
    pid: str,
    offset: str | None,
    moved: MovedSession,
    missed: list[CarriedEvent],
    asked_at: float,
    seen: Mapping[str, int],
    names: Collection[str],
) -> None:
    """Puts it into the log of this server, where whoever restores it finds it.

    `asked_at`: when it was asked for; `seen`: how many events this server has got of each; `names`: who is there.
    """
    log = namespace.log
    assert log is not None
    now = namespace.hub.loop.time()
    # Before anything is stored for it alone: that has numbers above all that the client may have got already.
    began = log.number
    rooms = frozenset(moved.rooms)
    left_at = asked_at - moved.away
    if log.lacks(moved.seen, left_at):
        # More has come than is kept, while that server stood still: nobody knows any more what the client missed.
        return
    unseen = log.unseen(moved.seen, rooms, left_at)
    # What was carried here has grown older on the way.
    missed = [event._replace(age=event.age + now - asked_at) for event in missed]
    own = Targets(rooms=frozenset((moved.sid,)))
    for event in in_order(missed, [_carried(namespace, log, entry, now) for entry in unseen]):
        encoded = EncodedEvent(namespace, event.form, event.text, event.attachments)
        encoded.check()
        packet = encoded.packet(True, offset=log.next_offset())
        log.store(packet, own, now)
    gone = {node: number for node, number in _more_of(seen, moved.seen).items() if node not in names}
    # The last are the newest.
    more = log.shared(dict(list(gone.items())[-MAX_GONE:]))
    log.keep(pid, Session(moved.sid, rooms, moved.data, began, now, offset, seen=more))


def _more_of(seen: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """What the other has seen more."""
    return {node: number for node, number in other.items() if number > seen.get(node, 0)}


def in_order(missed: list[CarriedEvent], unseen: list[CarriedEvent]) -> list[CarriedEvent]:
    """What two servers have got, as it came; but what one server has sent stays as that has sent it.

    Between two servers no order is promised. Who speaks to one after the other expects it all the same.
    """
    missed, unseen = _falling(missed), _falling(unseen)
    # Whose what was stored for this client alone once was, nobody knows any more: anybody's.
    youngest: dict[str | None, float] = {event.origin and event.origin[0]: event.age for event in missed}
    last = youngest.get(None, math.inf)
    behind = [
        event._replace(age=min(event.age, last, youngest.get(event.origin[0], last)))
        for event in unseen
        if event.origin is not None
    ]
    return sorted([*missed, *behind], key=lambda event: event.age, reverse=True)


def _falling(events: list[CarriedEvent]) -> list[CarriedEvent]:
    """Their order is that of their log. Ages that have been carried in several messages say so only roughly."""
    ages = itertools.accumulate((event.age for event in events), min)
    return [event._replace(age=age) for event, age in zip(events, ages, strict=True)]


class SessionSearch:
    """The answers of all servers to the question for a session: one of them has it, and the others say so.

    One may have a copy of it, too, where it has taken the one that has it for lost, and was wrong: that waits for what
    the others say.
    """

    __slots__ = ("_asked", "_copy", "_counts", "_done", "_found")

    def __init__(self, loop: asyncio.AbstractEventLoop, nodes: Iterable[str]) -> None:
        self._asked = set(nodes)
        self._found: dict[str, list[Any]] = {}
        self._copy: list[Any] = []
        self._counts: dict[str, int] = {}
        self._done: asyncio.Future[list[Any]] = loop.create_future()
        self._check()

    def replied(self, node: str, expected: int, values: list[Any], failed: int) -> None:
        """Some of what a server has of it; -1: how much that is was said. What failed cannot be told, so nothing is."""
        if expected > 0:
            self._counts.setdefault(node, expected)
        if expected == 0 or failed:
            self.gave_up(node)
            return
        found = self._found.setdefault(node, [])
        found += values
        if len(found) < self._counts.get(node, len(found) + 1) or self._done.done():
            return
        if isinstance(found[0], dict) and found[0].get("copied"):
            self._copy = found
            self.gave_up(node)
        else:
            self._done.set_result(found)

    def gave_up(self, node: str) -> None:
        """Nothing more comes from this server."""
        self._asked.discard(node)
        self._check()

    def _check(self) -> None:
        if not self._asked and not self._done.done():
            self._done.set_result(self._copy)

    async def wait(self, timeout: float) -> list[Any]:
        """All that the server which has it told, or had a copy; nothing where none tells within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._done
        except TimeoutError:
            return self._copy
        finally:
            self._done.cancel()
