"""The table, of all rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from .meter import Measured
from .scenarios import CLIENTS, NODE, PYTHON_SOCKETIO

__all__ = ["Rounds", "render"]

#: By scenario, then by client: a measurement of each round.
Rounds = dict[str, dict[str, list[Measured]]]


def cost(measured: Measured) -> float:
    """Microseconds of CPU for an event."""
    return measured["cpu"] / measured["count"] * 1e6


def rate(measured: Measured) -> float:
    """Events in a second."""
    return measured["count"] / measured["wall"]


def render(rounds: Rounds) -> Iterator[str]:
    yield "| | client | CPU of an event, us | of Node's | of python-socketio's | events a second |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for scenario, clients in rounds.items():
        costs = {name: [cost(measured) for measured in clients[name]] for name in CLIENTS}
        title = scenario
        for name, own in costs.items():
            ratios = [against(own, costs[other], name == other) for other in (NODE, PYTHON_SOCKETIO)]
            rates = spread([rate(measured) for measured in clients[name]], "{:,.0f}")
            yield f"| {title} | {name} | {spread(own, '{:.1f}')} | {' | '.join(ratios)} | {rates} |"
            title = ""


def against(own: Sequence[float], others: Sequence[float], same: bool) -> str:
    """Each round's ratio: what else the machine did was the same for both."""
    if same:
        return ""
    return spread([cost / other for cost, other in zip(own, others, strict=True)], "{:.2f}")


def spread(values: Sequence[float], form: str) -> str:
    """The median, and the least and the most."""
    least, most = form.format(min(values)), form.format(max(values))
    return f"**{form.format(median(values))}** ({least}-{most})"
