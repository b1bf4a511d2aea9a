"""The picture of growth: what one more connection changes in the cost of an echo, a delivery and an idle connection.

Colours are those of the other picture, and text follows the reader's scheme.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, log10

from .peers import PEERS
from .plot import COLOURS, STYLE
from .report import Rounds, measured
from .rows import Row

__all__ = ["draw_growth"]

HEADING = "CPU and memory of a server, over the number of its connections: a flat line is what is wanted."
#: Of the picture, and of a panel's plot within it.
WIDTH, TOP, PANEL_WIDTH, PANEL_HEIGHT = 960, 84, 380, 200
LEFT, BETWEEN_COLUMNS, BETWEEN_ROWS = 64, 94, 76
COLUMNS = 2
#: What costs so many times the first server's is beyond the scale: it would press the others on the ground.
BEYOND = 5.0

#: Of a server: connections and the cost with so many.
Curve = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure, of all servers."""

    title: str
    unit: str
    curves: dict[str, Curve]


def draw_growth(rows: Sequence[Row], rounds: Rounds) -> str:
    """The whole file. Empty where fewer than two numbers of connections were measured."""
    panels = [panel for panel in read(rows, rounds) if any(len(curve) > 1 for curve in panel.curves.values())]
    if not panels:
        return ""
    height = TOP + ceil(len(panels) / COLUMNS) * (PANEL_HEIGHT + BETWEEN_ROWS)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>CPU and memory of a server over the number of its connections</title>",
            f"<style>{STYLE}</style>",
            *legend(panels),
            *(line for number, panel in enumerate(panels) for line in drawn(panel, *place(number))),
            "</svg>",
        ]
    )


def read(rows: Sequence[Row], rounds: Rounds) -> list[Panel]:
    """The panels, in the order of the figures."""
    panels: dict[str, Panel] = {}
    for row in rows:
        for figure in row.figures if row.part == "growth" else ():
            panel = panels.setdefault(figure.title, Panel(figure.title, figure.unit, {}))
            for name, found in rounds[row.key].items():
                cost = measured(figure, found)
                counts = [int(steps["connect"]["count"]) for steps in found if steps is not None]
                if cost is not None:
                    panel.curves.setdefault(name, []).append((counts[0], cost.middle))
    return list(panels.values())


def place(number: int) -> tuple[int, int]:
    """Where the plot of a panel begins."""
    row, column = divmod(number, COLUMNS)
    return LEFT + column * (PANEL_WIDTH + BETWEEN_COLUMNS), TOP + 20 + row * (PANEL_HEIGHT + BETWEEN_ROWS)


def legend(panels: Sequence[Panel]) -> Iterator[str]:
    yield f'<text x="8" y="22">{escape(HEADING)}</text>'
    x = 8
    for peer, colour in zip(PEERS, COLOURS, strict=True):
        if any(peer.name in panel.curves for panel in panels):
            yield f'<circle cx="{x + 5}" cy="44" r="5" fill="{colour}"/>'
            yield f'<text x="{x + 15}" y="48">{escape(peer.name)}</text>'
            x += 40 + 8 * len(peer.name)


def drawn(panel: Panel, left: int, top: int) -> Iterator[str]:
    shown = within_scale(panel.curves)
    points = [point for curve in shown.values() for point in curve]
    counts = sorted({count for count, _ in points})
    step = round_step(max(cost for _, cost in points))
    most = step * ceil(max(cost for _, cost in points) / step)
    first, last = log10(counts[0]), log10(counts[-1])

    def x_of(count: int) -> float:
        return left + (log10(count) - first) / (last - first) * PANEL_WIDTH

    def y_of(cost: float) -> float:
        return top + PANEL_HEIGHT * (1 - cost / most)

    title = f"{panel.title}, {panel.unit}"
    if beyond := [name for name in panel.curves if name not in shown]:
        title += f"; beyond the scale: {', '.join(beyond)}"
    yield f'<text x="{left - 48}" y="{top - 12}">{escape(title)}</text>'
    for number in range(round(most / step) + 1):
        y = f"{y_of(number * step):.1f}"
        yield f'<line class="grid" x1="{left}" y1="{y}" x2="{left + PANEL_WIDTH}" y2="{y}"/>'
        yield f'<text class="value" x="{left - 8}" y="{y}" dy="4" text-anchor="end">{number * step:g}</text>'
    for count in counts:
        x = f"{x_of(count):.1f}"
        yield f'<text class="value" x="{x}" y="{top + PANEL_HEIGHT + 18}" text-anchor="middle">{count:,}</text>'
    colours = {peer.name: colour for peer, colour in zip(PEERS, COLOURS, strict=True)}
    for name, curve in shown.items():
        path = " ".join(f"{x_of(count):.1f},{y_of(cost):.1f}" for count, cost in curve)
        yield f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        for count, cost in curve:
            yield f'<circle cx="{x_of(count):.1f}" cy="{y_of(cost):.1f}" r="3.5" fill="{colours[name]}">'
            yield f"<title>{escape(name)}, {count:,} connections: {cost:.3g}</title></circle>"


def within_scale(curves: dict[str, Curve]) -> dict[str, Curve]:
    tops = {name: max(cost for _, cost in curve) for name, curve in curves.items()}
    first = next(iter(tops.values()))
    return {name: curve for name, curve in curves.items() if tops[name] <= BEYOND * first}


def round_step(most: float) -> float:
    """Of a scale from 0 with four to eight lines."""
    power: float = 10.0 ** int(log10(most) - (most < 1))
    return next(factor * power for factor in (0.2, 0.5, 1.0, 2.0) if most / (factor * power) <= 6)
