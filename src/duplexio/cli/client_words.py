"""What a person types as an event's arguments, read: JSON, `@file` for bytes, and bare words as texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

__all__ = ["Words", "WrongWords", "read_line", "read_words"]

#: What JSON begins with that no bare word does: there a mistake is told, not sent.
_OPENING = '{["'


class WrongWords(ValueError):
    """What was typed cannot be sent. `column` is the place in the line, from 0; None where there is no line."""

    def __init__(self, text: str, column: int | None = None) -> None:
        super().__init__(text)
        self.column = column


class Words(NamedTuple):
    """An event's name and arguments; `texts` are those that are no JSON, and were taken as texts."""

    event: str
    args: list[Any]
    texts: list[str]


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"it has no {text}")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def read_words(words: Sequence[str]) -> Words:
    """Of a command line, where the shell has told the words apart. Raises WrongWords."""
    event, *rest = words
    read = Words(event, [], [])
    for number, word in enumerate(rest, 1):
        if word[:1] in _OPENING and word:
            try:
                read.args.append(_decoder.decode(word))
            except (ValueError, RecursionError) as error:
                place = f", at its character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
                raise WrongWords(f"argument {number}, {word}, is no JSON: {_why(error)}{place}") from None
        elif word[:1] == "@" and len(word) > 1:
            read.args.append(_file(word[1:], number, None))
        else:
            _take_bare(word, read)
    return read


def read_line(line: str, start: int = 0) -> Words:
    """Of a line, from the character `start` on: values with spaces between them. Raises WrongWords."""
    position = _skip(line, start)
    if position == len(line):
        raise WrongWords("the name of the event is missing", position)
    if line[position] == '"':
        event, position = _value(line, position, "the event's name")
    else:
        event, position = _bare(line, position)
    read = Words(event, [], [])
    while (position := _skip(line, position)) < len(line):
        number, first = len(read.args) + 1, line[position]
        if first in _OPENING:
            value, position = _value(line, position, f"argument {number}")
            read.args.append(value)
        elif line[position : position + 2] == '@"':
            at = position
            name, position = _value(line, position + 1, f"argument {number}")
            read.args.append(_file(name, number, at))
        else:
            at = position
            word, position = _bare(line, position)
            if first == "@" and len(word) > 1:
                read.args.append(_file(word[1:], number, at))
            else:
                _take_bare(word, read)
    return read


def _skip(line: str, position: int) -> int:
    while position < len(line) and line[position].isspace():
        position += 1
    return position


def _bare(line: str, position: int) -> tuple[str, int]:
    end = position
    while end < len(line) and not line[end].isspace():
        end += 1
    return line[position:end], end


def _value(line: str, position: int, what: str) -> tuple[Any, int]:
    """A value of JSON that begins there, and where it ends."""
    try:
        value, end = _decoder.raw_decode(line, position)
    except (ValueError, RecursionError) as error:
        place = error.pos if isinstance(error, json.JSONDecodeError) else position
        raise WrongWords(f"{what} is no JSON: {_why(error)}", place) from None
    if end < len(line) and not line[end].isspace():
        raise WrongWords(f"{what} ends here, and a space is expected before the next", end)
    return value, end


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    text = error.msg
    return text[:1].lower() + text[1:].removesuffix(" starting at").removesuffix(" at")


def _take_bare(word: str, read: Words) -> None:
    try:
        read.args.append(_decoder.decode(word))
    except (ValueError, RecursionError):
        read.args.append(word)
        read.texts.append(word)


def _file(name: str, number: int, column: int | None) -> bytes:
    try:
        return Path(name).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WrongWords(
            f'argument {number}: the file {name!r} cannot be read: {why}; "@{name}" in quotes is a text', column
        ) from None
