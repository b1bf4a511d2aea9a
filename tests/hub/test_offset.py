"""What a server's offset is told from a text by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.hub.offset import is_offset

#: Of Node's memory, in its yeast of time; of Redis streams; of this library.
MEMORY = ("PfQ3XyZ", "PfQ3Xz0", "PfQ4a_-")
STREAM = ("1700000000000-0", "1700000000000-1", "1700000360000-12")
OURS = ("abcd1234.1", "abcd1234.2", "abcd1234.zz")
FAMILIES = (MEMORY, STREAM, OURS)


@pytest.mark.parametrize("family", FAMILIES)
def test_offsets_of_one_server(family: tuple[str, ...]) -> None:
    for last in ("", *family):
        for offset in family:
            assert is_offset(offset, last)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text", ["", "hello", "hello world", "a sentence, with more", "ä" * 10, "x" * 60, "https://a.example/path", "{}"]
)
def test_texts_that_are_none(family: tuple[str, ...], text: str) -> None:
    assert not is_offset(text, family[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_words_that_look_like_one_of_another_server(family: tuple[str, ...]) -> None:
    """Where the last offset is known, the likeness to it counts."""
    for text in ("delivered", "confirmed", "user_42", "order-000017", "2026-11-25"):
        assert not is_offset(text, family[0])
    for other in FAMILIES:
        if other is not family:
            assert not is_offset(other[0], family[0])


def test_another_server_of_the_cluster_has_another_epoch() -> None:
    """Only where the client has come back since can it be another's."""
    assert is_offset("wxyz9876.1", OURS[0], moved=True)
    assert not is_offset("wxyz9876.1", OURS[0])
    for text in ("delivered", *STREAM, *MEMORY):
        assert not is_offset(text, OURS[0], moved=True)


@given(st.text(), st.sampled_from(["", *MEMORY, *STREAM, *OURS]))
def test_whatever_comes(text: str, last: str) -> None:
    """It never raises, and nothing with a space or a letter of another alphabet is one."""
    found = is_offset(text, last)
    if found:
        assert text.isascii()
        assert 6 <= len(text) <= 57
        assert not set(text) & set(" /:{}\"'")
