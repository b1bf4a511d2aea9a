"""Socket.IO for Python: real-time, two-way, event-based communication, written from the protocol up."""

from duplexio.client import ClientSocket, Manager, connect
from duplexio.client_options import ClientOptions
from duplexio.compression import HttpCompression, PerMessageDeflate
from duplexio.errors import (
    AckTimeout,
    ConfigurationError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    Disconnected,
    DuplexioError,
    EncodeError,
    EventError,
    LimitExceeded,
    MessageTooLarge,
    ReservedEvent,
)
from duplexio.hub.acks import Ack
from duplexio.hub.namespace import Namespace, ParentNamespace
from duplexio.hub.operators import BroadcastOperator, RemoteSocket
from duplexio.hub.socket import Socket
from duplexio.observe import Observer
from duplexio.portal import from_thread
from duplexio.protocol.parser import Parser
from duplexio.protocol.socket_packet import Packet
from duplexio.server import Server

__all__ = [
    "Ack",
    "AckTimeout",
    "BroadcastOperator",
    "ClientOptions",
    "ClientSocket",
    "ConfigurationError",
    "ConnectError",
    "ConnectRefused",
    "ConnectTimeout",
    "Disconnected",
    "DuplexioError",
    "EncodeError",
    "EventError",
    "HttpCompression",
    "LimitExceeded",
    "Manager",
    "MessageTooLarge",
    "Namespace",
    "Observer",
    "Packet",
    "ParentNamespace",
    "Parser",
    "PerMessageDeflate",
    "RemoteSocket",
    "ReservedEvent",
    "Server",
    "Socket",
    "connect",
    "from_thread",
]
