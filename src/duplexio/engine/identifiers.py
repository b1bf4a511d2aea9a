"""Random identifiers from a pool: each by itself would be a system call, and a conversion that costs as much."""

from __future__ import annotations

import os
import secrets

__all__ = ["Identifiers"]

#: Characters that are drawn at once: those of a hundred sessions.
POOL = 4096

#: How often this process is the child of a fork: what its parent has drawn would be taken twice.
_forks = 0


class Identifiers:
    """Of one event loop: it is not to be asked by several threads."""

    __slots__ = ("_drawn_after", "_pool", "_taken")

    def __init__(self) -> None:
        self._pool = ""
        self._taken = 0
        self._drawn_after = _forks

    def take(self, length: int) -> str:
        """So many characters of the alphabet of URLs, each of them 6 bits that nobody can guess. At most `POOL`."""
        begin = self._taken
        if begin + length > len(self._pool) or self._drawn_after != _forks:
            self._pool = secrets.token_urlsafe(POOL * 3 // 4)
            self._drawn_after = _forks
            begin = 0
        self._taken = begin + length
        return self._pool[begin : begin + length]


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
