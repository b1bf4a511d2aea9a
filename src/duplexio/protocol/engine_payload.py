"""Bodies of HTTP long-polling, protocol 4: packets joined by a record separator, binary ones as `b` and base64."""

from __future__ import annotations

import binascii
from collections.abc import Iterable

from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol.engine_packet import Outgoing, check_type

__all__ = ["Binary", "decode", "encode"]

_SEPARATOR = b"\x1e"
_BINARY = ord("b")


class Binary(bytes):
    """A binary message, told from a text packet by its type."""

    __slots__ = ()


def decode(body: bytes, max_packets: int) -> list[bytes | Binary]:
    """The packets of a body: text ones with their digit, binary ones as `Binary`.

    Raises EnginePacketError for a body that is empty, not UTF-8, has more than `max_packets` packets, or holds a record
    that is none. All or nothing: no packet of a bad body is handed on.
    """
    records = body.split(_SEPARATOR, max_packets)
    if len(records) > max_packets:
        raise EnginePacketError(
            f"more than {max_packets} packets in one body; Server(max_payload_packets=...) changes it"
        )
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise EnginePacketError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    packets: list[bytes | Binary] = []
    for record in records:
        if record and record[0] == _BINARY:
            packets.append(_binary(record))
        else:
            check_type(record)
            packets.append(record)
    return packets


def _binary(record: bytes) -> Binary:
    try:
        # Not strict: Node's decoder takes base64 without padding, and some clients send it so.
        return Binary(binascii.a2b_base64(record[1:] + b"=" * (-(len(record) - 1) % 4), strict_mode=True))
    except binascii.Error as error:
        raise EnginePacketError(f"a binary packet must be base64, this one is {shown(record)}: {error}") from error


def encode(packets: Iterable[Outgoing]) -> bytes:
    """A body that carries these packets, in their order."""
    records: list[bytes] = []
    for packet in packets:
        if isinstance(packet, bytes):
            records.append(packet)
        else:
            if packet.text:
                records.append(packet.text)
            records += [b"b" + binascii.b2a_base64(attachment, newline=False) for attachment in packet.attachments]
    return _SEPARATOR.join(records)
