"""What other servers tell the namespaces of this one, and ask of them.

Who the others are, and what becomes of sessions, is the cluster's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from duplexio.adapters.answers import Answers
from duplexio.adapters.cluster_adapter import ClusterAdapter
from duplexio.errors import EncodeError
from duplexio.hub.encoded_event import EncodedEvent
from duplexio.hub.targets import Flags, Targets
from duplexio.protocol import cluster_message
from duplexio.protocol.cluster_message import (
    Ask,
    Broadcast,
    Disconnect,
    Fetch,
    Join,
    Leave,
    Reply,
    ServerEvent,
)

if TYPE_CHECKING:
    from duplexio.adapters.cluster import Cluster
    from duplexio.hub.hub import Hub

__all__ = ["Hearing"]


class Hearing:
    """Of one server.

    Attributes:
        handlers: what is done at each kind of record, with its sender.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._hub: Hub
        self.handlers: dict[type, Callable[[str, Any], None]] = {
            Broadcast: self._broadcast,
            Ask: self._ask,
            Join: self._join,
            Leave: self._leave,
            Disconnect: self._disconnect,
            Fetch: self._fetch,
            ServerEvent: self._server_event,
        }

    def start(self, hub: Hub) -> None:
        """Whose namespaces are meant."""
        self._hub = hub

    def _adapter_of(self, name: str) -> ClusterAdapter | None:
        namespace = self._hub.namespaces.get(name) or self._hub.parents.get(name)
        if namespace is None:
            return None
        adapter = namespace.adapter
        assert isinstance(adapter, ClusterAdapter)
        return adapter

    def _broadcast(self, sender: str, record: Broadcast) -> None:
        # Counted in order, whether or not anybody here gets it.
        self._cluster.saw(sender, record.number, max(0, record.number - 1))
        adapter, targets = self._adapter_of(record.namespace), _targets(record)
        if adapter is None or not adapter.local.has_receivers(targets):
            return
        flags = Flags(volatile=record.volatile, compress=record.compress)
        adapter.local.deliver(_event(adapter, record), targets, flags, (sender, record.number))

    def _ask(self, sender: str, record: Ask) -> None:
        request = record.request
        answers = Answers(
            self._hub.loop, lambda expected, values, failed: self.reply_to(sender, request, expected, values, failed)
        )
        try:
            adapter, targets = self._adapter_of(record.namespace), _targets(record)
            if adapter is not None and adapter.local.has_receivers(targets):
                flags = Flags(volatile=record.volatile, compress=record.compress)
                # Not a number, or less than nothing, is no time.
                timeout = record.timeout if record.timeout > 0 else 0.0
                adapter.local.ask(_event(adapter, record), targets, flags, timeout, answers.one_more)
        finally:
            answers.counted()

    def _join(self, sender: str, record: Join) -> None:
        if (adapter := self._adapter_of(record.namespace)) is not None:
            adapter.local.sockets_join(_targets(record), Flags(), record.names)

    def _leave(self, sender: str, record: Leave) -> None:
        if (adapter := self._adapter_of(record.namespace)) is not None:
            adapter.local.sockets_leave(_targets(record), Flags(), record.names)

    def _disconnect(self, sender: str, record: Disconnect) -> None:
        if (adapter := self._adapter_of(record.namespace)) is not None:
            adapter.local.disconnect_sockets(_targets(record), Flags(), record.close)

    def _fetch(self, sender: str, record: Fetch) -> None:
        adapter = self._adapter_of(record.namespace)
        records = [] if adapter is None else adapter.records_for_others(_targets(record))
        self.reply_to(sender, record.request, len(records), records, 0)

    def _server_event(self, sender: str, record: ServerEvent) -> None:
        values: list[Any] = []
        failed = 0
        listeners = list(self._hub.server_listeners.get(record.event, ()))
        for listener in listeners:
            try:
                values.append(cluster_message.plain(listener(*record.args)))
            except Exception as error:
                failed = 1
                self._hub.reporter.failure("an on_server listener raised", error)
        if record.request >= 0:
            # One server, one answer: that of its first listener.
            self.reply_to(sender, record.request, min(1, len(listeners)), values[:1], 0 if values else failed)

    def reply_to(self, node: str, request: int, expected: int, values: list[Any], failed: int) -> None:
        """Answers, in as many messages as they need."""
        try:
            message = cluster_message.encode(Reply(request, expected, values, failed))
            fits = len(message) <= self._cluster.max_message
        except EncodeError as error:
            message, fits = b"", False
            if len(values) < 2:
                self._hub.reporter.failure("an answer cannot be sent to another server", error)
        if fits or not values:
            self._cluster.send(message, node)
        elif len(values) == 1:
            if message:
                # For its counter, and its line in the log.
                self._cluster.send(message, node)
            self.reply_to(node, request, expected, [], failed + 1)
        else:
            half = len(values) // 2
            self.reply_to(node, request, expected, values[:half], failed)
            self.reply_to(node, request, -1, values[half:], 0)


def _targets(record: Broadcast | Ask | Join | Leave | Disconnect | Fetch) -> Targets:
    return Targets(frozenset(record.rooms), frozenset(record.except_))


def _event(adapter: ClusterAdapter, record: Broadcast | Ask) -> EncodedEvent:
    encoded = EncodedEvent(adapter.namespace, record.form, record.text, record.attachments)
    encoded.check()
    return encoded
