"""duplexio's decoders, driven as its server drives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from duplexio.errors import EnginePacketError, ProtocolError, SocketPacketError
from duplexio.options import Options
from duplexio.protocol import engine_packet3, engine_payload, engine_payload3
from duplexio.protocol.codec_json import JsonCodec
from duplexio.protocol.engine_packet import MESSAGE, Binary, check_type
from duplexio.protocol.parser import decode_packet
from duplexio.protocol.parser_msgpack import MsgpackParser
from duplexio.protocol.socket_packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    EVENT,
    Packet,
    decode,
    with_attachments,
)

from .canonical import UNDEFINED, canonical
from .generate import Case, Messages

__all__ = ["DECODERS", "Outcome", "here"]

OPTIONS = Options({})
JSON = JsonCodec()
MSGPACK = MsgpackParser()

_WITHOUT_ATTACHMENTS = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}


class Outcome(NamedTuple):
    """How many messages were handled, why the next one was refused, and the packets in their canonical form."""

    handled: int
    refusal: str
    packets: tuple[str, ...]


def here(case: Case) -> Outcome:
    """What duplexio makes of it."""
    name, messages = case
    packets: list[str] = []
    handled = 0
    try:
        for some in DECODERS[name](messages):
            packets += some
            handled = min(handled + 1, len(messages))
    except ProtocolError as error:
        return Outcome(handled, str(error), tuple(packets))
    return Outcome(handled, "", tuple(packets))


def _engine_packet(packet: bytes) -> str:
    if isinstance(packet, Binary):
        return canonical(bytes(packet))
    if packet[0] == MESSAGE:
        return canonical(packet.decode())
    # Of protocol 3, these may have bytes.
    return chr(packet[0]) + canonical(packet[1:])


def _payload4(messages: Messages) -> Iterator[list[str]]:
    for body in messages:
        yield [_engine_packet(packet) for packet in engine_payload.decode(body, OPTIONS.max_payload_packets)]


def _packet4(messages: Messages) -> Iterator[list[str]]:
    for message in messages:
        if not isinstance(message, Binary):
            message = _text(message, engine_payload.decode_base64)
        yield [_engine_packet(message)]


def _payload3(messages: Messages) -> Iterator[list[str]]:
    for body in messages:
        decode = engine_payload3.decode_as_binary if isinstance(body, Binary) else engine_payload3.decode
        yield [_engine_packet(packet) for packet in decode(body, OPTIONS.max_payload_packets)]


def _packet3(messages: Messages) -> Iterator[list[str]]:
    for message in messages:
        if isinstance(message, Binary):
            yield [_engine_packet(engine_packet3.decode_binary(message))]
        else:
            yield [_engine_packet(_text(message, engine_packet3.decode_base64))]


def _text(message: bytes, decode_base64: Callable[[bytes], bytes]) -> bytes:
    """As a session takes a text from its WebSocket."""
    _check_utf8(message)
    if message[:1] == b"b":
        return decode_base64(message)
    check_type(message)
    return message


def _check_utf8(message: bytes) -> None:
    """As the WebSocket does, before it hands a text on."""
    try:
        message.decode()
    except UnicodeDecodeError as error:
        raise EnginePacketError("not valid UTF-8") from error


def _socket5(messages: Messages) -> Iterator[list[str]]:
    waiting: Packet | None = None
    attachments: list[bytes] = []
    for message in messages:
        if isinstance(message, Binary):
            if waiting is None:
                raise SocketPacketError("a binary message that no packet announced")
            attachments.append(bytes(message))
            if len(attachments) < waiting.attachments:
                yield []
                continue
            packet, waiting = waiting, None
            data, attachments = with_attachments(packet.data, attachments), []
        else:
            _check_utf8(message)
            if waiting is not None:
                raise SocketPacketError("text while attachments were to come")
            packet = decode(b"4" + message, JSON, OPTIONS.max_attachments, OPTIONS.max_name_length)
            _check_short_way(message, packet)
            if packet.attachments:
                waiting = packet
                yield []
                continue
            data = with_attachments(packet.data, ()) if packet.type in _WITHOUT_ATTACHMENTS else packet.data
        yield [_socket_packet(packet, data)]
    if waiting is not None:
        yield ["waiting"]


def _check_short_way(message: bytes, packet: Packet) -> None:
    """The server hands the JSON of most events to the codec without `decode`."""
    if message[:2] == b"2[" and b"\\u" not in message:
        assert canonical(JSON.loads(message[1:])) == canonical(packet.data)


def _socket_packet(packet: Packet, data: Any) -> str:
    kind = _WITHOUT_ATTACHMENTS.get(packet.type, packet.type)
    number = UNDEFINED if packet.id is None else packet.id
    return f"{kind} {canonical(number)} {canonical(packet.namespace)} {canonical(UNDEFINED if data is None else data)}"


def _msgpack(messages: Messages) -> Iterator[list[str]]:
    for message in messages:
        packet = decode_packet(MSGPACK, message, OPTIONS.max_name_length)
        yield [_socket_packet(packet, packet.data)]


#: Each takes the messages of one connection and yields after each the packets that it has brought.
DECODERS: dict[str, Callable[[Messages], Iterator[list[str]]]] = {
    "payload4": _payload4,
    "packet4": _packet4,
    "payload3": _payload3,
    "packet3": _packet3,
    "socket5": _socket5,
    "msgpack": _msgpack,
}
