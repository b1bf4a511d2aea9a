"""A connected socket that is given to a loop's `create_connection`, and what is left of it where that ends early."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

__all__ = ["LentSocket", "SafeSocket"]


class LentSocket:
    """Tells whether a socket object still has what it was made for.

    uvloop (0.23) takes a connection from its socket object only a turn after the protocol has got it. Where the peer
    has ended it before, so that the first write fails, the object keeps a descriptor that was closed: with the number
    that the system gives to whatever is opened next, and which the object closes when it is collected.
    """

    __slots__ = ("_identity", "_socket")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._identity = _identity(connection.fileno())

    def end(self) -> None:
        """Ends the connection, where it is not over yet; its descriptor is closed by whoever has it now."""
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return
        if _identity(descriptor) != self._identity:
            self._socket.detach()
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class SafeSocket(socket.socket):
    """The same for one that others give to a loop: where it was left a descriptor that was closed, collecting it closes
    nothing."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, type, proto, fileno)
        self._identity = _identity(self.fileno())

    def __del__(self) -> None:
        descriptor = self.fileno()
        if descriptor >= 0 and _identity(descriptor) != self._identity:
            self.detach()
        super().__del__()  # type: ignore[misc]


def _identity(descriptor: int) -> tuple[int, int] | None:
    """What no other open socket has, where a system numbers them as Linux does. None where it is closed, and always on
    Windows, whose sockets are no descriptors, and which has no uvloop."""
    if sys.platform == "win32":
        return None
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
