"""One connection as Socket.IO sees it: its decoder, and the namespaces it has joined."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from duplexio.engine.connection import Connection
from duplexio.engine.wheel import Timer
from duplexio.errors import ConnectRefused, EncodeError, SocketPacketError
from duplexio.hub.eager import start
from duplexio.hub.functions import is_async
from duplexio.hub.namespace import TooManyNamespaces
from duplexio.hub.packet_reader import PacketReader
from duplexio.hub.recovery import Restored
from duplexio.hub.socket import Socket
from duplexio.observe import shown
from duplexio.protocol.engine_session import State
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
from duplexio.types import Auth, CloseReason

if TYPE_CHECKING:
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import Namespace

__all__ = ["Peer"]


#: The query that clients of protocol 4 may write behind a namespace: a token, mostly. As much as a head may have.
MAX_QUERY = 65_536
#: How many of the namespaces that a client was taken out of are remembered: what it sent meanwhile comes soon.
MAX_LEFT = 1000
#: A secret has 20 characters, an offset has fewer.
MAX_PID = 64


class _Attempt:
    """To join a namespace: its task, where it could not be decided at once."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None


class Peer(PacketReader):
    """The owner of a connection: see `engine.connection.Owner`."""

    __slots__ = (
        "_connect_timer",
        "_connecting",
        "_left",
    )

    def __init__(self, connection: Connection, hub: Hub) -> None:
        super().__init__(connection, hub)
        self._hub: Hub = hub
        self.sockets: dict[str, Socket] = {}
        self._max_query = MAX_QUERY if self._old else 0
        self._connecting: dict[str, _Attempt] = {}
        # Namespaces this server took the client out of, or (False) did not let it into: what it sent before it knew is
        # passed over.
        self._left: dict[str, bool] | None = None
        self._connect_timer: Timer | None = hub.wheel.call_later(hub.options.connect_timeout, self._connect_too_late)

    def opened(self) -> None:
        """The session has begun. A client of protocol 4 is in the main namespace without asking."""
        if self._old:
            self._connect("/", {})

    def _dispatch(self, packet: Packet) -> None:
        kind, namespace, number, data, _ = packet
        if self._old:
            namespace, query = split_query(namespace)
            self._check_length(namespace)
            data = query if kind == CONNECT else data
        if kind == CONNECT:
            self._connect(namespace, data or {})
            return
        socket = self.sockets.get(namespace)
        if socket is None:
            if kind == DISCONNECT and namespace in self._connecting:
                self._abandon(namespace)
            elif not self._crossed(kind, namespace):
                raise SocketPacketError(f"a packet for the namespace {shown(namespace)}, which was not joined")
        elif kind in (EVENT, BINARY_EVENT):
            socket._receive(data if isinstance(data[0], str) else [str(data[0]), *data[1:]], number)
        elif kind in (ACK, BINARY_ACK):
            assert number is not None
            socket._acknowledged(number, data)
        elif kind == DISCONNECT:
            socket._close("client namespace disconnect", "")
            self._remove(socket)
        else:
            raise SocketPacketError("CONNECT_ERROR from a client; only a server sends it")

    def _crossed(self, kind: int, namespace: str) -> bool:
        """Whether it was on its way when the client was taken out or refused. Who was never in can only give up."""
        was_in = None if self._left is None else self._left.get(namespace)
        return was_in is True or (was_in is False and kind == DISCONNECT)

    # Joining namespaces.

    def _connect(self, name: str, auth: Auth) -> None:
        if name in self.sockets or name in self._connecting:
            raise SocketPacketError(f"a second CONNECT for the namespace {shown(name)}")
        options = self._hub.options
        if len(self.sockets) + len(self._connecting) >= options.max_namespaces_per_client:
            self._refuse(name, "Too many namespaces", cause="too_many_namespaces")
        elif len(self._connecting) >= options.max_pending_connects:
            self._refuse(name, "Too many pending connections", cause="too_many_connects")
        else:
            namespace = self._hub.namespaces.get(name)
            if (
                namespace is not None
                and not namespace._all_middlewares()
                and (namespace.log is None or not self._has_moved(namespace, auth))
            ):
                self._admit_at_once(namespace, auth)
            elif namespace is None and not self._hub.parents:
                self._refuse(name, "Invalid namespace", cause="invalid_namespace")
            else:
                attempt = self._connecting[name] = _Attempt()
                task = start(self._decide(attempt, name, namespace, auth), self._hub.loop)
                if not task.done():
                    attempt.task = task

    def _admit_at_once(self, namespace: Namespace, auth: Auth) -> None:
        try:
            socket = self._make_socket(namespace, auth)
        except Exception as error:
            self._hub.reporter.failure(f"a socket of {shown(namespace.name)} could not be made", error)
            self._refuse(namespace.name, "Internal error")
        else:
            self._admit(socket)

    async def _decide(self, attempt: _Attempt, name: str, namespace: Namespace | None, auth: Auth) -> None:
        """Asks the dynamic namespaces, then the middlewares. One that was abandoned says nothing to the client."""
        hub = self._hub
        socket: Socket | None = None

        def refuse(message: str, data: object = None, cause: str = "") -> None:
            if self._connecting.get(name) is attempt:
                self._refuse(name, message, data, cause)

        try:
            async with asyncio.timeout(hub.options.middleware_timeout) as limit:
                if namespace is None:
                    namespace = await hub.resolve(name, auth)
                if namespace is None:
                    refuse("Invalid namespace", cause="invalid_namespace")
                    return
                if self._has_moved(namespace, auth):
                    # It has an end of its own: no middleware has taken that time.
                    limit.reschedule(None)
                    await namespace.adapter.bring_session(auth["pid"], auth.get("offset"))
                    limit.reschedule(hub.loop.time() + hub.options.middleware_timeout)
                socket = self._make_socket(namespace, auth)
                namespace.joining += 1
                trusted = socket.recovered and namespace.trusts_recovered
                for middleware in () if trusted else namespace._all_middlewares():
                    if is_async(middleware):
                        await middleware(socket)
                    else:
                        await hub.threads.run(middleware, [socket], {})
        except ConnectRefused as refused:
            refuse(refused.message, refused.data, cause="connect_refused")
        except TimeoutError as error:
            hub.reporter.count("middleware_timeouts")
            seconds = hub.options.middleware_timeout
            hub.reporter.failure(
                f"the middlewares of {shown(name)} took over {seconds:g} s (middleware_timeout)", error
            )
            refuse("Internal error")
        except TooManyNamespaces:
            refuse("Too many namespaces", cause="too_many_namespaces")
        except asyncio.CancelledError:
            if self._connecting.get(name) is not attempt:
                # The client has left, or the connection has ended.
                raise
            # By a scope in a middleware that got out of hand: the client would wait for its answer for ever.
            hub.reporter.count("middlewares_cancelled")
            refuse("Internal error")
        except Exception as error:
            hub.reporter.failure(f"a middleware of {shown(name)} raised", error)
            hub.tell_error(error, socket, "connect")
            refuse("Internal error")
        else:
            if self.connection.state is State.OPEN and self._connecting.get(name) is attempt:
                self._admit(socket)
        finally:
            if self._connecting.get(name) is attempt:
                del self._connecting[name]
            if socket is not None:
                socket.nsp.joining -= 1
                if socket.recovered:
                    socket.nsp.restoring.pop(socket._pid, None)
                socket._give_back()
                if self.sockets.get(name) is not socket:
                    socket._close("forced close", "refused")
                socket.nsp._check_empty()

    def _has_moved(self, namespace: Namespace, auth: Auth) -> bool:
        """Whether the client has a session that another server may have."""
        if namespace.log is None or self._old or (namespace.adapter.alone and not namespace.inherited):
            return False
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            return False
        # What is longer was never issued, and others are not asked for it.
        if len(pid) > MAX_PID or (offset is not None and len(offset) > MAX_PID):
            return False
        return not namespace.log.knows(pid) and pid not in namespace.by_pid

    def _make_socket(self, namespace: Namespace, auth: Auth) -> Socket:
        issued = time.time()
        restored: Restored | None = None
        log, pid = namespace.log, auth.get("pid")
        # Clients of protocol 4 know nothing of it: theirs is a word in a query.
        if log is not None and isinstance(pid, str) and not self._old:
            stale = namespace.by_pid.get(pid)
            if stale is not None and stale.conn is not self.connection:
                # The client noticed the break before we did: who has the secret is the one who left.
                stale.conn.end("transport close", "the client came back on another connection")
            restored = log.restore(pid, auth.get("offset"), self._hub.loop.time())
        socket = Socket(namespace, self, auth, issued, restored)
        if restored is not None:
            namespace.restoring[restored.pid] = restored.session
            namespace.adapter.rooms.add(socket, restored.session.rooms)
        return socket

    def _admit(self, socket: Socket) -> None:
        namespace = socket.nsp
        name = namespace.name
        self.sockets[name] = socket
        if name == "/" and self._packet is None and self._hub.parser is None:
            self._root = socket
        if self._left is not None:
            self._left.pop(name, None)
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None
        namespace._added(socket)
        reply = None if self._old else {"sid": socket.id}
        if reply is not None and namespace.log is not None:
            reply["pid"] = socket._pid
            if socket._restored is not None:
                rooms = socket._restored.session.rooms | socket.rooms
                for missed in namespace.log.missed(socket._restored.after, rooms):
                    self.connection.send(missed)
                socket._restored = None
        self._send(CONNECT, name, reply)
        socket._open()

    def _refuse(self, name: str, message: str, data: object = None, cause: str = "") -> None:
        body: Any = {"message": message}
        if self._old and self._hub.parser is not None:
            # Parsers of that time take a text alone.
            body = message
        elif self._old and cause != "invalid_namespace":
            # Protocol 4 has one value for it: the data, or a text.
            body = message if data is None else data
        elif data is not None:
            body["data"] = data
        if cause:
            text = f"refused the namespace {shown(name)}: {message}"
            if cause == "invalid_namespace":
                text += f"; there are: {', '.join(sorted(self._hub.namespaces)[:10])}"
            self._hub.reporter.fault(cause, self.connection.remote_address, text)
        self._remember(name, was_in=False)
        if data is None:
            self._send(CONNECT_ERROR, name, body)
            return
        try:
            self.connection.send(self._hub.encode(CONNECT_ERROR, name, body))
        except EncodeError as error:
            self._hub.reporter.failure(f"the data of a ConnectRefused in {shown(name)} cannot be sent", error)
            self._refuse(name, "Internal error")

    def _send(self, kind: int, name: str, data: Any) -> None:
        """A packet that only a parser of the user's can fail to write: the client would wait for it for ever."""
        try:
            packet = self._hub.encode(kind, name, data)
        except EncodeError as error:
            self._hub.reporter.failure(f"a packet of type {kind} in {shown(name)} cannot be sent", error)
            self.connection.end("forced close", "a packet could not be encoded")
        else:
            self.connection.send(packet)

    def _abandon(self, name: str) -> None:
        attempt = self._connecting.pop(name)
        if attempt.task is not None:
            attempt.task.cancel()

    # Ending.

    def _remove(self, socket: Socket) -> None:
        self.sockets.pop(socket.nsp.name, None)
        if self._root is socket:
            self._root = None

    def left(self, socket: Socket) -> None:
        """This server took the socket out of its namespace."""
        self._remove(socket)
        self._remember(socket.nsp.name, was_in=True)

    def _remember(self, name: str, was_in: bool) -> None:
        if self._left is None:
            self._left = {}
        self._left[name] = was_in
        if len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]

    def disconnect_all(self) -> None:
        """Takes the client out of every namespace, and ends the connection."""
        for socket in list(self.sockets.values()):
            socket.disconnect()
        self.connection.close("forced server close")

    def _connect_too_late(self) -> None:
        self._connect_timer = None
        self._hub.reporter.fault(
            "connect_timeout",
            self.connection.remote_address,
            f"no namespace was joined within {self._hub.options.connect_timeout:g} s (connect_timeout)",
        )
        self.connection.close("forced close")

    def closed(self, reason: CloseReason, details: str) -> None:
        """The connection ended, and every socket with it."""
        if self._connect_timer is not None:
            self._connect_timer.cancel()
        self._forget_everything()
        for name in list(self._connecting):
            self._abandon(name)
        for socket in list(self.sockets.values()):
            socket._close(reason, details)
        self.sockets.clear()
