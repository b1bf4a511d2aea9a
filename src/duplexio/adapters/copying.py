"""Copies of sessions, kept up to date at other servers, for the case that this one is killed.

Each keeper is sent what the logs of this server get, in order, and what its sessions are. Packets follow a turn or two
of the loop after they were stored. A client that has got one of which its keeper knows nothing begins anew, as it does
without copies; nobody is told what is not so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from duplexio.adapters.estate import SESSIONS, had, missed_by, sizes, told_packets, told_session, too_large
from duplexio.errors import EncodeError
from duplexio.hub.recovery import Entry, Session
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import Inherit
from duplexio.types import Room

if TYPE_CHECKING:
    from duplexio.adapters.cluster import Cluster
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import Namespace

__all__ = ["Copying"]

#: How often it is looked for what nobody tells of: what programs have put into `socket.data`, what clients have
#: confirmed, which sessions have expired.
LOOKING_SECONDS = 1.0
#: How long a keeper that could not be sent something is let alone.
PAUSE_SECONDS = 1.0
#: Of so many sessions it is remembered that they have changed while a keeper reads nothing; of more, all are looked at.
MAX_CHANGED = 10_000
#: What was told of a session that cannot be told, and of one that has gone to another server.
UNTELLABLE, MOVED = (frozenset[Room](), 0, 0), (frozenset[Room](), 1, 0)


class Copying:
    """Of one server: who keeps copies of its sessions."""

    def __init__(self, cluster: Cluster, copies: int) -> None:
        """`copies`: how many servers keep one."""
        self._cluster = cluster
        self._copies = copies
        self._hub: Hub
        self._keepers: dict[str, Keeper] = {}
        #: Those of each namespace: not every server can take the sessions of all.
        self._of: dict[Namespace, list[Keeper]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, hub: Hub) -> None:
        """Binds to the hub's loop."""
        self._hub = hub
        self._keepers.clear()
        self._of.clear()
        if self._copies:
            # The bus may have told of others before.
            self.choose()
            self._look()

    def _look(self) -> None:
        self._timer = self._hub.loop.call_later(LOOKING_SECONDS, self._look)
        for namespace in self._hub.namespaces.values():
            if namespace.log is not None:
                self._changed(namespace, None)

    def _changed(self, namespace: Namespace, pid: str | None) -> None:
        for keeper in self._of.get(namespace, ()):
            keeper.changed(namespace, pid)

    def _listen(self, namespace: Namespace) -> None:
        """To what its log stores, and to who comes, goes, joins and leaves."""
        log = namespace.log
        if log is not None and log.on_stored is None:
            log.on_stored = lambda: self._changed(namespace, "")
            namespace.rooms.on_changed = lambda socket: self._changed(namespace, socket._pid)

    def choose(self) -> None:
        """Another server has come, has gone, is about to close, or can take other namespaces than before."""
        if not self._copies or not self._cluster.is_open:
            return
        for namespace in self._hub.namespaces.values():
            if namespace.log is not None:
                self._choose_for(namespace)
        used = {keeper for keepers in self._of.values() for keeper in keepers}
        for node, keeper in list(self._keepers.items()):
            if keeper not in used:
                keeper.stop()
                del self._keepers[node]

    def made(self, namespace: Namespace) -> None:
        """There is a new one."""
        if self._copies and namespace.log is not None:
            self._choose_for(namespace)

    def _choose_for(self, namespace: Namespace) -> None:
        self._listen(namespace)
        heirs = self._cluster.heirs_of(namespace)
        keepers = [keeper for keeper in self._of.get(namespace, ()) if keeper.node in heirs]
        free = [node for node in heirs if all(keeper.node != node for keeper in keepers)]
        while free and len(keepers) < self._copies:
            # Rather one that keeps others already: each is written to in every turn of the loop.
            node = secrets.choice([node for node in free if node in self._keepers] or free)
            free.remove(node)
            if node not in self._keepers:
                self._keepers[node] = Keeper(self._cluster, self._hub, node)
            keepers.append(self._keepers[node])
            self._keepers[node].changed(namespace, None)
        self._of[namespace] = keepers

    def moved(self, namespace: Namespace, pid: str) -> None:
        """This session is another server's now, and no keeper has it any more."""
        for keeper in self._of.get(namespace, ()):
            keeper.moved(namespace, pid)

    def anew(self, node: str, namespace: str) -> None:
        """A keeper has not got all of it, and can do nothing with the rest."""
        if node in self._keepers:
            self._keepers[node].anew(namespace)

    def stop(self) -> None:
        """Nothing more is copied; what was copied stays where it is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._of.clear()
        while self._keepers:
            self._keepers.popitem()[1].stop()


class Keeper:
    """A server that keeps a copy."""

    def __init__(self, cluster: Cluster, hub: Hub, node: str) -> None:
        self.node = node
        self._cluster = cluster
        self._hub = hub
        #: What it has got, by namespace.
        self._streams: dict[str, Stream] = {}
        #: Of each namespace where something has changed, whose sessions are others now; None: anybody's may be.
        self._dirty: defaultdict[Namespace, set[str | None]] = defaultdict(set)
        self._woken = asyncio.Event()
        self._task = hub.loop.create_task(self._run())

    def changed(self, namespace: Namespace, pid: str | None) -> None:
        """Something was stored there, and the session of this secret may be another now; None: any."""
        pids = self._dirty[namespace]
        if len(pids) >= MAX_CHANGED:
            pids.clear()
            pid = None
        pids.add(pid)
        self._woken.set()

    def moved(self, namespace: Namespace, pid: str) -> None:
        """It does not have this session any more."""
        stream = self._streams.get(namespace.name)
        if stream is not None:
            stream.moved(pid)

    def anew(self, namespace: str) -> None:
        """All of it is sent again, when it is looked at next."""
        self._streams.pop(namespace, None)

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            dirty, self._dirty = self._dirty, defaultdict(set)
            for namespace, pids in dirty.items():
                try:
                    await self._tell(namespace, pids)
                except Exception as error:
                    if not isinstance(error, NotSent):
                        self._hub.reporter.failure("sessions could not be copied to another server", error)
                    self.anew(namespace.name)
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _tell(self, namespace: Namespace, pids: set[str | None]) -> None:
        stream = self._streams.get(namespace.name)
        if stream is None and None not in pids:
            # It begins when all is looked at, and not with each packet: it may be a keeper that takes none.
            return
        if stream is None or stream.namespace is not namespace:
            stream = self._streams[namespace.name] = Stream(self._cluster, self.node, namespace)
            await stream.begin()
        await stream.go_on()
        await stream.tell_sessions(pids)


class NotSent(Exception):
    """The bus did not take it."""


class Stream:
    """What a keeper has got of one namespace: the packets up to a number, and these sessions."""

    def __init__(self, cluster: Cluster, node: str, namespace: Namespace) -> None:
        assert namespace.log is not None
        self.namespace = namespace
        self._cluster = cluster
        self._node = node
        self._log = namespace.log
        self._place = 0
        self._number = 0
        #: Of the newest packet that it does not get, since no message can have it.
        self._forgotten = self._log.forgotten
        self._seen = self._seen_now()
        #: Of each session the rooms, a likeness of the data, and the number of a packet up to which its client has all.
        self._told: dict[str, tuple[frozenset[Room], int, int]] = {}
        self._record_bytes, self._most = sizes(cluster.max_message)

    async def begin(self) -> None:
        """What those who are here, or may come back, could miss."""
        number, entries = self._log.number, self._log.entries
        sessions: list[tuple[Session, int]] = []
        for count, pid in enumerate(self._pids(), 1):
            if count % SESSIONS == 0:
                await asyncio.sleep(0)
            # Who comes meanwhile can have missed nothing of it.
            if (session := self._session(pid)) is not None:
                sessions.append((session, had(self._log, session, entries)))
        await self._send_packets(missed_by(sessions, entries), number)

    async def go_on(self) -> None:
        """What was stored since."""
        while self._log.number > self._number:
            if self._log.forgotten > self._number:
                # Some have gone before they were copied.
                self._forgotten = max(self._forgotten, self._log.forgotten)
            await self._send_packets(self._log.after(self._number), self._log.number)

    async def tell_sessions(self, pids: set[str | None]) -> None:
        """Those of these secrets, or all."""
        everybody = None in pids
        entries = self._log.entries if everybody else []
        told: list[Any] = []
        gone: list[str] = []
        filled = 0
        for count, pid in enumerate(self._pids() if everybody else [pid for pid in pids if pid], 1):
            if count % SESSIONS == 0 or filled >= self._record_bytes:
                if told or gone:
                    await self._send([], told, gone)
                    told, gone, filled = [], [], 0
                # Looking at all takes longer than anybody is to wait.
                await asyncio.sleep(0)
            news = self._news_of(pid, everybody, entries)
            if news == "gone":
                gone.append(pid)
            elif news is not None:
                told.append(news[0])
                filled += news[1]
        if told or gone or (everybody and self._told):
            # With nothing in it, too: it says how fresh the copy is.
            await self._send([], told, gone)

    def _news_of(self, pid: str, confirmed: bool, entries: list[Entry]) -> tuple[Any, int] | Literal["gone"] | None:
        """How it is to be told and its size; None where nothing is new. `confirmed`: whether to ask."""
        before = self._told.get(pid)
        session = self._session(pid)
        if session is None:
            self._told.pop(pid, None)
            return "gone" if before else None
        number = had(self._log, session, entries) if confirmed else session.began
        number = max(number, before[2] if before else 0)
        try:
            state = session.rooms, cluster_message.likeness(session.data), number
            if state == before:
                return None
            told = told_session(pid, session, number, self.namespace.hub.loop.time(), self._most)
            self._told[pid] = state
            return told
        except EncodeError as error:
            if before is not UNTELLABLE:
                text = f"a session cannot be copied: {error}"
                self.namespace.hub.reporter.fault("data_not_shared", "session", text)
            self._told[pid] = UNTELLABLE
            return "gone" if before and before is not UNTELLABLE else None

    def moved(self, pid: str) -> None:
        """It does not have this session any more, unless it hears of that first: so it is told, here or gone."""
        if pid in self._told:
            self._told[pid] = MOVED

    def _pids(self) -> list[str]:
        """Of all that may be taken up elsewhere, or were told of."""
        here = {**self.namespace.by_pid, **self._log.sessions, **self.namespace.restoring}
        return [*here, *(self._told.keys() - here.keys())]

    def _session(self, pid: str) -> Session | None:
        socket = self.namespace.by_pid.get(pid)
        if socket is not None and socket.connected:
            return socket._session(self.namespace.hub.loop.time())
        # Who asks a middleware just now has it as one who is away.
        return self._log.sessions.get(pid) or self.namespace.restoring.get(pid)

    def _seen_now(self) -> dict[str, int]:
        """How many events of each server have come, of those that are there, or of which something is in the log.

        Of others the keeper has nothing that these sessions could have missed; a busy host has had a thousand in a day.
        """
        names, seen = {*self._cluster.nodes.names, *self._log.origins}, self._cluster.seen
        return {node: number for node, number in seen.items() if node in names or node == self._cluster.bus.node}

    async def _send_packets(self, entries: list[Entry], number: int) -> None:
        """`number`: of the last packet that there is, whether or not it is one of these."""
        seen = self._seen_now()
        self._forgotten = max(self._forgotten, too_large(entries, self._most))
        kept = [entry for entry in entries if entry.number > self._forgotten]
        waiting: list[Any] = []
        for packets in told_packets(kept, self._record_bytes, self.namespace.hub.loop.time()):
            if waiting:
                self._number = waiting[-1][0]
                # Of each server what is in here, and all before it: what is not would be taken for missed, and told.
                for origin in [packet[4] for packet in waiting if packet[4] is not None]:
                    self._seen[origin[0]] = max(origin[1], self._seen.get(origin[0], 0))
                await self._send(waiting)
            waiting = packets
        # Only with the last of them it has all that had come by then.
        self._number, self._seen = number, seen
        await self._send(waiting)

    async def _send(self, packets: list[Any], told: Sequence[Any] = (), gone: Sequence[str] = ()) -> None:
        """Raises NotSent."""
        record = Inherit(
            self.namespace.name,
            self._log.epoch,
            self._place,
            last=False,
            number=self._number,
            forgotten=self._forgotten,
            seen=self._seen,
            sessions=list(told),
            packets=packets,
            gone=list(gone),
            copied=True,
        )
        self._place += 1
        if not self._cluster.publish(record, self._node):
            raise NotSent
        await self._cluster.bus.drain(self._node)
