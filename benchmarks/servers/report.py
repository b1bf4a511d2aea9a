"""The table, of all rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .generator import Step, Steps
from .peers import BUN, NODE, PYTHON_SOCKETIO
from .rows import Figure, Row

__all__ = ["COMPARED", "Rounds", "Spread", "measured", "ratios", "render"]

#: By a row's key, then by server: what each round found. None where it was not measured or failed.
Rounds = Mapping[str, Mapping[str, Sequence[Steps | None]]]
#: By a row's key, then by server: why it was not measured.
Missing = Mapping[str, Mapping[str, str]]

COMPARED = (NODE, BUN, PYTHON_SOCKETIO)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, the least and the most."""

    middle: float
    least: float
    most: float

    def text(self, form: str = "") -> str:
        if self.least == self.most:
            return f"**{written(self.middle, form)}**"
        return f"**{written(self.middle, form)}** ({written(self.least, form)}-{written(self.most, form)})"


def written(value: float, form: str) -> str:
    if form:
        return format(value, form)
    return format(value, ".0f" if value >= 100 else ".1f" if value >= 10 else ".2f")


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


def measured(figure: Figure, rounds: Sequence[Steps | None]) -> Spread | None:
    """A figure's cost."""
    return spread([figure.cost(steps) for steps in rounds if steps is not None])


def ratios(figure: Figure, own: Sequence[Steps | None], others: Sequence[Steps | None]) -> Spread | None:
    """Within each round: what else the machine did was much the same for both."""
    pairs = zip(own, others, strict=True)
    return spread([figure.cost(one) / figure.cost(other) for one, other in pairs if one and other])


def render(rows: Sequence[Row], rounds: Rounds, missing: Missing) -> Iterator[str]:
    heads = " | ".join(f"of {name}'s" for name in COMPARED)
    yield f"| | | server | cost | {heads} | a second | p50, us | p99, us |"
    yield f"| --- | --- | --- | ---: |{' ---: |' * len(COMPARED)} ---: | ---: | ---: |"
    for row in rows:
        for figure in row.figures:
            title = ": ".join(filter(None, (row.title, figure.title)))
            head = f"| {row.key} | {title}, {figure.unit} |"
            for name, found in rounds[row.key].items():
                if not any(found):
                    continue
                yield f"{head} {name} | " + " | ".join(cells(figure, name, found, rounds[row.key])) + " |"
                head = "| | |"
        for name, reason in missing.get(row.key, {}).items():
            yield f"| | | {name} | not measured: {reason} |" + " |" * (len(COMPARED) + 3)


def cells(figure: Figure, name: str, own: Sequence[Steps | None], all_of_row: Any) -> Iterator[str]:
    yield text(measured(figure, own))
    for other in COMPARED:
        yield text(None if other == name else ratios(figure, own, all_of_row.get(other, [None] * len(own))), ".2f")
    steps: list[Step] = [found[figure.step] for found in own if found] if figure.paced else []
    yield text(spread([step["count"] / step["seconds"] for step in steps]), ",.0f")
    yield text(spread([step["p50"] for step in steps if "p50" in step]), ",.0f")
    yield text(spread([step["p99"] for step in steps if "p99" in step]), ",.0f")


def text(found: Spread | None, form: str = "") -> str:
    return "" if found is None else found.text(form)
