"""The threads of plain handlers: a bounded number, counted on the loop, so that whoever has to wait waits there."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from duplexio.hub import current

__all__ = ["MakeExecutor", "Threads", "standard_executor"]

#: Of at most so many threads.
MakeExecutor = Callable[[int], Executor]


def standard_executor(limit: int) -> Executor:
    """The standard library's."""
    return ThreadPoolExecutor(limit, thread_name_prefix="duplexio")


class Threads:
    """At most `limit` functions run at a time. All methods are called on the loop."""

    __slots__ = ("_executor", "_limit", "_loop", "_make_executor", "_running", "_waiting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, make_executor: MakeExecutor = standard_executor
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._make_executor = make_executor
        self._executor: Executor | None = None
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()

    @property
    def free(self) -> bool:
        """Whether a thread would take a function at once."""
        return self._running < self._limit

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return len(self._waiting)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Calls back, once, when a thread is free; in order."""
        self._waiting.append(callback)

    def run(self, function: Callable[..., Any], args: list[Any], keywords: dict[str, Any]) -> asyncio.Future[Any]:
        """Runs it in a copy of the current context."""
        if self._executor is None:
            self._executor = self._make_executor(self._limit)
        self._running += 1
        context = contextvars.copy_context()
        context.run(current.loop.set, self._loop)
        called = partial(_call, partial(context.run, function, *args, **keywords))
        future = self._loop.run_in_executor(self._executor, called)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: asyncio.Future[Any]) -> None:
        self._running -= 1
        if self._waiting and self._running < self._limit:
            self._waiting.popleft()()

    def close(self, cancel: bool = True) -> None:
        """The threads end; functions that run end by themselves, and, unless `cancel`, those that wait run before."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=cancel)
            self._executor = None


def _call(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (SystemExit, KeyboardInterrupt) as error:
        # In a task, either would end the event loop; in a thread, it ends the thread.
        raise RuntimeError(f"a plain function raised {error!r} in a thread, which ends nothing but itself") from error
