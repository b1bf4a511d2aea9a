"""How many connections each worker of a port has, in memory that all of them share with their supervisor.

Each worker writes its own number and reads the others'; nobody waits for anybody. A number that is a moment old costs a
connection that goes to the second best worker.
"""

from __future__ import annotations

import mmap
import os
import tempfile

__all__ = ["Loads", "shared_memory"]

#: In the place of a number: no worker, or one that takes no connections.
ABSENT = 0xFFFF_FFFF
#: A worker that has more than another by this part of its own number, and by one, has more. Less is not worth a wait.
TOLERANCE = 16


def shared_memory(places: int) -> int:
    """A descriptor of memory for so many workers; whoever is given it may make a `Loads` of it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("duplexio-loads")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, b"\xff" * 4 * places)
    return descriptor


class Loads:
    """The numbers of all, by their places."""

    def __init__(self, descriptor: int) -> None:
        self._memory = memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size)).cast("I")

    def tell(self, place: int, connections: int) -> None:
        self._memory[place] = connections

    def leave(self, place: int) -> None:
        """Nobody waits for this worker from now on."""
        self._memory[place] = ABSENT

    def with_fewer(self, connections: int) -> int:
        """How many workers have clearly fewer connections than so many."""
        bound = connections - connections // TOLERANCE - 1
        return sum([other < bound for other in self._memory]) if bound > 0 else 0
