"""How every decoder is fed: whole, cut short at each byte, and with bytes behind its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

T = TypeVar("T")


def prefixes(data: bytes) -> Iterator[bytes]:
    """All that could have arrived before the last byte did."""
    return (data[:end] for end in range(len(data)))


def outcome(decode: Callable[[bytes], T], data: bytes, documented: type[Exception]) -> T | None:
    """What comes of it: a value, or None for the documented exception. Any other exception is the test's failure."""
    try:
        return decode(data)
    except documented:
        return None


def refuses(decode: Callable[[bytes], object], data: bytes, documented: type[Exception], text: str = "") -> None:
    with pytest.raises(documented) as caught:
        decode(data)
    assert text in str(caught.value)
