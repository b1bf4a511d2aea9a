"""Node's decoders, over all inputs at once."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from duplexio.protocol.engine_packet import Binary

from .decoders import Outcome
from .generate import Case

__all__ = ["there"]

SCRIPT = Path(__file__).parent / "parsers.mjs"
SECONDS = 600.0


@contextmanager
def there(cases: Iterable[Case], folder: Path) -> Iterator[Iterator[Outcome]]:
    """What Node makes of each, in order: it works beside the block, until that asks. Its files go into `folder`."""
    inputs, outcomes = folder / "inputs", folder / "outcomes"
    with inputs.open("w") as file:
        file.writelines(_line(case) for case in cases)
    with subprocess.Popen(["node", SCRIPT, inputs, outcomes], stderr=subprocess.PIPE, text=True) as process:
        try:
            yield _read(process, outcomes)
        finally:
            process.kill()


def _read(process: subprocess.Popen[str], outcomes: Path) -> Iterator[Outcome]:
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    with outcomes.open() as file:
        for line in file:
            handled, refusal, *packets = line[:-1].split("\t")
            yield Outcome(int(handled), refusal and json.loads(refusal), tuple(packets))


def _line(case: Case) -> str:
    name, messages = case
    parts = [("b" if isinstance(part, Binary) else "t") + base64.b64encode(part).decode() for part in messages]
    return json.dumps([name, *parts]) + "\n"
