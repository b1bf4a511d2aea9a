"""python-socketio on uvicorn, in its virtualenv: `-m benchmarks.servers.programs.python_socketio PORT SETTING`."""

from __future__ import annotations

import os
import sys
from typing import Any

import socketio
import uvicorn

PORT, SETTING = int(sys.argv[1]), sys.argv[2]
OPTIONS: dict[str, dict[str, Any]] = {"heartbeat": {"ping_interval": 1}, "msgpack": {"serializer": "msgpack"}}

io: Any = socketio.AsyncServer(async_mode="asgi", **OPTIONS.get(SETTING, {}))
namespaces = [f"/n{number}" for number in range(10)] if SETTING == "namespaces" else ["/"]
connected = 0


async def ack(sid: str, data: Any) -> Any:
    return data


async def broadcast(sid: str, data: Any) -> None:
    await io.emit("news", data)


async def room(sid: str, name: str, data: Any) -> None:
    await io.emit("news", data, to=name)


async def join(sid: str, environ: Any) -> None:
    global connected
    number, connected = connected, connected + 1
    await io.enter_room(sid, f"r{number % 1000}")


def register(namespace: str) -> None:
    async def echo(sid: str, data: Any) -> None:
        await io.emit("echo", data, to=sid, namespace=namespace)

    for name, handler in {"echo": echo, "ack": ack, "broadcast": broadcast, "room": room}.items():
        io.on(name, handler, namespace=namespace)


for name in namespaces:
    register(name)
if SETTING == "rooms":
    io.on("connect", join)

if __name__ == "__main__":
    folder = os.environ["BENCHMARK_CERTIFICATES"]
    tls: dict[str, Any] = {"ssl_certfile": f"{folder}/certificate.pem", "ssl_keyfile": f"{folder}/key.pem"}
    uvicorn.run(
        socketio.ASGIApp(io), host="127.0.0.1", port=PORT, log_level="warning", **(tls if SETTING == "tls" else {})
    )
