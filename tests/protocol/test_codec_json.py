"""Values to JSON and back: binaries out and in, models of the common libraries, and what cannot be sent."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import uuid
from array import array
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EncodeError, SocketPacketError
from duplexio.protocol.codec_json import Codec, JsonCodec, UserCodec

from .feeding import outcome, prefixes, refuses

JSON = JsonCodec()
#: A user's functions: the standard library's, as they are.
STANDARD = UserCodec(lambda value: json.dumps(value).encode(), json.loads)
CODECS: dict[str, Codec] = {"json": JSON, "user": STANDARD, "user-defaults": UserCodec(None, None)}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]


def sent(codec: Codec, value: Any) -> tuple[Any, list[bytes]]:
    text, attachments = codec.encode(value)
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")), attachments


def hole(number: int) -> dict[str, Any]:
    return {"_placeholder": True, "num": number}


@dataclasses.dataclass
class Picture:
    name: str
    data: Any
    tags: tuple[Any, ...] = ()


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    data: Any


class Model(pydantic.BaseModel):
    name: str
    data: bytes


class Nested(pydantic.BaseModel):
    first: Model
    second: bytes


class Struct(msgspec.Struct):
    name: str
    data: Any


class AttrsField:
    def __init__(self, name: str) -> None:
        self.name = name


class AttrsLike:
    """What attrs makes of a class, as far as it can be told from outside."""

    __attrs_attrs__ = (AttrsField("name"), AttrsField("data"))

    def __init__(self, name: str, data: Any) -> None:
        self.name = name
        self.data = data


class Point(NamedTuple):
    x: int
    y: Any


class Bytes(bytes):
    pass


class Text(str):
    pass


# A value, what it is in JSON, and its attachments.
BINARIES: dict[str, tuple[Any, Any, list[bytes]]] = {
    "bytes": ([b"a"], [hole(0)], [b"a"]),
    "empty": ([b""], [hole(0)], [b""]),
    "bytearray": ([bytearray(b"a")], [hole(0)], [b"a"]),
    "memoryview": ([memoryview(b"abc")[1:]], [hole(0)], [b"bc"]),
    "memoryview-with-steps": ([memoryview(b"abcd")[::2]], [hole(0)], [b"ac"]),
    "memoryview-of-words": ([memoryview(array("H", [1, 2, 3]))[1:]], [hole(0)], [array("H", [2, 3]).tobytes()]),
    "memoryview-of-numbers": ([memoryview(array("d", [0.5]))], [hole(0)], [array("d", [0.5]).tobytes()]),
    "subclass": ([Bytes(b"a")], [hole(0)], [b"a"]),
    "alone": (b"a", hole(0), [b"a"]),
    "twice": ([b"a", b"a"], [hole(0), hole(1)], [b"a", b"a"]),
    "in-a-dict": ([{"k": b"a", "l": {"m": b"b"}}], [{"k": hole(0), "l": {"m": hole(1)}}], [b"a", b"b"]),
    "in-a-tuple": ([(b"a", (b"b",))], [[hole(0), [hole(1)]]], [b"a", b"b"]),
    "in-order": (
        [b"1", {"a": b"2", "b": [b"3"]}, b"4"],
        [hole(0), {"a": hole(1), "b": [hole(2)]}, hole(3)],
        [b"1", b"2", b"3", b"4"],
    ),
    "dataclass": ([Picture("n", b"a", (b"b",))], [{"name": "n", "data": hole(0), "tags": [hole(1)]}], [b"a", b"b"]),
    "frozen-dataclass": ([Frozen(bytearray(b"a"))], [{"data": hole(0)}], [b"a"]),
    "dataclass-in-dataclass": ([Frozen(Frozen(b"a")), b"b"], [{"data": {"data": hole(0)}}, hole(1)], [b"a", b"b"]),
    "pydantic": ([Model(name="n", data=b"\xff")], [{"name": "n", "data": hole(0)}], [b"\xff"]),
    "pydantic-nested": (
        [Nested(first=Model(name="n", data=b"a"), second=b"b")],
        [{"first": {"name": "n", "data": hole(0)}, "second": hole(1)}],
        [b"a", b"b"],
    ),
    "msgspec": ([Struct("n", b"a")], [{"name": "n", "data": hole(0)}], [b"a"]),
    "msgspec-nested": (
        [Struct("n", [Struct("m", b"a")])],
        [{"name": "n", "data": [{"name": "m", "data": hole(0)}]}],
        [b"a"],
    ),
    "attrs": ([AttrsLike("n", b"a")], [{"name": "n", "data": hole(0)}], [b"a"]),
    "models-in-models": (
        [Picture("p", Struct("s", AttrsLike("a", Model(name="m", data=b"1"))), (b"2",))],
        [
            {
                "name": "p",
                "data": {"name": "s", "data": {"name": "a", "data": {"name": "m", "data": hole(0)}}},
                "tags": [hole(1)],
            }
        ],
        [b"1", b"2"],
    ),
}


@pytest.mark.parametrize("name", BINARIES)
def test_binaries_become_attachments_in_order(name: str, codec: Codec) -> None:
    value, expected, attachments = BINARIES[name]
    assert sent(codec, value) == (expected, attachments)
    assert all(type(item) is bytes for item in codec.encode(value)[1])


def test_an_attachment_is_a_copy(codec: Codec) -> None:
    data = bytearray(b"abc")
    _, (attachment,) = codec.encode([data])
    data[0] = 0
    assert attachment == b"abc"


def test_what_is_sent_stays_as_it_is(codec: Codec) -> None:
    """The same objects go to many, and are the user's afterwards."""
    data = bytearray(b"abc")
    inner = {"k": data, "l": [b"x", None], "m": None}
    value = ["event", inner, data]
    codec.encode(value)
    assert value == ["event", {"k": b"abc", "l": [b"x", None], "m": None}, b"abc"]
    assert value[1] is inner
    assert value[2] is inner["k"] is data


