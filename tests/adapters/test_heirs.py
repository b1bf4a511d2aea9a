"""To whom sessions are left, and who keeps copies of them: servers that can take them."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duplexio import Server
from duplexio.testing import MemoryBus, MemoryCluster
from tests.hub.ends import Client, serving, until

from .test_cluster_recovery import Reader, turns

ON: dict[str, Any] = {"connection_state_recovery": True, "recovery_copies": 1}


class Stage:
    """Servers of one cluster that differ."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack
        self._cluster = MemoryCluster()
        self._buses: dict[Server, MemoryBus] = {}

    async def start(self, **options: Any) -> Server:
        bus = self._cluster.bus()
        io = await self._stack.enter_async_context(serving(adapter=bus, **options))
        self._buses[io] = bus
        await turns()
        return io

    async def end(self, io: Server, killed: bool) -> None:
        """It closes, or dies, with all copied that was to be."""
        for _ in range(5):
            await turns()
        if killed:
            self._cluster.kill(self._buses[io])
            for namespace in io._hub.namespaces.values():
                if namespace.log is not None:
                    # It does not close, which would take its time.
                    namespace.log.sessions.clear()
        else:
            await io.close()
        await turns()


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async with contextlib.AsyncExitStack() as stack:
        yield Stage(stack)


killed = pytest.mark.parametrize("killed", [False, True], ids=["closed", "killed"])


@killed
async def test_programs_that_only_emit_take_no_sessions(killed: bool) -> None:
    async with stage() as here:
        producers = [await here.start() for _ in range(5)]
        first, second = [await here.start(**ON) for _ in range(2)]
        reader = Reader()
        await reader.connect(first)
        producers[0].emit("e", 1)
        await turns()
        await reader.drop()
        await here.end(first, killed)
        producers[1].emit("e", 2)
        await turns()
        assert await reader.connect(second)
        assert reader.events == [["e", 1], ["e", 2]]


@killed
async def test_each_namespace_by_itself(killed: bool) -> None:
    """Some have recovery here, and others there."""

    async def start(here: Stage, *names: str) -> Server:
        io = await here.start(recovery_copies=1)
        for name in names:
            io.of(name, connection_state_recovery=True)
        return io

    async with stage() as here:
        first = await start(here, "/a", "/b")
        others = {"/a": await start(here, "/a"), "/b": await start(here, "/b")}
        for _ in range(3):
            await start(here, "/c")
        await turns()
        pids = {name: await joined(Client(first), name) for name in others}
        await here.end(first, killed)
        for name, io in others.items():
            assert await joined(Client(io), name, pids[name]) == pids[name]


async def joined(client: Client, name: str, pid: str = "") -> str:
    """Its secret from now on."""
    client.send(f'40{name},{{"pid":"{pid}"}}' if pid else f"40{name},")
    await until(lambda: any(str(packet).startswith(f"40{name},") for packet in client.packets))
    found = re.search(r'"pid":"([^"]+)"', "".join(map(str, client.packets)))
    assert found is not None
    return found[1]


@killed
async def test_one_that_has_had_no_client_of_a_pattern_yet(killed: bool) -> None:
    async with stage() as here:
        first, second = [await here.start(recovery_copies=1) for _ in range(2)]
        for io in first, second:
            io.of(re.compile(r"/room-\d+"), connection_state_recovery=True)
        for _ in range(3):
            await here.start()
        await turns()
        pid = await joined(Client(first), "/room-1")
        await here.end(first, killed)
        assert await joined(Client(second), "/room-1", pid) == pid


async def test_nobody_can_take_them() -> None:
    """Then it does not wait for anybody."""
    async with stage() as here:
        first = await here.start(connection_state_recovery=True)
        for _ in range(3):
            await here.start()
        reader = Reader()
        await reader.connect(first)
        assert not first._cluster.leaves_sessions  # type: ignore[union-attr]
        await asyncio.wait_for(first.close(), 2)
