"""Every exception duplexio raises, in one tree.

    DuplexioError
    ├── ConfigurationError (ValueError)     an option or a registration that cannot work
    ├── ConnectRefused                      a server does not let a client into a namespace; middlewares raise it
    ├── ConnectError (ConnectionError)      a client cannot reach a server, or what it reached is none
    │   └── ConnectTimeout (TimeoutError)       not in time
    ├── EventError                          raised by a handler: what the client gets as the acknowledgement
    ├── AckTimeout (TimeoutError)           nobody, or not everybody, acknowledged in time
    ├── Disconnected (ConnectionError)      the socket ended while something waited for it
    ├── ReservedEvent (ValueError)          an event name that belongs to the protocol
    ├── EncodeError (TypeError)             a value that no packet can carry
    ├── LimitExceeded                       a limit of this server, named in `.limit`
    │   └── MessageTooLarge                     what is meant for all servers is more than one message between them
    └── ProtocolError                       bytes that are not the protocol's; never leaves the library
        ├── EnginePacketError                   Engine.IO
        ├── SocketPacketError                   Socket.IO
        └── ClusterMessageError                 what servers of a cluster say to each other

Data is in attributes; the text says what was seen, what was expected and what to do.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

__all__ = [
    "AckTimeout",
    "ClusterMessageError",
    "ConfigurationError",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "Disconnected",
    "DuplexioError",
    "EncodeError",
    "EnginePacketError",
    "EventError",
    "LimitExceeded",
    "MessageTooLarge",
    "ProtocolError",
    "ReservedEvent",
    "SocketPacketError",
]
E = TypeVar("E", bound="DuplexioError")


class DuplexioError(Exception):
    """The root of all of them."""


class ConfigurationError(DuplexioError, ValueError):
    """An option, or the signature of a handler, cannot work. Raised where it was given, never later."""


class ConnectRefused(DuplexioError):
    """The server does not let the client into the namespace.

    Raise it in a middleware: the client sees `connect_error` with this message, and `data` as `err.data`. A client's
    `connect` raises it.
    """

    def __init__(self, message: str = "Forbidden", data: Any = None) -> None:
        super().__init__(message, data)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return self.message


class ConnectError(DuplexioError, ConnectionError):
    """A client could not connect.

    Attributes:
        message: what was seen.
        url: what was asked for.
        transport: by which transport: `polling` or `websocket`; empty where none was reached.
        status: the HTTP status of the answer; None where there was none.
        body: the answer's text, or its beginning.
        hint: what may help; empty where nobody knows.
    """

    def __init__(
        self,
        message: str,
        url: str = "",
        transport: str = "",
        status: int | None = None,
        body: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, url, transport, status, body, hint)
        self.message = message
        self.url = url
        self.transport = transport
        self.status = status
        self.body = body
        self.hint = hint

    def __str__(self) -> str:
        where = f"cannot connect to {self.url}" + (f" by {self.transport}" if self.transport else "")
        return f"{where}: {self.message}" + (f". {self.hint}" if self.hint else "")


class ConnectTimeout(ConnectError, TimeoutError):
    """A client could not connect in time."""


class EventError(DuplexioError):
    """Raise it in a handler: its arguments become the acknowledgement, as if the handler had returned them."""


class AckTimeout(DuplexioError, TimeoutError):
    """Acknowledgements did not come in time.

    Attributes:
        event: the name of the event that was emitted.
        timeout: how long was waited, in seconds.
        responses: what did come, for a broadcast; empty for a single socket.
        sent: whether it was emitted; not where a client's socket was not connected in all that time.
    """

    def __init__(
        self, event: str, timeout: float, responses: list[Any] | None = None, expected: int = 1, sent: bool = True
    ) -> None:
        super().__init__(event, timeout, responses, expected, sent)
        self.event = event
        self.timeout = timeout
        self.responses = [] if responses is None else responses
        self.expected = expected
        self.sent = sent

    def __str__(self) -> str:
        if not self.sent:
            return f"{self.event!r} was not sent: the socket was not connected within {self.timeout:g} s"
        came = f"{len(self.responses)} of {self.expected} acknowledgements"
        return f"{came} of {self.event!r} came within {self.timeout:g} s"


class Disconnected(DuplexioError, ConnectionError):
    """The socket has disconnected.

    Attributes:
        reason: the protocol's word for why.
        details: what more is known; of a client that was refused, or gave up, the error's text.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(reason, details)
        self.reason = reason
        self.details = details

    def __str__(self) -> str:
        return f"the socket has disconnected ({self.reason})" + (f": {self.details}" if self.details else "")


class ReservedEvent(DuplexioError, ValueError):
    """An event name that the protocol keeps for itself."""

    def __init__(self, event: str) -> None:
        super().__init__(event)
        self.event = event

    def __str__(self) -> str:
        return f"{self.event!r} is a reserved event name and cannot be emitted: choose another"


class EncodeError(DuplexioError, TypeError):
    """A value that cannot be sent. What a value's own code raised is chained."""


class LimitExceeded(DuplexioError):
    """A limit stood in the way. `limit` is the option's name, `allowed` its value, `owner` whose option it is."""

    def __init__(self, limit: str, allowed: int, owner: str = "Server") -> None:
        super().__init__(limit, allowed, owner)
        self.limit = limit
        self.allowed = allowed
        self.owner = owner

    def __str__(self) -> str:
        return f"over the limit of {self.allowed} ({self.limit}); {self.owner}({self.limit}=...) changes it"


class MessageTooLarge(LimitExceeded):
    """What was meant for all servers of a cluster is more than one message between them may be. Nobody was sent it.

    Attributes:
        size: the bytes of that message.
        allowed: how many it may have: `max_bus_message`, which is `limit`.
    """

    def __init__(self, size: int, allowed: int) -> None:
        super().__init__("max_bus_message", allowed)
        # What a copy is made of.
        self.args = (size, allowed)
        self.size = size

    def __str__(self) -> str:
        return (
            f"nobody was sent it: it makes a message of {self.size} bytes to other servers, which may have "
            f"{self.allowed} ({self.limit}). Send less at once; or with .local to this server's sockets alone; or "
            f"give every server a larger {self.owner}({self.limit}=...)"
        )


class ProtocolError(DuplexioError):
    """Bytes that the protocol does not allow. `hint` is what the log says; the peer gets no text."""


class EnginePacketError(ProtocolError):
    """Not an Engine.IO packet, or not a payload of them."""


class SocketPacketError(ProtocolError):
    """Not a Socket.IO packet, or one that cannot come now."""


class ClusterMessageError(ProtocolError):
    """Not what a server of a cluster says to another."""


def raised_again(error: E) -> E:
    """A copy to raise: an exception that is raised again and again keeps the frames of each time."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied
