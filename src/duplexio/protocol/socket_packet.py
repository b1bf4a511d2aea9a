"""Socket.IO packets, protocol 5, as the text of an Engine.IO message.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md

    4 2 1- /chat, 7 ["event",...]
    │ │ │  │      │ └ JSON
    │ │ │  │      └ acknowledgement id
    │ │ │  └ namespace, left out for the main one
    │ │ └ number of attachments, of binary packets only
    │ └ packet type
    └ engine packet type: message
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.observe import shown
from duplexio.protocol.codec_json import Codec
from duplexio.protocol.engine_handshake import parse_query
from duplexio.protocol.engine_packet import Message, Outgoing

__all__ = [
    "ACK",
    "BINARY_ACK",
    "BINARY_EVENT",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "RESERVED_EVENTS",
    "Packet",
    "check_data",
    "decode",
    "encode",
    "head_of",
    "split_query",
    "with_attachments",
]

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

#: Names no event may have on the wire, in either direction. [socket.io-parser]
RESERVED_EVENTS = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)

_WITH_ATTACHMENTS = frozenset((BINARY_EVENT, BINARY_ACK))
# What may name an event. A tuple: `a | b` makes an object each time that it is asked.
_NAME = (str, int, float)


class Packet(NamedTuple):
    """A packet of Socket.IO.

    Attributes:
        type: 0 CONNECT, 1 DISCONNECT, 2 EVENT, 3 ACK, 4 CONNECT_ERROR; with attachments 5 BINARY_EVENT, 6 BINARY_ACK.
        namespace: with its slash.
        id: of the acknowledgement, where one is given or asked for.
        data: of an event its name and arguments, of an acknowledgement its arguments, as a list; else a dict or None.
        attachments: how many are still to come, where they are messages of their own.
    """

    type: int
    namespace: str
    id: int | None
    data: Any
    attachments: int = 0


def decode(text: bytes, codec: Codec, max_attachments: int, max_name: int, max_query: int = 0) -> Packet:
    """The packet in the text of a message, its engine digit included.

    `max_query`: how many bytes more a namespace may have, for the query that protocol 4 writes behind its name.

    Raises SocketPacketError for an unknown type, a malformed head, JSON that is malformed or of the wrong shape for its
    type, a reserved or too long event name, a too long namespace, more than `max_attachments` attachments.
    """
    kind, position = _type_of(text)
    attachments = 0
    if kind in _WITH_ATTACHMENTS:
        attachments, position = _attachments(text, position, max_attachments)
    namespace, position = _namespace(text, position, max_name + max_query)
    number, position = _ack_id(text, position)
    data = codec.decode(text[position:]) if position < len(text) else None
    check_data(kind, data, position < len(text), max_name)
    if number is None and kind in (ACK, BINARY_ACK):
        raise SocketPacketError(f"an acknowledgement without its id: {shown(text)}")
    return Packet(kind, namespace, number, data, attachments)


def _type_of(text: bytes) -> tuple[int, int]:
    kind = text[1] - 48 if len(text) > 1 else -1
    if not 0 <= kind <= BINARY_ACK:
        raise SocketPacketError(f"unknown Socket.IO packet type in {shown(text)}; expected a digit from 0 to 6")
    return kind, 2


def _attachments(text: bytes, start: int, allowed: int) -> tuple[int, int]:
    end = text.find(b"-", start, start + 10)
    digits = text[start:end] if end >= 0 else b""
    if not digits.isdigit():
        raise SocketPacketError(f"a binary packet begins with its number of attachments and '-': {shown(text)}")
    if int(digits) > allowed:
        raise SocketPacketError(
            f"{int(digits)} attachments announced, {allowed} allowed; max_attachments=... changes it"
        )
    return int(digits), end + 1


def _namespace(text: bytes, start: int, max_name: int) -> tuple[str, int]:
    if text[start : start + 1] != b"/":
        return "/", start
    end = text.find(b",", start, start + max_name + 1)
    after = end + 1
    if end < 0:
        end = after = len(text)
    if end - start > max_name:
        raise SocketPacketError(f"a namespace of over {max_name} bytes; max_name_length=... changes it")
    try:
        return text[start:end].decode(), after
    except UnicodeDecodeError as error:
        raise SocketPacketError(f"a namespace that is not UTF-8: {shown(text[start:end])}") from error


def split_query(namespace: str) -> tuple[str, dict[str, str]]:
    """The name of a namespace, and the query behind it, by which clients of protocol 4 say who they are."""
    name, _, query = namespace.partition("?")
    return name, parse_query(query) if query else {}


def _ack_id(text: bytes, start: int) -> tuple[int | None, int]:
    end = start
    # JavaScript counts exactly up to 2**53, which has 16 digits; what is longer no client has counted.
    while end < len(text) and end - start < 17 and 48 <= text[end] <= 57:
        end += 1
    if end == start:
        return None, start
    if end - start > 16:
        raise SocketPacketError(f"an acknowledgement id of more than 16 digits: {shown(text)}")
    return int(text[start:end]), end


def check_data(kind: int, data: Any, present: bool, max_name: int) -> None:
    """Raises SocketPacketError for data that a packet of this type cannot have; `present`: there is some."""
    if kind in (EVENT, BINARY_EVENT):
        valid = isinstance(data, list) and len(data) > 0 and isinstance(data[0], _NAME)
        if valid and isinstance(data[0], str):
            if data[0] in RESERVED_EVENTS:
                raise SocketPacketError(f"the event name {data[0]!r} is reserved")
            if len(data[0]) * 4 > max_name and len(data[0].encode(errors="surrogatepass")) > max_name:
                raise SocketPacketError(f"an event name of over {max_name} bytes; max_name_length=... changes it")
        valid = valid and not isinstance(data[0], bool)
    elif kind in (ACK, BINARY_ACK):
        valid = isinstance(data, list)
    elif kind == CONNECT:
        valid = isinstance(data, dict) or not present
    elif kind == DISCONNECT:
        valid = not present
    else:
        valid = isinstance(data, dict | str)
    if not valid:
        raise SocketPacketError(f"the data of a packet of type {kind} cannot be {shown(data)}")


def with_attachments(data: Any, attachments: Sequence[bytes]) -> Any:
    """`data`, with each placeholder replaced by the attachment it names, in place.

    Raises SocketPacketError for a placeholder without its attachment. An attachment that no placeholder names is
    dropped, as in Node. Without recursion: JSON's decoder allows more nesting than Python does.
    """
    holder = [data]
    waiting: list[list[Any] | dict[Any, Any]] = [data if isinstance(data, list) else holder]
    while waiting:
        container = waiting.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, item in items:
            if isinstance(item, dict):
                if item.get("_placeholder") is True:
                    # A new value for a key that is there: the iteration is not disturbed.
                    container[key] = _attachment(item.get("num"), attachments)
                else:
                    waiting.append(item)
            elif isinstance(item, list):
                waiting.append(item)
    return holder[0]


def _attachment(number: object, attachments: Sequence[bytes]) -> bytes:
    if isinstance(number, float) and number.is_integer():
        # JavaScript has no other numbers: to a client written in another language, 1.0 may be all it can write.
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(attachments):
        raise SocketPacketError(f"placeholder {shown(number)} among {len(attachments)} attachments")
    return attachments[number]


def head_of(kind: int, namespace: str) -> bytes:
    """What a packet of this type and namespace begins with. An event's is the same for all, so it is made once."""
    return b"4%d" % kind + (b"" if namespace == "/" else namespace.encode() + b",")


def encode(
    kind: int, namespace: str, data: Any, codec: Codec, number: int | None = None, refused: bool = False
) -> Outgoing:
    """A packet; `data` None leaves its JSON out. Bytes anywhere in it become attachments.

    `refused`: the codec's `dumps` has raised TypeError for this data. Raises EncodeError.
    """
    if data is None:
        return head_of(kind, namespace) + (b"" if number is None else b"%d" % number)
    text, attachments = codec.encode(data, refused)
    if number is not None:
        text = b"%d%b" % (number, text)
    if namespace != "/":
        text = b"%b,%b" % (namespace.encode(), text)
    if not attachments:
        return b"4%d%b" % (kind, text)
    if kind not in (EVENT, ACK):
        raise EncodeError("bytes go with events and acknowledgements only; here, send them as text")
    kind += BINARY_EVENT - EVENT
    return Message(b"4%d%d-%b" % (kind, len(attachments), text), tuple(attachments))
