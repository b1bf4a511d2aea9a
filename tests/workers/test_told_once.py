"""What is for all reaches each client once, while workers are killed and replaced: with clients that meet any of them.

`DUPLEXIO_STRESS="200 60"` is the same with 200 clients that poll and 200 that move to WebSocket, for 60 seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import duplexio
from tests.hosting.processes import duplexio_run, running

from .pairs import HERE
from .stress import PACE, Clients
from .test_supervisor import wait_all

WORKERS = 4
MEASURING = "DUPLEXIO_STRESS" in os.environ
COUNT, SECONDS = map(int, os.environ.get("DUPLEXIO_STRESS", "10 6").split())
#: As fast as they can, where that is what was asked for.
CLIENTS_PACE = 10 if MEASURING else PACE
#: Milliseconds in which all are back. Beside other tests it is these that are waited for.
BACK_WITHIN = 5_000 if MEASURING else 15_000
#: Seconds between two events for all.
TELLING_PACE = 0.1


class Teller:
    """Tells all a number, again and again. What was acknowledged was sent."""

    def __init__(self, port: int) -> None:
        self._socket = duplexio.connect(f"http://127.0.0.1:{port}", reconnection_delay=0.05)
        self._number = 0
        self._stopped = False
        self.sent: list[int] = []

    async def run(self) -> None:
        async with self._socket as socket:
            while not self._stopped:
                self._number += 1
                try:
                    await socket.emit_with_ack("tell everybody", self._number, timeout=30)
                    self.sent.append(self._number)
                except duplexio.Disconnected:
                    await socket.wait_connected(30)
                await asyncio.sleep(TELLING_PACE)

    def stop(self) -> None:
        self._stopped = True


async def test_each_client_is_told_once() -> None:
    with running(*duplexio_run("applications:recovering", 0, "--workers", str(WORKERS)), folder=HERE) as process:
        port = await asyncio.to_thread(process.wait_listening)
        pids = await asyncio.to_thread(wait_all, process, WORKERS, port)
        with Clients(port, COUNT, CLIENTS_PACE) as clients:
            await asyncio.sleep(SECONDS / 6)
            teller = Teller(port)
            telling = asyncio.create_task(teller.run())
            await asyncio.sleep(SECONDS / 6)
            killed = pids[0]
            os.kill(killed, signal.SIGKILL)
            await asyncio.sleep(SECONDS / 6)
            await asyncio.to_thread(wait_all, process, WORKERS, port)
            process.signal(signal.SIGHUP)
            for pid in pids[1:]:
                await asyncio.to_thread(process.wait_for, rf"worker {pid} has ended", SECONDS + 60)
            await asyncio.sleep(SECONDS / 3)
            teller.stop()
            await telling
            await asyncio.sleep(1)
            report = await asyncio.to_thread(clients.stop)
    assert len(report) == 2 * COUNT
    assert len(teller.sent) > SECONDS
    for client in report:
        check(client, killed, teller.sent)
    away = sorted(client["away"] for client in report if client["away"])
    print(f"{len(away)} were away, half of them for {away[len(away) // 2]:.0f} ms, and {away[-1]:.0f} at the most")
    assert away[-1] < BACK_WITHIN


def check(client: dict[str, Any], killed: int, sent: list[int]) -> None:
    told: list[int] = client["told"]
    shown = {name: value for name, value in client.items() if name != "told"}
    assert client["connected"], shown
    assert client["wrong"] == client["unanswered"] == 0, shown
    assert len(told) == len(set(told)), (shown, told)
    assert told == sorted(told), (shown, told)
    #: Where in `told` a session was begun anew: what was sent in between was not for it.
    gaps = [before for recovered, before in client["connects"][1:] if not recovered]
    missing = sorted(set(sent) - set(told))
    if killed in client["pids"]:
        # It had no session any more to which anybody could give what it missed.
        assert len(gaps) <= 1, shown
        assert client["unknown"] <= 1, shown
        allowed = {number for before in gaps for number in between(told, before)}
        assert set(missing) <= allowed, (shown, missing)
    else:
        assert gaps == [], shown
        # A request of a session that its worker has ended may still come: nobody has it then.
        assert client["unknown"] <= len(client["reasons"]), shown
        assert missing == [], (shown, missing)


def between(told: list[int], place: int) -> range:
    first = told[place - 1] if place else 0
    last = told[place] if place < len(told) else 1_000_000_000
    return range(first + 1, last)
