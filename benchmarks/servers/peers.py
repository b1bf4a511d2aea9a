"""Who is measured: what starts each server, what it does not have, and its versions."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import trustme

from .processes import ROOT

__all__ = [
    "BUN",
    "CERTIFICATES",
    "NODE",
    "PEERS",
    "PYTHON_SOCKETIO",
    "Peer",
    "make_certificates",
    "versions",
    "workers_of",
]

PROGRAMS = Path(__file__).parent / "programs"
MODULES = PROGRAMS / "node_modules"
OTHER_PYTHON = ROOT / "build/benchmarks/python-socketio-server/bin/python"
CERTIFICATES = ROOT / "build/benchmarks/certificates"

#: Whom the others are compared with.
NODE, BUN, PYTHON_SOCKETIO = "Node", "bun-engine", "python-socketio"

ALL_PARTS = frozenset({"main", "further", "growth"})
#: Of those that serve one port with several processes, whatever client gets to whichever.
WITH_WORKERS = ALL_PARTS | {"workers"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A server: `command` makes what starts it of a port and a setting."""

    name: str
    command: Callable[[str, str], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The file without which it is not there.
    needs: Path | None = None
    #: By setting or key of a row, what it does not have.
    lacks: Mapping[str, str] = field(default_factory=dict)
    #: The parts of the table that it is measured in.
    parts: frozenset[str] = ALL_PARTS

    def missing(self, setting: str, key: str) -> str | None:
        """Why it is not measured there."""
        if self.needs is not None and not self.needs.exists():
            return f"{self.needs.name} is not installed"
        return self.lacks.get(setting) or self.lacks.get(key)


def workers_of(setting: str) -> int:
    """How many processes are to serve."""
    return int(setting.removeprefix("workers")) if setting.startswith("workers") else 1


def duplexio(port: str, setting: str) -> list[str]:
    tls = ["--ssl-certfile", str(CERTIFICATES / "certificate.pem"), "--ssl-keyfile", str(CERTIFICATES / "key.pem")]
    command = [sys.executable, "-m", "duplexio", "run", "--port", port, *(tls if setting == "tls" else [])]
    if workers_of(setting) > 1:
        command += ["--workers", str(workers_of(setting))]
    return [*command, "benchmarks.servers.programs.ours:io"]


def node(port: str, setting: str) -> list[str]:
    program = "node_workers.mjs" if workers_of(setting) > 1 else "node.mjs"
    return ["node", str(PROGRAMS / program), port, setting]


def bun(port: str, setting: str) -> list[str]:
    return [str(MODULES / ".bin/bun"), str(PROGRAMS / "bun.mjs"), port, setting]


def python_socketio(port: str, setting: str) -> list[str]:
    return [str(OTHER_PYTHON), "-m", "benchmarks.servers.programs.python_socketio", port, setting]


PEERS = (
    Peer("duplexio", duplexio, parts=WITH_WORKERS),
    Peer("duplexio, inline", duplexio, {"BENCHMARK_HANDLERS": "inline"}, parts=frozenset({"main", "further"})),
    Peer(NODE, node, {"WS_NO_BUFFER_UTIL": "1"}, MODULES / "socket.io", parts=WITH_WORKERS),
    Peer("Node, bufferutil", node, {}, MODULES / "bufferutil", parts=frozenset({"main"})),
    Peer(BUN, bun, {}, MODULES / ".bin/bun", {"deflate": "has no permessage-deflate"}),
    Peer(PYTHON_SOCKETIO, python_socketio, {}, OTHER_PYTHON, {"RX": "excludes sockets, not rooms"}),
)


def make_certificates() -> None:
    """A certificate for the servers of the row with TLS."""
    CERTIFICATES.mkdir(parents=True, exist_ok=True)
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(CERTIFICATES / "key.pem")
    for number, part in enumerate(made.cert_chain_pems):
        part.write_to_path(CERTIFICATES / "certificate.pem", append=number > 0)


def versions() -> dict[str, str]:
    """Of every server, and of what it stands on."""
    found = {name: version(name) for name in ("duplexio", "picows", "orjson", "uvloop", "uvicorn", "httptools")}
    found["Python"] = platform.python_version()
    if (MODULES / "socket.io").exists():
        found["Node"] = output(["node", "--version"]).removeprefix("v")
        for name in ("socket.io", "engine.io", "ws", "bufferutil", "@socket.io/bun-engine", "bun"):
            if (MODULES / name).exists():
                found[name] = json.loads((MODULES / name / "package.json").read_text(encoding="utf-8"))["version"]
    if OTHER_PYTHON.exists():
        names = ("python-socketio", "python-engineio", "uvicorn", "websockets")
        asked = f"from importlib.metadata import version\nfor name in {names}: print(name, version(name))"
        for line in output([str(OTHER_PYTHON), "-c", asked]).splitlines():
            name, _, number = line.partition(" ")
            found[name if name.startswith("python") else f"python-socketio's {name}"] = number
    return found


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
