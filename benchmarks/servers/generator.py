"""The load generator: built from `load/` with the C compiler that is there, driven by scripts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

from .processes import ROOT, pin, process_tree

__all__ = ["Step", "Steps", "build", "has_tls", "run"]

SOURCES = Path(__file__).parent / "load"
BUILT = ROOT / "build/benchmarks/generator"
#: Seconds that one script may take.
PATIENCE = 400.0


class Step(TypedDict):
    """What a command of a script found. Seconds of CPU are of all of the server's processes, user and system."""

    step: str
    count: int
    seconds: float
    cpu: float
    #: Bytes that are resident.
    memory_before: float
    memory_after: float
    generator_cpu: float
    #: The share of its looks for work that found none: near 0, the generator is what is measured.
    generator_idle: float
    #: Seconds of CPU that anything else on this machine has used.
    others_cpu: float
    #: Microseconds.
    p50: NotRequired[float]
    p99: NotRequired[float]
    #: Replies of another length than they should have.
    wrong: int


#: By name; of a command that came twice, the later one.
Steps = dict[str, Step]


@cache
def compiler() -> str:
    found = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if found is None:
        raise RuntimeError("no C compiler: the load generator is a C program, and cc, gcc or clang builds it")
    return found


def build() -> None:
    """Compiles the generator where it is older than its sources; without TLS where OpenSSL's headers are missing."""
    files = sorted(SOURCES.glob("*.[ch]"))
    newest = max(file.stat().st_mtime for file in files)
    if BUILT.exists() and BUILT.stat().st_mtime > newest:
        return
    BUILT.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler(), "-O2", "-o", str(BUILT), *(str(file) for file in files if file.suffix == ".c")]
    with_tls = [*command, "-DWITH_TLS", "-lssl", "-lcrypto"]
    if subprocess.run(with_tls, stderr=subprocess.DEVNULL).returncode != 0:
        subprocess.run(command, check=True)


@cache
def has_tls() -> bool:
    return b"SSL_read" in BUILT.read_bytes()


def run(script: Sequence[str], port: int, pid: int, core: int | None) -> Steps:
    """What a script found of the server that listens there. Raises RuntimeError with what went wrong."""
    lines = [f"server 127.0.0.1 {port}", *(f"process {process}" for process in process_tree(pid)), *script]
    ended = subprocess.run(
        [str(BUILT)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=pin(core),
    )
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr.strip() or f"the generator ended with {ended.returncode}")
    found: list[Step] = [json.loads(line) for line in ended.stdout.splitlines()]
    if any(step["wrong"] for step in found):
        raise RuntimeError("replies have another length than what was sent")
    return {step["step"]: step for step in found}
