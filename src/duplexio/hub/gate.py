"""Packet middlewares: what the events of a socket pass on their way to the handlers, one by one and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from duplexio.hub.eager import start
from duplexio.hub.functions import is_async
from duplexio.types import Function

if TYPE_CHECKING:
    from duplexio.hub.socket import Socket

__all__ = ["Gate"]


class Gate:
    """Made for a socket with its first packet middleware."""

    __slots__ = ("_passing", "_queue", "_socket", "middlewares")

    def __init__(self, socket: Socket) -> None:
        self.middlewares: list[Function] = []
        self._socket = socket
        self._queue: deque[tuple[list[Any], int | None]] = deque()
        self._passing = False

    def enter(self, args: list[Any], ack: int | None) -> None:
        """An event: its name, then its arguments."""
        self._queue.append((args, ack))
        if len(self._queue) == self._socket.nsp.hub.options.max_ordered_queue:
            self._socket.conn.pause_reading()
        if not self._passing:
            self._passing = True
            task = start(self._pass(), self._socket._loop)
            if not task.done():
                self._socket.nsp.hub.keep(task)

    async def _pass(self) -> None:
        socket, queue = self._socket, self._queue
        full = socket.nsp.hub.options.max_ordered_queue
        while queue:
            args, ack = queue[0]
            try:
                for middleware in tuple(self.middlewares):
                    await self._ask(middleware, args)
            except Exception as error:
                socket._handler_failed(error, args[0], ack)
            except asyncio.CancelledError:
                # By a scope in the middleware that got out of hand: this packet's end, not the socket's.
                socket.nsp.hub.reporter.count("middlewares_cancelled")
            else:
                if socket.connected:
                    socket._dispatch(args, ack)
            if len(queue) == full:
                socket.conn.resume_reading()
            queue.popleft()
        self._passing = False

    async def _ask(self, middleware: Function, args: list[Any]) -> None:
        """`args` after the name are the middleware's to change."""
        arguments = args[1:]
        if is_async(middleware):
            await middleware(args[0], arguments)
        else:
            await self._socket.nsp.hub.threads.run(middleware, [args[0], arguments], {})
        args[1:] = arguments
