"""What a client must not leave behind: sockets, tasks, timers, and words to the loop's exception handler."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from typing import Any

#: How often it is looked, and after how many seconds: a connection's orderly end takes a moment.
LOOKS, BETWEEN = 400, 0.01


def open_sockets() -> int:
    """Of this process."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def timers() -> int:
    """What the loop is to call later; asyncio's own loop tells."""
    scheduled: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", [])
    return sum(not handle.cancelled() for handle in scheduled)


def _of_python(context: dict[str, Any]) -> bool:
    """Where TLS goes through TLS, asyncio stumbles over itself at the end, before 3.11.8 and 3.12.2."""
    error = context.get("exception")
    return isinstance(error, TypeError) and "SSLProtocol._abort()" in str(error)


@contextlib.asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """What is within ends without a trace."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: None if _of_python(context) else told.append(context))
    sockets, tasks, waiting = open_sockets(), asyncio.all_tasks(), timers()

    def left() -> dict[str, Any]:
        found: dict[str, Any] = {
            "sockets": max(0, open_sockets() - sockets),
            "tasks": asyncio.all_tasks() - tasks - {asyncio.current_task()},
            "timers": max(0, timers() - waiting),
        }
        return {name: value for name, value in found.items() if value}

    yield
    for _ in range(LOOKS):
        if not left():
            break
        await asyncio.sleep(BETWEEN)
    found = left()
    assert not found, found
    gc.collect()
    await asyncio.sleep(0)
    assert not told, told
