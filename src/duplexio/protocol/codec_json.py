"""JSON, by orjson: the fastest of those measured that can be kept from writing bytes as text.

`Codec` is the seam. A codec turns a value into JSON bytes, taking the binaries out on the way, and back.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from duplexio.errors import EncodeError, SocketPacketError

__all__ = ["Codec", "JsonCodec", "NoCodec", "UserCodec", "as_builtin"]

Attachments = list[bytes]

# A tuple: `a | b` makes an object each time that it is asked.
_BINARIES = (bytes, bytearray, memoryview)

# What is left of surrogates in a str is lone: the parser has joined the pairs.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Codec(Protocol):
    """What turns values into the text of a packet and back."""

    @property
    def dumps(self) -> Callable[[Any], bytes]:
        """For the hot case: a value without binaries. Raises TypeError where there may be some; `encode` decides."""

    @property
    def loads(self) -> Callable[[bytes], Any]:
        """For the hot case: raises ValueError for anything that is not plain, correct JSON; `decode` then decides."""

    def encode(self, value: Any, refused: bool = False) -> tuple[bytes, Attachments]:
        """JSON in UTF-8, and the binaries that were in it, in order; a placeholder stands where each was.

        `refused`: `dumps` has raised TypeError for it, and is not to be asked again.

        Raises EncodeError for what cannot be sent. NaN and the infinities become null.
        """

    def decode(self, text: bytes) -> Any:
        """The value. Raises SocketPacketError for malformed, or too deeply nested, JSON."""


class JsonCodec:
    """The default."""

    __slots__ = ()

    dumps = staticmethod(orjson.dumps)
    loads = staticmethod(orjson.loads)

    def encode(self, value: Any, refused: bool = False) -> tuple[bytes, Attachments]:
        if refused:
            return _encode_with_binaries(value)
        try:
            # Without a hook: nearly all packets are of plain values, and making a hook costs more than the encoding.
            return orjson.dumps(value), []
        except TypeError:
            return _encode_with_binaries(value)

    def decode(self, text: bytes) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if b"\\u" in text:
                return _decode_surrogates(text)
            raise SocketPacketError(f"malformed JSON: {error}") from error


class UserCodec:
    """A user's own `dumps` and `loads`. Binaries are taken out first, so the functions need not know of them."""

    __slots__ = ("_decode", "_dumps", "dumps", "loads")

    def __init__(self, dumps: Callable[[Any], bytes] | None, loads: Callable[[bytes], Any] | None) -> None:
        self._dumps = _dumps_plain if dumps is None else dumps
        self.dumps: Callable[[Any], bytes] = _never_plain
        self.loads: Callable[[bytes], Any] = orjson.loads if loads is None else loads
        self._decode = JsonCodec().decode if loads is None else loads

    def encode(self, value: Any, refused: bool = False) -> tuple[bytes, Attachments]:
        attachments: Attachments = []
        try:
            text = self._dumps(_without_binaries(value, attachments))
            return text.encode() if isinstance(text, str) else text, attachments
        except Exception as error:
            raise EncodeError(f"dumps could not encode it: {error}") from error

    def decode(self, text: bytes) -> Any:
        try:
            return self._decode(text)
        except (ValueError, RecursionError) as error:
            raise SocketPacketError(f"malformed JSON: {error}") from error


class NoCodec:
    """Stands where a parser writes whole packets: nothing is JSON's hot case then."""

    __slots__ = ()

    def dumps(self, value: Any) -> bytes:
        raise TypeError

    def loads(self, text: bytes) -> Any:
        raise ValueError

    def encode(self, value: Any, refused: bool = False) -> tuple[bytes, Attachments]:
        raise NotImplementedError

    def decode(self, text: bytes) -> Any:
        raise NotImplementedError


def _dumps_plain(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _never_plain(value: Any) -> bytes:
    """A user's function could write bytes as text, so every value is looked through first."""
    raise TypeError


def _encode_with_binaries(value: Any) -> tuple[bytes, Attachments]:
    attachments: Attachments = []

    def unknown(item: Any) -> Any:
        if isinstance(item, _BINARIES):
            attachments.append(bytes(item))
            return {"_placeholder": True, "num": len(attachments) - 1}
        return as_builtin(item)

    try:
        return orjson.dumps(value, default=unknown, option=orjson.OPT_NON_STR_KEYS), attachments
    except TypeError as error:
        cause = error.__cause__
        # What our own hook said is in the message already; what a user's model raised has a traceback of interest.
        raise EncodeError(f"cannot be sent as JSON: {error if cause is None else cause}") from (
            None if isinstance(cause, _NotJson | None) else cause
        )


class _NotJson(TypeError):
    """No codec can write this value."""


def as_builtin(item: Any) -> Any:
    """What no encoder knows, as what it does. Raises TypeError.

    Named tuples, and values of the common model libraries without importing any of them."""
    if isinstance(item, tuple):
        return list(item)
    dump = getattr(item, "model_dump", None)  # pydantic
    if callable(dump):
        return dump()
    names = getattr(item, "__struct_fields__", None)  # msgspec
    if names is not None:
        return {name: getattr(item, name) for name in names}
    names = getattr(item, "__attrs_attrs__", None)  # attrs
    if names is not None:
        return {field.name: getattr(item, field.name) for field in names}
    if inspect.iscoroutine(item):
        item.close()
        raise _NotJson(f"a coroutine that nobody awaited ({item.__qualname__}); `await` it, in an `async def`")
    if callable(item) and not isinstance(item, type):
        raise _NotJson("a function; `emit(..., ack=function)` is how an acknowledgement is heard")
    raise _NotJson(f"a value of type {type(item).__qualname__}")


def _without_binaries(value: Any, attachments: Attachments) -> Any:
    if isinstance(value, _BINARIES):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_binaries(item, attachments) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_binaries(item, attachments) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _without_binaries(getattr(value, field.name), attachments)
            for field in dataclasses.fields(value)
        }
    try:
        plain = as_builtin(value)
    except TypeError:
        return value
    return _without_binaries(plain, attachments)


def _decode_surrogates(text: bytes) -> Any:
    """JavaScript sends lone surrogates as escapes and means nothing by it: each becomes U+FFFD, the packet lives.

    The standard library's parser takes them; what else it takes and JSON does not is refused here.
    """
    try:
        # Parsed twice: the second time by orjson, so that the same limits hold as for any packet.
        plain = json.dumps(json.loads(text.decode(), parse_constant=_no_constant), ensure_ascii=False, allow_nan=False)
        return orjson.loads(_LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", plain))
    except (ValueError, RecursionError) as error:
        raise SocketPacketError(f"malformed JSON: {error}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
