"""Workers behind a balancer that knows nothing of sessions: one is rolled, one is killed, and clients miss nothing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import duplexio
from duplexio.client import ClientSocket
from tests.client.stage import until

from .forwarder import forwarder
from .test_unix_processes import SECONDS, Worker, workers

#: Of the crowd; more would only take longer.
CLIENTS = 24


class Listener:
    """A client that comes back by itself."""

    def __init__(self, url: str) -> None:
        self.socket: ClientSocket = duplexio.connect(
            url, transports=["websocket"], reconnection_delay=0.05, reconnection_delay_max=0.5, force_new=True
        )
        self.told: list[int] = []
        self.recovered: list[bool] = []
        self.socket.on("told", lambda number: self.told.append(number), inline=True)
        self.socket.on("connect", self._connected, inline=True)

    def _connected(self) -> None:
        self.recovered.append(self.socket.recovered)


def port_of(worker: Worker) -> int:
    return int(worker.url.rpartition(":")[2])


async def listening(url: str) -> list[Listener]:
    """Clients that are in the room."""
    listeners = [Listener(url) for _ in range(CLIENTS)]
    for listener in listeners:
        await listener.socket.connect()
        await listener.socket.emit_with_ack("join", "room")
    return listeners


async def test_killed_with_copies(tmp_path: Path) -> None:
    """Its clients go on elsewhere, and miss nothing. Who had got what nobody else knew of begins anew."""
    async with workers(tmp_path, connection_state_recovery=True, recovery_copies=1) as here, forwarder() as balancer:
        first, second, third = [await here.start() for _ in range(3)]
        balancer.ports = [port_of(worker) for worker in (first, second, third)]
        listeners = await listening(balancer.url)
        speaker, _ = await here.client(third)
        for number in range(10):
            await speaker.emit_with_ack("tell", "room", number)
        await until(lambda: all(len(listener.told) == 10 for listener in listeners))
        balancer.ports = [port_of(worker) for worker in (first, third)]
        # What was told is at every server, and so in the copies.
        (asker, _) = await here.client(second)
        await asker.emit_with_ack("ids")
        await second.kill()
        for number in range(10, 20):
            await speaker.emit_with_ack("tell", "room", number)
        await until(lambda: all(listener.told == list(range(20)) for listener in listeners))
        back = [listener for listener in listeners if len(listener.recovered) > 1]
        assert back
        assert all(listener.recovered == [False, True] for listener in back)
        for listener in listeners:
            listener.socket.disconnect()


async def test_rolling_and_killing(tmp_path: Path) -> None:
    async with workers(tmp_path, connection_state_recovery=True) as here, forwarder() as balancer:
        first, second, third = [await here.start() for _ in range(3)]
        balancer.ports = [port_of(worker) for worker in (first, second, third)]
        listeners = await listening(balancer.url)
        speaker, _ = await here.client(third)
        numbers = itertools.count()
        stopped = False

        async def speak() -> None:
            while not stopped:
                await speaker.emit_with_ack("tell", "room", next(numbers))
                await asyncio.sleep(0.005)

        speaking = asyncio.ensure_future(speak())

        def total() -> int:
            return min(len(listener.told) for listener in listeners)

        await until(lambda: total() > 20)
        # Rolled: a new one comes, the old one closes.
        fourth = await here.start()
        balancer.ports = [port_of(worker) for worker in (fourth, second, third)]
        first.process.terminate()
        assert await asyncio.wait_for(first.process.wait(), SECONDS) == 0
        await until(lambda: all(listener.socket.connected for listener in listeners))
        seen = total()
        await until(lambda: total() > seen + 20)
        rolled = [listener for listener in listeners if len(listener.recovered) > 1]
        assert rolled
        assert all(all(listener.recovered[1:]) for listener in rolled), "each went on with its session"
        for listener in listeners:
            assert listener.told == list(range(len(listener.told))), "every number, once, in order"

        # Killed: its clients come back as new ones, and the others notice nothing.
        (asker, _) = await here.client(second)
        # The one that asks has a connection, too.
        count = (await asker.emit_with_ack("health"))["connections"] - 1
        before = [len(listener.recovered) for listener in listeners]
        balancer.ports = [port_of(worker) for worker in (fourth, third)]
        await second.kill()

        def back() -> list[Listener]:
            return [one for one, times in zip(listeners, before, strict=True) if len(one.recovered) > times]

        await until(lambda: len(back()) == count > 0)
        for listener in listeners:
            if listener in back():
                assert listener.recovered[-1] is False
                assert sorted(set(listener.told)) == listener.told, "nothing twice, and in order"
            else:
                assert listener.told == list(range(len(listener.told)))
        stopped = True
        await speaking
        for listener in listeners:
            listener.socket.disconnect()
