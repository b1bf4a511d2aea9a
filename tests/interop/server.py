"""What the clients talk to: ``python -m tests.interop.server``.

It prints ``{"port": port}``, and ends when its standard input does; then it prints what it counted and why sockets
ended, ``{"counts": {name: total}, "ends": {label: reason}}``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from typing import Any

import uvloop

from duplexio import ConnectRefused, Namespace, Server, Socket
from duplexio.observe import Counts

#: Seconds. Short, so that a client proves its heartbeats by living longer than both together; yet a client is several
#: threads on a busy machine, and has to answer in time.
PING_INTERVAL = 0.5
PING_TIMEOUT = 3.0
#: Seconds in which a client that is gone has to be noticed: a ping, and the wait for its answer.
ENDED_WITHIN = PING_INTERVAL + PING_TIMEOUT + 2.0


class Stage:
    """The server, the one that comes after it on the same port, and what both have seen."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ends: defaultdict[str, asyncio.Future[str]] = defaultdict(loop.create_future)
        self.counts = Counts()
        self.port = 0
        self._restarting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self.server = Server(
            ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT, allow_eio3=True, observer=self.counts
        )
        prepare(self, self.server)
        self.listening = await self.server.listen("127.0.0.1", self.port)
        self.port = self.listening.port

    async def close(self) -> None:
        await self.listening.close()

    def restart(self) -> None:
        async def run() -> None:
            await self.close()
            await self.open()

        self._restarting = asyncio.create_task(run())


def prepare(stage: Stage, server: Server) -> None:
    members = server.of("/members")

    @members.use
    async def authenticate(socket: Socket) -> None:
        token = socket.handshake.auth.get("token", socket.handshake.query.get("token"))
        if token != "s3cret":
            raise ConnectRefused("Who are you?", {"code": 7, "retry": False})
        socket.data["name"] = "anna"

    @server.of("/closed").use
    async def refuse(socket: Socket) -> None:
        raise ConnectRefused("Closed today")

    @members.on("whoami")
    async def whoami(socket: Socket, surname: str) -> str:
        return f"{socket.data['name']} {surname}"

    for namespace in (server.sockets, members):
        _ways_to_end(stage, namespace)
    _values(server)

    @server.on("connection")
    async def greet(socket: Socket) -> None:
        socket.emit("welcome", "héllo", [1, 2.5, None, True])

    @server.on("enter")
    async def enter(socket: Socket, room: str) -> bool:
        socket.join(room)
        return room in socket.rooms

    @server.on("tell")
    async def tell(socket: Socket, room: str, *args: Any) -> None:
        server.to(room).emit("told", *args)

    @server.on("transport")
    async def transport(socket: Socket) -> tuple[str, int]:
        return socket.conn.transport.name, socket.conn.protocol

    @server.on("upgraded")
    async def upgraded(socket: Socket) -> str:
        """Answers when the client has changed to WebSocket."""
        changed = asyncio.Event()
        socket.conn.on("upgrade", lambda transport: changed.set())
        if socket.conn.transport.name != "websocket":
            await changed.wait()
        return socket.conn.transport.name

    @server.on("linger")
    async def linger(socket: Socket) -> bool:
        """Answers after a client that answers no ping would have been given up: there is nothing else to wait for."""
        await asyncio.sleep(PING_INTERVAL + PING_TIMEOUT + 0.5)
        return socket.connected

    @server.on("restart")
    async def restart(socket: Socket) -> None:
        stage.restart()


def _ways_to_end(stage: Stage, namespace: Namespace) -> None:
    @namespace.on("label")
    async def label(socket: Socket, name: str) -> None:
        socket.data["label"] = name
        stage.ends[name]  # waited for at the end

    @namespace.on("disconnect")
    async def ended(socket: Socket, reason: str) -> None:
        if "label" in socket.data:
            stage.ends[socket.data["label"]].set_result(reason)

    @namespace.on("reason")
    async def reason(socket: Socket, name: str) -> str:
        """Answers when the socket with this label has ended."""
        return await stage.ends[name]

    @namespace.on("kick")
    async def kick(socket: Socket, close: bool) -> None:
        socket.disconnect(close)


def _values(server: Server) -> None:
    @server.on("add")
    async def add(socket: Socket, first: int, second: int) -> int:
        return first + second

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @server.on("describe")
    async def describe(socket: Socket, *args: Any) -> Any:
        return plain(args)

    @server.on("keep")
    async def keep(socket: Socket, *args: Any) -> None:
        """For clients that cannot ask for an acknowledgement of bytes."""
        socket.data["kept"] = plain(args)

    @server.on("kept")
    async def kept(socket: Socket) -> Any:
        return socket.data["kept"]

    @server.on("send me")
    async def send_me(socket: Socket, event: str, *args: Any) -> None:
        socket.emit(event, *args)

    @server.on("bytes please")
    async def bytes_please(socket: Socket, event: str, count: int) -> None:
        socket.emit(event, bytes(range(count)))

    @server.on("nested please")
    async def nested_please(socket: Socket) -> None:
        socket.emit("nested", {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}, b"last")

    @server.on("ask me")
    async def ask_me(socket: Socket, event: str, *args: Any) -> Any:
        """What the client answered, as it came here."""
        return plain(await socket.emit_with_ack(event, *args, timeout=5))

    @server.on("ask me with bytes")
    async def ask_me_with_bytes(socket: Socket, event: str) -> Any:
        return plain(await socket.emit_with_ack(event, b"\x00\x10", {"b": b"\x20"}, timeout=5))

    @server.on("burst please")
    async def burst_please(socket: Socket, count: int, mixed: bool) -> None:
        for index in range(count):
            socket.emit("item", index, bytes([index]) if mixed and index % 3 == 1 else str(index))

    @server.on("item")
    async def item(socket: Socket, index: int, value: Any) -> None:
        socket.data.setdefault("items", []).append([index, plain(value)])

    @server.on("items")
    async def items(socket: Socket) -> Any:
        """A single argument, though it is a list."""
        return socket.data["items"]

    @server.on("large")
    async def large(socket: Socket, value: Any) -> tuple[int, Any]:
        return len(value), value


def plain(value: Any) -> Any:
    """The same with bytes as texts, so that every client can compare it: ``"hex:00ff"``."""
    match value:
        case bytes() | bytearray() | memoryview():
            return f"hex:{bytes(value).hex()}"
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


async def main() -> None:
    stage = Stage()
    await stage.open()
    print(json.dumps({"port": stage.port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    if stage.ends:
        await asyncio.wait(stage.ends.values(), timeout=ENDED_WITHIN)
    ends = {label: end.result() for label, end in stage.ends.items() if end.done()}
    await stage.close()
    print(json.dumps({"counts": dict(stage.counts.snapshot()), "ends": ends}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
