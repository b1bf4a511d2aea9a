"""How much of the read buffers that have grown for large messages a process keeps for the next ones.

A buffer that is replaced by a small one after each large message has to grow again for the next: that is half of what
such a message costs. Kept by all, buffers would hold what thousands of clients have sent once.
"""

from __future__ import annotations

import threading

__all__ = ["KEPT_SECONDS", "give_back", "take"]

#: Of all connections of an event loop together: some thirty that send messages of 64 KiB, or four with a megabyte each.
KEPT_BYTES = 8 * 1024 * 1024
#: Seconds after its last large message from which on the next message of a connection lets its buffer go; where none
#: comes, the answer to a ping does.
KEPT_SECONDS = 1.0


class _Kept(threading.local):
    # Of each thread, and so of each loop: what is added is never lost between two.
    used = 0


_kept = _Kept()


def take(size: int) -> bool:
    """Whether so many bytes more may be kept; they are counted then."""
    if _kept.used + size > KEPT_BYTES:
        return False
    _kept.used += size
    return True


def give_back(size: int) -> None:
    """They are kept no more."""
    _kept.used -= size
