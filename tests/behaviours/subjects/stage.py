"""What the subjects share on the server's side: the servers, a record of what happens there, and what is to be done."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from duplexio import Namespace, Server, Socket

Task = Callable[..., Awaitable[Any]]


class Stage:
    """The servers by name, what was noted under which name, and what the tests may ask for."""

    def __init__(self, servers: Mapping[str, Server], note: Callable[[str, Any], None]) -> None:
        """`note` keeps what is noted, from whatever thread it is."""
        self.servers = servers
        self.main = servers["main"]
        self._note = note
        self._tasks: dict[str, Task] = {}
        for server in servers.values():
            server.on_server("fence", _passed)

    def of(self, name: Any, server: str = "main") -> Namespace:
        """A namespace whose sockets answer ``fence``, with which the tests wait for all that went before, and
        ``process``, where each of them is."""
        io = self.servers[server]

        async def fence(socket: Socket) -> int:
            """Answered once every handler before it has started, and what those sent to other workers is there."""
            return len(await io.server_side_emit_with_ack("fence"))

        namespace: Namespace = io.of(name)
        namespace.on("fence", fence)
        namespace.on("process", _process)
        return namespace

    def note(self, name: str, value: Any = None) -> None:
        """Keep ``value``, which JSON can express; from any thread."""
        self._note(name, value)

    def task(self, name: str) -> Callable[[Task], Task]:
        """Let the tests run this coroutine function on the server by its name.

        Of several workers each runs it. Its result is None, or a number, of which the tests see the sum.
        """

        def add(task: Task) -> Task:
            self._tasks[name] = task
            return task

        return add

    async def perform(self, name: str, args: list[Any]) -> Any:
        """Runs the task of that name."""
        return await self._tasks[name](*args)


def _passed() -> bool:
    return True


async def _process(socket: Socket) -> int:
    return os.getpid()
