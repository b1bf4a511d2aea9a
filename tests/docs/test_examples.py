"""Every example in Python is run, and every client that is shown with it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import PAGES, Example, blocks, examples
from .running import NODE_MODULES, run_commands, run_script, same, serve

EXAMPLES = [example for page in PAGES for example in examples(page)]


def test_what_they_need_is_there() -> None:
    assert shutil.which("node"), "Node is needed to run the clients"
    assert (NODE_MODULES / "socket.io-client").is_dir(), "npm ci in tests/node is missing"


def test_none_is_passed_over() -> None:
    shown = [block for page in PAGES for block in blocks(page)]
    programs = sum(1 + len(example.files) for example in EXAMPLES)
    clients = [script.block.language for example in EXAMPLES for script in example.scripts]
    assert programs + clients.count("python") == sum(block.language == "python" for block in shown) > 40
    assert clients.count("js") == sum(block.language == "js" for block in shown) > 30
    assert clients.count("python") > 10


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Some examples configure it, for the whole process."""
    root, ours = logging.getLogger(), logging.getLogger("duplexio")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
async def test_example(
    example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serve(example, tmp_path) as place:
        for script in example.scripts:
            await run_script(script, place)
        for block in example.commands:
            await run_commands(block, place)
        if place.server is not None and place.server.options.observer is None:
            assert place.server.counts["handler_errors"] == _expected_errors(example)
    if place.server is not None and example.prints is not None:
        printed = capsys.readouterr().out
        assert same(printed, example.prints), f"the program printed:\n{printed}"


def _expected_errors(example: Example) -> int:
    for note in example.block.notes:
        if note.startswith("handler_errors: "):
            return int(note.removeprefix("handler_errors: "))
    return 0
