"""What servers of this library say to each other: one record, one message of the bus. Compact, and checked on receipt.

A version byte, then MessagePack by msgspec, which gives each record's type and its fields, or refuses the message. The
formats of other libraries' servers are a driver's affair.

An event travels as the text its receivers get, with its attachments: who has no receiver for it never parses it.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec

from duplexio.errors import ClusterMessageError, EncodeError
from duplexio.observe import shown
from duplexio.protocol.codec_json import as_builtin

__all__ = [
    "Anew",
    "Ask",
    "Beat",
    "Broadcast",
    "Bye",
    "CarriedEvent",
    "Disconnect",
    "Fence",
    "Fetch",
    "Hello",
    "Inherit",
    "Join",
    "Leave",
    "MovedSession",
    "Record",
    "Recover",
    "Reply",
    "ServerEvent",
    "Taken",
    "decode",
    "encode",
    "likeness",
    "plain",
    "read_session",
    "sized",
]

#: The format's; another is refused, so that two versions of this library do not misread each other.
VERSION = b"\x01"
#: What is counted from nothing; a number below it would be somebody's who means no good.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A server has come, and has sent so many events to all; who hears it answers with a `Beat`."""

    number: Count = 0


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A server is there, and has sent so many events to all.

    Attributes:
        closing: whether nothing is to be left to it.
        keeps: the namespaces, and parents of them, whose sessions it can take: those where it has recovery, too.
    """

    number: Count = 0
    closing: bool = False
    keeps: list[str] = []


class Bye(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A server is about to go: nobody is to wait for it."""


