"""The answers to one request, from several servers and from the sockets of this one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from duplexio.errors import DuplexioError
from duplexio.hub.acks import Answered

__all__ = ["FanIn"]


class _Share:
    """What one server has to answer."""

    __slots__ = ("came", "expected")

    def __init__(self) -> None:
        #: None: it has not said how many yet.
        self.expected: int | None = None
        self.came = 0


class FanIn:
    """Done when each server has given all of its answers, or cannot any more.

    Attributes:
        answers: in order of arrival.
        expected: how many there were to be, as far as it is known.
    """

    __slots__ = ("_done", "_local", "_local_open", "_shares", "answers", "expected")

    def __init__(self, loop: asyncio.AbstractEventLoop, nodes: Iterable[str]) -> None:
        self.answers: list[Any] = []
        self.expected = 0
        self._shares = {node: _Share() for node in nodes}
        self._local = 0
        # Until all of this server's own are counted.
        self._local_open = True
        self._done: asyncio.Future[None] = loop.create_future()

    # Sockets of this server.

    def one_more(self) -> Answered:
        """Another receiver here; what it gives is to be called with its answer."""
        self.expected += 1
        self._local += 1
        return self._answered_here

    def _answered_here(self, error: DuplexioError | None, arguments: list[Any]) -> None:
        self._local -= 1
        if error is None:
            self.answers.append(arguments[0] if arguments else None)
        self._check()

    # Other servers.

    def replied(self, node: str, expected: int, values: list[Any], failed: int) -> None:
        """Some answers of a server; `expected` -1: how many it gives in all was said, or will be."""
        if self._done.done():
            return
        share = self._shares.get(node)
        if share is None:
            if expected < 0:
                # It was given up, and what it says now comes too late.
                return
            # One that nobody knew when the request went out.
            share = self._shares[node] = _Share()
        if expected >= 0 and share.expected is None:
            share.expected = expected
            self.expected += expected
        self.answers += values
        share.came += len(values) + max(0, failed)
        if share.expected is not None and share.came >= share.expected:
            del self._shares[node]
        self._check()

    def gave_up(self, node: str) -> None:
        """Nothing more comes from this server: it has gone."""
        if self._shares.pop(node, None) is not None:
            self._check()

    @property
    def complete(self) -> bool:
        """Whether every answer came that was known to be coming."""
        return len(self.answers) >= self.expected

    @property
    def silent(self) -> int:
        """How many servers have not even said how many answers they will give."""
        return sum(share.expected is None for share in self._shares.values())

    def _check(self) -> None:
        if not (self._shares or self._local or self._local_open or self._done.done()):
            self._done.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """Waits until it is done; False: over `timeout` seconds. Cancelling it only stops the waiting."""
        try:
            async with asyncio.timeout(timeout):
                await self.done()
        except TimeoutError:
            return False
        return True

    async def done(self) -> None:
        """Waits until it is done. Cancelling it only stops the waiting."""
        self._local_open = False
        self._check()
        try:
            await self._done
        finally:
            self._done.cancel()
