"""Bodies of HTTP long-polling, protocol 4: packets joined by a record separator, binary ones as `b` and base64."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from duplexio.errors import EnginePacketError
from duplexio.protocol.engine_packet import MESSAGE, Binary, Outgoing, check_type, from_base64

__all__ = ["decode", "decode_base64", "encode"]

_SEPARATOR = b"\x1e"
_BINARY = ord("b")
#: How nearly all records begin.
_MESSAGE = bytes((MESSAGE,))


def decode(body: bytes, max_packets: int) -> list[bytes | Binary]:
    """The packets of a body: text ones with their digit, binary ones as `Binary`.

    Raises EnginePacketError for a body that is empty, not UTF-8, has more than `max_packets` packets, or holds a record
    that is none. All or nothing: no packet of a bad body is handed on.
    """
    records = body.split(_SEPARATOR, max_packets)
    if len(records) > max_packets:
        raise EnginePacketError(f"more than {max_packets} packets in one body; max_payload_packets=... changes it")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise EnginePacketError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    packets: list[bytes | Binary] = []
    for record in records:
        if record[:1] == _MESSAGE:
            packets.append(record)
        elif record and record[0] == _BINARY:
            packets.append(decode_base64(record))
        else:
            check_type(record)
            packets.append(record)
    return packets


def decode_base64(record: bytes) -> Binary:
    """The binary message in a text that begins with `b`. Raises EnginePacketError."""
    return Binary(from_base64(record[1:]))


def encode(packets: Sequence[Outgoing]) -> bytes:
    """A body that carries these packets, in their order."""
    try:
        return _SEPARATOR.join(packets)  # type: ignore[arg-type]
    except TypeError:
        # They are not all of them plain text.
        pass
    records: list[bytes] = []
    for packet in packets:
        if isinstance(packet, bytes):
            records.append(packet)
        else:
            if packet.text:
                records.append(packet.text)
            records += [b"b" + binascii.b2a_base64(attachment, newline=False) for attachment in packet.attachments]
    return _SEPARATOR.join(records)
