"""The servers in four processes: ``python -m behaviours.workers``, a hosting of `HOSTINGS`, a parser, and a free port.

It prints the line that ``server.py`` does, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable

from .gathering import VARIABLE, Gathering
from .worker import WORKERS

START_SECONDS = 30.0
#: For the workers to end, who do so at once.
END_SECONDS = 4.0

Command = Callable[[str, int], list[str]]


def by_ours(parser: str, port: int) -> list[str]:
    """Each server by itself, and at a port of its own."""
    return ["-m", "behaviours.worker", parser]


def by_uvicorn(parser: str, port: int) -> list[str]:
    """All mounted in one application, under uvicorn's own classes and supervisor."""
    options = ["--workers", str(WORKERS), "--port", str(port), "--ws", "websockets", "--log-level", "warning"]
    return [
        "-m",
        "uvicorn",
        "behaviours.hosted:starlette",
        *options,
        "--no-access-log",
        "--timeout-graceful-shutdown",
        "1",
    ]


HOSTINGS: dict[str, Command] = {"workers": by_ours, "uvicorn-workers": by_uvicorn}


async def main(hosting: str, parser: str, port: int) -> None:
    gathering = Gathering()
    await gathering.serve()
    environment = {**os.environ, VARIABLE: str(gathering.port)}
    command = [sys.executable, *HOSTINGS[hosting](parser, port)]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await gathering.wait_ready(WORKERS)
        mounted = hosting == "uvicorn-workers"
        line = {
            "control": await gathering.board.serve(),
            "ports": dict.fromkeys(gathering.ports, port) if mounted else gathering.ports,
            "paths": {name: f"/{name}/socket.io" if mounted else "/socket.io" for name in gathering.ports},
            "middleware": mounted,
        }
        print(json.dumps(line), flush=True)
        await asyncio.to_thread(sys.stdin.read)  # the tests hold the other end: however they end, so do the workers
    finally:
        process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
