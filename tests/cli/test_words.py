"""What is typed as an event's arguments, and how values are shown."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from duplexio.cli.client_hints import in_options
from duplexio.cli.client_shown import SHOWN_CHARACTERS, as_json, clean, compact, compact_all
from duplexio.cli.client_words import WrongWords, read_line, read_words
from duplexio.engine import refused
from duplexio.hub import client_entering, client_socket, context


@pytest.mark.parametrize(
    ("line", "event", "args", "texts"),
    [
        ("chat", "chat", [], []),
        ("  chat  1  ", "chat", [1], []),
        ('chat {"text": "hello there"} [1, 2] null', "chat", [{"text": "hello there"}, [1, 2], None], []),
        ("chat hello there", "chat", ["hello", "there"], ["hello", "there"]),
        ('chat "hello there"', "chat", ["hello there"], []),
        ("chat -1.5e3 true false", "chat", [-1500.0, True, False], []),
        ("chat NaN Infinity", "chat", ["NaN", "Infinity"], ["NaN", "Infinity"]),
        ("chat 007 it's @", "chat", ["007", "it's", "@"], ["007", "it's", "@"]),
        ('"an event" 1', "an event", [1], []),
        ('chat "@file"', "chat", ["@file"], []),
        ("größe ä\t1", "größe", ["ä", 1], ["ä"]),
    ],
)
def test_a_line(line: str, event: str, args: list[Any], texts: list[str]) -> None:
    assert read_line(line) == (event, args, texts)


@pytest.mark.parametrize(
    ("line", "text", "column"),
    [
        ("", "the name of the event is missing", 0),
        ('chat {"a": }', "argument 1 is no JSON: expecting value", 11),
        ("chat 1 [1, 2", "argument 2 is no JSON: expecting ',' delimiter", 12),
        ('chat "abc', "argument 1 is no JSON: unterminated string", 5),
        ('chat {"a": 1}2', "argument 1 ends here, and a space is expected", 13),
        ("chat {'a': 1}", "argument 1 is no JSON: expecting property name", 6),
        ("chat [NaN]", "argument 1 is no JSON: it has no NaN", 5),
        ("chat " + "[" * 100_000, "argument 1 is no JSON: it is nested too deep", 5),
        ("chat 1 @no/such/file", "argument 2: the file 'no/such/file' cannot be read: No such file or directory", 7),
        ('"chat', "the event's name is no JSON", 0),
    ],
)
def test_a_wrong_line(line: str, text: str, column: int) -> None:
    with pytest.raises(WrongWords) as wrong:
        read_line(line)
    assert str(wrong.value).startswith(text)
    assert wrong.value.column == column


def test_bytes_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a b.bin"
    file.write_bytes(b"\x00\xff")
    assert read_line(f'chat @"{file}" 1').args == [b"\x00\xff", 1]
    assert read_words(["chat", f"@{file}", "1"]).args == [b"\x00\xff", 1]


def test_words_of_a_shell() -> None:
    assert read_words(["chat", "two words", '{"a": 1}', "3", ""]) == (
        "chat",
        ["two words", {"a": 1}, 3, ""],
        ["two words", ""],
    )
    with pytest.raises(WrongWords, match=r"argument 2, \[1, is no JSON: expecting ',' delimiter, at its character 3"):
        read_words(["chat", "1", "[1"])


@pytest.mark.parametrize(
    ("value", "shown", "exact"),
    [
        ({"a": [1, None, True]}, '{"a":[1,null,true]}', '{"a":[1,null,true]}'),
        (b"\x0a\x0b", "<bytes 2: 0a0b>", '{"base64":"Cgs="}'),
        ([bytes(12)], "[<bytes 12: 0000000000000000…>]", '[{"base64":"AAAAAAAAAAAAAAAA"}]'),
        ("Zoë 😀", '"Zoë 😀"', '"Zoë 😀"'),
        (float("nan"), '"nan"', '"nan"'),
        ({1: (2,)}, '{"1":[2]}', '{"1":[2]}'),
        ({}, "{}", "{}"),
        ([], "[]", "[]"),
    ],
)
def test_values(value: Any, shown: str, exact: str) -> None:
    assert compact(value) == shown
    assert as_json(value) == exact


def test_a_terminal_is_not_led_astray() -> None:
    """What a server sends neither colours a terminal nor moves its cursor."""
    assert compact("\x1b[31m\x7f\u202e") == '"\\u001b[31m\\u007f\\u202e"'
    assert clean("a\rb\x9b") == "a\\rb\\u009b"
    assert json.loads(as_json("😀\ud800", ascii_only=True)) == "😀\ud800"


def test_what_is_long_or_deep() -> None:
    text = compact_all(["x" * 10_000, 1])
    assert text.endswith("… (10004 characters; --json shows all)")
    assert len(text) < SHOWN_CHARACTERS + 60
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert compact(deep) == "<nested too deep>"
    assert as_json(deep) == '"<nested too deep>"'


def test_hints_name_options_of_the_command() -> None:
    """Whoever types has no keyword arguments."""
    option = re.compile(r"\b[a-z_]+=[\[{'.\d]")
    constants = [
        node.value
        for module in (refused, client_entering, client_socket, context)
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value
    ]
    hints = [text.replace("{other}", "3") for text in constants]
    assert len([hint for hint in hints if option.search(hint)]) > 8
    for hint in hints:
        assert not option.search(in_options(hint)), hint


def test_a_packet_of_another_parser() -> None:
    text = "it may be MessagePack, which connect(parser='msgpack') reads"
    assert in_options(text) == "it may be MessagePack, which --parser msgpack reads"
