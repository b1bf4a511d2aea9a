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
    Disconnect,
    Fetch,
    Hello,
    Inherit,
    Join,
    Leave,
    Record,
    Recover,
    Reply,
    ServerEvent,
    Taken,
    decode,
    encode,
    plain,
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
        "/", "e", 3, {"n": 1}, [("p", "s", ["r"], {"a": 1}, 0, 1.5, None)], [(1, 0.5, [], [], ("n", 1), 0, b"", [])]
    ),
    Taken("/", "pid"),
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
