"""Fills in the tables of options when the site is built: the code has them, with their defaults and reasons."""

from __future__ import annotations

import re
from typing import Any

from duplexio.options import OPTIONS, Option

__all__ = ["fill_in", "on_page_markdown"]

_MARKER = re.compile(r"^<!-- options: (.+) -->$", re.MULTILINE)
_LIMIT = re.compile(r"^<!-- limits -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls it for each page."""
    return fill_in(markdown)


def fill_in(markdown: str) -> str:
    """The page, with a table in place of each marker. `the rest` is what no other marker of the page names."""
    by_name = {option.name: option for option in OPTIONS}
    named = [name for marker in _MARKER.findall(markdown) if marker != "the rest" for name in marker.split()]
    rest = [name for name in by_name if name not in named]

    def table(marker: re.Match[str]) -> str:
        names = rest if marker[1] == "the rest" else marker[1].split()
        return _table([by_name[name] for name in names])

    limits = [option for option in OPTIONS if option.name.startswith("max_")]
    return _LIMIT.sub(lambda _: _limits(limits), _MARKER.sub(table, markdown))


def _table(options: list[Option]) -> str:
    lines = ["| Option | Default | What it does | Why |", "|---|---|---|---|"]
    for option in options:
        name = f"`{option.name}`" + (f" (`{option.javascript}`)" if option.javascript else "")
        effect = option.effect + (f". Counted as `{option.counter}`" if option.counter else "")
        lines.append(f"| {name} | {_default(option)} | {_cell(effect)} | {_cell(option.reason)} |")
    return "\n".join(lines)


def _limits(options: list[Option]) -> str:
    lines = ["| Limit | Default | Then | Counter |", "|---|---|---|---|"]
    for option in options:
        counter = f"`{option.counter}`" if option.counter else ""
        lines.append(f"| `{option.name}` | {_default(option)} | {_cell(option.effect)} | {counter} |")
    return "\n".join(lines)


def _default(option: Option) -> str:
    value = option.default
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "dict" if value is dict else repr(value)
        return f"`{shown}`"
    number = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"{number} {option.unit}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
