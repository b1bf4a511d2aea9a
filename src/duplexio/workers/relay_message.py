"""What workers say to each other about requests, as bytes: frames on a stream, and the words in them.

A frame is the size of its payload, a kind, and the number of the request it is about. A long message is several frames:
all but the last are marked, and who reads takes those of other messages in between.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum

from duplexio.engine.neighbour import Answer
from duplexio.protocol.engine_handshake import MESSAGES, Refusal, Request

__all__ = [
    "HELLO_SIZE",
    "Frames",
    "Hello",
    "Kind",
    "RelayError",
    "headers_of",
    "hello",
    "kind_of_hello",
    "pack",
    "pack_answer",
    "pack_refusal",
    "pack_request",
    "unpack",
    "unpack_answer",
    "unpack_refusal",
    "unpack_request",
    "write_frames",
]

Headers = list[tuple[bytes, bytes]]

_HEAD = struct.Struct("!IBI")
_SIZE = struct.Struct("!I")
_MORE = 0x80
#: What one frame carries at the most. A long body is cut, so that no reader keeps more than this of what is not yet
#: known to be within its limit.
PIECE = 65_536
#: The head of a request, with what describes it: a host takes one of 64 KiB, and each word has four bytes more.
MAX_HEAD = 262_144
#: The pieces of messages that are not complete, of one stream: a hundred bodies of the usual limit, or a single one of
#: the limit that the stream has.
MAX_INCOMPLETE = 128 * 1024 * 1024
#: The words of a message: each takes four bytes and what is in it, and a head of 64 KiB may be of empty fields alone.
MAX_WORDS = MAX_HEAD // 4

#: What a connection between workers begins with, and what is said on it then.
_MAGIC = b"dpx1"
HELLO_SIZE = 5


class Hello(IntEnum):
    """What a connection is for."""

    ASKING = 1
    BRIDGE = 2
    DESCRIPTOR = 3


class Kind(IntEnum):
    """Of a frame."""

    # To the worker that has the session.
    ASK = 1
    CANCEL = 2
    RELEASE = 3
    #: The answer to a poll is on its way to the client, whatever becomes of the worker that it went to.
    WRITTEN = 16
    # From it.
    ANSWER = 4
    # A WebSocket's, on a stream of its own, both ways.
    OPEN = 5
    ACCEPT = 6
    REFUSE = 7
    TEXT = 8
    BINARY = 9
    #: Text, or bytes, that are to be kept out of compression.
    PLAIN_TEXT = 10
    PLAIN_BINARY = 11
    CLOSE = 12
    FAIL = 13
    #: How the WebSocket has ended, from the worker that held it.
    LOST = 14
    #: A connection that is given away; its descriptor came with the hello.
    ADOPT = 15
    #: The same, with the headers of the answer to its handshake.
    ADOPT_WITH = 17


_KINDS = frozenset(Kind)


class RelayError(ValueError):
    """A neighbour's bytes are not what was agreed on."""


def hello(purpose: Hello) -> bytes:
    return _MAGIC + bytes((purpose,))


def kind_of_hello(data: bytes) -> Hello:
    """Raises RelayError."""
    if data[: len(_MAGIC)] != _MAGIC or len(data) < HELLO_SIZE:
        raise RelayError("no greeting of a worker of this version")
    try:
        return Hello(data[len(_MAGIC)])
    except ValueError:
        raise RelayError("a greeting for a purpose that is not known") from None


def write_frames(kind: Kind, number: int, payload: bytes) -> Iterator[bytes]:
    """The message as it is written: one piece, mostly."""
    size = len(payload)
    if size <= PIECE:
        yield _HEAD.pack(size, kind, number) + payload
        return
    for begin in range(0, size, PIECE):
        piece = payload[begin : begin + PIECE]
        more = _MORE if begin + PIECE < size else 0
        yield _HEAD.pack(len(piece), kind | more, number) + piece


