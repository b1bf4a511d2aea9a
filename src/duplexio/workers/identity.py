"""Which processes are workers of one application: the name of the folder that they meet in."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections import defaultdict
from itertools import count
from pathlib import Path

from duplexio.workers.supervised import supervised

__all__ = ["CLUSTER_ID", "Identity"]

#: The variable by which a command tells its processes the cluster's id.
CLUSTER_ID = "DUPLEXIO_CLUSTER_ID"

#: The numbers that servers of this process have, by what they have in common.
_taken: defaultdict[tuple[str, str], set[int]] = defaultdict(set)


class Identity:
    """Which of an application's servers one is: the n-th of those that its module has made for its path.

    All workers run the same code, so the n-th of one is the n-th of all. A server that has been closed leaves its place
    to the next one that is made.

    Attributes:
        cluster_id: the name that the user has given to the cluster; None where there is none.
        number: how many were there before it.
    """

    __slots__ = ("_claimed", "_kind", "_path", "cluster_id", "number")

    def __init__(self, cluster_id: str | None, module: str, path: str) -> None:
        self.cluster_id = cluster_id or os.environ.get(CLUSTER_ID) or None
        self._kind = f"cluster {self.cluster_id}" if self.named else f"module {module}"
        self._path = path
        self.number = -1
        self._claimed = False
        self.claim()

    @property
    def named(self) -> bool:
        """Whether the user has named the cluster."""
        return self.cluster_id is not None

    def claim(self) -> None:
        """Takes a number, where it has none: the one it had before if that is free, or else the least."""
        if self._claimed:
            return
        taken = _taken[self._kind, self._path]
        if self.number < 0 or self.number in taken:
            self.number = next(number for number in count() if number not in taken)
        taken.add(self.number)
        self._claimed = True

    def release(self) -> None:
        """Gives its number back. Idempotent."""
        if self._claimed:
            _taken[self._kind, self._path].discard(self.number)
            self._claimed = False

    def folder(self) -> str | None:
        """The name of the folder; None where this process serves alone, as far as can be seen.

        Those that have a parent in common belong together, where the parent is one that starts workers.
        """
        place = self._kind, self._path, self.number
        if self.named:
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
