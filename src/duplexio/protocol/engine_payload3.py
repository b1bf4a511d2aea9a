"""Bodies of HTTP long-polling, protocol 3: packets with their lengths in front.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md

    6:4hello 2:42               text: lengths count UTF-16 units, as JavaScript does
    00 06 ff 4hello 01 03 ff …  binary: 0 is text, 1 is binary; the length's digits as bytes, in bytes; 255
"""

from __future__ import annotations

from collections.abc import Iterable

from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Binary, Outgoing, check_type
from duplexio.protocol.engine_packet3 import as_binary, decode_base64, decode_binary, encode_base64

__all__ = ["decode", "decode_as_binary", "encode", "encode_as_binary"]

_TEXT, _BINARY, _END = 0, 1, 255
#: A length of more digits is that of no body: a body has a limit far below.
_MAX_DIGITS = 10


def decode(body: bytes, max_packets: int) -> list[bytes | Binary]:
    """The packets of a text body: text ones with their digit, binary ones as `Binary`.

    Raises EnginePacketError for a body that is empty, not UTF-8, has more than `max_packets` packets, or holds one that
    is none. All or nothing: no packet of a bad body is handed on.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise EnginePacketError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    if not text:
        raise EnginePacketError("an empty body; without packets it is '0:'")
    # Where each character is one UTF-16 unit, as nearly everywhere, lengths are str's own.
    wide = not text.isascii() and max(text) > "\uffff"
    units = text.encode("utf-16-le") if wide else b""
    width = 2 if wide else 1
    end = len(units) if wide else len(text)
    packets: list[bytes | Binary] = []
    position = count = 0
    while position < end:
        count += 1
        _check_count(count, max_packets)
        until = position + (_MAX_DIGITS + 1) * width
        head = _units(units[position:until]) if wide else text[position:until]
        digits, colon, _ = head.partition(":")
        if not colon or not (digits.isascii() and digits.isdigit()):
            raise EnginePacketError(f"a packet begins with its length and ':', here is {shown(head)}")
        start = position + (len(digits) + 1) * width
        position = start + int(digits) * width
        if position > end:
            raise EnginePacketError(f"a packet of length {digits} is announced, {(end - start) // width} are left")
        if position > start:
            packet = (_units(units[start:position]) if wide else text[start:position]).encode()
            packets.append(decode_base64(packet) if packet.startswith(b"b") else _checked(packet))
    return packets


def _units(data: bytes) -> str:
    return data.decode("utf-16-le", "replace")


def _checked(packet: bytes) -> bytes:
    check_type(packet)
    return packet


def _check_count(count: int, max_packets: int) -> None:
    """Empty ones count, too: a body could be made of them, and each is work."""
    if count > max_packets:
        raise EnginePacketError(f"more than {max_packets} packets in one body; max_payload_packets=... changes it")


def decode_as_binary(body: bytes, max_packets: int) -> list[bytes | Binary]:
    """The packets of a body of `application/octet-stream`. Raises EnginePacketError, as `decode` does."""
    packets: list[bytes | Binary] = []
    position = 0
    while position < len(body):
        _check_count(len(packets) + 1, max_packets)
        kind = body[position]
        end = body.find(_END, position + 1, position + 2 + _MAX_DIGITS)
        digits = body[position + 1 : end] if end >= 0 else b""
        if kind not in (_TEXT, _BINARY) or not digits or max(digits) > 9:
            raise EnginePacketError(
                f"a packet begins with 0 or 1, its length's digits and 255, here is {shown(body[position:])}"
            )
        start, position = end + 1, end + 1 + int("".join(map(str, digits)))
        if position > len(body):
            raise EnginePacketError(f"a packet of length {position - start} is announced, {len(body) - start} are left")
        packet = body[start:position]
        if kind == _BINARY:
            packets.append(decode_binary(packet))
        else:
            packets.append(decode_base64(packet) if packet.startswith(b"b") else _checked_text(packet))
    return packets


def _checked_text(packet: bytes) -> bytes:
    if not packet.isascii():
        try:
            packet.decode()
        except UnicodeDecodeError as error:
            raise EnginePacketError(f"a text packet is not UTF-8: {error.reason} at byte {error.start}") from error
    return _checked(packet)


def encode(packets: Iterable[Outgoing]) -> bytes:
    """A text body that carries these packets, in their order; binary ones as base64."""
    return b"".join([b"%d:%b" % (_length(packet), packet) for packet in _flat(packets, as_text=True)])


def encode_as_binary(packets: Iterable[Outgoing]) -> bytes:
    """A binary body that carries these packets, in their order."""
    parts: list[bytes] = []
    for packet in _flat(packets, as_text=False):
        kind = _BINARY if isinstance(packet, Binary) else _TEXT
        parts += (bytes((kind, *map(int, str(len(packet))), _END)), packet)
    return b"".join(parts)


def _flat(packets: Iterable[Outgoing], as_text: bool) -> Iterable[bytes]:
    for packet in packets:
        if isinstance(packet, bytes):
            yield packet
        else:
            if packet.text:
                yield packet.text
            for attachment in packet.attachments:
                yield encode_base64(attachment) if as_text else Binary(as_binary(attachment))


def _length(packet: bytes) -> int:
    return len(packet) if packet.isascii() else len(packet.decode().encode("utf-16-le")) // 2
