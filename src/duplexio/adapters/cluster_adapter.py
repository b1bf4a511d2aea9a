"""A namespace's adapter where there are several servers: what it is told goes to them, and to its own sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from duplexio.adapters.session_transfer import SessionSearch, forget_inherited, give_inherited, take_session
from duplexio.errors import AckTimeout, EncodeError, MessageTooLarge, ProtocolError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.fanout import ChildrenAdapter, LocalAdapter
from duplexio.hub.namespace import Namespace
from duplexio.hub.targets import EVERYBODY, Flags, Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import (
    Ask,
    Broadcast,
    Disconnect,
    Fetch,
    Join,
    Leave,
    Record,
    Recover,
    ServerEvent,
    Taken,
)
from duplexio.types import Room

if TYPE_CHECKING:
    from duplexio.adapters.cluster import Cluster
    from duplexio.hub.namespace import ParentNamespace

__all__ = ["ClusterAdapter"]

#: How long a client that has come from another server waits for its session to be found; who has it answers at once.
SEARCH_SECONDS = 3.0
#: After so long, each time, a session that nobody has is looked for again where a server has gone that may have left it
#: to another one. That one sees it go in a turn of its loop; and a session that is lost costs its client all of this.
SEARCH_AGAIN = (0.05, 0.2)
#: How long what is on its way may take: a turn of the loop or two, but for a server that stands still.
CATCH_UP_SECONDS = 1.0
#: Bytes by which a record may grow over one of the same event: its numbers, and the timeout of a question.
SPARE_BYTES = 32
#: Bytes in a record beside what it carries, at the most, and beside each name. A character of one has four at the most.
RECORD_BYTES, NAME_BYTES = 64, 5
#: What says who somebody is stays with the server that was told.
SECRET_HEADERS = frozenset(("authorization", "cookie", "proxy-authorization"))


class ClusterAdapter:
    """See `hub.fanout.Adapter`. Holds the adapter of this process, which does its part.

    Attributes:
        local: of the sockets of this process.
    """

    __slots__ = ("_certain_for_all", "_cluster", "local", "namespace", "rooms")

    def __init__(
        self, namespace: Namespace | ParentNamespace, local: LocalAdapter | ChildrenAdapter, cluster: Cluster
    ) -> None:
        self.namespace = namespace
        self.local = local
        self.rooms = local.rooms
        self._cluster = cluster
        around = RECORD_BYTES + SPARE_BYTES + NAME_BYTES + 4 * len(namespace.name)
        # Each attachment has some bytes beside it, too, and several times as many in the text for its place.
        self._certain_for_all = (cluster.max_message - around) * 4 // 5

    @property
    def alone(self) -> bool:
        return self._cluster.is_single

    def check(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        if flags.local or not self._cluster.is_open:
            self.local.check(event, args, targets, flags)
            return
        encoded = EncodedEvent.of(self.namespace, event, args)
        if encoded.size > self._certain(targets):
            self._cluster.encoded(self._record(encoded, targets, flags, 0), SPARE_BYTES)

    def _certain(self, targets: Targets) -> int:
        """How many bytes an event may have that need not be looked at further: its message is not too large."""
        certain = self._certain_for_all
        if targets is not EVERYBODY:
            for names in targets.rooms, targets.except_:
                for name in names:
                    certain -= NAME_BYTES + 4 * len(name)
        return certain

    def _record(self, encoded: EncodedEvent, targets: Targets, flags: Flags, number: int) -> Broadcast:
        return Broadcast(
            self.namespace.name,
            list(targets.rooms),
            list(targets.except_),
            encoded.form,
            encoded.text,
            list(encoded.attachments),
            flags.volatile,
            flags.compress,
            number,
        )

    def broadcast(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> None:
        cluster = self._cluster
        if flags.local or not cluster.is_open:
            self.local.broadcast(event, args, targets, flags)
            return
        alone = cluster.alone
        if alone and self.namespace.log is None and isinstance(self.local, LocalAdapter):
            self._broadcast_alone(self.local, event, args, targets, flags)
            return
        # Where sessions are kept, and a parent's children may do so, it has its number all the same: who comes from
        # another server may have missed it.
        encoded = EncodedEvent.of(self.namespace, event, args)
        number = cluster.next_number
        if not alone:
            cluster.send(cluster.encoded(self._record(encoded, targets, flags, number)))
        elif encoded.size > self._certain(targets):
            cluster.encoded(self._record(encoded, targets, flags, number))
        cluster.counted(number)
        self.local.deliver(encoded, targets, flags, (cluster.bus.node, number))

    def _broadcast_alone(
        self, local: LocalAdapter, event: str, args: Sequence[Any], targets: Targets, flags: Flags
    ) -> None:
        """Encoded for those here only; but what is too large is so whether or not another server is there."""
        try:
            local.broadcast(event, args, targets, flags, self._certain(targets))
        except MessageTooLarge:
            # It may be.
            self.check(event, args, targets, flags)
            local.broadcast(event, args, targets, flags)

    async def broadcast_with_ack(self, event: str, args: Sequence[Any], targets: Targets, flags: Flags) -> list[Any]:
        if flags.local or not self._cluster.is_open:
            return await self.local.broadcast_with_ack(event, args, targets, flags)
        timeout = self._timeout(flags)
        encoded = EncodedEvent.of(self.namespace, event, args)
        with self._cluster.request() as (number, fan_in):
            self._cluster.ask(
                Ask(
                    number,
                    self.namespace.name,
                    list(targets.rooms),
                    list(targets.except_),
                    encoded.form,
                    encoded.text,
                    list(encoded.attachments),
                    timeout,
                    flags.volatile,
                    flags.compress,
                ),
                fan_in,
            )
            self.local.ask(encoded, targets, flags, timeout, fan_in.one_more)
            in_time = await fan_in.wait(timeout)
        if not in_time or not fan_in.complete:
            raise AckTimeout(event, timeout, fan_in.answers, fan_in.expected + fan_in.silent)
        return fan_in.answers

    async def fetch_sockets(self, targets: Targets, flags: Flags) -> list[dict[str, Any]]:
        if flags.local or not self._cluster.is_open:
            return self.local.records(targets)
        timeout = self._timeout(flags)
        with self._cluster.request() as (number, fan_in):
            self._cluster.ask(Fetch(number, self.namespace.name, list(targets.rooms), list(targets.except_)), fan_in)
            if not await fan_in.wait(timeout):
                reporter = self.namespace.hub.reporter
                reporter.count("fetches_incomplete")
                reporter.warning(f"fetch_sockets: not every server has answered within {timeout:g} s")
        # Those of this process as they are at the end of the wait, like the others.
        return [*self.local.records(targets), *filter(_is_record, fan_in.answers)]

    def records_for_others(self, targets: Targets) -> list[dict[str, Any]]:
        """What another server is told of the sockets here."""
        records = self.local.records(targets)
        for record in records:
            if not self._cluster.share_handshake:
                record["handshake"] = _without_credentials(record["handshake"])
            try:
                record["data"] = cluster_message.plain(record["data"])
            except EncodeError as error:
                record["data"] = None
                self.namespace.hub.reporter.fault(
                    "data_not_shared", "socket.data", f"fetch_sockets leaves it out: {error}"
                )
        return records

    def sockets_join(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = list(rooms)
        if not flags.local:
            self._tell(Join(self.namespace.name, list(targets.rooms), list(targets.except_), names))
        self.local.sockets_join(targets, flags, names)

    def sockets_leave(self, targets: Targets, flags: Flags, rooms: Iterable[Room]) -> None:
        names = list(rooms)
        if not flags.local:
            self._tell(Leave(self.namespace.name, list(targets.rooms), list(targets.except_), names))
        self.local.sockets_leave(targets, flags, names)

    def disconnect_sockets(self, targets: Targets, flags: Flags, close: bool) -> None:
        if not flags.local:
            self._tell(Disconnect(self.namespace.name, list(targets.rooms), list(targets.except_), close))
        self.local.disconnect_sockets(targets, flags, close)

    def _tell(self, record: Record) -> None:
        message = self._cluster.encoded(record)
        if not self._cluster.alone:
            self._cluster.send(message)

    def server_side_emit(self, event: str, args: Sequence[Any]) -> None:
        # Here, and not on the loop: whoever calls it hears what is wrong with it.
        message = self._cluster.encoded(ServerEvent(-1, event, cluster_message.plain(list(args))))
        if not self._cluster.alone:
            self.namespace.hub.call(partial(self._cluster.send, message))

    async def server_side_emit_with_ack(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        if not self._cluster.is_open:
            return []
        with self._cluster.request() as (number, fan_in):
            self._cluster.ask(ServerEvent(number, event, cluster_message.plain(list(args))), fan_in)
            in_time = await fan_in.wait(timeout)
        if not in_time or not fan_in.complete:
            raise AckTimeout(event, timeout, fan_in.answers, fan_in.expected + fan_in.silent)
        return fan_in.answers

    async def bring_session(self, pid: str, offset: str | None) -> None:
        assert isinstance(self.namespace, Namespace), "no client is in a parent"
        await self._cluster.to_its_end(self._bring_session(self.namespace, pid, offset))

    async def _bring_session(self, namespace: Namespace, pid: str, offset: str | None) -> None:
        await self._cluster.meet()
        asked_at = namespace.hub.loop.time()
        found = await self._find_session(namespace, pid, offset)
        for seconds in SEARCH_AGAIN:
            if found or not self._cluster.was_left_sessions:
                break
            await asyncio.sleep(seconds)
            asked_at = namespace.hub.loop.time()
            found = await self._find_session(namespace, pid, offset)
        if not found:
            return
        try:
            session, missed = cluster_message.read_session(found)
            await self._catch_up(session.seen)
            cluster = self._cluster
            if cluster.is_too_young(session.seen):
                # Neither of the two has it, and the client may have missed it.
                return
            take_session(namespace, pid, offset, session, missed, asked_at, cluster.seen, cluster.nodes.names)
            # A server that closes just now may have left it to a third one, as well as given it to this one.
            forget_inherited(namespace, pid)
            self._cluster.publish(Taken(namespace.name, pid))
        except (EncodeError, ProtocolError) as error:
            namespace.hub.reporter.fault("bus_garbage", namespace.name, f"a session that cannot be: {error}")

    async def _find_session(self, namespace: Namespace, pid: str, offset: str | None) -> list[Any]:
        found = give_inherited(namespace, pid, offset, self._cluster.seen)
        if not found and not self._cluster.alone:
            search = SessionSearch(namespace.hub.loop, self._cluster.nodes.names)
            with self._cluster.gathering(search) as number:
                self._cluster.ask(Recover(number, namespace.name, pid, offset), search)
                found = await search.wait(SEARCH_SECONDS)
        # Whoever was taken for lost, and is there, has heard the question as well, and has the session no more.
        return found or give_inherited(namespace, pid, offset, self._cluster.seen, copied=True)

    async def _catch_up(self, seen: Mapping[str, int]) -> None:
        """Waits for what the other server has got of third ones, and has told of: it would be received twice."""
        loop, cluster = self.namespace.hub.loop, self._cluster
        until = loop.time() + CATCH_UP_SECONDS
        while loop.time() < until and cluster.is_behind(seen):  # noqa: ASYNC110 - a moment, and seldom that
            await asyncio.sleep(0.002)

    def _timeout(self, flags: Flags) -> float:
        return self.namespace.hub.options.ack_timeout if flags.timeout is None else flags.timeout


def _without_credentials(handshake: dict[str, Any]) -> dict[str, Any]:
    headers = {name: value for name, value in handshake["headers"].items() if name not in SECRET_HEADERS}
    return {**handshake, "headers": headers, "auth": {}}


#: What `Handshake` has.
_HANDSHAKE = {"headers", "time", "address", "xdomain", "secure", "issued", "url", "query", "auth"}


def _is_record(answer: object) -> bool:
    """Whether it is what another server of this version tells of a socket."""
    return (
        isinstance(answer, dict)
        and answer.keys() >= {"id", "handshake", "rooms", "data"}
        and isinstance(answer["id"], str)
        and isinstance(answer["rooms"], list)
        and all(isinstance(room, str) for room in answer["rooms"])
        and isinstance(answer["handshake"], dict)
        and answer["handshake"].keys() == _HANDSHAKE
    )
