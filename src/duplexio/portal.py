"""From a thread back to the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from duplexio.errors import ConfigurationError
from duplexio.hub import current

__all__ = ["from_thread"]

T = TypeVar("T")


def from_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Waits, in a plain handler's thread, for a coroutine that runs on the server's loop, and returns its result.

        @io.on("buy")
        def buy(socket: Socket, item: str) -> str:
            return from_thread(socket.emit_with_ack("confirm", item))

    Raises what the coroutine raises; ConfigurationError where no handler of a server is running in this thread.
    """
    loop = current.loop.get(None)
    if loop is None:
        coroutine.close()
        raise ConfigurationError("from_thread() works in a thread that runs a plain handler")
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
