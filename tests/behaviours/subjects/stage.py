"""What the subjects share on the server's side: the servers, and a record of what happened there."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from duplexio import Namespace, Server

Task = Callable[..., Awaitable[Any]]


class Stage:
    """The servers by name, what was noted under which name, and what the tests may ask for."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self.servers = servers
        self.main = servers["main"]
        self._notes: defaultdict[str, list[Any]] = defaultdict(list)
        self._noted = asyncio.Condition()
        self._tasks: dict[str, Task] = {}
        self._loop = asyncio.get_running_loop()

    def of(self, name: Any, server: str = "main") -> Namespace:
        """A namespace whose sockets answer ``fence``: the tests wait with it for all that went before."""
        namespace: Namespace = self.servers[server].of(name)
        namespace.on("fence", _fence)
        return namespace

    def note(self, name: str, value: Any = None) -> None:
        """Keep ``value``, which JSON can express; from any thread."""
        self._notes[name].append(value)
        asyncio.run_coroutine_threadsafe(self._wake(), self._loop)

    async def _wake(self) -> None:
        async with self._noted:
            self._noted.notify_all()

    def task(self, name: str) -> Callable[[Task], Task]:
        """Let the tests run this coroutine function on the server by its name."""

        def add(task: Task) -> Task:
            self._tasks[name] = task
            return task

        return add

    async def serve(self) -> int:
        """Answer the tests on a port of its own, which is returned."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split(b" ", 2)[1].decode())
        query = {name: values[0] for name, values in parse_qs(target.query, keep_blank_values=True).items()}
        reply: dict[str, Any]
        try:
            reply = {"result": await self._result(target.path, query)}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        body = json.dumps(reply).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def _result(self, path: str, query: dict[str, str]) -> Any:
        name = query["name"]
        if path == "/ask":
            return await self._tasks[name](*json.loads(query["args"]))
        async with self._noted:
            await self._noted.wait_for(lambda: len(self._notes[name]) >= int(query["count"]))
        return self._notes[name]


async def _fence(socket: Any) -> None:
    """Answered once every handler before it has started."""
