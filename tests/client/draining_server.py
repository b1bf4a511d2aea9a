"""A server that a signal ends: `python -m tests.client.draining_server PORT`."""

from __future__ import annotations

import sys
from typing import Any

from duplexio import Server, Socket

io = Server(drain_seconds=1)


@io.on("echo")
async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
    return args


io.run("127.0.0.1", int(sys.argv[1]))
