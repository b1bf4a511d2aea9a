"""Every exception duplexio raises, in one tree.

    DuplexioError
    ├── ConfigurationError (ValueError)     an option or a registration that cannot work
    ├── ConnectRefused                      raised by a middleware: the client is not let in
    ├── EventError                          raised by a handler: what the client gets as the acknowledgement
    ├── AckTimeout (TimeoutError)           nobody, or not everybody, acknowledged in time
    ├── Disconnected (ConnectionError)      the socket ended while something waited for it
    ├── ReservedEvent (ValueError)          an event name that belongs to the protocol
    ├── EncodeError (TypeError)             a value that no packet can carry
    ├── LimitExceeded                       a limit of this server, named in `.limit`
    └── ProtocolError                       bytes that are not the protocol's; never leaves the library
        ├── EnginePacketError                   Engine.IO
        └── SocketPacketError                   Socket.IO

Data is in attributes; the text says what was seen, what was expected and what to do.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AckTimeout",
    "ConfigurationError",
    "ConnectRefused",
    "Disconnected",
    "DuplexioError",
    "EncodeError",
    "EnginePacketError",
    "EventError",
    "LimitExceeded",
    "ProtocolError",
    "ReservedEvent",
    "SocketPacketError",
]


class DuplexioError(Exception):
    """The root of all of them."""


class ConfigurationError(DuplexioError, ValueError):
    """An option, or the signature of a handler, cannot work. Raised where it was given, never later."""


class ConnectRefused(DuplexioError):
    """Raise it in a middleware: the client sees `connect_error` with this message, and `data` as `err.data`."""

    def __init__(self, message: str = "Forbidden", data: object = None) -> None:
        super().__init__(message, data)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return self.message


class EventError(DuplexioError):
    """Raise it in a handler: its arguments become the acknowledgement, as if the handler had returned them."""


class AckTimeout(DuplexioError, TimeoutError):
    """Acknowledgements did not come in time.

    Attributes:
        event: the name of the event that was emitted.
        timeout: how long was waited, in seconds.
        responses: what did come, for a broadcast; empty for a single socket.
    """

    def __init__(self, event: str, timeout: float, responses: list[Any] | None = None, expected: int = 1) -> None:
        super().__init__(event, timeout, responses, expected)
        self.event = event
        self.timeout = timeout
        self.responses = [] if responses is None else responses
        self.expected = expected

    def __str__(self) -> str:
        came = f"{len(self.responses)} of {self.expected} acknowledgements"
        return f"{came} of {self.event!r} came within {self.timeout:g} s"


class Disconnected(DuplexioError, ConnectionError):
    """The socket has disconnected. `reason` is the protocol's word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the socket has disconnected ({self.reason})"


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
    """A limit of this server stood in the way. `limit` is the option's name, `allowed` its value."""

    def __init__(self, limit: str, allowed: int) -> None:
        super().__init__(limit, allowed)
        self.limit = limit
        self.allowed = allowed

    def __str__(self) -> str:
        return f"over the limit of {self.allowed} ({self.limit}); Server({self.limit}=...) changes it"


class ProtocolError(DuplexioError):
    """Bytes that the protocol does not allow. `hint` is what the log says; the peer gets no text."""


class EnginePacketError(ProtocolError):
    """Not an Engine.IO packet, or not a payload of them."""


class SocketPacketError(ProtocolError):
    """Not a Socket.IO packet, or one that cannot come now."""
