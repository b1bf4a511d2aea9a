"""Which processes are workers of one application: the name of the folder that they meet in."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path

from duplexio.workers.supervised import supervised

__all__ = ["CLUSTER_ID", "Identity"]

#: The variable by which a command tells its processes the cluster's id.
CLUSTER_ID = "DUPLEXIO_CLUSTER_ID"

_made: Counter[tuple[str, str]] = Counter()


class Identity:
    """Which of an application's servers one is: the n-th that its module has made for its path.

    All workers run the same code, so the n-th of one is the n-th of all.
    """

    __slots__ = ("_place",)

    def __init__(self, cluster_id: str | None, module: str, path: str) -> None:
        cluster_id = cluster_id or os.environ.get(CLUSTER_ID) or None
        kind = f"cluster {cluster_id}" if cluster_id is not None else f"module {module}"
        number = _made[kind, path]
        _made[kind, path] += 1
        self._place = cluster_id is not None, kind, path, number

    @property
    def named(self) -> bool:
        """Whether the user has named the cluster."""
        return self._place[0]

    def folder(self) -> str | None:
        """The name of the folder; None where this process serves alone, as far as can be seen.

        Those that have a parent in common belong together, where the parent is one that starts workers.
        """
        named, *place = self._place
        if named:
            return _digest("named", *place)
        if not _has_siblings():
            return None
        return _digest(_parent(), *place)


def _has_siblings() -> bool:
    """Whether whoever started this process starts others like it: uvicorn, hypercorn and granian do so by
    multiprocessing, gunicorn by a fork, and our own supervisor says so."""
    started = supervised() is not None or multiprocessing.parent_process() is not None
    return started or "gunicorn.arbiter" in sys.modules


def _parent() -> str:
    """The parent process: numbers are used again, and are others' in another container."""
    parent = os.getppid()
    try:
        # Behind the name, which may have blanks and brackets in it: field 22 is when it started.
        started = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{parent} {started[19]} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, IndexError):
        return str(parent)


def _digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]
