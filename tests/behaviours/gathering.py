"""The stages of several workers as one: what any of them notes, and what all of them are asked for.

Each worker has one connection to whoever started them, over which lines of JSON go both ways::

    {"note": name, "value": value}                    {"ask": number, "name": name, "args": args}
    {"ready": {server: port}}
    {"answer": number, "result": result}, or with "error"
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket as sockets
import threading
from typing import Any

from .board import Board
from .subjects.stage import Stage

#: By which a worker is told where to connect.
VARIABLE = "BEHAVIOURS_GATHERING"


class Gathering:
    """Where the workers' connections end, and the board of them all."""

    def __init__(self) -> None:
        self.board = Board(self.perform)
        self.port = 0
        self.ports: dict[str, int] = {}
        self._ready = 0
        self._changed = asyncio.Condition()
        self._workers: set[asyncio.StreamWriter] = set()
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    async def serve(self) -> None:
        """From now on workers may connect, at `port`."""
        # A line has a note in it, of which the longest are some kilobytes.
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0, limit=1_000_000)
        self.port = server.sockets[0].getsockname()[1]

    async def wait_ready(self, count: int) -> None:
        """Waits for so many workers to serve."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ready >= count)

    async def perform(self, name: str, args: list[Any]) -> Any:
        """Has all do it: None where that is what they say, and else the sum."""
        results = await asyncio.gather(*(self._ask(worker, name, args) for worker in self._workers))
        return None if all(result is None for result in results) else sum(results)

    def _ask(self, worker: asyncio.StreamWriter, name: str, args: list[Any]) -> asyncio.Future[Any]:
        number = next(self._numbers)
        asked = self._asked[number] = asyncio.get_running_loop().create_future()
        worker.write(json.dumps({"ask": number, "name": name, "args": args}).encode() + b"\n")
        return asked

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._workers.add(writer)
        try:
            while line := await reader.readline():
                await self._take(json.loads(line))
        finally:
            self._workers.discard(writer)
            writer.close()

    async def _take(self, said: dict[str, Any]) -> None:
        if "note" in said:
            self.board.note(said["note"], said["value"])
        elif "ready" in said:
            async with self._changed:
                self.ports = said["ready"]
                self._ready += 1
                self._changed.notify_all()
        elif "error" in said:
            self._asked.pop(said["answer"]).set_exception(RuntimeError(said["error"]))
        else:
            self._asked.pop(said["answer"]).set_result(said["result"])


class Line:
    """A worker's end."""

    def __init__(self) -> None:
        self._socket = sockets.create_connection(("127.0.0.1", int(os.environ[VARIABLE])))
        self._writing = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, name: str, value: Any) -> None:
        """Has it gone when this returns, before anything that the worker sends next; from any thread."""
        self._say({"note": name, "value": value})

    def ready(self, ports: dict[str, int]) -> None:
        """This worker serves, these servers at these ports."""
        self._say({"ready": ports})

    async def heed(self, stage: Stage) -> None:
        """Does what is asked for, until the other end is closed."""
        reader = await asyncio.to_thread(self._socket.makefile, "r", encoding="utf-8")
        while line := await asyncio.to_thread(reader.readline):
            task = asyncio.create_task(self._perform(stage, **json.loads(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _perform(self, stage: Stage, ask: int, name: str, args: list[Any]) -> None:
        try:
            self._say({"answer": ask, "result": await stage.perform(name, args)})
        except Exception as error:
            self._say({"answer": ask, "error": f"{type(error).__name__}: {error}"})

    def _say(self, what: dict[str, Any]) -> None:
        line = json.dumps(what).encode() + b"\n"
        with self._writing:
            self._socket.sendall(line)
