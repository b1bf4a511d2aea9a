"""One rule between argument lists and values."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from duplexio.hub.values import snapshot, to_arguments, to_value


class Point(NamedTuple):
    x: int


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (None, []),
        (1, [1]),
        ((), []),
        ((None,), [None]),
        ((1, 2), [1, 2]),
        ([1, 2], [[1, 2]]),
        ([], [[]]),
        (False, [False]),
        ("", [""]),
        (((1, 2),), [(1, 2)]),
        (Point(1), [Point(1)]),
    ],
)
def test_to_arguments(value: Any, arguments: list[Any]) -> None:
    assert to_arguments(value) == arguments


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        ([1], 1),
        ([None], None),
        ([1, 2], (1, 2)),
        ([[1, 2]], [1, 2]),
        ((1,), 1),
        ([None, None], (None, None)),
    ],
)
def test_to_value(arguments: Any, value: Any) -> None:
    assert to_value(arguments) == value


def test_a_snapshot_is_not_reached_by_later_changes() -> None:
    buffer = bytearray(b"abc")
    given = [{"a": [1]}, memoryview(buffer), (buffer, {"view": memoryview(buffer)[1:]})]
    kept = snapshot(given)
    buffer[:] = b"xyz"
    given[0]["a"].append(2)  # type: ignore[index]
    assert kept == ({"a": [1]}, b"abc", (bytearray(b"abc"), {"view": b"bc"}))
