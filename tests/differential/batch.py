"""How large the batches are, and what is said of those that fail."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable

from .decoders import Outcome
from .generate import Case

__all__ = ["COUNT", "SEED", "Disagreement", "report"]

#: Inputs for each decoder. `make differential` sets 100,000, and a new seed.
COUNT = int(os.environ.get("DUPLEXIO_DIFFERENTIAL_COUNT", "20000"))
SEED = int(os.environ.get("DUPLEXIO_DIFFERENTIAL_SEED", "1"))

#: So many inputs are shown, and so much of each.
SHOWN = 20
SHOWN_CHARACTERS = 1000

Disagreement = tuple[int, Case, Outcome, Outcome]


def report(disagreements: Iterable[Disagreement]) -> str:
    """The first of them, by kind: who refuses, and what."""
    kinds: defaultdict[str, list[Disagreement]] = defaultdict(list)
    found = 0
    for disagreement in disagreements:
        found += 1
        kinds[_kind(disagreement[2], disagreement[3])].append(disagreement)
    lines = [f"{found} inputs are read differently; seed {SEED}, {COUNT} inputs"]
    # Of each kind one, then two, while there is room: many of one kind hide no other.
    depth = 1
    while sum(min(depth, len(kind)) for kind in kinds.values()) < min(SHOWN, found):
        depth += 1
    left = SHOWN
    for name, kind in sorted(kinds.items(), key=lambda item: -len(item[1])):
        lines.append(f"\n{len(kind)} times: {name}")
        for number, (_, messages), here, there in kind[: min(depth, left)]:
            left -= 1
            lines.append(f"  input {number}: {_cut(messages)}")
            lines.append(f"    duplexio: {_cut(_shown(here))}\n    Node:     {_cut(_shown(there))}")
    return "\n".join(lines)


def _kind(here: Outcome, there: Outcome) -> str:
    if here.handled < there.handled:
        return f"duplexio refuses: {_plain(here.refusal)}"
    if here.handled > there.handled:
        return f"Node refuses: {_plain(there.refusal)}"
    return "the values differ"


def _plain(refusal: str) -> str:
    """Without what is peculiar to one input."""
    return re.sub(r"b?(['\"]).*|\d+", "…", refusal)


def _shown(outcome: Outcome) -> str:
    refused = f", then refused: {outcome.refusal}" if outcome.refusal else ""
    return " | ".join(outcome.packets) + refused


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
