"""MessagePack, in the dialect of `socket.io-msgpack-parser`: a packet is one binary message, bytes are bytes in it.

https://github.com/msgpack/msgpack/blob/master/spec.md; the extension type 0 is JavaScript's own there:

    fixext 1     undefined
    fixext 8     a date: milliseconds since 1970, signed
    ext 8 to 32  an ArrayBuffer

`msgpack` decodes in C and cannot tell a fixext from an ext of the same length, nor make a text of a key. A message in
which that matters is decoded again by `protocol.msgpack_javascript`.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from typing import Any

import msgpack

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.protocol.codec_json import JsonCodec, as_builtin
from duplexio.protocol.msgpack_javascript import DATE, FIXED_LENGTHS, decode
from duplexio.protocol.socket_packet import ACK, Packet

__all__ = ["MsgpackParser"]

_JSON = JsonCodec()
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class MsgpackParser:
    """See `protocol.parser.Parser`.

    Dates are dates on both sides: a `datetime` arrives as a `Date`, and a `Date` as a `datetime` in UTC; one without a
    time zone is taken for UTC, and a `Date` outside the years 1 to 9999 is its milliseconds. NaN and the infinities
    stay what they are.
    """

    __slots__ = ()

    def encode(self, packet: Packet) -> bytes:
        kind, namespace, number, data, _ = packet
        fields: dict[str, Any] = {} if kind != ACK else {"id": number}
        fields["type"] = kind
        if data is not None:
            fields["data"] = data
        if number is not None and kind != ACK:
            fields["id"] = number
        fields["nsp"] = namespace
        try:
            encoded: bytes = msgpack.packb(fields, default=_as_msgpack)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodeError(f"cannot be sent as MessagePack: {error}") from error
        return encoded

    def decode(self, message: str | bytes) -> Packet:
        if isinstance(message, str):
            # Parsers of Socket.IO 2 write what is neither an event nor an acknowledgement as JSON. What that lets
            # through and MessagePack does not, such as a lone surrogate, must not reach a handler either way.
            try:
                fields = _JSON.decode(message.encode())
            except SocketPacketError as error:
                # Told as any message that is none: the parser, and what it was given.
                raise ValueError(str(error)) from error
        else:
            try:
                fields = msgpack.unpackb(message, timestamp=3, ext_hook=_extension)
            except (_Ambiguous, ValueError):
                # Or a key that is no text, a text that is not UTF-8, or no MessagePack at all: the other says which.
                fields = decode(message)
        if not isinstance(fields, dict):
            raise ValueError("a packet is a map")
        return Packet(fields.get("type"), fields.get("nsp"), fields.get("id"), fields.get("data"))  # type: ignore[arg-type]


class _Ambiguous(Exception):
    """An extension that the fast decoder cannot tell from another."""


def _extension(code: int, data: bytes) -> Any:
    if code != 0:
        return [code, data]
    if len(data) in FIXED_LENGTHS:
        raise _Ambiguous
    return data


def _as_msgpack(value: Any) -> Any:
    """What JSON's encoder knows by itself, and dates."""
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return msgpack.ExtType(0, DATE.pack((moment - _EPOCH) // _MILLISECOND))
    if isinstance(value, int):
        raise TypeError("a whole number of more than 64 bits; send it as text")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return as_builtin(value)
