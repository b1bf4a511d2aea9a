"""What this server answers to a request of another: gathered for a turn of the loop, and sent as one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from duplexio.errors import DuplexioError
from duplexio.hub.acks import Answered

__all__ = ["Answers"]

#: Sends answers to the one that asked: how many there will be, or -1; those that are here; how many will not come.
Send = Callable[[int, list[Any], int], None]


class Answers:
    """Of the sockets of this server, to one request. `send` is told how many there are first of all."""

    __slots__ = ("_expected", "_failed", "_loop", "_scheduled", "_send", "_values")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._expected: int | None = 0
        self._values: list[Any] = []
        self._failed = 0
        self._scheduled = False

    def one_more(self) -> Answered:
        """Another receiver; what it gives is to be called with its answer. Not after `counted`."""
        assert self._expected is not None
        self._expected += 1
        return self._answered

    def counted(self) -> None:
        """There are no more receivers: the one that asked is told at once how many there are."""
        self._flush()

    def _answered(self, error: DuplexioError | None, arguments: list[Any]) -> None:
        if error is None:
            self._values.append(arguments[0] if arguments else None)
        else:
            self._failed += 1
        if not self._scheduled and self._expected is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        expected = -1 if self._expected is None else self._expected
        values, failed = self._values, self._failed
        self._expected, self._values, self._failed = None, [], 0
        self._send(expected, values, failed)