class Broadcast(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """An event for the sockets of a namespace that `rooms` and `except_` select.

    `form` 0: `text` is the JSON of name and arguments. 1: a parser's whole message, as a text; 2: as the attachment.
    """

    namespace: str
    rooms: list[str]
    except_: list[str]
    form: int
    text: bytes
    attachments: list[bytes]
    volatile: bool = False
    compress: bool = True
    #: How many events this server has sent to all, with this one.
    number: Count = 0


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The same, and each of them is to acknowledge it within `timeout` seconds."""

    request: int
    namespace: str
    rooms: list[str]
    except_: list[str]
    form: int
    text: bytes
    attachments: list[bytes]
    timeout: float
    volatile: bool = False
    compress: bool = True


class Join(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """They are to join `names`."""

    namespace: str
    rooms: list[str]
    except_: list[str]
    names: list[str]


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """They are to leave `names`."""

    namespace: str
    rooms: list[str]
    except_: list[str]
    names: list[str]


class Disconnect(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """They are to be disconnected."""

    namespace: str
    rooms: list[str]
    except_: list[str]
    close: bool


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A record of each of them is wanted."""

    request: int
    namespace: str
    rooms: list[str]
    except_: list[str]


class ServerEvent(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """An event for the servers themselves; `request` -1: no answer is wanted."""

    request: int
    event: str
    args: list[Any]


class Reply(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Some of a server's answers to a request.

    Attributes:
        expected: how many it will give in all, said once; -1: it was said, or will be.
        values: those that are in here.
        failed: how many of them there will not be.
    """

    request: int
    expected: int
    values: list[Any]
    failed: Count = 0


class Recover(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """The session of a client that has come to another server is wanted, and what it missed.

    Its answers are a `MovedSession`, and a `CarriedEvent` for each that was missed.
    """

    request: int
    namespace: str
    pid: str
    offset: str | None


class CarriedEvent(NamedTuple):
    """An event on the way to another server.

    Attributes:
        origin: by which all servers know it; None: they do not.
        age: how many seconds ago it came.
    """

    origin: tuple[str, Count] | None
    age: float
    form: int
    text: bytes
    attachments: list[bytes]


class MovedSession(msgspec.Struct, frozen=True):
    """A session that goes to another server.

    Attributes:
        seen: how many events of each server are in it at the most, with what it missed.
        away: for how many seconds its client has been.
        copied: whether it comes from a copy, of a server that was lost: whoever has the session itself knows better.
    """

    sid: str
    rooms: list[str]
    data: Any
    seen: dict[str, Count]
    away: float = 0.0
    copied: bool = False


class Inherit(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """What a server that closes leaves to another, in as many messages as it takes, all with the same `epoch`.

    Or what one that lives copies there, in messages without an end.

    Attributes:
        place, last: how many of these messages came before it, and whether none comes after it.
        number, forgotten: of the last packet in its log, and of the last one that is not there any more.
        seen: how many events of each server are in it at the most.
        sessions: of each its secret, id, rooms, data, the number of a packet up to which it has missed nothing, seconds
            since it left, the offset it came with, and how many events it has of servers that have gone, where that is
            more than its server has got.
        packets: of each its number, age in seconds, rooms, rooms left out, origin, and the text and attachments that
            were stored, offset included; of those that one of the sessions may have missed.
        gone: the secrets of sessions that were told of, and are no more.
        copied: whether the server lives.
    """

    namespace: str
    epoch: str
    place: Count
    last: bool
    number: Count
    forgotten: Count
    seen: dict[str, Count]
    sessions: list[tuple[str, str, list[str], Any, Count, float, str | None, dict[str, Count]]]
    packets: list[tuple[Count, float, list[str], list[str], tuple[str, Count] | None, bytes, list[bytes]]]
    gone: list[str] = []
    copied: bool = False


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """The session has come to this server: who has it as another's inheritance, too, has it no more."""

    namespace: str
    pid: str


class Fence(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """An answer without values is wanted, when what this server has sent before was worked off."""

    request: int


class Anew(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """What is copied to this server, of this namespace, is no good without what is missing: all of it again."""

    namespace: str


Record: TypeAlias = (
    Hello
    | Beat
    | Bye
    | Broadcast
    | Ask
    | Join
    | Leave
    | Disconnect
    | Fetch
    | ServerEvent
    | Reply
    | Recover
    | Inherit
    | Taken
    | Fence
    | Anew
)


def _unknown(value: Any) -> Any:
    try:
        return as_builtin(value)
    except TypeError as error:
        raise NotImplementedError(str(error)) from error


_encoder = msgspec.msgpack.Encoder(enc_hook=_unknown)
_decoder = msgspec.msgpack.Decoder(Record)
#: Of what another server answered, its bytes as they are.
_BYTES = (bytes,)


def encode(record: Record) -> bytes:
    """The message of a record. Raises EncodeError for a value that cannot travel."""
    try:
        return VERSION + _encoder.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error


def decode(message: bytes) -> Record:
    """The record in a message. Raises ClusterMessageError."""
    if message[:1] != VERSION:
        raise ClusterMessageError(
            f"a message of another format: {shown(message)}; do all servers run the same version of duplexio?"
        )
    try:
        record: Record = _decoder.decode(memoryview(message)[1:])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ClusterMessageError(f"a message that is none of a cluster's: {error}: {shown(message)}") from error
    return record


def read_session(answers: list[Any]) -> tuple[MovedSession, list[CarriedEvent]]:
    """What a server answered to `Recover`. Raises ClusterMessageError."""
    try:
        return (
            msgspec.convert(answers[0], MovedSession, builtin_types=_BYTES),
            msgspec.convert(answers[1:], list[CarriedEvent], builtin_types=_BYTES),
        )
    except (msgspec.MsgspecError, IndexError) as error:
        raise ClusterMessageError(f"a session that is none: {error}") from error


def plain(value: Any) -> Any:
    """A copy as JSON would make it of the same value, bytes aside, which stay.

    So that a value means the same whether a server or a client gets it: a date is a text, keys are texts. Raises
    EncodeError where it could not travel.
    """
    return sized(value)[0]


def sized(value: Any) -> tuple[Any, int]:
    """The same, and how many bytes of a message it takes."""
    try:
        copy = msgspec.to_builtins(
            value, builtin_types=(bytes, bytearray, memoryview), str_keys=True, enc_hook=_unknown
        )
        # A text with half a character is refused here, where one value is left out for it, and not the whole record.
        return copy, len(_encoder.encode(copy))
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error


def likeness(value: Any) -> int:
    """What tells whether a value has changed, within this process; in a tenth of the time of `plain`.

    Raises EncodeError where it could not travel; not for all that `plain` refuses.
    """
    try:
        return hash(_encoder.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise EncodeError(f"cannot be sent to other servers: {error}") from error
