"""The pages, the code blocks on them, and the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DOCS", "PAGES", "ROOT", "Block", "Example", "Script", "blocks", "examples", "name_of", "sections", "tables"]

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]*)"')
_NOTE = re.compile(r"^ *<!-- (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block. `notes` are the comments on the lines before it: what the reader need not see."""

    page: Path
    line: int
    language: str
    title: str
    code: str
    notes: tuple[str, ...]


@dataclass
class Script:
    """A client in JavaScript or Python, and what it prints."""

    block: Block
    prints: str


@dataclass
class Example:
    """A program in Python as it stands up to here, and the clients that are shown with it.

    `files` are other modules of it; `first` are the arguments of Python for what has to run before it.
    """

    block: Block
    code: str
    files: tuple[Block, ...] = ()
    first: tuple[str, ...] = ()
    scripts: list[Script] = field(default_factory=list)
    commands: list[Block] = field(default_factory=list)
    prints: str | None = None

    @property
    def name(self) -> str:
        return f"{name_of(self.block.page)}:{self.block.line}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    position = 0
    while position < len(lines):
        opening = _FENCE.match(lines[position])
        position += 1
        if opening is None:
            continue
        start, indent, closing = position, len(opening["indent"]), opening["indent"] + opening["ticks"]
        while lines[position].rstrip() != closing:
            position += 1
        title = _TITLE.search(opening["rest"])
        code = "\n".join(line[indent:] for line in lines[start:position]) + "\n"
        notes = tuple(_notes_before(lines, start - 2))
        position += 1
        yield Block(page, start, opening["language"], title[1] if title else "", code, notes)


def _notes_before(lines: list[str], position: int) -> Iterator[str]:
    while position >= 0 and (note := _NOTE.match(lines[position])):
        yield note[1]
        position -= 1


def examples(page: Path) -> list[Example]:
    """The programs of a page. One that `continues` has the one before it at its head, as a reader's file has.

    One that is `beside` is a module of the next that is not. One of `pytest` is a file of tests.

    A `console` block to `run` is of commands, and what they print below each.

    A `js` block, and one in Python that is a `client`, is a client of the program before it; the `text` block after it,
    which it must have, is what it prints. A `text` block whose title begins with `server` is what the program prints,
    as is one whose title begins with `python` behind a program that is no server.
    """
    found: list[Example] = []
    beside: list[Block] = []
    unanswered: Block | None = None
    for block in blocks(page):
        if unanswered is not None:
            assert block.language == "text", f"{name_of(page)}:{block.line}: what does the script above print?"
            found[-1].scripts.append(Script(unanswered, block.code))
            unanswered = None
        elif block.language == "python" and "beside" in block.notes:
            beside.append(block)
        elif block.language == "js" or "client" in block.notes:
            assert found, f"{name_of(page)}:{block.line}: a client needs a program before it"
            unanswered = block
        elif block.language == "python":
            head = found[-1].code + "\n\n" if "continues" in block.notes else ""
            first = tuple(note.removeprefix("first: ") for note in block.notes if note.startswith("first: "))
            found.append(Example(block, head + block.code, tuple(beside), first))
            beside.clear()
        elif block.language == "console" and "run" in block.notes:
            found[-1].commands.append(block)
        elif block.language == "text" and block.title.startswith("server"):
            found[-1].prints = block.code
    assert unanswered is None, f"{name_of(page)}: what does the last script print?"
    assert not beside, f"{name_of(page)}: which program are the last files of?"
    return found


def tables(text: str) -> Iterator[list[list[str]]]:
    """Every table of a text: its rows, the header first, as cells."""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not set("".join(cells)) <= set("-: "):
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def sections(text: str) -> dict[str, str]:
    """What stands below each second-level heading, by heading."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {heading.strip(): body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}
