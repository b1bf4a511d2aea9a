"""A worker's end of its supervisor: the sockets it serves, and a pipe over which it says that it is alive."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import ssl
from collections.abc import Callable

from duplexio.workers.acceptor import Acceptor
from duplexio.workers.loads import Loads

__all__ = ["BEAT_INTERVAL", "READY", "STACK_SIGNAL", "VARIABLE", "Supervised", "supervised"]

#: Says what a worker was given: its place in the loads, and the descriptors of the pipe, the file for its stack, the
#: loads and the sockets.
VARIABLE = "DUPLEXIO_WORKER"
#: Seconds between two signs of life.
BEAT_INTERVAL = 1.0
READY, BEAT = b"r", b"."
#: Has all threads written to the file. Python's own handlers wait for the interpreter, this one does not.
STACK_SIGNAL = signal.SIGUSR2


class Supervised:
    """What a supervisor has given to this process."""

    def __init__(self, place: int, pipe: int, stack: int, loads: int, sockets: list[int]) -> None:
        for descriptor in (pipe, stack, loads, *sockets):
            # Programs that this one starts are no workers.
            os.set_inheritable(descriptor, False)
        os.set_blocking(pipe, False)
        self.sockets = [socket.socket(fileno=descriptor) for descriptor in sockets]
        self._place = place
        self._loads = Loads(loads)
        self._acceptors: list[Acceptor] = []
        self._pipe = pipe
        self._orphaned = False
        if not faulthandler.is_enabled():
            # Where C code ends this process, its log says in which line of Python. No log, no word.
            with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):
                faulthandler.enable()
        faulthandler.register(STACK_SIGNAL, file=stack, all_threads=True, chain=False)

    def listen(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        connections: Callable[[], int],
    ) -> Acceptor:
        """Serves one of the sockets, which listens, beside the other workers."""
        acceptor = Acceptor(listener, make_protocol, tls, connections, self._loads, self._place)
        self._acceptors.append(acceptor)
        return acceptor

    def begin(self) -> None:
        """This worker serves from now on; called on its loop, whose turning is its life."""
        self._say(READY)
        self._beat()

    def _beat(self) -> None:
        self._say(BEAT)
        for acceptor in self._acceptors:
            # Where none comes, nobody else would hear of those that go.
            acceptor.tell()
        asyncio.get_running_loop().call_later(BEAT_INTERVAL, self._beat)

    def _say(self, sign: bytes) -> None:
        try:
            os.write(self._pipe, sign)
        except BrokenPipeError:
            if not self._orphaned:
                # The supervisor was killed: nobody else would ever end this process.
                self._orphaned = True
                os.kill(os.getpid(), signal.SIGTERM)
        except BlockingIOError:
            # It does not listen just now.
            pass


_given: Supervised | None = None


def supervised() -> Supervised | None:
    """What this process was given; None where no supervisor has started it."""
    global _given
    text = os.environ.pop(VARIABLE, None)
    if text is not None:
        with contextlib.suppress(ValueError, OSError):
            place, pipe, stack, loads, *sockets = map(int, text.split(","))
            _given = Supervised(place, pipe, stack, loads, sockets)
    return _given
