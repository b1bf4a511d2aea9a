"""The picture of the table: what each server costs of what Node does, on a logarithmic scale.

It has no background, and colours that stand out from a white one and from a black one; text follows the reader's
scheme where whatever shows it knows one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from .peers import NODE, PEERS
from .report import Rounds, Spread, ratios
from .rows import Figure, Row

__all__ = ["draw"]

HEADING = "CPU of a server (memory where it says so), of what Node's takes: to the left is less."
COLOURS = ("#e0563b", "#c77d0a", "#7a8089", "#9a6fd0", "#2f8fc4", "#2f9e6b")
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #7a8089 }
.value { font-size: 11px }
.grid { stroke: #7a8089; stroke-opacity: .25 }
.one { stroke: #7a8089; stroke-width: 1.5 }
.band { fill: #7a8089; fill-opacity: .08 }
@media (prefers-color-scheme: light) { text { fill: #24292f } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""
WIDTH, LEFT, RIGHT, TOP = 960, 400, 60, 84
#: Of a server in a row, and of the space between rows.
LANE, GAP = 10, 8
TICKS = (1, 2, 5)

#: What a row of the picture says: its text, and a ratio for each server that has one.
Line = tuple[str, dict[str, Spread]]


def draw(rows: Sequence[Row], rounds: Rounds) -> str:
    """The whole file. Empty where nothing can be compared with Node."""
    lines = [line for row in rows for figure in row.figures if (line := compared(row, figure, rounds))[1]]
    if not lines:
        return ""
    least = min(spread.least for _, found in lines for spread in found.values())
    most = max(spread.most for _, found in lines for spread in found.values())
    scale = Scale(min(least, 0.5), max(most, 2.0))
    heights = [len(found) * LANE + GAP for _, found in lines]
    height = TOP + sum(heights) + 30
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>CPU of a server for a unit of work, of what Node's takes</title>",
            f"<style>{STYLE}</style>",
            *legend(),
            *grid(scale, TOP + sum(heights)),
            *body(lines, heights, scale),
            "</svg>",
        ]
    )


class Scale:
    """Places on the axis, which begins and ends at round numbers."""

    def __init__(self, least: float, most: float) -> None:
        self.ticks = [
            factor * 10.0**power
            for power in range(floor(log10(least)), ceil(log10(most)) + 1)
            for factor in TICKS
            if least / 2 <= factor * 10.0**power <= most * 2
        ]
        self._first, self._last = log10(min(self.ticks[0], least)), log10(max(self.ticks[-1], most))

    def __call__(self, value: float) -> float:
        share = (log10(value) - self._first) / (self._last - self._first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def compared(row: Row, figure: Figure, rounds: Rounds) -> Line:
    servers = rounds[row.key]
    found = {}
    for peer in PEERS:
        if peer.name in servers and NODE in servers:
            spread = ratios(figure, servers[peer.name], servers[NODE])
            if spread is not None and spread.least > 0:
                found[peer.name] = spread
    return ": ".join(filter(None, (row.title, figure.title))), found


def legend() -> Iterator[str]:
    yield f'<text x="8" y="22">{escape(HEADING)}</text>'
    x = 8
    for peer, colour in zip(PEERS, COLOURS, strict=True):
        yield f'<circle cx="{x + 5}" cy="44" r="5" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="48">{escape(peer.name)}</text>'
        x += 40 + 8 * len(peer.name)


def grid(scale: Scale, bottom: float) -> Iterator[str]:
    for tick in scale.ticks:
        x = f"{scale(tick):.1f}"
        kind = "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>'
        for y in (TOP - 6, bottom + 18):
            yield f'<text class="value" x="{x}" y="{y}" text-anchor="middle">{tick:g}</text>'


def body(lines: Sequence[Line], heights: Sequence[int], scale: Scale) -> Iterator[str]:
    colours = {peer.name: colour for peer, colour in zip(PEERS, COLOURS, strict=True)}
    top = TOP
    for number, ((title, found), height) in enumerate(zip(lines, heights, strict=True)):
        if number % 2 == 0:
            yield f'<rect class="band" x="0" y="{top}" width="{WIDTH}" height="{height}"/>'
        yield f'<text x="8" y="{top + height / 2 + 4:.1f}">{escape(title)}</text>'
        for lane, (name, spread) in enumerate(found.items()):
            yield from mark(name, spread, colours[name], top + GAP / 2 + (lane + 0.5) * LANE, scale)
        top += height


def mark(name: str, spread: Spread, colour: str, y: float, scale: Scale) -> Iterator[str]:
    middle = scale(spread.middle)
    if spread.least < spread.most:
        ends = f'x1="{scale(spread.least):.1f}" x2="{scale(spread.most):.1f}" y1="{y}" y2="{y}"'
        yield f'<line {ends} stroke="{colour}" stroke-width="2" stroke-opacity=".6"/>'
    yield f'<circle cx="{middle:.1f}" cy="{y}" r="4.5" fill="{colour}">'
    yield f"<title>{escape(name)}: {spread.middle:.2f} ({spread.least:.2f}-{spread.most:.2f})</title></circle>"
    if name == PEERS[0].name:
        beside = max(middle, scale(spread.most)) + 8
        yield f'<text class="value" x="{beside:.1f}" y="{y + 4}">{spread.middle:.2f}</text>'
