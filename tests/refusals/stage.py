"""A running server, raw clients of it, a session that behaves, and what log and counters say of the others."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from duplexio import Server, Socket
from duplexio.integrations import hosting as own_hosting

from .raw import SECONDS, Answer, Frame, WebSocket, Wire, handshake

__all__ = ["HOSTINGS", "Log", "Polling", "Session", "Stage", "refusal", "until"]

Result = TypeVar("Result")

#: The ways to serve. `listen` is what a user calls; `fast` the same classes, whose server ends without waiting for
#: uvicorn's clock, and `fast-asyncio` these on the standard loop. `asgi` is any ASGI server's way, `mounted` the same
#: in an application, and `handover` mounted under our own classes.
HOSTINGS = ("listen", "fast", "fast-asyncio", "asgi", "mounted", "handover")

#: Where requests are answered in the parser's callbacks, and where picows carries WebSockets.
OUR_HTTP = ("listen", "fast", "fast-asyncio")
OUR_FRAMES = (*OUR_HTTP, "handover")

UVICORN_ERRORS = ("ASGI callable returned without completing handshake", "Invalid UTF-8 sequence received")

PATH = "/socket.io/"

#: The protocol's texts.
MESSAGES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)


def refusal(code: int, message: str | None = None, status: int = 0) -> tuple[int, str, bytes]:
    """What a refused request is answered: status, content type and body."""
    text = MESSAGES[code] if message is None else message
    return status or (403 if code == 4 else 400), "application/json", f'{{"code":{code},"message":"{text}"}}'.encode()


#: Of what takes a moment on an idle machine, and longer beside other tests.
PATIENCE = 20.0


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition, bounded."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  # what is waited for is the server's, and rings no bell
                await asyncio.sleep(0.001)  # what is waited for is the server's, and rings no bell
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE:g} s: {what}") from None


class Log(logging.Handler):
    """What was logged by this library, by uvicorn and by the loop."""

    LOGGERS = ("duplexio", "uvicorn.error", "asyncio")

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def install(self) -> None:
        for name in self.LOGGERS:
            logging.getLogger(name).addHandler(self)

    def remove(self) -> None:
        for name in self.LOGGERS:
            logging.getLogger(name).removeHandler(self)

    @property
    def warnings(self) -> list[str]:
        """Ours."""
        return [record.getMessage() for record in self.records if self._is(record, "duplexio", logging.WARNING)]

    @property
    def errors(self) -> list[str]:
        """Anybody's."""
        return [record.getMessage() for record in self.records if record.levelno >= logging.ERROR]

    @staticmethod
    def _is(record: logging.LogRecord, name: str, level: int) -> bool:
        return record.name == name and record.levelno == level


class Session(Protocol):
    """An Engine.IO session, whatever carries it."""

    async def send(self, packet: bytes) -> None: ...
    async def send_binary(self, data: bytes) -> None: ...
    async def read(self) -> bytes: ...


