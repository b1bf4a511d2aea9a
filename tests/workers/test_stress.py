"""Many clients that meet any worker with each request, while a worker is killed and the others are replaced."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.hosting.processes import duplexio_run, running

from .pairs import HERE
from .test_supervisor import healths, wait_all

SCRIPT = Path(__file__).with_name("stress.mjs")
POLLING = UPGRADE = 12
#: Milliseconds between two questions of a client. Without a pause both cores would be busy, and other tests late.
PACE = 60
#: Seconds that they ask for before anything happens, and behind it.
TRAFFIC = 3


class Clients:
    def __init__(self, port: int, count: int = POLLING, pace: int = PACE) -> None:
        """So many that poll, and so many that move to WebSocket; `pace`: milliseconds between two questions."""
        options = {"url": f"http://127.0.0.1:{port}", "polling": count, "upgrade": count, "pace": pace}
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def stop(self) -> list[dict[str, Any]]:
        """What became of each."""
        output, _ = self._process.communicate("stop\n", timeout=60)
        return json.loads(output)  # type: ignore[no-any-return]

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)


def busiest(port: int) -> int:
    """The worker with the most sessions of those that have answered some times."""
    states = healths(port, 40)
    return int(max(states, key=lambda state: state["connections"])["pid"])


@pytest.mark.parametrize("killing", [True, False], ids=["killed", "replaced"])
def test_clients_that_keep_asking(killing: bool) -> None:
    with running(*duplexio_run("applications:io", 0, "--workers", "4"), folder=HERE) as process:
        port = process.wait_listening()
        pids = wait_all(process, 4, port)
        killed = 0
        with Clients(port) as clients:
            time.sleep(TRAFFIC)
            if killing:
                killed = busiest(port)
                os.kill(killed, signal.SIGKILL)
            else:
                process.signal(signal.SIGHUP)
                for pid in pids:
                    process.wait_for(rf"worker {pid} has ended")
            time.sleep(TRAFFIC)
            wait_all(process, 4, port)
            report = clients.stop()
    assert len(report) == POLLING + UPGRADE
    for client in report:
        assert client["connected"], client
        assert client["wrong"] == client["unanswered"] == 0, client
        assert client["answered"] > 5, client
        # A session ends with its worker, and with nothing else; clients come back to one that serves.
        assert len(client["pids"]) == len(client["reasons"]) + 1, client
        assert killing or all(one != next_one for one, next_one in itertools.pairwise(client["pids"])), client
        assert client["unknown"] <= len(client["reasons"]), client
    if killing:
        with_it = [client for client in report if client["pids"][0] == killed]
        assert with_it
        assert all(client["reasons"] for client in with_it), with_it
        for client in report:
            if client not in with_it:
                # A poll may have been on its way by the one that was killed: its connection is gone, and no more.
                assert client["unknown"] == 0, client
                assert not client["reasons"] or client["transport"] == "polling", client
    assert max(client["away"] for client in report) < 10_000
    assert {client["transport"] for client in report[POLLING:]} == {"websocket"}
