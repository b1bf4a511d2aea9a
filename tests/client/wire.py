"""A TCP proxy between a client and a server, which does to their connections what networks do.

    async with Wire(server.port) as wire:
        wire.cut("down", after=300)        # every connection, when 300 bytes have come from the server
        wire.silence("up", connection=1)   # the second one: nothing of what the client sends arrives
        ...

`up` is from the client to the server, `down` the other way. Connections are numbered from 0, in the order in which they
came; a rule without a number is for all, those included that are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import random
import socket
import struct
import termios
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.hosting.processes import free_port

Direction = Literal["up", "down"]
How = Literal["rst", "fin"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down")

CHUNK = 16_384
#: Of the kernel, on each side: a stalled connection is to be full soon.
KERNEL_BUFFER = 65_536
#: What is held back for a delay; then it is read no more.
MOST_HELD = 1_000_000
#: How long bytes may take to be out before a reset, and the other side to answer a FIN.
FLUSH_SECONDS = 1.0
#: What a socket raises that has ended; uvloop's is one without a file descriptor then.
GONE = (OSError, ValueError)


@dataclass(eq=False)
class Rule:
    """What happens to a connection when so many bytes of a direction have passed."""

    action: Literal["rst", "fin", "half", "silence"]
    direction: Direction
    after: int
    connection: int | None


@dataclass
class Weather:
    """How a direction is, for all connections.

    Attributes:
        delay: seconds, of each chunk.
        jitter: up to so many seconds more.
        largest: chunks are cut into pieces of random sizes up to this; 0: they are not.
        pause: seconds between those pieces.
        flowing: not set while nothing is to pass, nor to be read.
    """

    delay: float = 0.0
    jitter: float = 0.0
    largest: int = 0
    pause: float = 0.0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)


class Lane:
    """One direction of a connection.

    Attributes:
        received: how many bytes came.
        passed: how many were sent on.
        bytes: those, where the wire records.
    """

    def __init__(self, link: Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.received = 0
        self.passed = 0
        self.bytes = bytearray()
        self.writer = writer
        self._link = link
        self._direction = direction
        self._wire = link.wire
        self._reader = reader
        self._random = random.Random(f"{link.wire.seed} {link.number} {direction}")
        self._held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._size = 0
        self._room = asyncio.Event()
        self._silent = False
        self._ended = False
        self._spent: set[Rule] = set()

    async def receive(self) -> None:
        """Until the sender's end; a reset of one side is one of both."""
        weather = self._wire.weather[self._direction]
        loop = asyncio.get_running_loop()
        due = 0.0
        while True:
            await weather.flowing.wait()
            try:
                data = await self._reader.read(CHUNK)
            except OSError:
                if not self._silent:
                    self._link.cut("rst")
                return
            self.received += len(data)
            due = max(due, loop.time() + weather.delay + self._random.random() * weather.jitter)
            self._held.put_nowait((due, data))
            self._size += len(data)
            if not data:
                return
            if self._size >= MOST_HELD:
                self._room.clear()
                await self._room.wait()

    async def deliver(self) -> None:
        weather = self._wire.weather[self._direction]
        loop = asyncio.get_running_loop()
        await self.look_after_flush()
        while True:
            due, data = await self._held.get()
            self._size -= len(data)
            self._room.set()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await weather.flowing.wait()
            if not data:
                self.end()
                return
            for piece in self._pieces(data, weather):
                try:
                    await self._pass(piece)
                except OSError:
                    self._link.cut("rst")
                    return
                if weather.largest:
                    await asyncio.sleep(weather.pause)

    def _pieces(self, data: bytes, weather: Weather) -> Iterator[bytes]:
        while data:
            size = self._random.randint(1, weather.largest) if weather.largest else len(data)
            yield data[:size]
            data = data[size:]

    async def _pass(self, data: bytes) -> None:
        while data and not self._silent:
            rule = self._next_rule()
            size = len(data) if rule is None else min(len(data), max(0, rule.after - self.passed))
            head, data = data[:size], data[size:]
            if head:
                self.writer.write(head)
                self.passed += len(head)
                if self._wire.record:
                    self.bytes += head
                await self.writer.drain()
            await self.look_after_flush()

    def _next_rule(self) -> Rule | None:
        number = self._link.number
        rules = [
            rule
            for rule in self._wire.rules
            if rule.direction == self._direction and rule.connection in (None, number) and rule not in self._spent
        ]
        return min(rules, key=lambda rule: rule.after, default=None)

    def look(self) -> How | None:
        """Applies the rules whose time has come; a cut is returned, since what passed is to arrive before."""
        while not self._silent and (rule := self._next_rule()) is not None and rule.after <= self.passed:
            self._spent.add(rule)
            if rule.action == "silence":
                self.fall_silent()
            elif rule.action == "half":
                self.end()
            else:
                return rule.action
        return None

    async def look_after_flush(self) -> None:
        if (how := self.look()) is not None:
            await self.cut_after_flush(how)

    async def cut_after_flush(self, how: How) -> None:
        self.fall_silent()
        await self._flush()
        self._link.cut(how)

    async def _flush(self) -> None:
        """Until the kernel has brought all to the other side: a reset discards what it has not."""
        connection = self.writer.get_extra_info("socket")
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(contextlib.suppress(TimeoutError, *GONE))
            await stack.enter_async_context(asyncio.timeout(FLUSH_SECONDS))
            await self.writer.drain()
            while _unsent(connection):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.001)

    def end(self, even_if_silent: bool = False) -> None:
        """FIN, once."""
        if not self._ended and (even_if_silent or not self._silent):
            self.fall_silent()
            self._ended = True
            with contextlib.suppress(OSError):
                self.writer.write_eof()

    def fall_silent(self) -> None:
        """From here on it swallows what comes, its end included."""
        self._silent = True


