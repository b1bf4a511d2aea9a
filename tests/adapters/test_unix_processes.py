"""Workers that are processes of their own: they form one server, and one that dies or stands still stops nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duplexio
from duplexio import Server
from duplexio.adapters.unix import UnixBus
from duplexio.client import ClientSocket
from duplexio.testing.check_bus import LIMITS, ends
from tests.client.stage import until
from tests.hub.ends import serving

from .test_cluster_recovery import Reader

#: Python takes a second to start where two cores are busy.
SECONDS = 60.0


class Worker:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.pid = process.pid

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


class Workers:
    """Processes on one directory, and clients of them."""

    def __init__(self, directory: Path, stack: contextlib.AsyncExitStack, options: dict[str, Any]) -> None:
        self.directory = directory
        self._stack = stack
        self._options = options

    async def start(self) -> Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.adapters.worker",
            str(self.directory),
            json.dumps(self._options),
            stdout=asyncio.subprocess.PIPE,
        )
        self._stack.push_async_callback(_end, process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
        return Worker(process, int(line))

    async def client(self, worker: Worker, *rooms: str) -> tuple[ClientSocket, list[Any]]:
        """A client, and what it is told."""
        socket = duplexio.connect(worker.url, transports=["websocket"], reconnection=False)
        told: list[Any] = []
        socket.on("told", lambda *args: told.append(list(args)), inline=True)
        socket.on("question", lambda: worker.pid, inline=True)
        await self._stack.enter_async_context(socket)
        for room in rooms:
            await socket.emit_with_ack("join", room)
        return socket, told


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await asyncio.wait_for(process.wait(), SECONDS)


@contextlib.asynccontextmanager
async def workers(directory: Path, **options: Any) -> AsyncIterator[Workers]:
    async with asyncio.timeout(2 * SECONDS), contextlib.AsyncExitStack() as stack:
        yield Workers(directory / "run", stack, options)


async def servers_seen(socket: ClientSocket, count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while (await socket.emit_with_ack("health"))["bus"]["servers"] != count:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.01)


async def test_one_is_killed_and_another_comes(tmp_path: Path) -> None:
    async with workers(tmp_path) as here:
        first, second, third = await asyncio.gather(*(here.start() for _ in range(3)))
        (one, told_one), (two, told_two), (three, _) = [await here.client(w, "room") for w in (first, second, third)]
        for socket in one, two, three:
            await servers_seen(socket, 2)
        one.emit("tell", "room", 1, {"a": b"\x01"})
        await until(lambda: told_one and told_two)
        assert told_one == told_two == [[1, {"a": b"\x01"}]]
        assert sorted(await one.emit_with_ack("ask", 30)) == sorted([first.pid, second.pid, third.pid])
        assert sorted(await two.emit_with_ack("pids")) == sorted([first.pid, third.pid])
        assert len(await three.emit_with_ack("ids")) == 3
        assert len(os.listdir(here.directory)) == 3

        # It has not answered yet, and never will.
        three.off("question")
        asked = asyncio.ensure_future(two.emit_with_ack("ask", 1000, timeout=SECONDS))
        await asyncio.sleep(0.2)
        assert not asked.done()
        await third.kill()
        # By its connections at once, not by its heartbeat.
        await servers_seen(one, 1)
        assert len(await one.emit_with_ack("ids")) == 2
        assert sorted(await one.emit_with_ack("ask", 30)) == sorted([first.pid, second.pid])
        asked.cancel()

        fourth = await here.start()
        four, told_four = await here.client(fourth, "room")
        await servers_seen(four, 2)
        four.emit("tell", "room", "new")
        await until(lambda: told_four and len(told_one) == 2 and len(told_two) == 2)
        # The file of the one that died was removed by whoever found nobody behind it.
        await until(lambda: len(os.listdir(here.directory)) == 3)


async def test_one_that_stands_still_blocks_nobody(tmp_path: Path) -> None:
    options = {"max_bus_queue": 4 * 1024 * 1024, "heartbeat_interval": 0.2, "heartbeat_timeout": 2.0}
    async with workers(tmp_path, max_http_buffer_size=2_000_000, **options) as here:
        first, second, third = [await here.start() for _ in range(3)]
        (one, _), (two, told_two), (_, told_three) = [
            await here.client(worker, "room") for worker in (first, second, third)
        ]
        await servers_seen(one, 2)
        await servers_seen(two, 2)
        os.kill(third.pid, signal.SIGSTOP)
        for number in range(12):
            one.emit("tell", "room", number, "x" * 1_000_000)
            # Who reads is not to be in the same trouble.
            await until(lambda number=number: len(told_two) == number + 1)  # type: ignore[misc]
        health = await one.emit_with_ack("health")
        assert health["status"] == "degraded"
        assert health["bus"]["queued"] <= 4 * 1024 * 1024
        assert 0 < health["bus"]["dropped"] < 12
        assert (await one.emit_with_ack("counts"))["fault.bus_overflow"] == health["bus"]["dropped"]
        # Its heartbeat has stopped: nobody waits for it.
        await servers_seen(one, 1)
        assert len(await one.emit_with_ack("ids")) == 2
        os.kill(third.pid, signal.SIGCONT)
        await until(lambda: len(told_three) == 12 - health["bus"]["dropped"])
        await servers_seen(one, 2)
        one.emit("tell", "room", "after")
        await until(lambda: told_three[-1] == ["after"])


async def test_ended_by_a_signal_nothing_is_left(tmp_path: Path) -> None:
    async with workers(tmp_path) as here:
        first, second = [await here.start() for _ in range(2)]
        one, _ = await here.client(first)
        await servers_seen(one, 1)
        second.process.terminate()
        assert await asyncio.wait_for(second.process.wait(), SECONDS) == 0
        await servers_seen(one, 0)
        assert len(os.listdir(here.directory)) == 1
        first.process.terminate()
        assert await asyncio.wait_for(first.process.wait(), SECONDS) == 0
        assert os.listdir(here.directory) == []


async def test_one_that_stands_still_costs_nobody_his_session(tmp_path: Path) -> None:
    """A server closes and leaves its sessions to another one, while a third does not read what it is sent."""
    options: dict[str, Any] = {"connection_state_recovery": True, "heartbeat_timeout": 1000.0}
    async with workers(tmp_path, **options) as here, serving(adapter=UnixBus(here.directory), **options) as first:
        second, third = [await here.start() for _ in range(2)]
        two, _ = await here.client(second)
        await servers_seen(two, 2)
        reader = Reader()
        await reader.connect(first)
        os.kill(third.pid, signal.SIGSTOP)
        # More than the buffer of its socket takes: the rest waits here, and stays.
        first.to("nobody").emit("e", "x" * 4_000_000)
        first.emit("e", "missed")
        await reader.drop()
        assert first.health()["bus"]["queued"] > 0
        await first.close()
        os.kill(third.pid, signal.SIGCONT)
        auth = {"pid": reader.pid, "offset": reader.offset}
        async with duplexio.connect(second.url, transports=["websocket"], reconnection=False, auth=auth) as back:
            assert back.id == reader.sid, "it goes on"


async def test_it_serves_when_it_knows_the_others(tmp_path: Path) -> None:
    """Whoever came to it before would have left his session behind, and what it sends would reach nobody else."""
    async with workers(tmp_path, heartbeat_timeout=1000.0) as here:
        first = await here.start()
        one, told = await here.client(first, "room")
        os.kill(first.pid, signal.SIGSTOP)

        async def begin() -> Server:
            return await stack.enter_async_context(serving(adapter=UnixBus(here.directory)))

        async with contextlib.AsyncExitStack() as stack:
            starting = asyncio.ensure_future(begin())
            await asyncio.sleep(0.3)
            assert not starting.done()
            os.kill(first.pid, signal.SIGCONT)
            second = await starting
            assert second.health()["bus"]["servers"] == 1
            second.emit("told", "by who has just come")
            await until(lambda: told)
            assert told == [["by who has just come"]]
            assert one.connected


async def test_it_goes_when_what_it_has_left_is_there(tmp_path: Path) -> None:
    """Until then it answers for its sessions itself: who asks all servers in between finds them with one of the two."""
    options: dict[str, Any] = {"connection_state_recovery": True, "heartbeat_timeout": 1000.0}
    async with workers(tmp_path, **options) as here, serving(adapter=UnixBus(here.directory), **options) as first:
        second = await here.start()
        two, _ = await here.client(second)
        await servers_seen(two, 1)
        reader = Reader()
        await reader.connect(first)
        first.emit("e", "missed")
        await reader.drop()
        os.kill(second.pid, signal.SIGSTOP)
        closing = asyncio.ensure_future(first.close())
        await asyncio.sleep(0.3)
        assert first.health()["bus"]["servers"] == 1
        assert not closing.done()
        os.kill(second.pid, signal.SIGCONT)
        await asyncio.wait_for(closing, SECONDS)
        auth = {"pid": reader.pid, "offset": reader.offset}
        async with duplexio.connect(second.url, transports=["websocket"], reconnection=False, auth=auth) as back:
            assert back.id == reader.sid, "it goes on"


async def test_draining_to_one_that_reads(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    async with workers(tmp_path) as here, ends(lambda: UnixBus(directory), 2) as (first, second):
        still = await here.start()
        await until(lambda: len(first.nodes) == len(second.nodes) == 2)
        (its_node,) = first.nodes - {second.bus.node}
        os.kill(still.pid, signal.SIGSTOP)
        assert first.bus.publish("c", b"x" * LIMITS.max_message)
        await asyncio.wait_for(first.bus.drain(second.bus.node), SECONDS)
        assert first.bus.health().queued > 0
        waiting = [asyncio.ensure_future(first.bus.drain(to)) for to in (its_node, "")]
        for _ in range(20):
            # Others wait in vain, again and again, and leave nothing behind.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.bus.drain(), 0.01)
        assert not any(waiter.done() for waiter in waiting)
        (out,) = [out for out in first.bus._opened.values() if out.node == its_node]  # type: ignore[attr-defined]
        assert len(out.writer._waiters) == 2
        # What comes behind it is not what they wait for.
        assert first.bus.publish("c", b"x" * LIMITS.max_message)
        os.kill(still.pid, signal.SIGCONT)
        await asyncio.wait_for(asyncio.gather(*waiting), SECONDS)
