"""Each decoder takes what Node's takes, refuses what it refuses, and reads the same values; `differences` has the rest.

`make differential` compares five times as many inputs as the suite does, and others each time.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from .batch import COUNT, SEED, Disagreement, report
from .decoders import DECODERS, Outcome, here
from .differences import READINGS, REFUSALS, explain
from .generate import Case, generate
from .node import there
from .rules import Reading, Refusal


@pytest.mark.parametrize("name", DECODERS)
def test_generated_inputs(name: str, tmp_path: Path) -> None:
    disagreements: list[Disagreement] = []
    seen: Counter[str] = Counter()
    cases = [generate(name, SEED, number) for number in range(COUNT)]
    with there(cases, tmp_path) as outcomes:
        for number, (case, ours, theirs) in enumerate(zip(cases, list(map(here, cases)), outcomes, strict=True)):
            rules = explain(case, ours, theirs)
            if rules is None:
                disagreements.append((number, case, ours, theirs))
            else:
                seen["explained" if rules else "refused by both" if ours.refusal else "accepted by both"] += 1
    assert not disagreements, report(disagreements)
    # Inputs that are all refused, or all accepted, would prove little.
    assert min(seen["accepted by both"], seen["refused by both"]) > COUNT / 20, seen
    assert seen["accepted by both"] > COUNT / 4, seen


RULES = (*REFUSALS, *READINGS)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What Node makes of the example of each rule."""
    cases = [(rule.decoder, rule.example) for rule in RULES]
    with there(cases, tmp_path_factory.mktemp("examples")) as outcomes:
        return dict(zip(cases, outcomes, strict=True))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.decoder} {rule.reason[:60]}")
def test_a_difference_is_one_still(rule: Refusal | Reading, examples: dict[Case, Outcome]) -> None:
    """Of each rule, its example; and no other rule explains that."""
    case = (rule.decoder, rule.example)
    assert explain(case, here(case), examples[case]) == [rule]
