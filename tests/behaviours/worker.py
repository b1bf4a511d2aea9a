"""One of several workers, each of which serves all of the subjects' servers by our own protocol classes.

``python -m behaviours.worker`` and a parser starts them, under the supervisor of `duplexio run --workers`. Each server
has a port, at which every worker listens.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import sys

import uvloop

from duplexio.integrations.hosting import UvicornServer, configuration
from duplexio.workers.supervised import Supervised, supervised
from duplexio.workers.supervisor import Supervisor

from .gathering import Line
from .server import PARSERS
from .subjects import SUBJECTS, make_servers
from .subjects.stage import Stage

WORKERS = 4


async def serve(given: Supervised, parser: str) -> None:
    servers = make_servers(allow_eio3=True, parser=PARSERS[parser])
    line = Line()
    stage = Stage(servers, line.note)
    for prepare in SUBJECTS:
        prepare(stage)
    runners = [
        UvicornServer(configuration(server, log_level="warning", access_log=False), signals=False)
        for server in servers.values()
    ]
    tasks = [
        asyncio.create_task(runner.serve([listener])) for runner, listener in zip(runners, given.sockets, strict=True)
    ]
    while not all(runner.started for runner in runners):
        assert not any(task.done() for task in tasks), "uvicorn did not start"
        await asyncio.sleep(0.01)
    given.begin()
    while any(server.health()["bus"]["servers"] < WORKERS - 1 for server in servers.values()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    ports = [listener.getsockname()[1] for listener in given.sockets]
    line.ready(dict(zip(servers, ports, strict=True)))
    await line.heed(stage)


def start(parser: str) -> int:
    """Starts the workers, and stays until they are told to end."""
    listeners = [sockets.create_server(("127.0.0.1", 0)) for _ in make_servers(allow_eio3=True)]
    return Supervisor([sys.executable, "-m", "behaviours.worker", parser], listeners, WORKERS).run()


if __name__ == "__main__":
    given = supervised()
    if given is None:
        sys.exit(start(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given, sys.argv[1]))
