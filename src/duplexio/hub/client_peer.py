"""A client's connection as Socket.IO sees it: its decoder, and the sockets that share it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from duplexio.engine.connection import Connection
from duplexio.errors import SocketPacketError
from duplexio.hub.packet_reader import PacketReader
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.socket_packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    Packet,
    split_query,
)
from duplexio.types import CloseReason

if TYPE_CHECKING:
    from duplexio.hub.client_socket import ClientSocket
    from duplexio.hub.manager import Manager

__all__ = ["ClientPeer"]

#: Seconds that go on while the machine sleeps; those of the event loop stand still then.
clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time


#: Seconds between a DISCONNECT and the CONNECT of the same namespace. Node's server closes the connection where it
#: reads both at once: it makes an end of the socket a tick after it has read of it.
APART = 0.1


class ClientPeer(PacketReader):
    """The owner of a connection: see `engine.connection.Owner`."""

    __slots__ = ("_asked", "_awake_until", "_before", "_main_left", "_manager", "_unclaimed", "_waiting")

    def __init__(self, connection: Connection, manager: Manager) -> None:
        super().__init__(connection, manager.context)
        self._manager = manager
        #: Those that have asked to join, or have.
        self.sockets: dict[str, ClientSocket] = {}
        #: Namespaces whose CONNECT is not answered, and whether whoever asked still waits for it; False, too, where one
        #: was left a moment ago. A second CONNECT before the answer to the first makes servers close the connection, or
        #: let the client in twice.
        self._asked: dict[str, bool] = {}
        #: Those that ask as soon as they can.
        self._waiting: dict[str, ClientSocket] = {}
        #: Of the main namespace in protocol 4: in without having asked, and whether nobody was there to be told.
        self._unclaimed = False
        self._main_left = False
        #: Those that were left over this connection: what comes before the answer to the next CONNECT is not for it.
        self._before: set[str] = set()
        self._awake_until = 0.0

    def opened(self) -> None:
        """The session has begun."""
        self.heard()
        self._manager._opened(self)

    def heard(self) -> None:
        """The server has shown that it is there."""
        engine = self._manager._dialled
        if engine is not None:
            self._awake_until = clock() + engine.options.ping_interval + engine.options.ping_timeout

    def asleep(self) -> bool:
        """Whether this machine slept for so long that the server has given up on it: the connection has ended then."""
        # While a packet of the server's is worked off, it is there.
        direct = self.connection.transport.direct
        return not direct and clock() >= self._awake_until and self.connection.expire()

    def send(self, packet: Outgoing) -> bool:
        """To the server; False where the connection has ended by a sleep of this machine."""
        connection = self.connection
        if not connection.transport.direct and clock() >= self._awake_until and connection.expire():
            return False
        connection.send(packet)
        return True

    @property
    def old(self) -> bool:
        """Whether the server speaks protocol 4."""
        return self._old

    def enter(self, socket: ClientSocket) -> None:
        """The socket wants to be let into its namespace: it is told to ask, now or when that can be."""
        if socket.nsp in self._asked:
            self._waiting[socket.nsp] = socket
            return
        self.sockets[socket.nsp] = socket
        if not (self._old and socket.nsp == "/") or self._main_left:
            socket._ask(self)
        elif self._unclaimed:
            self._unclaimed = False
            # A turn later, as an answer would come.
            self._hub.loop.call_soon(self._let_in, socket)

    def ask(self, socket: ClientSocket, packet: Outgoing) -> None:
        """Sends its CONNECT."""
        self._asked[socket.nsp] = True
        self.connection.send(packet)

    @property
    def main_left(self) -> bool:
        """Whether the main namespace was left over this connection, by one side or the other."""
        return self._main_left

    def asked(self, socket: ClientSocket) -> bool:
        """Whether the server has its CONNECT, and has not answered."""
        return self._asked.get(socket.nsp, False)

    def _let_in(self, socket: ClientSocket) -> None:
        if self.sockets.get(socket.nsp) is socket:
            socket._joined({}, self._old)
        else:
            self._unclaimed = True

    def _dispatch(self, packet: Packet) -> None:
        kind, namespace, number, data, _ = packet
        if self._old:
            namespace, _ = split_query(namespace)
        if kind == CONNECT_ERROR and self._old and namespace == "/":
            self._main_left = True
        if kind in (CONNECT, CONNECT_ERROR) and self._asked.pop(namespace, True) is False:
            self._answered_nobody(namespace, kind == CONNECT)
            return
        socket = self.sockets.get(namespace)
        if socket is None:
            # It was left a moment ago, or is the main one, which a server of protocol 4 puts everybody in.
            self._unclaimed |= self._old and kind == CONNECT and namespace == "/"
            self._hub.reporter.count("packets_of_no_socket")
        elif not socket.connected and namespace in self._before and kind not in (CONNECT, CONNECT_ERROR):
            # Of the session before this one: it was on its way when that was left.
            self._hub.reporter.count("packets_of_no_socket")
        elif kind in (EVENT, BINARY_EVENT):
            socket._receive(data if isinstance(data[0], str) else [str(data[0]), *data[1:]], number)
        elif kind in (ACK, BINARY_ACK):
            assert number is not None
            socket._acknowledged(number, data)
        elif kind == CONNECT:
            socket._joined(data if isinstance(data, dict) else {}, self._old)
            if socket.connected and namespace == "/" and self._packet is None and self._hub.parser is None:
                self._root = socket
        elif kind == CONNECT_ERROR:
            self.leave(socket)
            socket._refused(data)
        elif kind == DISCONNECT:
            self.leave(socket)
            socket._disconnected_by_server()
        else:
            raise SocketPacketError(f"a packet of the unknown type {shown(kind)}")

    def _answered_nobody(self, namespace: str, let_in: bool) -> None:
        """The answer for a socket that has left since it asked: the server is told, and the next one asks."""
        if let_in:
            self.send_disconnect(namespace)
        else:
            self._enter_waiting(namespace)

    def send_disconnect(self, namespace: str) -> None:
        """Tells the server that the socket is out of it; whoever wants in again waits a moment."""
        self.send(self._hub.encode(DISCONNECT, namespace, None))
        self._asked[namespace] = False
        self._hub.wheel.call_later(APART, lambda: self._left_long_ago(namespace))

    def _left_long_ago(self, namespace: str) -> None:
        if self._asked.get(namespace) is False:
            del self._asked[namespace]
            self._enter_waiting(namespace)

    def _enter_waiting(self, namespace: str) -> None:
        socket = self._waiting.pop(namespace, None)
        if socket is not None:
            self.enter(socket)

    def leave(self, socket: ClientSocket) -> None:
        """Its packets go nowhere from now on."""
        name = socket.nsp
        if self._waiting.get(name) is socket:
            del self._waiting[name]
        if self.sockets.get(name) is not socket:
            return
        del self.sockets[name]
        self._before.add(name)
        if name in self._asked:
            self._asked[name] = False
        if self._old and name == "/" and socket.connected:
            self._main_left = True
        if self._root is socket:
            self._root = None

    def closed(self, reason: CloseReason, details: str) -> None:
        """The connection ended."""
        self._forget_everything()
        sockets = [*self.sockets.values(), *self._waiting.values()]
        self.sockets.clear()
        self._waiting.clear()
        self._manager._connection_closed(self, sockets, reason, details)
