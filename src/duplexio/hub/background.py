"""The event loop of the blocking client: one in a process, in a thread of its own, while anything uses it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from duplexio.errors import DuplexioError

__all__ = ["Background", "current_or_none", "hold", "lock"]

T = TypeVar("T")

#: How long the thread stays when nothing uses it any more: a program that connects again and again needs no new one.
LINGER_SECONDS = 0.2
#: How long a process that ends waits for connections to be closed, and for handlers.
EXIT_SECONDS = 2.0


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Background:
    """A loop in a daemon thread. It ends when the last `release` was some time ago.

    Attributes:
        loop: the loop; it takes calls before it runs.
        inherited: whether it was left behind in a process that this one was forked from.
        enders: of whoever is connected: what ends that, and waits for it.
    """

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.inherited = False
        self.enders: set[Callable[[], Awaitable[None]]] = set()
        self._holds = 0
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="duplexio.sync", daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the caller is on its thread."""
        return threading.get_ident() == self._thread.ident

    def hold(self) -> None:
        """Needs `lock`, or another hold."""
        with lock:
            self._holds += 1

    def release(self) -> None:
        """On the loop's thread: ends a hold."""
        with lock:
            self._holds -= 1
            if not self._holds:
                self.loop.call_later(LINGER_SECONDS, self._stop_if_unused)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs it on the loop. The caller has a hold."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def end(self) -> None:
        """Ends whatever is connected, and the thread; waits for both, for a bounded time."""
        with contextlib.suppress(Exception):
            self.submit(self._end_all()).result(EXIT_SECONDS + 1)
        with contextlib.suppress(RuntimeError):
            # It may have ended by itself.
            self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(1)

    async def _end_all(self) -> None:
        ending = [asyncio.ensure_future(ender()) for ender in self.enders]
        if ending:
            await asyncio.wait(ending, timeout=EXIT_SECONDS)

    def _stop_if_unused(self) -> None:
        with lock:
            if self._holds == 0:
                self._forget()
                self._stop.set()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
                runner.run(self._stopped())
        finally:
            # A SystemExit in a task ends it, too: whoever comes next gets another one.
            self._forget()

    def _forget(self) -> None:
        global _current
        with lock:
            if _current is self:
                _current = None

    async def _stopped(self) -> None:
        await self._stop.wait()


#: Guards which loop there is, and whether it is used. One thread may take it again.
lock = threading.RLock()
_current: Background | None = None
_ended = False
#: Those of a parent process: closing them would disturb it.
_inherited: list[Background] = []


def hold() -> Background:
    """The loop of this process, started where there is none, and held: it needs a `release`."""
    global _current
    with lock:
        if _ended:
            raise DuplexioError("the process is ending: nothing can connect any more")
        if _current is None:
            _current = Background()
        _current.hold()
        return _current


def current_or_none() -> Background | None:
    """The loop of this process, where there is one. It stays for as long as the caller has `lock`."""
    return _current


def _end() -> None:
    global _current, _ended
    with lock:
        _ended = True
        background = _current
    if background is not None:
        background.end()
        _current = None


def _forget() -> None:
    """In a child: threads are not forked."""
    global _current, lock
    lock = threading.RLock()
    if _current is not None:
        _current.inherited = True
        _inherited.append(_current)
        _current = None


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: lock.acquire(), after_in_parent=lambda: lock.release(), after_in_child=_forget)
