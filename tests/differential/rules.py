"""What a rule says of two decoders that differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .generate import Messages

__all__ = ["ANY", "Reading", "Refusal", "well_formed"]

ANY = rb""


@dataclass(frozen=True)
class Refusal:
    """A message that one side refuses and the other takes.

    `text` is in the refusal's text, `message` in the message; both are searched for, as regular expressions.
    """

    decoder: str
    by: str
    text: str
    message: bytes
    reason: str
    example: Messages


@dataclass(frozen=True)
class Reading:
    """A message that both take, to become packets which `same` makes equal."""

    decoder: str
    message: bytes
    same: Callable[[str], str]
    reason: str
    example: Messages


# In canonical text: an escaped backslash and a pair are passed over, so that what is found in group 1 is lone.
_LONE_SURROGATE = re.compile(r"\\\\|\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)")


def well_formed(packet: str) -> str:
    """Canonical text, without what is no text in Python."""
    return _LONE_SURROGATE.sub(lambda found: "\\ufffd" if found[1] else found[0], packet)
