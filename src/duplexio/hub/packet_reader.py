"""What both ends make of the messages of a connection: whole packets, their attachments in them."""

from __future__ import annotations

from collections.abc import Mapping

from duplexio.engine.connection import Connection
from duplexio.engine.wheel import Timer
from duplexio.errors import SocketPacketError
from duplexio.hub.context import Context
from duplexio.hub.receiver import Receiver
from duplexio.observe import shown
from duplexio.protocol import engine_packet3
from duplexio.protocol.parser import decode_packet
from duplexio.protocol.socket_packet import (
    BINARY_ACK,
    BINARY_EVENT,
    RESERVED_EVENTS,
    Packet,
    check_data,
    decode,
    with_attachments,
)

__all__ = ["PacketReader"]

_EVENT_DIGIT, _ACK_DIGIT, _BINARY_EVENT_DIGIT = b"235"
#: Behind the digits of Engine.IO and of the type, and the 16 that the id of an acknowledgement may have.
_NUMBER_ENDS = 2 + 16 + 1
#: The same of a number of attachments; more digits the long way takes.
_COUNT_ENDS = 2 + 4 + 2


class PacketReader:
    """Of a server's peer and of a client's. `sockets` by namespace are their own."""

    __slots__ = (
        "_attachment_timer",
        "_attachments",
        "_attachments_due",
        "_hub",
        "_loads",
        "_max_query",
        "_old",
        "_packet",
        "_root",
        "_timer_due",
        "connection",
        "sockets",
    )

    def __init__(self, connection: Connection, context: Context) -> None:
        self.connection = connection
        self.sockets: Mapping[str, Receiver]
        self._hub = context
        #: Whether the other end speaks protocol 4 of Socket.IO, over protocol 3 of Engine.IO.
        self._old = connection.protocol == engine_packet3.PROTOCOL
        #: How many bytes more than its name a namespace may have, for a query.
        self._max_query = 0
        self._loads = context.codec.loads
        # The socket of the main namespace, while no packet waits for its attachments: the hot case asks for it alone.
        self._root: Receiver | None = None
        self._packet: Packet | None = None
        self._attachments: list[bytes] = []
        self._attachments_due = 0.0
        self._attachment_timer: Timer | None = None
        self._timer_due = 0.0

    def _dispatch(self, packet: Packet) -> None:
        """A whole packet. Raises SocketPacketError for one that cannot come now."""
        raise NotImplementedError

    def receive(self, packet: bytes) -> None:
        """A text message. Events and acknowledgements of the main namespace take short ways, where they are right."""
        root = self._root
        if root is not None:
            if packet[1:3] == b"2[":
                try:
                    args = self._loads(packet[2:])
                    named = type(args[0]) is str
                except (ValueError, IndexError, RecursionError):
                    named = False
                if named:
                    root._receive(args, None)
                    return
            elif self._receive_numbered(root, packet) or self._receive_announcing(packet):
                return
        self._receive_slowly(packet)

    def _receive_numbered(self, root: Receiver, packet: bytes) -> bool:
        """An acknowledgement, or an event that asks for one: nothing but digits before its list.

        False: it is another packet, or something is wrong with it, which the long way finds and says.
        """
        start = packet.find(b"[", 3, _NUMBER_ENDS)
        digits = packet[2:start]
        if start < 0 or not digits.isdigit():
            return False
        try:
            data = self._loads(packet[start:])
        except (ValueError, RecursionError):
            return False
        if type(data) is not list:
            return False
        if packet[1] == _ACK_DIGIT:
            root._acknowledged(int(digits), data)
        elif packet[1] == _EVENT_DIGIT and data and type(data[0]) is str:
            root._receive(data, int(digits))
        else:
            return False
        return True

    def _receive_announcing(self, packet: bytes) -> bool:
        """An event whose attachments are to come: nothing but their number before its list. False: as for a number."""
        start = packet.find(b"-[", 3, _COUNT_ENDS) + 1
        count = packet[2 : start - 1]
        if not start or packet[1] != _BINARY_EVENT_DIGIT or not count.isdigit():
            return False
        attachments, options = int(count), self._hub.options
        if not 0 < attachments <= options.max_attachments:
            return False
        try:
            data = self._loads(packet[start:])
            check_data(BINARY_EVENT, data, True, options.max_name_length)
        except (ValueError, RecursionError, SocketPacketError):
            return False
        self._await_attachments(Packet(BINARY_EVENT, "/", None, data, attachments))
        return True

    def _receive_slowly(self, text: bytes) -> None:
        options = self._hub.options
        try:
            if self._hub.parser is not None:
                self._receive_message(text[1:].decode())
                return
            if self._packet is not None:
                raise SocketPacketError(f"text while {self._missing()} attachments were to come: {shown(text)}")
            packet = decode(
                text,
                self._hub.codec,
                options.max_attachments,
                options.max_name_length,
                self._max_query,
            )
            if packet.attachments:
                self._await_attachments(packet)
                return
            if packet.type in (BINARY_EVENT, BINARY_ACK):
                with_attachments(packet.data, ())
            self._dispatch(packet)
        except SocketPacketError as error:
            self.connection.reject("parse error", str(error), text)
        except UnicodeDecodeError as error:
            self.connection.reject("parse error", f"a message that is not UTF-8: {error.reason}", text)

    def _receive_message(self, message: str | bytes) -> None:
        """A packet in the writing of the parser that this server was given."""
        parser = self._hub.parser
        assert parser is not None
        self._dispatch(decode_packet(parser, message, self._hub.options.max_name_length + self._max_query))

    def receive_binary(self, data: bytes) -> None:
        """A binary message: an attachment of the packet before it, or a parser's whole packet."""
        if self._hub.parser is not None:
            try:
                self._receive_message(data)
            except SocketPacketError as error:
                self.connection.reject("parse error", str(error))
            return
        packet = self._packet
        if packet is None:
            text = f"a binary message of {len(data)} bytes that no packet announced"
            if data[:1] and 0x80 <= data[0] <= 0x8F:
                text += f"; it may be MessagePack, which {self._hub.options_owner}(parser='msgpack') reads"
            self.connection.reject("parse error", text)
            return
        self._attachments.append(data)
        if not self._missing():
            self._forget_packet()
            attachments, self._attachments = self._attachments, []
            try:
                # In place, since the data of such a packet is a list.
                with_attachments(packet.data, attachments)
                self._dispatch(packet)
            except SocketPacketError as error:
                self.connection.reject("parse error", str(error))

    def _missing(self) -> int:
        return 0 if self._packet is None else self._packet.attachments - len(self._attachments)

    def _await_attachments(self, packet: Packet) -> None:
        self._packet = packet
        self._root = None
        hub = self._hub
        self._attachments_due = hub.loop.time() + hub.options.attachment_timeout
        if self._attachment_timer is None:
            self._time_attachments()

    def _time_attachments(self) -> None:
        """One timer at a time, which outlives its packet: a timer for each would cost as much as reading it."""
        self._timer_due = self._attachments_due
        self._attachment_timer = self._hub.wheel.call_at(self._timer_due, self._attachment_timer_due)

    def _attachment_timer_due(self) -> None:
        self._attachment_timer = None
        if self._packet is None:
            return
        if self._attachments_due != self._timer_due:
            # Another packet waits than the one that the timer was set for.
            self._time_attachments()
        else:
            self._attachments_too_late()

    def _forget_packet(self) -> None:
        self._packet = None
        self._root = self.sockets.get("/")

    def _attachments_too_late(self) -> None:
        text = f"{self._missing()} attachments did not come within {self._hub.options.attachment_timeout:g} s"
        self.connection.reject("parse error", text)

    def _forget_everything(self) -> None:
        """The connection ended."""
        if self._attachment_timer is not None:
            self._attachment_timer.cancel()
        self._root = self._packet = None
        self._attachments = []

    def check_name(self, event: str) -> bool:
        """Whether it may be an event's name. Asked where nobody listens: a name with a handler is a good one."""
        if event in RESERVED_EVENTS:
            self.connection.reject("parse error", f"the event name {event!r} is reserved")
            return False
        allowed = self._hub.options.max_name_length
        if len(event) * 4 > allowed and len(event.encode(errors="surrogatepass")) > allowed:
            self.connection.reject(
                "parse error", f"an event name of over {allowed} bytes; max_name_length=... changes it"
            )
            return False
        return True

    def _check_length(self, namespace: str) -> None:
        allowed = self._hub.options.max_name_length
        if len(namespace.encode()) > allowed:
            raise SocketPacketError(f"a namespace of over {allowed} bytes; max_name_length=... changes it")
