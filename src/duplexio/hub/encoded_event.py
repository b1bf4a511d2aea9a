"""An event that is encoded once, for the sockets of this server and for other servers as it is.

What differs from receiver to receiver, the number of an acknowledgement or the offset of recovery, is put into the
text where it belongs; the arguments are neither encoded again nor decoded for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from duplexio.errors import SocketPacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Message, Outgoing, uncompressed
from duplexio.protocol.parser import decode_packet, encode_packet
from duplexio.protocol.socket_packet import BINARY_EVENT, EVENT, Packet, check_data, with_attachments

if TYPE_CHECKING:
    from duplexio.hub.namespace import Namespace, ParentNamespace

__all__ = ["FORMS", "JSON", "EncodedEvent"]

#: The JSON of name and arguments; a parser's whole message, as a text, or as the one attachment.
JSON, PARSER_TEXT, PARSER_BINARY = FORMS = range(3)


class EncodedEvent:
    """An event of one namespace; of a parent's, which becomes its children's before anybody gets it.

    Attributes:
        form, text, attachments: what travels.
    """

    __slots__ = ("_decoded", "_namespace", "attachments", "form", "text")

    def __init__(
        self,
        namespace: Namespace | ParentNamespace,
        form: int,
        text: bytes,
        attachments: Sequence[bytes],
        decoded: tuple[str, Sequence[Any]] | None = None,
    ) -> None:
        self._namespace = namespace
        self.form = form
        self.text = text
        self.attachments = tuple(attachments)
        self._decoded = decoded

    @classmethod
    def of(cls, namespace: Namespace | ParentNamespace, event: str, args: Sequence[Any]) -> EncodedEvent:
        """Encodes it. Raises EncodeError."""
        parser, data = namespace.hub.parser, [event, *args]
        if parser is None:
            text, attachments = namespace.hub.codec.encode(data)
            # A user's function may have written more than the array.
            return cls(namespace, JSON, text.strip(), attachments, (event, args))
        # A parent's is none that a packet can have: its children's take its place.
        name = namespace.name if namespace.event_head else "/"
        message = encode_packet(parser, Packet(EVENT, name, None, data))
        form = PARSER_TEXT if message.text else PARSER_BINARY
        return cls(namespace, form, message.text, message.attachments, (event, args))

    @classmethod
    def of_stored(cls, namespace: Namespace, packet: Outgoing, offset: str) -> EncodedEvent:
        """What was encoded to be stored, without the offset that it ends in. Raises SocketPacketError, EncodeError."""
        text, attachments = (packet, ()) if isinstance(packet, bytes) else (packet.text, packet.attachments)
        if namespace.hub.parser is not None:
            form = PARSER_TEXT if text else PARSER_BINARY
            event, args = cls(namespace, form, text, attachments)._data()
            return cls.of(namespace, event, args[:-1])
        end = b',"%b"]' % offset.encode()
        if not text.endswith(end):
            raise SocketPacketError(f"no event that ends in the offset {offset}: {shown(text)}")
        return cls(namespace, JSON, text[text.find(b"[") : -len(end)] + b"]", attachments)

    def of_namespace(self, namespace: Namespace) -> EncodedEvent:
        """The same event, of another namespace. Raises SocketPacketError, EncodeError."""
        if self.form == JSON:
            return EncodedEvent(namespace, JSON, self.text, self.attachments, self._decoded)
        # The namespace is in it.
        return EncodedEvent.of(namespace, *self._data())

    @property
    def size(self) -> int:
        """Bytes of what travels."""
        return len(self.text) + sum(map(len, self.attachments))

    def check(self) -> None:
        """Raises SocketPacketError where this server could not hand on what came from another, by its form alone."""
        hub = self._namespace.hub
        if self.form not in FORMS or (self.form == JSON) != (hub.parser is None):
            raise SocketPacketError("an event of another parser: all servers of a cluster need the same `parser`")
        if self.form == JSON:
            # Not parsed: who has encoded it has checked it; but nothing may end up in the text behind its end.
            fits = self.text[:1] == b"[" and self.text[-1:] == b"]"
        elif self.form == PARSER_TEXT:
            fits = self.text[:1] == b"4" and not self.attachments
        else:
            fits = not self.text and len(self.attachments) == 1
        if not fits:
            raise SocketPacketError(f"no event: {shown(self.text)} with {len(self.attachments)} attachments")

    @property
    def event(self) -> str:
        """Its name. Raises SocketPacketError where it came from elsewhere and is none."""
        return self._data()[0]

    @property
    def args(self) -> Sequence[Any]:
        """Its arguments. Raises SocketPacketError."""
        return self._data()[1]

    def _data(self) -> tuple[str, Sequence[Any]]:
        if self._decoded is None:
            hub = self._namespace.hub
            parser, max_name = hub.parser, hub.options.max_name_length
            if parser is None:
                data = with_attachments(hub.codec.decode(self.text), self.attachments)
                check_data(EVENT, data, True, max_name)
            else:
                message = self.text[1:].decode(errors="replace") if self.form == PARSER_TEXT else self.attachments[0]
                data = decode_packet(parser, message, max_name).data
            self._decoded = str(data[0]), data[1:]
        return self._decoded

    def packet(self, compress: bool, number: int | None = None, offset: str = "") -> Outgoing:
        """The packet: with the number of an acknowledgement, or with an offset behind the arguments.

        Raises EncodeError and SocketPacketError, where a parser writes packets and cannot.
        """
        packet = self._json(number, offset) if self.form == JSON else self._parsers(number, offset)
        return packet if compress else uncompressed(packet)

    def _json(self, number: int | None, offset: str) -> Outgoing:
        namespace, text = self._namespace, self.text
        if offset:
            # The array has the event's name at least, so a comma is right; an offset has nothing to be escaped.
            text = b'%b,"%b"]' % (text[:-1], offset.encode())
        if number is not None:
            text = b"%d%b" % (number, text)
        if not self.attachments:
            return namespace.event_head + text
        head = b"" if namespace.name == "/" else namespace.name.encode() + b","
        text = b"4%d%d-%b%b" % (BINARY_EVENT, len(self.attachments), head, text)
        return Message(text, self.attachments)

    def _parsers(self, number: int | None, offset: str) -> Outgoing:
        if number is None and not offset:
            return Message(self.text, self.attachments, event=True)
        data = [self.event, *self.args, *([offset] if offset else [])]
        return self._namespace.hub.encode(EVENT, self._namespace.name, data, number)
