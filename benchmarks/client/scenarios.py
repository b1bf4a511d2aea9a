"""Who is measured at what."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["CLIENTS", "NODE", "PYTHON_SOCKETIO", "ROOT", "SCENARIOS", "SERVERS", "Scenario", "missing"]

ROOT = Path(__file__).parents[2]
OTHER_PYTHON = ROOT / "build/benchmarks/python-socketio/bin/python"
NODE_MODULES = ROOT / "tests/node/node_modules"
HERE = "benchmarks/client"

#: Whom the others are compared with.
NODE = "socket.io-client"
PYTHON_SOCKETIO = "python-socketio"

#: What starts a client; the plan is put behind the program's name.
CLIENTS: dict[str, tuple[list[str], list[str]]] = {
    "duplexio": ([sys.executable, "-m", "benchmarks.client.ours"], ["asyncio"]),
    "duplexio, uvloop": ([sys.executable, "-m", "benchmarks.client.ours"], ["uvloop"]),
    NODE: (["node", f"{HERE}/node.mjs"], []),
    PYTHON_SOCKETIO: ([str(OTHER_PYTHON), "-m", "benchmarks.client.python_socketio"], []),
}

#: What starts a server; its port is put behind the program's name.
SERVERS: dict[str, tuple[list[str], list[str]]] = {
    "duplexio": ([sys.executable, "benchmarks/server.py"], ["inline"]),
    "Node": (["node", f"{HERE}/server.mjs"], []),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table: see `meter.Plan`."""

    name: str
    window: int
    transport: Literal["polling", "websocket"] = "websocket"
    event: str = "echo"
    text: int = 5
    binary: int = 0
    server: str = "duplexio"

    @property
    def payload(self) -> Any:
        """A small object, with a text of so many characters."""
        return {"n": 1, "text": ("hello, " * (self.text // 7 + 1))[: self.text]}


SCENARIOS = (
    Scenario("echo, 1 in flight", 1),
    Scenario("echo, 16 in flight", 16),
    Scenario("echo of 1 KB, 1 in flight", 1, text=1000),
    Scenario("echo of 1 KB, 16 in flight", 16, text=1000),
    Scenario("echo by polling, 16 in flight", 16, transport="polling"),
    Scenario("acknowledgement, 16 in flight", 16, event="ack"),
    Scenario("echo of 64 bytes of binary, 16 in flight", 16, binary=64),
    Scenario("echo by Node's server, 1 in flight", 1, server="Node"),
    Scenario("echo by Node's server, 16 in flight", 16, server="Node"),
)


def missing(scenario: Scenario) -> str | None:
    """What a row needs and does not find."""
    if scenario.server == "Node" and not (NODE_MODULES / "socket.io").is_dir():
        return "tests/node has no socket.io"
    return None
