"""The tables of options in the reference: written from those of the code, with their defaults and reasons.

`python -m tests.docs.option_tables` writes them anew, below their markers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from duplexio.client_options import CLIENT_OPTIONS
from duplexio.option_table import Option
from duplexio.options import OPTIONS

from .pages import DOCS

__all__ = ["TABLE_PAGES", "fill_in"]

TABLE_PAGES = tuple(DOCS / "reference" / f"{name}.md" for name in ("options", "client-options", "limits"))
#: A server's options, and those of a client, by how their markers begin.
_TABLES: dict[str, Sequence[Option]] = {"": OPTIONS, "client ": CLIENT_OPTIONS}
#: What stands below a marker: the table as it was.
_BELOW = r"\n(?:\n(?:\|.*\n)+)?"


def fill_in(markdown: str) -> str:
    """The page, with a table below each marker. `the rest` is what no other marker of the page names."""
    for prefix, options in _TABLES.items():
        markdown = _fill_in(markdown, prefix, options)
    return markdown


def _fill_in(markdown: str, prefix: str, options: Sequence[Option]) -> str:
    marker = re.compile(rf"^(<!-- {prefix}options: (.+) -->){_BELOW}", re.MULTILINE)
    limit = re.compile(rf"^(<!-- {prefix}limits -->){_BELOW}", re.MULTILINE)
    by_name = {option.name: option for option in options}
    named = [name for _, names in marker.findall(markdown) if names != "the rest" for name in names.split()]
    rest = [name for name in by_name if name not in named]

    def table(found: re.Match[str]) -> str:
        names = rest if found[2] == "the rest" else found[2].split()
        return f"{found[1]}\n\n{_table([by_name[name] for name in names])}\n"

    limits = _limits([option for option in options if option.name.startswith("max_")])
    return limit.sub(lambda found: f"{found[1]}\n\n{limits}\n", marker.sub(table, markdown))


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
    if value == math.inf:
        return "no limit"
    number = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"{number} {option.unit}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for page in TABLE_PAGES:
        page.write_text(fill_in(page.read_text(encoding="utf-8")), encoding="utf-8")