PLAIN: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "scalars": ([1, -1.5, "a", True, False, None], [1, -1.5, "a", True, False, None]),
    "tuple": ((1, 2), [1, 2]),
    "named-tuple": ([[1], [2]], [[1], [2]]),
    "unicode": (["é€😀\u2028"], ["é€😀\u2028"]),
    "ordered": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "largest-int": ([2**53, -(2**53)], [2**53, -(2**53)]),
    "64-bits": ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
    "dataclass": ([Picture("n", None)], [{"name": "n", "data": None, "tags": []}]),
    "msgspec": ([Struct("n", 1)], [{"name": "n", "data": 1}]),
    "attrs": ([AttrsLike("n", 1)], [{"name": "n", "data": 1}]),
    "int-keys": ({1: "a", 2: "b"}, {"1": "a", "2": "b"}),
    "other-keys": ({None: 1, True: 2, 1.5: 3}, {"null": 1, "true": 2, "1.5": 3}),
    "int-keys-with-bytes-in-a-model": ([AttrsLike("n", {1: None})], [{"name": "n", "data": {"1": None}}]),
    "str-subclass": ([Text("a")], ["a"]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values(name: str, codec: Codec) -> None:
    value, expected = PLAIN[name]
    assert sent(codec, value) == (expected, [])


def test_keys_beside_binaries(codec: Codec) -> None:
    assert sent(codec, {1: b"a", "b": {2: b"c"}}) == ({"1": hole(0), "b": {"2": hole(1)}}, [b"a", b"c"])


class Colour(enum.Enum):
    RED = "red"


def test_what_the_default_codec_knows_besides() -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    number = uuid.UUID("12345678-1234-5678-1234-567812345678")
    value = [moment, moment.date(), number, Colour.RED]
    assert sent(JSON, value) == (["2026-01-02T03:04:05+00:00", "2026-01-02", str(number), "red"], [])


def test_a_named_tuple_is_an_array(codec: Codec) -> None:
    # orjson knows no subclass of tuple; JSON has no other word for one.
    assert sent(codec, [Point(1, b"a")]) == ([[1, hole(0)]], [b"a"])


NOT_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("number", NOT_NUMBERS)
@pytest.mark.parametrize("beside", [(), (b"a",)])
def test_what_is_no_number_becomes_null(number: float, beside: tuple[bytes, ...], codec: Codec) -> None:
    value, attachments = sent(codec, [number, {"a": number}, *beside])
    assert value[:2] == [None, {"a": None}]
    assert attachments == list(beside)


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Raising:
    def model_dump(self) -> Any:
        raise RuntimeError("no")


UNSENDABLE: dict[str, Any] = {
    "set": {1, 2},
    "object": object(),
    "function": print,
    "class": Picture,
    "complex": 1j,
    "circular": circular(),
    "in-a-dataclass": Picture("n", {1}),
    "in-a-model": Struct("n", object()),
    "beside-bytes": [b"a", {1}],
    "model-that-raises": Raising(),
}


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent(name: str, codec: Codec) -> None:
    with pytest.raises(EncodeError) as caught:
        codec.encode(["event", UNSENDABLE[name]])
    if name == "model-that-raises":
        assert isinstance(caught.value.__cause__, RuntimeError)


async def test_what_is_not_sent_but_awaited_or_given_as_ack() -> None:
    async def later() -> None: ...

    with pytest.raises(EncodeError, match=r"later\); `await` it"):
        JSON.encode(["event", later()])
    with pytest.raises(EncodeError, match="ack=function"):
        JSON.encode(["event", lambda: None])


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30, "\ud800", {"\udfff": 1}, {(1, 2): 3}, {b"a": 1}])
def test_what_json_by_orjson_cannot_carry(value: Any) -> None:
    with pytest.raises(EncodeError):
        JSON.encode([value])
    with pytest.raises(EncodeError):
        JSON.encode([value, b"a"])


