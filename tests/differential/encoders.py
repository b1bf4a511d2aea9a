"""duplexio's encoders: packets, the messages that carry them, and what a client has to read there."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from duplexio.protocol import engine_payload, engine_payload3
from duplexio.protocol.codec_json import JsonCodec
from duplexio.protocol.engine_packet import Binary, Outgoing
from duplexio.protocol.parser import encode_packet
from duplexio.protocol.parser_msgpack import MsgpackParser
from duplexio.protocol.socket_packet import ACK, CONNECT_ERROR, DISCONNECT, EVENT, Packet, encode

from .canonical import UNDEFINED, canonical
from .generate import BLOBS, NAMESPACES, STRINGS, Messages

__all__ = ["ROUTES", "Route", "expected", "generate_sent"]

JSON = JsonCodec()
MSGPACK = MsgpackParser()

FLOATS = (0.0, -0.0, 0.1, 1e23, 5e-324, 1.7976931348623157e308, 1e-7, 1e21, 123456789.12345679, math.nan, math.inf)
INTEGERS = (0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1)
#: JavaScript clients take so many of one packet.
MAX_ATTACHMENTS = 10


class Route(NamedTuple):
    """How packets get to a client: its name in `parsers.mjs`, the messages they are, and what of a value arrives."""

    client: str
    messages: Callable[[list[Packet]], Messages]
    arriving: Callable[[Any], Any]


def generate_sent(seed: int, number: int) -> list[Packet]:
    """The packets of case `number` of this seed."""
    rng = Random(f"{seed} sent {number}")
    return [_packet(rng) for _ in range(rng.choice((1, 1, 2, 3)))]


def expected(route: Route, packets: list[Packet]) -> tuple[str, ...]:
    """Their canonical form, as the client has to have it."""
    return tuple(
        " ".join(
            (
                str(packet.type),
                canonical(UNDEFINED if packet.id is None else packet.id),
                canonical(packet.namespace),
                canonical(UNDEFINED if packet.data is None else route.arriving(packet.data)),
            )
        )
        for packet in packets
    )


def _packet(rng: Random) -> Packet:
    kind = rng.choice((EVENT, EVENT, EVENT, ACK, CONNECT_ERROR, DISCONNECT))
    namespace = "/" if rng.random() < 0.5 else rng.choice([name for name in NAMESPACES if len(name) < 200])
    number = rng.choice((0, 7, 2**53 - 1)) if kind == ACK or rng.random() < 0.3 else None
    blobs = [rng.choice(BLOBS) for _ in range(MAX_ATTACHMENTS)]
    data: Any = None
    if kind == EVENT:
        data = ["a" + _text(rng), *(_value(rng, blobs, 3) for _ in range(rng.randrange(4)))]
    elif kind == ACK:
        data = [_value(rng, blobs, 3) for _ in range(rng.randrange(4))]
    elif kind == CONNECT_ERROR:
        data = {"message": _text(rng), "data": _value(rng, [], 2)}
        number = None
    elif kind == DISCONNECT:
        number = None
    return Packet(kind, namespace, number, data)


def _text(rng: Random) -> str:
    return rng.choice(STRINGS) + chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))


def _value(rng: Random, blobs: list[bytes], depth: int) -> Any:
    kind = rng.random()
    if kind < 0.15 and blobs:
        wrap = rng.choice((bytes, bytearray, memoryview))
        return wrap(blobs.pop())
    if depth and kind < 0.35:
        return {_text(rng): _value(rng, blobs, depth - 1) for _ in range(rng.randrange(4))}
    if depth and kind < 0.5:
        return rng.choice((list, tuple))([_value(rng, blobs, depth - 1) for _ in range(rng.randrange(4))])
    if kind < 0.65:
        return rng.choice((*FLOATS, rng.uniform(-1e6, 1e6), rng.random() * 10.0 ** rng.randrange(-300, 300)))
    if kind < 0.8:
        return rng.choice((*INTEGERS, rng.getrandbits(rng.randrange(1, 64))))
    return rng.choice((_text(rng), _text(rng), True, False, None))


def _as_json(value: Any) -> Any:
    """As JSON can say it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _encoded(packets: list[Packet]) -> list[Outgoing]:
    return [encode(packet.type, packet.namespace, packet.data, JSON, packet.id) for packet in packets]


def _payload4(packets: list[Packet]) -> Messages:
    return (engine_payload.encode(_encoded(packets)),)


def _payload3(packets: list[Packet]) -> Messages:
    return (engine_payload3.encode(_encoded(packets)),)


def _payload3_binary(packets: list[Packet]) -> Messages:
    return (Binary(engine_payload3.encode_as_binary(_encoded(packets))),)


def _msgpack(packets: list[Packet]) -> Messages:
    return tuple(Binary(encode_packet(MSGPACK, packet).attachments[0]) for packet in packets)


ROUTES = {
    "protocol 4": Route("client4", _payload4, _as_json),
    "protocol 3, as text": Route("client3", _payload3, _as_json),
    "protocol 3, as bytes": Route("client3", _payload3_binary, _as_json),
    "MessagePack": Route("msgpack", _msgpack, lambda data: data),
}