class Link:
    """A connection through the wire.

    Attributes:
        number: in the order of arrival, from 0.
        up, down: what passed in each direction.
        open: whether it has both of its sides still.
    """

    def __init__(self, wire: Wire, number: int) -> None:
        self.wire = wire
        self.number = number
        self.open = True
        self.up: Lane
        self.down: Lane
        self._writers: list[asyncio.StreamWriter] = []
        self._running: asyncio.Task[None] | None = None
        self._finning = False

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._running = asyncio.current_task()
        self._writers.append(writer)
        try:
            if self._never_arrives():
                await self._swallow(reader, writer)
                return
            try:
                far_reader, far_writer = await asyncio.open_connection(self.wire.host, self.wire.to, limit=CHUNK)
            except OSError:
                self.cut("rst")
                return
            self._writers.append(far_writer)
            for each in self._writers:
                _prepare(each)
            self.up = Lane(self, "up", reader, far_writer)
            self.down = Lane(self, "down", far_reader, writer)
            async with asyncio.TaskGroup() as group:
                for lane in (self.up, self.down):
                    group.create_task(lane.receive())
                    group.create_task(lane.deliver())
        finally:
            self._gone()

    def _never_arrives(self) -> bool:
        """Whether nothing is to get through in either direction: then the server does not even hear of it."""
        return all(
            any(
                rule.action == "silence" and rule.direction == direction and not rule.after
                for rule in self.wire.rules
                if rule.connection in (None, self.number)
            )
            for direction in DIRECTIONS
        )

    async def _swallow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.up, self.down = Lane(self, "up", reader, writer), Lane(self, "down", reader, writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                self.up.received += len(data)
        await asyncio.Event().wait()

    def lane(self, direction: Direction) -> Lane:
        return self.up if direction == "up" else self.down

    @property
    def linked(self) -> bool:
        """Whether the server was reached."""
        return len(self._writers) == 2 and hasattr(self, "down")

    def cut(self, how: How = "rst") -> None:
        """Ends both sides: by a reset, or orderly by FIN."""
        if not self.open:
            return
        if how == "fin" and self.linked:
            if not self._finning:
                self._finning = True
                for lane in (self.up, self.down):
                    lane.end(even_if_silent=True)
                self.wire.start(self._give_up())
            return
        for writer in self._writers:
            if how == "rst":
                _reset_on_close(writer)
        self._gone()
        if self._running is not None and self._running is not asyncio.current_task():
            self._running.cancel()

    async def _give_up(self) -> None:
        """Both read on, since closing with unread bytes resets; but not for ever."""
        await asyncio.sleep(FLUSH_SECONDS)
        self._gone()
        if self._running is not None:
            self._running.cancel()

    def _gone(self) -> None:
        self.open = False
        for writer in self._writers:
            writer.transport.abort()


class Wire:
    """The proxy, on a port of its own of 127.0.0.1.

    Attributes:
        port: where it listens.
        links: the connections, those included that have ended.
        seed: of all that is random.
    """

    def __init__(self, to: int, host: str = "127.0.0.1", *, seed: int = 0, record: bool = False) -> None:
        self.to = to
        self.host = host
        self.seed = seed
        self.record = record
        self.port = 0
        self.links: list[Link] = []
        self.rules: list[Rule] = []
        self.weather: dict[Direction, Weather] = {direction: Weather() for direction in DIRECTIONS}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        for weather in self.weather.values():
            weather.flowing.set()

    async def __aenter__(self) -> Wire:
        for _ in range(20):
            # Of its own range, since a port of the kernel's may be gone when it listens again.
            self.port = free_port()
            try:
                await self.accept()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return self
        raise AssertionError("no port to listen on")

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}"

    # What it counted.

    @property
    def opened(self) -> int:
        """How many connections came; the next one has this number."""
        return len(self.links)

    @property
    def open(self) -> list[Link]:
        """Those that have not ended."""
        return [link for link in self.links if link.open]

    def passed(self, direction: Direction) -> int:
        """Bytes, of all connections."""
        return sum(link.lane(direction).passed for link in self.links if hasattr(link, direction))

    # The weather, of all connections.

    def delay(self, direction: Direction, seconds: float, jitter: float = 0.0) -> None:
        """Each chunk takes so long, and randomly up to `jitter` more; the order stays."""
        self.weather[direction].delay = seconds
        self.weather[direction].jitter = jitter

    def scatter(self, direction: Direction, largest: int, pause: float = 0.0) -> None:
        """Cuts what comes into pieces of random sizes up to `largest`; 0 ends that."""
        self.weather[direction].largest = largest
        self.weather[direction].pause = pause

    def stall(self, direction: Direction) -> None:
        """Nothing passes nor is read, until `flow`: the sender's buffers fill."""
        self.weather[direction].flowing.clear()

    def flow(self, direction: Direction) -> None:
        self.weather[direction].flowing.set()

    # Rules.

    def cut(self, direction: Direction, after: int, connection: int | None = None, how: How = "rst") -> None:
        """Ends a connection when exactly so many bytes have passed, and arrived."""
        self._add(Rule(how, direction, after, connection))

    def half_close(self, direction: Direction, after: int, connection: int | None = None) -> None:
        """FIN in one direction after so many bytes; the other goes on."""
        self._add(Rule("half", direction, after, connection))

    def silence(self, direction: Direction, after: int = 0, connection: int | None = None) -> None:
        """Swallows all that comes after so many bytes, and the end as well: nobody is told."""
        self._add(Rule("silence", direction, after, connection))

    def black_hole(self, connection: int | None = None) -> None:
        """Both directions: what is open falls silent, what comes is accepted, and that is all."""
        for direction in DIRECTIONS:
            self.silence(direction, 0, connection)

    def clear(self) -> None:
        """No rule holds any more; what was done stays done."""
        self.rules.clear()

    def _add(self, rule: Rule) -> None:
        self.rules.append(rule)
        for link in self.open:
            if link.linked and rule.connection in (None, link.number):
                lane = link.lane(rule.direction)
                if (how := lane.look()) is not None:
                    self.start(lane.cut_after_flush(how))

    # At once.

    def cut_all(self, how: How = "rst") -> int:
        """Ends all that is open; how many that was."""
        links = self.open
        for link in links:
            link.cut(how)
        return len(links)

    def refuse(self) -> None:
        """New connections are refused, as where nobody listens; those that are open go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """It listens, again, on the same port."""
        if self._server is None:
            listener = socket.socket()
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
                listener.bind(("127.0.0.1", self.port))
                self._server = await asyncio.start_server(self._accepted, sock=listener, limit=CHUNK)
            except BaseException:
                listener.close()
                raise

    @contextlib.asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        self.refuse()
        try:
            yield
        finally:
            await self.accept()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, len(self.links))
        self.links.append(link)
        self.start(link.run(reader, writer))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it in a task that ends with the wire at the latest."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def close(self) -> None:
        """Nothing is left of it: no port, no connection, no task."""
        self.refuse()
        self.cut_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in self.links:
            for writer in link._writers:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        for error in self._errors:
            raise error


def _prepare(writer: asyncio.StreamWriter) -> None:
    """Written is sent, as soon as the kernel takes it: `drain` tells when that was."""
    writer.transport.set_write_buffer_limits(high=0)
    with contextlib.suppress(*GONE):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*GONE):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _unsent(connection: Any) -> int:
    """Bytes that the other side's kernel has not confirmed; 0 where this cannot be known."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    except GONE:
        return 0
    return int(count)


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails: what knocks is not answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # As many as its queue holds, and one.
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]