def test_the_error_names_the_type() -> None:
    with pytest.raises(EncodeError, match="UnsendableThing"):
        JSON.encode([b"a", type("UnsendableThing", (), {})()])


# Decoding.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[]", []),
        (b'{"a":[1,2.5,"b",null,true]}', {"a": [1, 2.5, "b", None, True]}),
        ('"é€😀"'.encode(), "é€😀"),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        (b" [ 1 ] ", [1]),
    ],
)
def test_decoding(text: bytes, expected: Any, codec: Codec) -> None:
    assert codec.decode(text) == expected


MALFORMED = [
    b"",
    b" ",
    b"[",
    b"]",
    b"[1",
    b"[1,]",
    b"{",
    b'{"a"}',
    b"{1:2}",
    b"'a'",
    b'"a',
    b"nul",
    b"[1]x",
    b"\xff",
    b'"\xff"',
    b'"\x01"',
    b'["\\x"]',
    b'["\\u12"]',
    b'["\\u",1]',
    b"\\u0041",
    b'["\\ud800"',
    b'{"\\ud800":}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed(text: bytes, codec: Codec) -> None:
    refuses(codec.decode, text, SocketPacketError, "malformed")


@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b"[-Infinity]", b"1e400", b"[-1e400]", b'["\\ud800",NaN]', b'["\\ud800",1e400]']
)
def test_numbers_that_json_has_not(text: bytes) -> None:
    refuses(JSON.decode, text, SocketPacketError, "malformed")


def test_integers_beyond_64_bits_are_what_javascript_makes_of_them() -> None:
    """`JSON.stringify(1e20)` writes such integers: they are numbers like all others."""
    assert JSON.decode(b"[100000000000000000000,-9223372036854775809]") == [1e20, -9223372036854775809.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'["\\ud800"]', ["\N{REPLACEMENT CHARACTER}"]),
        (b'["a\\udfffb"]', ["a\N{REPLACEMENT CHARACTER}b"]),
        (b'{"\\ud800":1}', {"\N{REPLACEMENT CHARACTER}": 1}),
        (b'["\\ud83d\\ude00\\ud83d"]', ["😀\N{REPLACEMENT CHARACTER}"]),
        (b'["\\ude00\\ud83d"]', ["\N{REPLACEMENT CHARACTER}" * 2]),
        (b'["\\ud800",{"a":[1,"\\udc00"]}]', ["\N{REPLACEMENT CHARACTER}", {"a": [1, "\N{REPLACEMENT CHARACTER}"]}]),
        ('["é\\ud800"]'.encode(), ["é\N{REPLACEMENT CHARACTER}"]),
        (b'["\\ud800",1.5,-0.0,1e5]', ["\N{REPLACEMENT CHARACTER}", 1.5, -0.0, 1e5]),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: bytes, expected: Any) -> None:
    assert JSON.decode(text) == expected


@pytest.mark.parametrize("text", [b'["\xed\xa0\x80\\ud800"]', b'["\xff\\ud800"]', b'["\xc3\\ud800"]'])
def test_a_lone_surrogate_excuses_no_bytes_that_are_not_utf8(text: bytes) -> None:
    refuses(JSON.decode, text, SocketPacketError, "malformed")


