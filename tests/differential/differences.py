"""Where duplexio's decoders are meant to differ from Node's, and why. Anything else is a mistake of one of them."""

from __future__ import annotations

import re

from . import rules_engine, rules_msgpack, rules_socket
from .decoders import Outcome
from .generate import Case
from .rules import Reading, Refusal

__all__ = ["READINGS", "REFUSALS", "explain"]

REFUSALS = (*rules_engine.REFUSALS, *rules_socket.REFUSALS, *rules_msgpack.REFUSALS)
READINGS = (*rules_socket.READINGS, *rules_msgpack.READINGS)


def explain(case: Case, here: Outcome, there: Outcome) -> list[Refusal | Reading] | None:
    """The rules by which the two outcomes are as they should be, none where they are equal; None: they should not."""
    name, messages = case
    used: list[Refusal | Reading] = []
    ours, theirs = here.packets, there.packets
    if here.handled != there.handled:
        refusal = _refusal(case, here, there)
        if refusal is None:
            return None
        used.append(refusal)
        shorter = min(len(ours), len(theirs))
        ours, theirs = ours[:shorter], theirs[:shorter]
    elif bool(here.refusal) != bool(there.refusal):
        return None
    for reading in READINGS:
        if ours != theirs and reading.decoder == name and any(re.search(reading.message, one) for one in messages):
            ours, theirs = tuple(map(reading.same, ours)), tuple(map(reading.same, theirs))
            used.append(reading)
    return used if ours == theirs else None


def _refusal(case: Case, here: Outcome, there: Outcome) -> Refusal | None:
    name, messages = case
    by, first = ("duplexio", here) if here.handled < there.handled else ("Node", there)
    message = messages[first.handled]
    for rule in REFUSALS:
        if (
            (rule.decoder, rule.by) == (name, by)
            and re.search(rule.text, first.refusal)
            and re.search(rule.message, message)
        ):
            return rule
    return None
