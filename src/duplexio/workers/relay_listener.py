"""Takes the connections of other workers, looks who they are and what they come for, and hands them on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from duplexio.engine.server import EngineServer
from duplexio.unforked import unforked
from duplexio.unix_owner import is_ours
from duplexio.workers.relay_message import HELLO_SIZE, Hello, RelayError, kind_of_hello

__all__ = ["Caller", "RelayListener"]

#: Connections that have not said what they come for. A worker says so with its first bytes.
MAX_SILENT = 100
#: Seconds that it has for that.
HELLO_TIMEOUT = 5.0
#: What is read with the greeting; the rest is read by whoever it is for.
FIRST_READ = 65_536
#: Seconds until it is tried again to take connections, where there are no descriptors left for them.
ACCEPT_PAUSE = 1.0
#: Descriptors that one message may bring. One is expected; more are taken in order to be closed.
MAX_DESCRIPTORS = 4

#: A connection that has been greeted: what came behind the greeting, and a descriptor if one came.
Caller = Callable[[socket.socket, bytes, socket.socket | None], None]


class RelayListener:
    """Of one worker's socket."""

    def __init__(self, engine: EngineServer, listener: socket.socket, callers: dict[Hello, Caller]) -> None:
        self._engine = engine
        self._loop = engine.loop
        self._listener = listener
        self._callers = callers
        self._silent: dict[socket.socket, asyncio.TimerHandle] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def replace(self, listener: socket.socket) -> None:
        """Takes those of this socket from now on, where nobody finds the other one any more."""
        self._end()
        self._listener = listener
        self._begin()

    def _end(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def close(self) -> None:
        """Takes no more. Idempotent."""
        self._end()
        for connection in list(self._silent):
            self._forget(connection)
            connection.close()

    def abandon(self) -> None:
        """The same where the loop has ended."""
        self._listener.close()

    def _accept(self) -> None:
        # The loop calls again where more wait.
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # It stays readable: the loop would call without a pause.
            self._loop.remove_reader(self._listener.fileno())
            self._pause = self._loop.call_later(ACCEPT_PAUSE, self._begin)
            self._engine.reporter.fault("relay_failed", "unix", f"another worker was not answered: {error}")
            return
        unforked(connection).setblocking(False)
        if not is_ours(connection):
            self._refuse(connection, "it runs as another user")
        elif len(self._silent) >= MAX_SILENT:
            self._refuse(connection, f"{MAX_SILENT} others have not said what they come for")
        else:
            self._silent[connection] = self._loop.call_later(HELLO_TIMEOUT, self._too_late, connection)
            self._loop.add_reader(connection.fileno(), self._greeted, connection)

    def _refuse(self, connection: socket.socket, text: str) -> None:
        self._engine.reporter.count("relay_errors")
        self._engine.reporter.error(f"a process at this worker's socket was refused: {text}")
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        timer = self._silent.pop(connection, None)
        if timer is not None:
            timer.cancel()
            self._loop.remove_reader(connection.fileno())

    def _too_late(self, connection: socket.socket) -> None:
        self._forget(connection)
        self._refuse(connection, f"it has not said what it comes for in {HELLO_TIMEOUT:g} s")

    def _greeted(self, connection: socket.socket) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, FIRST_READ, MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        self._forget(connection)
        passed = _take(descriptors)
        if not data:
            # Somebody who starts looks which sockets are alive.
            connection.close()
            return
        try:
            kind = kind_of_hello(data)
            if (passed is None) is (kind is Hello.DESCRIPTOR):
                raise RelayError("a descriptor without its purpose, or a purpose without its descriptor")
        except RelayError as error:
            if passed is not None:
                passed.close()
            self._refuse(connection, str(error))
            return
        self._callers[kind](connection, data[HELLO_SIZE:], passed)


def _take(descriptors: list[int]) -> socket.socket | None:
    """The one that was passed, as a socket; all else is closed."""
    taken: socket.socket | None = None
    for descriptor in descriptors:
        if len(descriptors) == 1:
            with contextlib.suppress(OSError):
                taken = socket.socket(fileno=descriptor)
                continue
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return taken
