"""Takes connections from a socket that several workers listen on, so that each of them has its share.

The kernel wakes all workers that wait, and whoever is first would take all there is: the loops' own servers do, up to
thousands in one go, and when little comes it is the same one that is first each time. So a few are taken in one turn of
the loop; and a worker waits a moment in front of that, longer the more others have fewer connections. It only waits:
where those others are busy, stand still or are gone, it takes the connections itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from duplexio.workers.loads import Loads

__all__ = ["Acceptor"]

#: Connections taken in one turn of the loop. By one at a time, a burst costs more turns; by sixteen, one of a hundred
#: is spread visibly worse over four workers.
BATCH = 8
#: Seconds left to each worker with fewer connections: several turns of a loop that is not overloaded.
STEP = 0.005
#: Seconds that are waited at most, with however many workers.
LONGEST = 0.025
#: Seconds without an attempt where the process has no descriptor left, as by the loops' own servers.
EXHAUSTED = 1.0


class Acceptor:
    """Stands in a server's list of what listens. See `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        connections: Callable[[], int],
        loads: Loads,
        place: int,
    ) -> None:
        """Begins at once. `connections` tells how many this worker has, `place` is where in `loads` it says so."""
        self.sockets = (listener,)
        self._listener = listener
        self._make_protocol = make_protocol
        self._tls = tls
        self._connections = connections
        self._loads = loads
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._ready)
        self.tell()

    def tell(self) -> int:
        """How many connections this worker has, also to the others."""
        connections = self._connections() + len(self._opening)
        if not self._closed:
            self._loads.tell(self._place, connections)
        return connections

    @property
    def _closed(self) -> bool:
        return self._listener.fileno() < 0

    def _ready(self) -> None:
        fewer = self._loads.with_fewer(self.tell())
        if fewer:
            self._wait(min(fewer * STEP, LONGEST))
        else:
            self._take()

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._waiting = self._loop.call_later(seconds, self._waited)

    def _waited(self) -> None:
        self._waiting = None
        self._loop.add_reader(self._listener.fileno(), self._ready)
        self._take()

    def _take(self) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                # Another worker has it, or it has gone again.
                break
            except OSError as error:
                self._loop.call_exception_handler(
                    {"message": f"no connections are taken for {EXHAUSTED:g} s", "exception": error}
                )
                self._wait(EXHAUSTED)
                break
            connection.setblocking(False)
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        self.tell()

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._tls)
        except OSError:
            # It has gone, or its TLS handshake has failed.
            connection.close()

    def close(self) -> None:
        """Takes no more. Idempotent."""
        if self._closed:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._loads.leave(self._place)

    async def wait_closed(self) -> None:
        """Gives up the TLS handshakes that have not ended by now."""
        for task in list(self._opening):
            task.cancel()
        if self._opening:
            await asyncio.wait(list(self._opening))
