"""What was noted on the servers, and what the tests may ask of them: over plain HTTP, beside the servers under test."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Board:
    """``GET /notes?name=&count=`` waits for so many notes, ``GET /ask?name=&args=`` has something done."""

    def __init__(self, perform: Callable[[str, list[Any]], Awaitable[Any]]) -> None:
        """`perform` does what is asked for, by name and arguments."""
        self._perform = perform
        self._notes: defaultdict[str, list[Any]] = defaultdict(list)
        self._noted = asyncio.Condition()
        self._waking: set[asyncio.Task[None]] = set()

    def note(self, name: str, value: Any) -> None:
        """Keeps a value, which JSON can express. In the loop's thread."""
        self._notes[name].append(value)
        task = asyncio.create_task(self._wake())
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    async def _wake(self) -> None:
        async with self._noted:
            self._noted.notify_all()

    async def serve(self) -> str:
        """Answers on a port of its own from now on; its address is returned."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

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
            return await self._perform(name, json.loads(query["args"]))
        async with self._noted:
            await self._noted.wait_for(lambda: len(self._notes[name]) >= int(query["count"]))
        return self._notes[name]
