"""The contract of a parser that writes a whole packet as one message, in place of JSON with attachments.

`Server(parser=...)` takes one; `protocol.parser_msgpack` is one. What a user's parser makes is checked here, as what
the built-in one makes is.
"""

from __future__ import annotations

from typing import Any, Protocol

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Message
from duplexio.protocol.socket_packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT_ERROR,
    EVENT,
    Packet,
    check_data,
)

__all__ = ["Parser", "decode_packet", "encode_packet"]

#: The largest number that JavaScript counts exactly to.
MAX_ID = 2**53 - 1
#: Old clients give packets with bytes types of their own, and parsers of theirs leave them as they are.
_TYPES = {kind: kind for kind in range(CONNECT_ERROR + 1)} | {BINARY_EVENT: EVENT, BINARY_ACK: ACK}


class Parser(Protocol):
    """Packets as messages, and back. One packet is one message; no state is kept between two.

    The same must be given to the clients, as `parser` of `io()`.
    """

    def encode(self, packet: Packet) -> str | bytes:
        """The message that carries this packet: a text or bytes.

        Whatever it raises becomes an EncodeError with its text, where the packet was emitted.
        """

    def decode(self, message: str | bytes) -> Packet:
        """The packet in a message, as it came: a text or bytes.

        Raises anything for a message that is none; the session then ends with `parse error`.
        """


def encode_packet(parser: Parser, packet: Packet) -> Message:
    """The packet as a message of Engine.IO. Raises EncodeError."""
    try:
        message = parser.encode(packet)
        text = b"4" + message.encode() if isinstance(message, str) else None
    except EncodeError:
        raise
    except Exception as error:
        raise EncodeError(f"the parser could not encode it: {error}") from error
    event = packet.type == EVENT
    if text == b"4" or message == b"":
        raise EncodeError("the parser's encode returned an empty message, which clients read as none")
    if text is not None:
        return Message(text, event=event)
    if isinstance(message, bytes | bytearray | memoryview):
        return Message(b"", (bytes(message),), event=event)
    raise EncodeError(f"the parser's encode returned a {type(message).__name__}; a message is a str or bytes")


def decode_packet(parser: Parser, message: str | bytes, max_name: int) -> Packet:
    """The packet in a message, checked. Raises SocketPacketError.

    `max_name`: how many bytes a namespace or an event's name may have.
    """
    try:
        packet = parser.decode(message)
    except SocketPacketError:
        raise
    except Exception as error:
        text = f"the parser could not decode {shown(message)}: {type(error).__name__}: {error}"
        if isinstance(message, str) and message[:1].isdigit():
            text += "; so writes a client that was not given this parser"
        raise SocketPacketError(text) from error
    if not isinstance(packet, tuple) or len(packet) < 4:
        raise SocketPacketError(f"the parser's decode returned a {type(packet).__name__}; a Packet was expected")
    kind, namespace, number, data = packet[:4]
    if isinstance(kind, bool) or not isinstance(kind, int | float) or kind not in _TYPES:
        raise SocketPacketError(f"unknown Socket.IO packet type {shown(kind)}; expected a number from 0 to 4")
    if not isinstance(namespace, str) or not namespace.startswith("/"):
        raise SocketPacketError(f"a namespace is a text that begins with /, this one is {shown(namespace)}")
    try:
        length = len(namespace.encode())
    except UnicodeEncodeError as error:
        raise SocketPacketError(f"a namespace that is not UTF-8: {shown(namespace)}") from error
    if length > max_name:
        raise SocketPacketError(f"a namespace of over {max_name} bytes; max_name_length=... changes it")
    kind = _TYPES[kind]
    number = _checked_id(kind, number)
    check_data(kind, data, data is not None, max_name)
    return Packet(kind, namespace, number, data)


def _checked_id(kind: int, number: Any) -> int | None:
    if number is None and kind != ACK:
        return None
    # JavaScript has one kind of number, which a parser may give as a float.
    whole = int(number) if isinstance(number, float) and number.is_integer() else number
    if isinstance(whole, bool) or not isinstance(whole, int) or not 0 <= whole <= MAX_ID:
        raise SocketPacketError(f"an acknowledgement id is a whole number from 0, this one is {shown(number)}")
    return whole
