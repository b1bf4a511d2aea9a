"""Inputs for the decoders: valid ones, and what becomes of them when somebody meddles."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from random import Random

from duplexio.protocol.engine_packet import Binary

from .generate_msgpack import HUGE, msgpack_packet

__all__ = ["Case", "Messages", "generate"]

#: What arrives on a connection, in order: text as plain bytes, binary messages as `Binary`.
Messages = tuple[bytes, ...]
Case = tuple[str, Messages]

STRINGS = (
    *("", "a", "message", "é", "😀", "日本", "\0", "\n", "\x1e", "\x7f", '"', "\\", "/", "\u2028", "\ufeff", "\xa0"),
    *(
        "connect",
        "disconnect",
        "newListener",
        "connection",
        "_placeholder",
        "num",
        "__proto__",
        "constructor",
        "length",
    ),
    *("1", "01", "toString"),
)
#: About as long as a name may be.
LONG = ("a" * 256, "a" * 257, "é" * 128, "é" * 129, "日" * 85, "日" * 86)
#: As JSON has them, and only there: escapes, good and bad.
SPELLINGS = (
    *(
        r'"\u0041"',
        r'"\/"',
        r'"\ud83d\ude00"',
        r'"\ud800"',
        r'"\udc00\ud800"',
        r'"a\udfffb"',
        r'"\u0000"',
        r'"\b\f\r\t"',
    ),
    *(r'"\x41"', r'"\u12"', '"\n"', '"\t"', '"', "'a'", r'"\ud83d\u"', '"a" "b"'),
)
NUMBERS = (
    *("0", "-0", "1", "-1", "7", "10", "1.5", "1.0", "0.1", "-0.0", "1e5", "1E+2", "1e-7", "5e-324", "1e-400"),
    *("9007199254740991", "9007199254740992", "9007199254740993", "9223372036854775807", "1" * 40),
    *(
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "0.30000000000000004",
    ),
    *("1.7976931348623157e308", "1.7976931348623159e308", "2.2250738585072011e-308", "123456789.123456789123456789"),
    *("1e23", "8.41e21", "9.5367431640625e-7", "4.35", "0." + "0" * 30 + "1", "1" + "0" * 21 + ".5"),
)
#: Beyond a double, and what is none.
INFINITE = ("1e400", "-1e400", "9" * 309)
NO_NUMBERS = ("01", "+1", ".5", "1.", "0x10", "NaN", "-Infinity", "1e", "--1", "1_0", "-", "undefined", "1n", "٣")
CONSTANTS = ("null", "true", "false")
BLANKS = (" ", "\n", "\t ", "\r\n", "\xa0", "\ufeff", "\v")
NAMESPACES = (
    *("/", "/a", "/chat", "/é", "/😀", "/a?b=c", "//", "/-1", "/1", "/[", "/a b", "/#"),
    *("/a", "/chat", "/news", "/room", "/" + "a" * 255, "/" + "a" * 256, "/" + "é" * 127 + "a", "/" + "é" * 128),
)
IDS = (
    *("0", "7", "12", "007", "-1", "1.5", "1e3", " ", " 7", "7 ", "9007199254740991", "9007199254740993"),
    *("9999999999999999", "10000000000000000", "1" * 17, "1" * 400, "٣"),
)
COUNTS = (
    "0-",
    "1-",
    "2-",
    "10-",
    "11-",
    "01-",
    "000000001-",
    "0000000001-",
    "1.0-",
    "1e0-",
    " 1-",
    "-1-",
    "-",
    "",
    "1",
)
TOKENS = (
    *(
        b"0",
        b"1",
        b"2",
        b"3",
        b"5",
        b"6",
        b"9",
        b"b",
        b"-",
        b"/",
        b",",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b":",
        b" ",
        b"\n",
    ),
    *(
        b"\\",
        b"\\ud800",
        b"\\u0000",
        b"null",
        b"true",
        b"1e400",
        b"-0",
        b"\x1e",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc3",
    ),
    *(
        "é".encode(),
        "😀".encode(),
        "\ufeff".encode(),
        b"=",
        b"+",
        b"_",
        b'{"_placeholder":true,"num":0}',
        b'"_placeholder"',
    ),
)
BLOBS = (b"", b"\0", b"\1\2\3", b"\xff" * 5, b"abcd", bytes(range(256)))

# Two orders: what orjson refuses to nest, what Python's own decoder does, and what both take.
DEPTHS = (2, 5, 30, 200, 900, 1019, 1021, 1022, 1023, 1024, 1025, 1026, 1500)


def generate(name: str, seed: int, number: int) -> Case:
    """Case `number` of this decoder and seed; the same in every run."""
    rng = Random(f"{seed} {name} {number}")
    make = _MAKERS[name]
    messages = list(make(rng))
    while rng.random() < 0.35:
        _meddle(rng, messages, make)
        if name == "msgpack" and any(map(HUGE.search, messages)):
            messages = list(make(rng))
    return name, tuple(messages)


# Pieces.


def _string(rng: Random) -> str:
    if rng.random() < 0.02:
        return rng.choice(SPELLINGS)
    text = rng.choice(STRINGS) if rng.random() < 0.99 else rng.choice(LONG)
    if rng.random() < 0.3:
        text += chr(rng.choice((rng.randrange(0x80), rng.randrange(0xD800), rng.randrange(0x10000, 0x110000))))
    return json.dumps(text, ensure_ascii=rng.random() < 0.5)


def _number(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(NUMBERS)
    if kind < 0.62:
        return rng.choice(INFINITE + NO_NUMBERS)
    if kind < 0.8:
        return str(rng.getrandbits(rng.randrange(1, 80)))
    return repr(rng.choice((rng.uniform(-1000, 1000), rng.random() * 10.0 ** rng.randrange(-320, 308))))


def _placeholder(rng: Random) -> str:
    if rng.random() < 0.7:
        return f'{{"_placeholder":true,"num":{rng.randrange(3)}}}'
    marker = rng.choice(("true", "true", "true", "false", "1", "null", '"true"'))
    fields = [
        f'"_placeholder":{marker}',
        f'"num":{rng.choice((_number(rng), _number(rng), "null", "[0]", _string(rng)))}',
    ]
    if rng.random() < 0.3:
        fields.append(rng.choice(('"num":1', '"a":2', '"_placeholder":true', '"_placeholder":false')))
    rng.shuffle(fields)
    return "{" + ",".join(fields[: rng.choice((1, 3, 3, 3))]) + "}"


def _value(rng: Random, depth: int = 3) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.5:
        return rng.choice((_string, _string, _number, lambda rng: rng.choice(CONSTANTS)))(rng)
    if kind < 0.65:
        return _placeholder(rng)
    blank = rng.choice(BLANKS[: rng.choice((4, 4, 4, 7))]) if rng.random() < 0.2 else ""
    if kind < 0.82:
        return f"[{blank}" + f"{blank},".join(_value(rng, depth - 1) for _ in range(rng.randrange(4))) + "]"
    if kind < 0.995:
        fields = [f"{_string(rng)}{blank}:{_value(rng, depth - 1)}" for _ in range(rng.randrange(4))]
        return "{" + ",".join(fields) + blank + "}"
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"b":', "}]")))
    levels = rng.choice(DEPTHS) // (opening.count("[") + opening.count("{"))
    return opening * levels + _value(rng, 0) + closing * levels


def _array(rng: Random, first: str) -> str:
    items = [first, *(_value(rng) for _ in range(rng.randrange(4)))]
    return "[" + ",".join(items) + "]"


def _data(rng: Random, kind: str) -> str:
    if rng.random() < 0.04:
        return rng.choice((_value(rng), ""))
    if kind in "25":
        return _array(rng, _number(rng) if rng.random() < 0.1 else _string(rng))
    if kind in "36":
        return _array(rng, _value(rng)) if rng.random() < 0.8 else "[]"
    if kind == "1":
        return ""
    field = rng.choice((f'"token":{_value(rng)}', f'"message":{_string(rng)}'))
    return rng.choice(("" if kind == "0" else _string(rng), "{}", f"{{{field}}}", f"{{{field}}}"))


# Messages of each decoder.


def _socket_packet(rng: Random) -> list[bytes]:
    kind = (
        rng.choice("0122222222333445555555566667")
        if rng.random() < 0.97
        else rng.choice((" ", "8", "a", "-1", "", "٣"))
    )
    data = _data(rng, kind or "2")
    attachments: list[bytes] = []
    count = ""
    if kind and kind in "56":
        holes = data.count('"num":')
        if holes == 0 and rng.random() < 0.9:
            kind = str(int(kind) - 3)
        if rng.random() < 0.9:
            numbers = iter(range(holes))
            data = re.sub(r'"num":\d+(?=[,}])', lambda _: f'"num":{next(numbers)}', data)
        count = f"{holes}-" * (kind in "56") if rng.random() < 0.85 else rng.choice(COUNTS)
        attachments = [Binary(rng.choice(BLOBS)) for _ in range(holes)]
    namespace = "" if rng.random() < 0.6 else rng.choice(NAMESPACES) + rng.choice((",", ",", ",", ""))
    number = "" if rng.random() < 0.7 and kind not in ("3", "6") else str(rng.randrange(100))
    if rng.random() < 0.04:
        number = rng.choice(IDS)
    return [(kind + count + namespace + number + data).encode(errors="surrogatepass"), *attachments]


def _socket_packets(rng: Random) -> list[bytes]:
    return [message for _ in range(rng.choice((1, 1, 1, 1, 2, 3))) for message in _socket_packet(rng)]


def _engine_packet(rng: Random) -> bytes:
    if rng.random() < 0.3:
        return _base64(rng)
    return _text_packet(rng)


def _text_packet(rng: Random) -> bytes:
    if rng.random() < 0.6:
        return b"4" + _socket_packet(rng)[0]
    return (rng.choice("0123456") + rng.choice(STRINGS)).encode()


def _base64(rng: Random) -> bytes:
    blob = rng.choice(BLOBS) if rng.random() < 0.5 else rng.randbytes(rng.randrange(12))
    encode = base64.urlsafe_b64encode if rng.random() < 0.1 else base64.b64encode
    text = encode(blob)
    if rng.random() < 0.3:
        text = text.rstrip(b"=")
    return b"b" + text


def _payload(rng: Random) -> list[bytes]:
    many = 999 + rng.randrange(3) if rng.random() < 0.001 else rng.choice((1, 1, 2, 2, 3, 6))
    return [b"\x1e".join(_engine_packet(rng) if many < 10 else b"2" for _ in range(many))]


def _web_socket_packet(rng: Random) -> list[bytes]:
    return [Binary(rng.choice(BLOBS)) if rng.random() < 0.02 else _engine_packet(rng)]


def _packet3(rng: Random) -> bytes:
    """As text; as bytes where the transport has them."""
    if rng.random() < 0.3:
        return b"b" + (rng.choice("0123567 b") if rng.random() < 0.1 else "4").encode() + _base64(rng)[1:]
    return _text_packet(rng)


def _payload3(rng: Random) -> list[bytes]:
    many = 999 + rng.randrange(3) if rng.random() < 0.001 else rng.choice((1, 1, 2, 2, 3, 6))
    packets = [_packet3(rng) if many < 10 else b"2" for _ in range(many)]
    if rng.random() < 0.5:
        return [b"".join(b"%d:%b" % (_units(rng, packet), packet) for packet in packets)]
    return [Binary(b"".join(_binary_record(rng, packet) for packet in packets))]


def _units(rng: Random, packet: bytes) -> int:
    size = len(packet.decode(errors="replace").encode("utf-16-le")) // 2
    return size if rng.random() < 0.97 else max(0, size + rng.randrange(-2, 3))


def _binary_record(rng: Random, packet: bytes) -> bytes:
    kind = rng.random() < 0.4
    if kind:
        packet = _typed_bytes(rng)
    size = len(packet) if rng.random() < 0.97 else max(0, len(packet) + rng.randrange(-2, 3))
    return bytes((kind, *map(int, str(size)), 255)) + packet


def _typed_bytes(rng: Random) -> bytes:
    kind = rng.choice((0, 1, 2, 3, 5, 6, 7, 52)) if rng.random() < 0.1 else 4
    return bytes((kind,)) + rng.choice(BLOBS)


def _web_socket_packet3(rng: Random) -> list[bytes]:
    if rng.random() < 0.3:
        return [Binary(_typed_bytes(rng))]
    return [_packet3(rng)]


_MAKERS: dict[str, Callable[[Random], list[bytes]]] = {
    "payload4": _payload,
    "packet4": _web_socket_packet,
    "payload3": _payload3,
    "packet3": _web_socket_packet3,
    "socket5": _socket_packets,
    "msgpack": msgpack_packet,
}

# Meddling.


def _meddle(rng: Random, messages: list[bytes], make: Callable[[Random], list[bytes]]) -> None:
    place = rng.randrange(len(messages))
    message = messages[place]
    if len(messages) > 1 and rng.random() < 0.15:
        action = rng.randrange(3)
        if action == 0:
            del messages[place]
        elif action == 1:
            messages.insert(rng.randrange(len(messages)), message)
        else:
            messages.append(messages.pop(place))
    elif rng.random() < 0.3:
        messages[place] = _meddled_text(rng, message)
    else:
        messages[place] = type(message)(rng.choice(_BYTE_MEDDLERS)(rng, message, make))


def _slice(rng: Random, size: int) -> tuple[int, int]:
    start = rng.randrange(size + 1)
    return start, min(size, start + rng.choice((0, 1, 1, 2, 5, 20)))


def _flip(rng: Random, data: bytes, _: object) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(rng: Random, data: bytes, _: object) -> bytes:
    # The head of a packet is where a token means most.
    place = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(len(data), 8) + 1)
    return data[:place] + rng.choice(TOKENS) + data[place:]


def _replace(rng: Random, data: bytes, _: object) -> bytes:
    start, end = _slice(rng, len(data))
    return data[:start] + rng.choice(TOKENS) + data[end:]


def _delete(rng: Random, data: bytes, _: object) -> bytes:
    start, end = _slice(rng, len(data))
    return data[:start] + data[end:]


def _duplicate(rng: Random, data: bytes, _: object) -> bytes:
    start, end = _slice(rng, len(data))
    return data[:end] + data[start:end] + data[end:]


def _truncate(rng: Random, data: bytes, _: object) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _trail(rng: Random, data: bytes, _: object) -> bytes:
    return data + rng.choice(TOKENS)


def _renumber(rng: Random, data: bytes, _: object) -> bytes:
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return data
    start, end = rng.choice(found).span()
    return data[:start] + rng.choice((*NUMBERS, *INFINITE, *NO_NUMBERS, *IDS)).encode() + data[end:]


def _splice(rng: Random, data: bytes, make: Callable[[Random], list[bytes]]) -> bytes:
    other = make(rng)[0]
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_BYTE_MEDDLERS = (_flip, _insert, _insert, _replace, _delete, _duplicate, _truncate, _trail, _renumber, _splice)


def _meddled_text(rng: Random, message: bytes) -> bytes:
    """By characters, so that what comes out is UTF-8 still."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return message
    start, end = _slice(rng, len(text))
    other = rng.choice((rng.choice(STRINGS), rng.choice(BLANKS), rng.choice(SPELLINGS), chr(rng.randrange(0x20, 0x7F))))
    return type(message)((text[:start] + other + text[end:]).encode())