@pytest.mark.parametrize("depth", [100, 5000, 100_000])
def test_deep_nesting_is_decoded_or_refused(depth: int, codec: Codec) -> None:
    outcome(codec.decode, b"[" * depth + b"]" * depth, SocketPacketError)
    outcome(codec.decode, b"[" * depth + b'"\\ud800"' + b"]" * depth, SocketPacketError)


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=60))
def test_arbitrary_bytes(which: str, text: bytes) -> None:
    outcome(CODECS[which].decode, text, SocketPacketError)


@given(
    st.sampled_from(sorted(CODECS)),
    st.lists(
        st.sampled_from(['"', "\\", "u", "d800", "dc00", "[", "]", "{", "}", ":", ",", "1", "é", "e9", "NaN"]),
        max_size=12,
    ),
)
def test_arbitrary_fragments(which: str, fragments: list[str]) -> None:
    outcome(CODECS[which].decode, "".join(fragments).encode(), SocketPacketError)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(CODECS)), values)
def test_round_trip(which: str, value: Any) -> None:
    codec = CODECS[which]
    text, attachments = codec.encode(value)
    assert attachments == []
    assert codec.decode(text) == value


@given(st.sampled_from(sorted(CODECS)), st.lists(values, min_size=1, max_size=3))
def test_cut_short_at_each_byte(which: str, value: list[Any]) -> None:
    text, _ = CODECS[which].encode(value)
    for cut in prefixes(text):
        assert outcome(CODECS[which].decode, cut, SocketPacketError) is None


# The short ways, for the hot case.


@given(values)
def test_the_short_way_agrees_with_the_long_one(value: Any) -> None:
    assert JSON.dumps(value) == JSON.encode(value)[0]
    assert JSON.loads(JSON.dumps(value)) == value


@pytest.mark.parametrize("value", [b"a", [bytearray(b"a")], {"a": memoryview(b"a")}, Frozen(b"a")])
def test_the_short_way_refuses_binaries(value: Any, codec: Codec) -> None:
    with pytest.raises(TypeError):
        codec.dumps(value)


def test_a_users_encoder_has_no_short_way() -> None:
    with pytest.raises(TypeError):
        STANDARD.dumps([1])
    assert STANDARD.loads is json.loads


@pytest.mark.parametrize("text", MALFORMED)
def test_the_short_way_in_refuses_what_the_long_one_refuses(text: bytes, codec: Codec) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that type is all it promises
        codec.loads(text)


# A user's own functions.


def test_a_users_encoder_may_give_text() -> None:
    codec = UserCodec(lambda value: json.dumps(value, ensure_ascii=False), None)  # type: ignore[arg-type, return-value]
    assert codec.encode(["é", b"a"]) == ('["é", {"_placeholder": true, "num": 0}]'.encode(), [b"a"])


def test_a_users_encoder_whose_text_is_not_unicode() -> None:
    codec = UserCodec(lambda value: json.dumps(value, ensure_ascii=False), None)  # type: ignore[arg-type, return-value]
    with pytest.raises(EncodeError):
        codec.encode(["\ud800"])


def test_a_users_encoder_never_sees_bytes() -> None:
    seen: list[Any] = []

    def dumps(value: Any) -> bytes:
        seen.append(value)
        return b"[]"

    UserCodec(dumps, None).encode([b"a", Picture("n", b"b")])
    assert seen == [[hole(0), {"name": "n", "data": hole(1), "tags": []}]]


def test_a_users_encoder_gets_values_it_may_know() -> None:
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    codec = UserCodec(lambda value: json.dumps(value, default=str).encode(), None)
    assert codec.encode([moment]) == (b'["2026-01-02 00:00:00+00:00"]', [])


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), KeyError("x"), RecursionError()])
def test_whatever_a_users_encoder_raises_is_an_encode_error(error: Exception) -> None:
    def dumps(value: Any) -> bytes:
        raise error

    with pytest.raises(EncodeError) as caught:
        UserCodec(dumps, None).encode([1])
    assert caught.value.__cause__ is error


def test_a_user_may_bring_one_half_only() -> None:
    decoding = UserCodec(None, lambda text: {"read": bytes(text)})
    assert decoding.encode([1, b"a"]) == (b'[1,{"_placeholder":true,"num":0}]', [b"a"])
    assert decoding.decode(b"x") == {"read": b"x"}
    encoding = UserCodec(lambda value: b"x", None)
    assert encoding.decode(b"[1]") == [1]