class Polling:
    """A session on polling: one connection for its polls, one for what it posts."""

    def __init__(self, stage: Stage, sid: str, polls: Wire, posts: Wire) -> None:
        self.stage = stage
        self.sid = sid
        self.polls = polls
        self.posts = posts
        self._packets: deque[bytes] = deque()

    @property
    def target(self) -> str:
        return self.stage.target(sid=self.sid)

    async def poll(self) -> Answer:
        return await self.polls.request("GET", self.target)

    async def post(self, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        return await self.posts.request("POST", self.target, body, headers)

    async def send(self, packet: bytes) -> None:
        answer = await self.post(packet)
        assert answer.brief == (200, "text/html", b"ok")

    async def send_binary(self, data: bytes) -> None:
        await self.send(b"b" + base64.b64encode(data))

    async def read(self) -> bytes:
        if not self._packets:
            answer = await self.poll()
            assert (answer.status, answer.header("content-type")) == (200, "text/plain; charset=UTF-8"), answer
            self._packets.extend(answer.body.split(b"\x1e"))
        return self._packets.popleft()


class Witness:
    """A well-behaved session: it echoes all the time, and fails the test if it cannot."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._echoes = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self._echo()
            await asyncio.sleep(0.001)

    async def _echo(self) -> None:
        number = self._echoes + 1
        await self._session.send(b'42%d["witness",%d]' % (number, number))
        expected = b"43%d[%d]" % (number, number)
        async with asyncio.timeout(SECONDS):
            while (packet := await self._session.read()) != expected:
                assert packet == b"2", f"the witness expected {expected!r} and got {packet!r}"
                await self._session.send(b"3")
        self._echoes = number

    async def echoed(self, times: int = 1) -> None:
        """Waits until it has echoed so many times more."""
        goal = self._echoes + times
        await until(lambda: self._echoes >= goal or self._task.done(), "the witness echoes")
        if self._task.done():
            await self._task

    async def finish(self) -> None:
        try:
            await self.echoed()
        finally:
            self._task.cancel()
            await asyncio.wait((self._task,))


class Stage:
    """A server under test."""

    def __init__(self, hosting: str, io: Server, log: Log) -> None:
        self.hosting = hosting
        self.io = io
        self.log = log
        #: What handlers were called with, the witness's aside.
        self.heard: list[tuple[Any, ...]] = []
        self.port = 0
        self.expects_errors = False
        self._wires: list[Wire] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._close: Callable[[], Awaitable[None]] | None = None
        self._witness: Witness | None = None
        self._register()

    @property
    def our_frames(self) -> bool:
        return self.hosting in OUR_FRAMES

    @property
    def our_http(self) -> bool:
        """Whether requests are answered in the parser's callbacks."""
        return self.hosting in OUR_HTTP

    def _register(self) -> None:
        @self.io.on("witness", inline=True)
        def witness(socket: Socket, number: int) -> int:
            return number

        @self.io.on("echo", inline=True)
        def echo(socket: Socket, *args: Any) -> Any:
            self.heard.append(args)
            return args

    # Serving.

    async def serve(self, witness: bool, middleware: list[Middleware]) -> None:
        if self.hosting == "listen":
            listening = await self.io.listen(log_config=None)
            self.port, self._close = listening.port, listening.close
        else:
            await self._serve_by_uvicorn(middleware)
        if witness:
            transport = "websocket" if "websocket" in self.io.options.transports else "polling"
            self._witness = Witness(await self.session(transport, witness="1"))
            await self._witness.echoed()

    async def _serve_by_uvicorn(self, middleware: list[Middleware]) -> None:
        io = self.io

        async def bare(scope: Any, receive: Any, send: Any) -> None:
            await io(scope, receive, send)

        mounted = Starlette(routes=[Mount("/socket.io", app=io)], middleware=middleware)
        app: Any = io if self.our_http else bare if self.hosting == "asgi" else mounted
        common: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False}
        if self.our_frames:
            config = own_hosting.configuration(app, **common)
        else:
            config = uvicorn.Config(app, http="httptools", ws="websockets-sansio", **common)
        # What `serve` does, without its loop, which would cost every test a fifth of a second at its end.
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        # Made with its protocol: the standard loop turns Nagle's algorithm off only where it is stated.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        await server.startup([listener])
        self.port = listener.getsockname()[1]

        async def close() -> None:
            server.servers[0].close()
            await io.close()
            await until(lambda: not server.server_state.connections, "uvicorn's connections have ended")
            await until(lambda: not server.server_state.tasks, "uvicorn's tasks have ended")

        self._close = close

    async def close(self) -> None:
        """Looks once more at what must hold after every test, and ends everything."""
        try:
            if self._witness is not None:
                await self._witness.finish()
            assert self.expects_errors or not self.errors
            await self._say_goodbye()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for wire in self._wires:
                wire.close()
            if self.hosting == "listen":
                # uvicorn looks but ten times a second whether its connections have ended.
                await asyncio.sleep(0.005)
            if self._close is not None:
                async with asyncio.timeout(20):
                    await self._close()

    async def _say_goodbye(self) -> None:
        """A server that closes gives each polling client seconds to fetch its end; these leave at once."""
        for sid in list(self.io.engine.connections):
            if self.io.engine.connections[sid].transport.name == "polling":
                await (await self.wire()).request("POST", self.target(sid=sid), b"1")

    def background(self, steps: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """A task of the test's, which ends with it."""
        task = asyncio.create_task(steps)
        self._tasks.append(task)
        return task

    # Clients.

    def target(self, **query: str) -> str:
        return PATH + "?" + urlencode({"EIO": "4", "transport": "polling", **query})

    async def wire(self, receive_buffer: int | None = None) -> Wire:
        wire = await Wire.connect(self.port, receive_buffer)
        self._wires.append(wire)
        return wire

    async def get(self, target: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """The answer to one request, on a connection of its own."""
        wire = await self.wire()
        return await wire.request(method, target, headers=(headers or {}).items())

    async def knock(self, headers: Mapping[str, str] | None = None, /, **query: str) -> Answer:
        """The answer to a WebSocket handshake."""
        target = self.target(**{"transport": "websocket", **query})
        return await handshake(await self.wire(), target, (headers or {}).items())

    async def websocket(self, wire: Wire | None = None, **query: str) -> WebSocket:
        """An open WebSocket; without `sid`, its first packet is still to be read."""
        target = self.target(**{"transport": "websocket", **query})
        return await WebSocket.open(wire or await self.wire(), target)

    async def polling(self, **query: str) -> Polling:
        """An open Engine.IO session on polling."""
        polls = await self.wire()
        answer = await polls.request("GET", self.target(**query))
        assert answer.status == 200, answer
        return Polling(self, json.loads(answer.body[1:])["sid"], polls, await self.wire())

    async def engine(self, transport: str, **query: str) -> Session:
        """An Engine.IO session that has joined no namespace."""
        if transport == "polling":
            return await self.polling(**query)
        session = await self.websocket(None, **query)
        assert (await session.read()).startswith(b"0{")
        return session

    async def session(self, transport: str, **query: str) -> Session:
        """A session in the main namespace."""
        session = await self.engine(transport, **query)
        await join(session)
        return session

    async def open_poll(self, session: Polling) -> asyncio.Task[Answer]:
        """A poll that the server has, or that was answered already."""
        poll = self.background(session.poll())
        connection = self.io.engine.connections.get(session.sid)
        await until(lambda: connection is None or connection.transport.writable or poll.done(), "the poll is open")
        return poll

    # What is left to see.

    @property
    def others(self) -> int:
        """Sessions besides the witness's."""
        return self.io.engine.clients_count - (self._witness is not None)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.io.counts.snapshot())

    @property
    def faults(self) -> dict[str, int]:
        return {name[6:]: count for name, count in self.counts.items() if name.startswith("fault.")}

    @property
    def errors(self) -> list[str]:
        """What was logged as an error, without what uvicorn's own WebSocket class says of any refusal and bad text."""
        known = () if self.our_frames else UVICORN_ERRORS
        return [text for text in self.log.errors if not text.startswith(known)]

    async def one_fault(self, cause: str, *said: str, times: int = 1) -> None:
        """One cause was counted, so often; one warning says all of `said`; and the witness is none the worse."""
        await until(lambda: self.faults.get(cause, 0) >= times or len(self.faults) > 1, f"fault.{cause}")
        if self._witness is not None:
            await self._witness.echoed()
        assert self.faults == {cause: times}
        assert len(self.log.warnings) == 1, self.log.warnings
        for text in said:
            assert text in self.log.warnings[0]

    async def no_fault(self) -> None:
        if self._witness is not None:
            await self._witness.echoed()
        assert self.faults == {}
        assert self.log.warnings == []

    async def gone(self) -> None:
        """Nobody but the witness has a session."""
        await until(lambda: self.others == 0, "the session has ended")

    async def refused(self, session: Session, packet: bytes | None = None, code: int | None = None) -> None:
        """Sends a packet, and sees the session end for it: a WebSocket by its close frame, a poll by its answer.

        `code` is the WebSocket's; None: the transport's plain closing.
        """
        if isinstance(session, Polling):
            poll = await self.open_poll(session)
            if packet is not None:
                await session.send(packet)
            assert (await poll).brief == (200, "text/plain; charset=UTF-8", b"1")
        else:
            assert isinstance(session, WebSocket)
            if packet is not None:
                await session.send(packet)
            await self.closed(session, code)
        await self.gone()

    async def closed(self, session: WebSocket, code: int | None = None) -> Frame:
        """The server closes a WebSocket, with this code or in its plain way."""
        found = await session.closing()
        assert found.code == (self.plain_close if code is None else code)
        return found

    @property
    def plain_close(self) -> int | None:
        """ASGI knows no closing without a code."""
        return None if self.our_frames else 1000


async def join(session: Session, namespace: str = "/") -> str:
    """Joins a namespace; the socket's id."""
    name = b"" if namespace == "/" else namespace.encode() + b","
    await session.send(b"40" + name)
    reply = await session.read()
    assert reply.startswith(b"40" + name + b'{"sid":"'), reply
    sid: str = json.loads(reply[2 + len(name) :])["sid"]
    return sid
