"""The stage on our own server: `python -m tests.client.duplexio_server [options]`.

It prints `{"port": …, "version": …}`, and ends when its standard input does. Options and events are those of
`node/stage.cjs`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import ssl
import sys
from collections import defaultdict
from importlib.metadata import version
from typing import Any

import uvloop

from duplexio import Ack, ConnectRefused, Namespace, ParentNamespace, Server, Socket
from duplexio.engine.connection import Connection
from duplexio.engine.polling import PollingTransport
from duplexio.options import ServerOptions

CLOSE_SECONDS = 2.0
NOT_FOUND = b"<html><body><h1>404 Not Found</h1></body></html>"


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", default="/socket.io")
    parser.add_argument("--transports", default="polling,websocket")
    parser.add_argument("--parser", default="json")
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--recovery-seconds", type=float, default=120.0)
    parser.add_argument("--ping-interval", type=float, default=25.0)
    parser.add_argument("--ping-timeout", type=float, default=20.0)
    parser.add_argument("--allow-eio3", action="store_true")
    parser.add_argument("--no-upgrades", action="store_true")
    parser.add_argument("--per-message-deflate", action="store_true")
    parser.add_argument("--cookie")
    parser.add_argument("--max-payload", type=int, default=1_000_000)
    parser.add_argument("--ssl-certfile")
    parser.add_argument("--ssl-keyfile")
    parser.add_argument("--ssl-ca-certs")
    parser.add_argument("--http", action="store_true")
    return parser.parse_args()


def server_options(options: argparse.Namespace) -> ServerOptions:
    given = ServerOptions(
        path=options.path,
        transports=options.transports.split(","),
        parser=options.parser,
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        allow_eio3=options.allow_eio3,
        allow_upgrades=not options.no_upgrades,
        per_message_deflate=options.per_message_deflate,
        cookie=options.cookie,
        max_http_buffer_size=options.max_payload,
    )
    if options.recovery:
        given["connection_state_recovery"] = {"max_disconnection_duration": options.recovery_seconds}
    return given


class Stage:
    def __init__(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        self.server = server
        self.recorded: defaultdict[str, list[Any]] = defaultdict(list)
        self.ends: defaultdict[str, asyncio.Future[str]] = defaultdict(loop.create_future)
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def prepare(stage: Stage) -> None:
    server = stage.server
    refused, authorized = server.of("/refused"), server.of("/auth")

    @refused.use
    async def refuse(socket: Socket) -> None:
        raise ConnectRefused("nobody comes in here", {"code": "closed", "retry": False})

    @authorized.use
    async def authorize(socket: Socket) -> None:
        handshake = socket.handshake
        auth = handshake.auth if isinstance(handshake.auth, dict) else {}
        token = auth.get("token", handshake.query.get("token"))
        if token != "secret":
            raise ConnectRefused("not authorized", {"code": "token", "given": token})

    slow = server.of("/slow")

    @slow.use
    async def decide(socket: Socket) -> None:
        auth = socket.handshake.auth if isinstance(socket.handshake.auth, dict) else {}
        await asyncio.sleep(float(auth.get("wait", 0)))
        if "refuse" in auth:
            raise ConnectRefused("after all not")

    dynamic = server.of(re.compile(r"^/dyn-\d+$"))
    for nsp in (server.sockets, server.of("/other"), server.of("/recover"), slow, refused, authorized, dynamic):
        _values(nsp)
        _records(stage, nsp)
        _presence(stage, nsp)
        _ends(stage, nsp)


def _values(nsp: Namespace | ParentNamespace) -> None:
    @nsp.on("echo")
    async def echo(socket: Socket, *args: Any, ack: Ack) -> None:
        if ack.wanted:
            ack(*args)
        else:
            socket.emit("echo", *args)

    @nsp.on("request")
    async def request(socket: Socket, *args: Any) -> None:
        socket.emit("response", *args)

    @nsp.on("ack")
    async def several(socket: Socket) -> tuple[Any, ...]:
        return 1, "two", [3], {"four": 4}, None

    @nsp.on("ack nothing")
    async def nothing(socket: Socket) -> tuple[()]:
        return ()

    @nsp.on("never")
    async def never(socket: Socket, *args: Any, ack: Ack) -> None:
        pass

    @nsp.on("later")
    async def later(socket: Socket, seconds: float, *args: Any) -> tuple[Any, ...]:
        await asyncio.sleep(seconds)
        return args

    @nsp.on("describe")
    async def describe(socket: Socket, *args: Any) -> tuple[Any]:
        return (plain(args),)

    @nsp.on("binary")
    async def binary(socket: Socket, *args: Any) -> tuple[Any, ...]:
        nested = {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}
        socket.emit("binary", nested, b"last")
        return nested, b"last"

    @nsp.on("large")
    async def large(socket: Socket, length: int) -> str:
        return "ä" * length

    @nsp.on("burst")
    async def burst(socket: Socket, count: int, mixed: bool = False) -> None:
        for index in range(count):
            attachments = [bytes([index % 256])] if mixed and index % 3 == 1 else []
            socket.emit("item", index, *attachments)

    @nsp.on("volatile")
    async def volatile(socket: Socket, count: int) -> None:
        for index in range(count):
            socket.volatile.emit("item", index)

    @nsp.on("compress")
    async def compress(socket: Socket, length: int) -> None:
        socket.compress(True).emit("compressed", "a" * length)
        socket.compress(False).emit("not compressed", "a" * length)

    @nsp.on("ask")
    async def ask(socket: Socket, event: str, *args: Any, ack: Ack) -> None:
        socket.emit(event, *args, ack=lambda *answers: ack(plain(answers)))


def _records(stage: Stage, nsp: Namespace | ParentNamespace) -> None:
    """By name, so that they outlive the socket and tests do not see each other's."""

    @nsp.on("numbered")
    async def numbered(socket: Socket, id: Any, ledger: str = "") -> Any:
        stage.recorded[ledger].append(id)
        return id

    @nsp.on("reluctant")
    async def reluctant(socket: Socket, id: Any, ledger: str, tries: int, ack: Ack) -> None:
        stage.recorded[ledger].append(id)
        if stage.recorded[ledger].count(id) >= tries:
            ack(id)

    @nsp.on("recorded")
    async def recorded(socket: Socket, ledger: str = "") -> tuple[list[Any]]:
        return (stage.recorded[ledger],)