class Frames:
    """Makes messages of what is read from a stream."""

    __slots__ = ("_buffer", "_incomplete", "_max_message", "_waiting")

    def __init__(self, max_message: int) -> None:
        self._buffer = bytearray()
        self._max_message = max_message
        self._incomplete: dict[int, bytearray] = {}
        self._waiting = 0

    def feed(self, data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
        """The messages that are complete now: kind, number, payload. Raises RelayError."""
        buffer = self._buffer
        buffer += data
        begin = 0
        try:
            while len(buffer) - begin >= _HEAD.size:
                size, kind, number = _HEAD.unpack_from(buffer, begin)
                if size > PIECE:
                    raise RelayError(f"a frame of {size} bytes; {PIECE} is the most")
                if kind & ~_MORE not in _KINDS:
                    raise RelayError(f"a frame of kind {kind}")
                end = begin + _HEAD.size + size
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[begin + _HEAD.size : end])
                begin = end
                if kind & _MORE or number in self._incomplete:
                    joined = self._join(number, payload, bool(kind & _MORE))
                    if joined is None:
                        continue
                    payload = joined
                yield Kind(kind & ~_MORE), number, payload
        finally:
            del buffer[:begin]

    def _join(self, number: int, payload: bytes, more: bool) -> bytes | None:
        pieces = self._incomplete.setdefault(number, bytearray())
        pieces += payload
        self._waiting += len(payload)
        if len(pieces) > self._max_message or self._waiting > max(MAX_INCOMPLETE, self._max_message):
            raise RelayError(f"a message of over {self._max_message} bytes, or too many incomplete ones")
        if more:
            return None
        del self._incomplete[number]
        self._waiting -= len(pieces)
        return bytes(pieces)


def pack(words: Sequence[bytes]) -> bytes:
    """Words of any bytes, one behind the other."""
    parts: list[bytes] = []
    for word in words:
        parts += (_SIZE.pack(len(word)), word)
    return b"".join(parts)


def unpack(data: bytes) -> list[bytes]:
    """Raises RelayError."""
    words: list[bytes] = []
    begin = 0
    while begin < len(data):
        if begin + 4 > len(data) or len(words) >= MAX_WORDS:
            raise RelayError("words that do not fit")
        (size,) = _SIZE.unpack_from(data, begin)
        end = begin + 4 + size
        if end > len(data):
            raise RelayError("a word that is cut off")
        words.append(data[begin + 4 : end])
        begin = end
    return words


_SECURE, _WEBSOCKET = 1, 2


def pack_request(request: Request, *more: bytes) -> bytes:
    """The request as its host understood it, and what goes with it."""
    flags = (_SECURE if request.secure else 0) | (_WEBSOCKET if request.websocket else 0)
    words = [
        request.method.encode("latin-1"),
        request.path.encode("utf-8", "surrogateescape"),
        request.query_string,
        request.address.encode("utf-8", "surrogateescape"),
        request.peer.encode("utf-8", "surrogateescape"),
        bytes((flags, len(more))),
        *more,
    ]
    for name, value in request.raw_headers:
        words += (name, value)
    return pack(words)


def unpack_request(data: bytes, more: int) -> tuple[Request, list[bytes]]:
    """The request, and so many words that go with it. Raises RelayError."""
    words = unpack(data)
    begin = 6 + more
    if len(words) < begin or len(words[5]) != 2 or words[5][1] != more or (len(words) - begin) % 2:
        raise RelayError("no request")
    method, path, query, address, peer = words[:5]
    flags = words[5][0]
    request = Request(
        method.decode("latin-1"),
        path.decode("utf-8", "surrogateescape"),
        query,
        headers_of(words[begin:]),
        address.decode("utf-8", "surrogateescape"),
        bool(flags & _SECURE),
        bool(flags & _WEBSOCKET),
        peer=peer.decode("utf-8", "surrogateescape"),
    )
    return request, words[6:begin]


def headers_of(words: Sequence[bytes]) -> Headers:
    """Raises RelayError."""
    if len(words) % 2:
        raise RelayError("a header without a value")
    return list(zip(words[::2], words[1::2], strict=True))


def pack_answer(answer: Answer) -> bytes:
    words = [b"%d" % answer.status, b"1" if answer.compressible else b"", answer.content_type, answer.body]
    for name, value in answer.headers:
        words += (name, value)
    return pack(words)


def unpack_answer(data: bytes) -> Answer:
    """Raises RelayError."""
    words = unpack(data)
    if len(words) < 4 or len(words) % 2 or not (words[0].isdigit() and len(words[0]) == 3):
        raise RelayError("no answer")
    status, compressible, content_type, body = words[:4]
    return Answer(int(status), headers_of(words[4:]), content_type, body, bool(compressible))


def pack_refusal(refusal: Refusal) -> bytes:
    texts = (refusal.cause, refusal.hint, refusal.message)
    words = [text.encode("utf-8", "surrogateescape") for text in texts]
    return pack([b"%d" % refusal.code, b"%d" % refusal.status, *words])


def unpack_refusal(data: bytes) -> Refusal:
    """Raises RelayError."""
    words = unpack(data)
    if len(words) != 5 or not (words[0].isdigit() and words[1].isdigit() and len(words[1]) <= 3):
        raise RelayError("no refusal")
    code, status = int(words[0][:3]), int(words[1])
    if code not in MESSAGES:
        raise RelayError(f"a refusal of code {code}")
    cause, hint, message = (word.decode("utf-8", "surrogateescape") for word in words[2:])
    return Refusal(code, cause, hint, message, status)
