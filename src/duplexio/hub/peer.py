"""One connection as Socket.IO sees it: its decoder, and the namespaces it has joined."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from duplexio.engine.connection import Connection
from duplexio.engine.wheel import Timer
from duplexio.errors import ConnectRefused, SocketPacketError
from duplexio.hub.eager import start
from duplexio.hub.functions import is_async
from duplexio.hub.namespace import TooManyNamespaces
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
    RESERVED_EVENTS,
    Packet,
    decode,
    encode,
    with_attachments,
)
from duplexio.types import Auth, CloseReason

if TYPE_CHECKING:
    from duplexio.hub.hub import Hub
    from duplexio.hub.namespace import Namespace

__all__ = ["Peer"]


#: How many of the namespaces that a client was taken out of are remembered: what it sent meanwhile comes soon.
MAX_LEFT = 1000


class _Attempt:
    """To join a namespace: its task, where it could not be decided at once."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None


class Peer:
    """The owner of a connection: see `engine.connection.Owner`."""

    __slots__ = (
        "_attachment_timer",
        "_attachments",
        "_connect_timer",
        "_connecting",
        "_hub",
        "_left",
        "_loads",
        "_packet",
        "_root",
        "connection",
        "sockets",
    )

    def __init__(self, connection: Connection, hub: Hub) -> None:
        self.connection = connection
        self.sockets: dict[str, Socket] = {}
        self._hub = hub
        self._loads = hub.codec.loads
        # The socket of the main namespace, while no packet waits for its attachments: the hot case asks for it alone.
        self._root: Socket | None = None
        self._packet: Packet | None = None
        self._attachments: list[bytes] = []
        self._attachment_timer: Timer | None = None
        self._connecting: dict[str, _Attempt] = {}
        # Namespaces this server took the client out of: what it sent before it knew is passed over.
        self._left: dict[str, None] | None = None
        self._connect_timer: Timer | None = hub.wheel.call_later(hub.options.connect_timeout, self._connect_too_late)

    # Packets.

    def receive(self, packet: bytes) -> None:
        """A text message. An event of the main namespace without an acknowledgement takes the short way."""
        root = self._root
        if root is not None and packet[1:3] == b"2[":
            try:
                args = self._loads(packet[2:])
                named = type(args[0]) is str
            except (ValueError, IndexError, RecursionError):
                named = False
            if named:
                root._receive(args, None)
                return
        self._receive_slowly(packet)

    def _receive_slowly(self, text: bytes) -> None:
        options = self._hub.options
        try:
            if self._packet is not None:
                raise SocketPacketError(f"text while {self._missing()} attachments were to come: {shown(text)}")
            packet = decode(text, self._hub.codec, options.max_attachments, options.max_name_length)
            if packet.attachments:
                self._await_attachments(packet)
            elif packet.type in (BINARY_EVENT, BINARY_ACK):
                self._dispatch(packet._replace(data=with_attachments(packet.data, ())))
            else:
                self._dispatch(packet)
        except SocketPacketError as error:
            self.connection.reject("parse error", str(error), text)

    def receive_binary(self, data: bytes) -> None:
        """A binary message: an attachment of the packet before it."""
        packet = self._packet
        if packet is None:
            self.connection.reject("parse error", f"a binary message of {len(data)} bytes that no packet announced")
            return
        self._attachments.append(data)
        if not self._missing():
            self._forget_packet()
            attachments, self._attachments = self._attachments, []
            try:
                self._dispatch(packet._replace(data=with_attachments(packet.data, attachments), attachments=0))
            except SocketPacketError as error:
                self.connection.reject("parse error", str(error))

    def _missing(self) -> int:
        return 0 if self._packet is None else self._packet.attachments - len(self._attachments)

    def _await_attachments(self, packet: Packet) -> None:
        self._packet = packet
        self._root = None
        self._attachment_timer = self._hub.wheel.call_later(
            self._hub.options.attachment_timeout, self._attachments_too_late
        )

    def _forget_packet(self) -> None:
        self._packet = None
        self._root = self.sockets.get("/")
        if self._attachment_timer is not None:
            self._attachment_timer.cancel()
            self._attachment_timer = None

    def _attachments_too_late(self) -> None:
        text = f"{self._missing()} attachments did not come within {self._hub.options.attachment_timeout:g} s"
        self.connection.reject("parse error", text)

    def _dispatch(self, packet: Packet) -> None:
        kind, namespace, number, data, _ = packet
        if kind == CONNECT:
            self._connect(namespace, data or {})
            return
        socket = self.sockets.get(namespace)
        if socket is None:
            if kind == DISCONNECT and namespace in self._connecting:
                self._abandon(namespace)
            elif self._left is None or namespace not in self._left:
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

    def check_name(self, event: str) -> bool:
        """Whether it may be an event's name. Asked where nobody listens: a name with a handler is a good one."""
        if event in RESERVED_EVENTS:
            self.connection.reject("parse error", f"the event name {event!r} is reserved")
            return False
        allowed = self._hub.options.max_name_length
        if len(event) * 4 > allowed and len(event.encode(errors="surrogatepass")) > allowed:
            self.connection.reject(
                "parse error", f"an event name of over {allowed} bytes; Server(max_name_length=...) changes it"
            )
            return False
        return True

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
            if namespace is not None and not namespace._all_middlewares():
                self._admit(self._make_socket(namespace, auth))
            elif namespace is None and not self._hub.parents:
                self._refuse(name, "Invalid namespace", cause="invalid_namespace")
            else:
                attempt = self._connecting[name] = _Attempt()
                task = start(self._decide(attempt, name, namespace, auth), self._hub.loop)
                if not task.done():
                    attempt.task = task

    async def _decide(self, attempt: _Attempt, name: str, namespace: Namespace | None, auth: Auth) -> None:
        """Asks the dynamic namespaces, then the middlewares. One that was abandoned says nothing to the client."""
        hub = self._hub
        socket: Socket | None = None

        def refuse(message: str, data: object = None, cause: str = "") -> None:
            if self._connecting.get(name) is attempt:
                self._refuse(name, message, data, cause)

        try:
            async with asyncio.timeout(hub.options.middleware_timeout):
                if namespace is None:
                    namespace = await hub.resolve(name, auth)
                if namespace is None:
                    refuse("Invalid namespace", cause="invalid_namespace")
                    return
                namespace.joining += 1
                socket = self._make_socket(namespace, auth)
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
                socket._give_back()
                if self.sockets.get(name) is not socket:
                    socket._close("forced close", "refused")
                socket.nsp._check_empty()

    def _make_socket(self, namespace: Namespace, auth: Auth) -> Socket:
        issued = time.time()
        restored: Restored | None = None
        log, pid = namespace.log, auth.get("pid")
        if log is not None and isinstance(pid, str):
            stale = namespace.by_pid.get(pid)
            if stale is not None and stale.conn is not self.connection:
                # The client noticed the break before we did: who has the secret is the one who left.
                stale.conn.end("transport close", "the client came back on another connection")
            restored = log.restore(pid, auth.get("offset"), self._hub.loop.time())
        socket = Socket(namespace, self, auth, issued, restored)
        if restored is not None:
            namespace.adapter.rooms.add(socket, restored.session.rooms)
        return socket

    def _admit(self, socket: Socket) -> None:
        namespace = socket.nsp
        name = namespace.name
        self.sockets[name] = socket
        if name == "/" and self._packet is None:
            self._root = socket
        if self._left is not None:
            self._left.pop(name, None)
        if self._connect_timer is not None:
            self._connect_timer.cancel()
            self._connect_timer = None
        namespace._added(socket)
        reply = {"sid": socket.id}
        if namespace.log is not None:
            reply["pid"] = socket._pid
            if socket._restored is not None:
                rooms = socket._restored.session.rooms | socket.rooms
                for missed in namespace.log.missed(socket._restored.after, rooms):
                    self.connection.send(missed)
                socket._restored = None
        self.connection.send(encode(CONNECT, name, reply, self._hub.codec))
        socket._open()

    def _refuse(self, name: str, message: str, data: object = None, cause: str = "") -> None:
        body: dict[str, Any] = {"message": message}
        if data is not None:
            body["data"] = data
        if cause:
            text = f"refused the namespace {shown(name)}: {message}"
            if cause == "invalid_namespace":
                text += f"; there are: {', '.join(sorted(self._hub.namespaces)[:10])}"
            self._hub.reporter.fault(cause, self.connection.remote_address, text)
        self.connection.send(encode(CONNECT_ERROR, name, body, self._hub.codec))

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
        if self._left is None:
            self._left = {}
        self._left[socket.nsp.name] = None
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
        for timer in (self._connect_timer, self._attachment_timer):
            if timer is not None:
                timer.cancel()
        self._root = self._packet = None
        self._attachments = []
        for name in list(self._connecting):
            self._abandon(name)
        for socket in list(self.sockets.values()):
            socket._close(reason, details)
        self.sockets.clear()
