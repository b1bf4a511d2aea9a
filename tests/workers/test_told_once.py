"""What is for all reaches each client once, while workers are killed and replaced: with clients that meet any of them.

`DUPLEXIO_STRESS="200 60"` is the same with 200 clients that poll and 200 that move to WebSocket, for 60 seconds.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import duplexio
from tests.hosting.processes import ServerProcess, duplexio_run, free_port, running

from .pairs import HERE
from .stress import PACE, Clients
from .test_servers import gunicorn, uvicorn
from .test_supervisor import wait_until

WORKERS = 4
MEASURING = "DUPLEXIO_STRESS" in os.environ
COUNT, SECONDS = map(int, os.environ.get("DUPLEXIO_STRESS", "10 6").split())
#: Milliseconds in which those of a killed worker are back. Beside other tests it is these that are waited for.
BACK_WITHIN = 5_000 if MEASURING else 15_000
#: Seconds between two events for all.
TELLING_PACE = 0.1


@dataclass(frozen=True)
class Scene:
    """What serves, and the milliseconds between two questions of a client."""

    name: str
    command: Callable[[int], list[str]]
    pace: int
    #: Replaces these workers, one of which was killed before and is there again.
    roll: Callable[[ServerProcess, list[int]], None]


def roll_all(process: ServerProcess, pids: list[int]) -> None:
    """All but the new one, and it, one by one."""
    process.signal(signal.SIGHUP)
    for pid in pids[1:]:
        process.wait_for(rf"worker {pid} has ended", SECONDS + 60)


def roll_one(process: ServerProcess, pids: list[int]) -> None:
    """Its supervisor starts another one."""
    os.kill(pids[1], signal.SIGTERM)
    wait_until(lambda: pids[1] not in process.children())
    wait_workers(process, started=WORKERS + 2)


def wait_workers(process: ServerProcess, started: int) -> list[int]:
    """Until as many as there have to be are there, and so many have started in all; their ids."""

    def all_there() -> bool:
        return len(workers_of(process)) == WORKERS and len(re.findall(STARTED, process.log)) >= started

    wait_until(all_there)
    return workers_of(process)


def workers_of(process: ServerProcess) -> list[int]:
    # uvicorn's, by way of multiprocessing, has a child beside its workers.
    found = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in process.children()}
    return [pid for pid, command in found.items() if b"resource_tracker" not in command]


def duplexios(application: str) -> Callable[[int], list[str]]:
    return lambda port: duplexio_run(f"applications:{application}", port, "--workers", str(WORKERS))


#: What one of each writes.
STARTED = r"Application startup complete"
#: As fast as they can, where that is what was asked for. Copies of sessions come behind what they are of: far behind,
#: where nobody has a processor to spare. Beside other tests it is tests/adapters that has them, and test_servers.py the
#: other servers.
SCENES = (
    [
        Scene("recovering", duplexios("recovering"), 10, roll_all),
        Scene("copying", duplexios("copying"), 500, roll_all),
        Scene("uvicorn", lambda port: uvicorn("applications:recovering", port), 10, roll_one),
        Scene("gunicorn", lambda port: gunicorn("applications:recovering", port), 10, roll_one),
    ]
    if MEASURING
    else [Scene("recovering", duplexios("recovering"), PACE, roll_all)]
)


class Teller:
    """Tells all a number, again and again. What was acknowledged was sent.

    But not the last one before its own worker was killed: that may have written the answer, and nothing else any more.
    """

    def __init__(self, port: int) -> None:
        self._socket = duplexio.connect(f"http://127.0.0.1:{port}", reconnection_delay=0.05)
        self._number = 0
        self._stopped = False
        self.pid = 0
        #: Who told each: between what two workers send there is no order.
        self.senders: dict[int, int] = {}
        self.may_be_lost: set[int] = set()

    def worker_is_killed(self, pid: int) -> None:
        if pid == self.pid:
            self.may_be_lost = {self._number - 1, self._number}

    async def run(self) -> None:
        async with self._socket as socket:
            self.pid = await socket.emit_with_ack("pid")
            while not self._stopped:
                self._number += 1
                try:
                    self.senders[self._number] = await socket.emit_with_ack("tell everybody", self._number, timeout=30)
                except duplexio.Disconnected:
                    await socket.wait_connected(30)
                await asyncio.sleep(TELLING_PACE)

    def stop(self) -> None:
        self._stopped = True


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
async def test_each_client_is_told_once(scene: Scene) -> None:
    with running(*scene.command(free_port()), folder=HERE) as process:
        port = await asyncio.to_thread(process.wait_listening)
        pids = await asyncio.to_thread(wait_workers, process, WORKERS)
        with Clients(port, COUNT, scene.pace) as clients:
            await asyncio.sleep(SECONDS / 6)
            teller = Teller(port)
            telling = asyncio.create_task(teller.run())
            await asyncio.sleep(SECONDS / 6)
            killed = pids[0]
            os.kill(killed, signal.SIGKILL)
            teller.worker_is_killed(killed)
            await asyncio.sleep(SECONDS / 6)
            await asyncio.to_thread(wait_workers, process, WORKERS + 1)
            await asyncio.to_thread(scene.roll, process, pids)
            await asyncio.sleep(SECONDS / 3)
            teller.stop()
            await telling
            await asyncio.sleep(1)
            report = await asyncio.to_thread(clients.stop)
        log = process.log
    assert len(report) == 2 * COUNT
    assert len(teller.senders) > SECONDS
    sent = teller.senders.keys() - teller.may_be_lost
    faults = [fault for client in report if (fault := fault_of(client, killed, sent, teller.senders))]
    assert not faults, "\n".join([f"{len(faults)} of {len(report)} clients:", *faults[:20], log[-20_000:]])
    of_killed = [client for client in report if killed in client["pids"]]
    went_on = sum(all(recovered for recovered, _ in client["connects"][1:]) for client in of_killed)
    print(f"{scene.name}: of {len(of_killed)} clients of the killed worker {went_on} went on")
    assert scene.name != "copying" or went_on > len(of_killed) / 2
    back = sorted(client["absences"][0] for client in of_killed)
    print(f"{len(back)} lost their worker, half of them for {back[len(back) // 2]:.0f} ms, {back[-1]:.0f} at the most")
    absences = sorted(absence for client in report for absence in client["absences"])
    print(f"any absence: half of them {absences[len(absences) // 2]:.0f} ms, {absences[-1]:.0f} at the most")
    assert back[-1] < BACK_WITHIN
    # These had to be connected again with all others, and the clients' own processor was busy with it.
    assert absences[-1] < 3 * BACK_WITHIN


def fault_of(client: dict[str, Any], killed: int, sent: set[int], senders: dict[int, int]) -> str:
    """What went wrong for it, in words and with all that is known of it; empty where nothing did."""
    told: list[int] = client["told"]
    #: Where in `told` a session was begun anew: what was sent in between was not for it.
    gaps = [before for recovered, before in client["connects"][1:] if not recovered]
    missing = sent - set(told)
    if killed in client["pids"]:
        # It had no session any more to which anybody could give what it missed.
        begun_anew = 1
        missing -= {number for before in gaps for number in between(told, before)}
    else:
        begun_anew = 0
    table = {
        "is not connected": not client["connected"],
        "got a wrong answer": client["wrong"],
        "was not answered": client["unanswered"],
        "was told twice": len(told) != len(set(told)),
        "was told in another order": any(b < a for one in by_sender(told, senders) for a, b in pairwise(one)),
        "began anew too often": len(gaps) > begun_anew,
        # A request of a session that its worker has ended, or whose worker was killed, may still come.
        "asked for an unknown session": client["unknown"] > len(client["reasons"]),
        "was not told": sorted(missing),
    }
    wrong = [f"{words}: {seen}" for words, seen in table.items() if seen]
    shown = {name: value for name, value in client.items() if name != "told"}
    return f"{'; '.join(wrong)} {shown}, told {told}" if wrong else ""


def by_sender(told: list[int], senders: dict[int, int]) -> list[list[int]]:
    """What each worker has told, in the order in which it was heard."""
    return [[number for number in told if senders.get(number) == pid] for pid in set(senders.values())]


def between(told: list[int], place: int) -> range:
    first = told[place - 1] if place else 0
    last = told[place] if place < len(told) else 1_000_000_000
    return range(first + 1, last)