def _presence(stage: Stage, nsp: Namespace | ParentNamespace) -> None:
    @nsp.on("whoami")
    async def whoami(socket: Socket) -> dict[str, Any]:
        handshake = socket.handshake
        return {
            "id": socket.id,
            "nsp": socket.nsp.name,
            "auth": handshake.auth,
            "headers": handshake.headers,
            "query": handshake.query,
            "secure": handshake.secure,
            "transport": socket.conn.transport.name,
            "protocol": socket.conn.protocol,
            "recovered": socket.recovered,
        }

    @nsp.on("upgraded")
    async def upgraded(socket: Socket) -> str:
        changed = asyncio.Event()
        socket.conn.on("upgrade", lambda transport: changed.set())
        if socket.conn.transport.name != "websocket":
            await changed.wait()
        return socket.conn.transport.name

    @nsp.on("counts")
    async def counts(socket: Socket) -> dict[str, int]:
        return {"clients": stage.server.engine.clients_count}

    @nsp.on("members")
    async def members(socket: Socket, of: str) -> int:
        return len(stage.server.of(of).sockets)

    @nsp.on("join")
    async def join(socket: Socket, room: str) -> tuple[()]:
        socket.join(room)
        return ()

    @nsp.on("tell")
    async def tell(socket: Socket, room: str, event: str, *args: Any) -> tuple[()]:
        socket.nsp.to(room).emit(event, *args)
        return ()

    @nsp.on("tell later")
    async def tell_later(socket: Socket, seconds: float, room: str, event: str, *args: Any) -> None:
        namespace = socket.nsp
        asyncio.get_running_loop().call_later(seconds, lambda: namespace.to(room).emit(event, *args))


def _ends(stage: Stage, nsp: Namespace | ParentNamespace) -> None:
    @nsp.on("kick")
    async def kick(socket: Socket) -> None:
        socket.disconnect()

    @nsp.on("kick_all")
    async def kick_all(socket: Socket) -> None:
        socket.disconnect(True)

    @nsp.on("close")
    async def close(socket: Socket) -> None:
        socket.conn.close()

    @nsp.on("drop")
    async def drop_it(socket: Socket) -> None:
        stage.start(drop(socket.conn))

    @nsp.on("miss")
    async def miss(socket: Socket, count: int) -> None:
        namespace, own = socket.nsp, socket.id

        @socket.once("disconnect", inline=True)
        def emit_missed(*_: object) -> None:
            for index in range(count):
                namespace.to(own).emit("missed", index)

        stage.start(drop(socket.conn))

    @nsp.on("label")
    async def label(socket: Socket, name: str) -> tuple[()]:
        def ended(reason: str, *_: object) -> None:
            if not stage.ends[name].done():
                stage.ends[name].set_result(reason)

        socket.once("disconnect", ended, inline=True)
        return ()

    @nsp.on("ended")
    async def ended(socket: Socket, name: str) -> str:
        return await asyncio.shield(stage.ends[name])


async def drop(connection: Connection) -> None:
    """Ends the TCP connection without a word; on polling that of the poll, once there is one."""
    while True:
        carrier: Any = connection.transport
        if not isinstance(carrier, PollingTransport):
            getattr(carrier, "_carrier", carrier)._raw.abort()
            return
        poll: Any = carrier._poll
        if poll is not None:
            poll._protocol.transport.abort()
            return
        await asyncio.sleep(0.005)


def plain(value: Any) -> Any:
    """Bytes as texts."""
    match value:
        case bytes() | bytearray() | memoryview():
            return f"hex:{bytes(value).hex()}"
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


async def answer_nothing_here(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a plain HTTP server says to all that it is asked, a WebSocket handshake included."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(NOT_FOUND), NOT_FOUND))
        await writer.drain()
    writer.close()


async def serve_http(options: argparse.Namespace) -> None:
    context = None
    if options.ssl_certfile:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    server = await asyncio.start_server(answer_nothing_here, "127.0.0.1", options.port, ssl=context)
    await until_input_ends(server.sockets[0].getsockname()[1])
    server.close()


async def serve(options: argparse.Namespace) -> None:
    server = Server(**server_options(options))
    stage = Stage(server)
    prepare(stage)
    tls = {}
    if options.ssl_certfile:
        tls = {"ssl_certfile": options.ssl_certfile, "ssl_keyfile": options.ssl_keyfile}
    if options.ssl_ca_certs:
        tls |= {"ssl_ca_certs": options.ssl_ca_certs, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    listening = await server.listen("127.0.0.1", options.port, **tls)
    await until_input_ends(listening.port)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(listening.close(), CLOSE_SECONDS)


async def until_input_ends(port: int) -> None:
    print(json.dumps({"port": port, "version": version("duplexio")}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    arguments = read_options()
    uvloop.run(serve_http(arguments) if arguments.http else serve(arguments))
