"""What servers say to each other: there and back, and nothing but its own error for what is none of it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import random
from typing import Any

import pytest

from duplexio.errors import ClusterMessageError, EncodeError
from duplexio.protocol.cluster_message import (
    Ask,
    Beat,
    Broadcast,
    Bye,
    CarriedEvent,
    Disconnect,
    Fence,
    Fetch,
    Hello,
    Inherit,
    Join,
    Leave,
    MovedSession,
    Record,
    Recover,
    Reply,
    ServerEvent,
    Taken,
    decode,
    encode,
    plain,
    read_session,
)

RECORDS: list[Record] = [
    Hello(),
    Beat(),
    Bye(),
    Broadcast("/", ["a", "é"], [], 0, b'["e",1]', [b"", b"\xff" * 1000], True, False),
    Ask(7, "/chat", [], ["x"], 2, b"", [b"\x01"], 2.5),
    Join("/", ["a"], [], ["b", "c"]),
    Leave("/", ["a"], [], ["b"]),
    Disconnect("/", [], [], True),
    Fetch(2**40, "/", [], []),
    ServerEvent(-1, "e", [1, {"a": b"\x00"}, None, [1.5, True]]),
    Reply(3, -1, [{"id": "x"}], 2),
    Recover(3, "/", "pid", None),
    Inherit(
        *("/", "e", 2, True, 3, 1, {"n": 1}),
        sessions=[("p", "s", ["r"], {"a": 1}, 0, 1.5, None, {"gone": 3})],
        packets=[(1, 0.5, [], [], ("n", 1), b"42[]", [])],
    ),
    Taken("/", "pid"),
    Fence(3),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_there_and_back(record: Record) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_cut_short(record: Record) -> None:
    message = encode(record)
    for length in range(len(message)):
        with pytest.raises(ClusterMessageError):
            decode(message[:length])
    with pytest.raises(ClusterMessageError):
        decode(message + b"\x00")


def test_garbage_raises_nothing_else() -> None:
    drawn = random.Random(1)
    bodies = [encode(record) for record in RECORDS]
    for _ in range(20_000):
        body = bytearray(drawn.choice(bodies) if drawn.random() < 0.7 else drawn.randbytes(drawn.randrange(40)))
        for _ in range(drawn.randrange(4)):
            if body:
                body[drawn.randrange(len(body))] = drawn.randrange(256)
        with contextlib.suppress(ClusterMessageError):
            decode(bytes(body))


@pytest.mark.parametrize("body", [b"", b"\x02", b"\x01", b"\x00" * 100, b"\x01" + b"\x91" * 100_000])
def test_what_is_none(body: bytes) -> None:
    with pytest.raises(ClusterMessageError):
        decode(body)


BELOW_NOTHING: list[Record] = [
    Hello(-1),
    Beat(-(2**63)),
    Broadcast("/", [], [], 0, b"[]", [], number=-1),
    Reply(1, 1, [], -1),
    Inherit("/", "e", -1, True, 1, 0, {}, [], []),
    Inherit("/", "e", 0, True, -1, 0, {}, [], []),
    Inherit("/", "e", 0, True, 1, -1, {}, [], []),
    Inherit("/", "e", 0, True, 1, 0, {"n": -1}, [], []),
    Inherit("/", "e", 0, True, 1, 0, {}, [], [(-1, 0.0, [], [], None, b"[]", [])]),
    Inherit("/", "e", 0, True, 1, 0, {}, [("p", "s", [], None, -1, 0.0, None, {})], []),
]


@pytest.mark.parametrize("record", BELOW_NOTHING, ids=range(len(BELOW_NOTHING)))
def test_what_is_counted_is_not_below_nothing(record: Record) -> None:
    with pytest.raises(ClusterMessageError):
        decode(encode(record))


MOVED = {"sid": "s", "rooms": ["r"], "data": {"b": b"\x00"}, "seen": {"n": 3}, "away": 0.5}
CARRIED = [["n", 3], 0.5, 0, b'["e"]', [b"\xff"]]


def test_a_session_there_and_back() -> None:
    session = MovedSession("s", ["r"], {"b": b"\x00"}, {"n": 3}, 0.5)
    missed = [CarriedEvent(("n", 3), 0.5, 0, b'["e"]', [b"\xff"]), CarriedEvent(None, 0.0, 1, b"4", [])]
    reply = decode(encode(Reply(1, 3, [session, *missed])))
    assert isinstance(reply, Reply)
    assert read_session(reply.values) == (session, missed)
    assert read_session([session, *missed]) == (session, missed), "one that stays here"


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [1],
        [{**MOVED, "seen": {"n": float("inf")}}],
        [{**MOVED, "seen": {"n": -1}}],
        [{**MOVED, "rooms": [1]}],
        [{**MOVED, "rooms": "text"}],
        [{**MOVED, "away": "long"}],
        [MOVED, None],
        [MOVED, CARRIED[:4]],
        [MOVED, [None, "old", 0, b"[]", []]],
        # As a number of bytes, it would be as many zeros.
        [MOVED, [None, 0.0, 0, 2**40, []]],
        [MOVED, [None, 0.0, 0, b"[]", "text"]],
        [MOVED, [None, 0.0, 0, b"[]", [1]]],
        [MOVED, [["n", -1], 0.0, 0, b"[]", []]],
        [MOVED, [["n", 1, 1], 0.0, 0, b"[]", []]],
    ],
)
def test_a_session_that_is_none(answers: list[Any]) -> None:
    with pytest.raises(ClusterMessageError):
        read_session(answers)


def test_another_version_is_told() -> None:
    with pytest.raises(ClusterMessageError, match="same version"):
        decode(b"\x02" + encode(Beat())[1:])


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1: (2, 3)}, {"1": [2, 3]}),
        (datetime.datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
        (Point(1), {"x": 1}),
        ({"b": bytearray(b"a")}, {"b": b"a"}),
        ([memoryview(b"a")], [b"a"]),
    ],
)
def test_values_as_in_events(value: Any, expected: Any) -> None:
    record = decode(encode(ServerEvent(-1, "e", [plain(value)])))
    assert isinstance(record, ServerEvent)
    assert record.args == [expected]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [object(), 2**70, nested(100_000), lambda: 1, "\ud800"])
def test_what_cannot_travel(value: Any) -> None:
    with pytest.raises(EncodeError):
        encode(ServerEvent(-1, "e", plain([value])))


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, [b"", {"a": ["x\ud800y"]}]])
def test_half_a_character_is_refused_by_itself(value: Any) -> None:
    """Not only together with the record that it is in, and with all that is good in that."""
    with pytest.raises(EncodeError):
        plain(value)
