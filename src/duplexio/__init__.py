"""Socket.IO for Python: real-time, two-way, event-based communication, written from the protocol up."""

from duplexio.errors import (
    AckTimeout,
    ConfigurationError,
    ConnectRefused,
    Disconnected,
    DuplexioError,
    EncodeError,
    EventError,
    LimitExceeded,
    ReservedEvent,
)
from duplexio.hub.acks import Ack
from duplexio.hub.namespace import Namespace, ParentNamespace
from duplexio.hub.operators import BroadcastOperator, RemoteSocket
from duplexio.hub.socket import Socket
from duplexio.observe import Observer
from duplexio.portal import from_thread
from duplexio.server import Server

__all__ = [
    "Ack",
    "AckTimeout",
    "BroadcastOperator",
    "ConfigurationError",
    "ConnectRefused",
    "Disconnected",
    "DuplexioError",
    "EncodeError",
    "EventError",
    "LimitExceeded",
    "Namespace",
    "Observer",
    "ParentNamespace",
    "RemoteSocket",
    "ReservedEvent",
    "Server",
    "Socket",
    "from_thread",
]
