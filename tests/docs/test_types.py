"""Every program on the pages passes `mypy --strict`, as it would at a reader's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .pages import PAGES, ROOT, Block, examples, name_of

#: Kept between runs, and apart from that of this project's own settings.
CACHE = ROOT / ".mypy_cache" / "docs"
ERROR = re.compile(r"^(\w+)\.py:(\d+): error: (.*)  \[([a-z-]+)\]$", re.MULTILINE)


class Program(NamedTuple):
    """A module, whose code ends with a block; that which it continues is before it."""

    module: str
    code: str
    block: Block

    def on_page(self, line: int) -> str:
        """Where a line of the code is on the page."""
        page, before = name_of(self.block.page), self.code.count("\n") - self.block.code.count("\n")
        if line > before:
            return f"{page}:{self.block.line + line - before}"
        return f"{page}:{self.block.line}, line {line} of all the program"


def programs() -> Iterator[Program]:
    for page in PAGES:
        for example in examples(page):
            for block in example.files:
                # The program imports it by this name.
                yield Program(block.title.removesuffix(".py"), block.code, block)
            yield Program(_module(example.block), example.code, example.block)
            for script in example.scripts:
                if script.block.language == "python":
                    yield Program(_module(script.block), script.block.code, script.block)


def _module(block: Block) -> str:
    return re.sub(r"\W", "_", f"{name_of(block.page).removesuffix('.md')}_{block.line}")


def expected(block: Block) -> Counter[str]:
    """Codes of errors that a program is there to show: one a note."""
    prefix = "type error: "
    return Counter(note.removeprefix(prefix) for note in block.notes if note.startswith(prefix))


def test_all_pass_mypy(tmp_path: Path) -> None:
    by_module = {program.module: program for program in programs()}
    assert len(by_module) == len(list(programs())) > 100, "two programs' files have the same name"
    for program in by_module.values():
        (tmp_path / f"{program.module}.py").write_text(program.code, encoding="utf-8")
    # Some libraries bring no types, Django above all.
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--disable-error-code=import-untyped"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, f"--cache-dir={CACHE}", "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^(Found|Success)", done.stdout, re.MULTILINE), done.stdout + done.stderr
    left = {module: expected(program.block) for module, program in by_module.items()}
    wrong = []
    for module, line, text, code in ERROR.findall(done.stdout):
        if left[module][code]:
            left[module][code] -= 1
        else:
            wrong.append(f"{by_module[module].on_page(int(line))}: {text}  [{code}]")
    wrong += [f"{by_module[module].on_page(1)}: no error {code}" for module in left for code in left[module].elements()]
    assert not wrong, "\n".join(wrong)
