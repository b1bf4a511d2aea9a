"""The server that load generators drive: `python benchmarks/server.py PORT [async|inline]`.

`echo` sends its argument back, `ack` acknowledges with it, `broadcast` sends it to everybody as `news`.
"""

from __future__ import annotations

import sys
from typing import Any

from duplexio import Server, Socket

io = Server(serve_client=False)
kind = sys.argv[2] if len(sys.argv) > 2 else "async"

if kind == "async":

    @io.on("echo")
    async def echo(socket: Socket, data: Any) -> None:
        socket.emit("echo", data)

    @io.on("ack")
    async def ack(socket: Socket, data: Any) -> Any:
        return data

    @io.on("broadcast")
    async def broadcast(socket: Socket, data: Any) -> None:
        io.emit("news", data)

else:

    @io.on("echo", inline=True)
    def echo_inline(socket: Socket, data: Any) -> None:
        socket.emit("echo", data)

    @io.on("ack", inline=True)
    def ack_inline(socket: Socket, data: Any) -> Any:
        return data

    @io.on("broadcast", inline=True)
    def broadcast_inline(socket: Socket, data: Any) -> None:
        io.emit("news", data)


if __name__ == "__main__":
    io.run("127.0.0.1", int(sys.argv[1]), log_level="warning")
