"""To whom a server that closes leaves the sessions of clients that are to come back, and how long it tries."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from duplexio.adapters.estate import estate_of, sizes
from duplexio.errors import EncodeError

if TYPE_CHECKING:
    from duplexio.adapters.cluster import Cluster
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import Namespace

__all__ = ["Leaving"]

#: How long it takes at the most to leave sessions to another server: some 64 MiB, to one that is busy.
LEAVING_SECONDS = 5.0
#: How long one of several may take for a record: it would be read in some milliseconds, and there is time to try
#: others.
SLOW_SECONDS = 1.0


class Leaving:
    """Of one server.

    Attributes:
        heir: to whom they are left just now; empty where they are not.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.heir = ""
        self._cluster = cluster
        self._patience: asyncio.Timeout | None = None

    async def leave(self, hub: Hub) -> None:
        """Leaves them to one of the others; to the next where that one goes, or does not read. Nothing without any.

        Those of a namespace that no other server can take are lost.
        """
        cluster = self._cluster
        deadline = hub.loop.time() + LEAVING_SECONDS
        slow: set[str] = set()
        rest = list(hub.namespaces.values())
        while not cluster.alone and (rest := [namespace for namespace in rest if cluster.heirs_of(namespace)]):
            heirs = cluster.heirs_of(rest[0])
            quick = [node for node in heirs if node not in slow]
            self.heir = secrets.choice(quick or heirs)
            taken = [namespace for namespace in rest if self.heir in cluster.heirs_of(namespace)]
            patience = SLOW_SECONDS if len(quick) > 1 else LEAVING_SECONDS
            try:
                async with asyncio.timeout_at(deadline) as self._patience:
                    await self._leave_to(self.heir, hub, taken, deadline, patience)
            except TimeoutError:
                if hub.loop.time() >= deadline:
                    text = f"not all sessions could be left to another server in {LEAVING_SECONDS:g} s"
                    hub.reporter.warning(text)
                    return
                slow.add(self.heir)
                continue
            finally:
                self._patience, node, self.heir = None, self.heir, ""
            if node in cluster.heirs:
                rest = [namespace for namespace in rest if namespace not in taken]
            # Else it has gone, or is closing, too: what it got is lost with it.

    async def _leave_to(
        self, heir: str, hub: Hub, namespaces: list[Namespace], deadline: float, patience: float
    ) -> None:
        cluster = self._cluster
        assert self._patience is not None
        left = False
        size, most = sizes(cluster.max_message)
        for namespace in namespaces:
            for record in estate_of(namespace, cluster.seen, size, most):
                if heir not in cluster.heirs:
                    return
                try:
                    cluster.publish(record, heir)
                except EncodeError as error:
                    hub.reporter.fault("data_not_shared", "session", f"some cannot be left behind: {error}")
                self._patience.reschedule(min(deadline, hub.loop.time() + patience))
                await cluster.bus.drain(heir)
                left = True
        # Whose end came with the last of it would be waited for: that was told already.
        if left and heir in cluster.heirs:
            # This server answers for the sessions until the other one does: nobody is to find them with neither.
            self._patience.reschedule(min(deadline, hub.loop.time() + patience))
            await cluster.worked_off(heir)

    def goes(self, node: str) -> None:
        """It is lost, or closing: nothing more is left to it."""
        if node == self.heir and self._patience is not None and not self._patience.expired():
            self._patience.reschedule(0.0)
