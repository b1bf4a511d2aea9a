"""Two workers of one cluster with a port each, so that a test decides which of them gets a request."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosting.processes import (
    ServerProcess,
    duplexio_run,
    free_port,
    granian,
    hypercorn,
    plain_uvicorn,
    running,
)

HERE = Path(__file__).parent

Command = Callable[..., list[str]]


def on_asyncio(application: str, port: int, *options: str) -> list[str]:
    """Our own classes on asyncio's own loop."""
    name = application.partition(":")[2]
    call = f"applications.{name}.run(port={port}, loop='asyncio', log_level='info')"
    return ["-c", f"import applications; {call}"]


#: How each server is told where to listen; the cluster's id comes by the environment.
COMMANDS: dict[str, Command] = {
    "duplexio": duplexio_run,
    "asyncio": on_asyncio,
    "uvicorn": plain_uvicorn,
    "hypercorn": hypercorn,
    "granian": granian,
}


@dataclass
class Pair:
    """The one that has the sessions, and the one that gets their requests."""

    owner: ServerProcess
    other: ServerProcess
    owner_port: int
    other_port: int


@contextlib.contextmanager
def pair(application: str, command: str = "duplexio", *options: str, place: Path | None = None) -> Iterator[Pair]:
    """`place`: for the folder of their sockets."""
    environment = {"DUPLEXIO_CLUSTER_ID": secrets.token_hex(8)}
    if place is not None:
        environment["XDG_RUNTIME_DIR"] = str(place)
    arguments = [COMMANDS[command](f"applications:{application}", free_port(), *options) for _ in range(2)]
    with (
        running(*arguments[0], folder=HERE, environment=environment) as owner,
        running(*arguments[1], folder=HERE, environment=environment) as other,
    ):
        yield Pair(owner, other, owner.wait_listening(), other.wait_listening())
