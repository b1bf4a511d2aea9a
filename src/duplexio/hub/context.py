"""What all sockets of a server, or of a client, share: options, codec, threads, the loop and its deadlines."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from duplexio.engine.wheel import Wheel
from duplexio.errors import ConfigurationError, ReservedEvent
from duplexio.hub.eager import ended_task, start
from duplexio.hub.functions import is_async, require_plain
from duplexio.hub.threads import MakeExecutor, Threads, standard_executor
from duplexio.observe import Reporter
from duplexio.protocol.codec_json import Codec, JsonCodec, NoCodec, UserCodec
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.parser import Parser, encode_packet
from duplexio.protocol.socket_packet import EVENT, RESERVED_EVENTS, Packet, encode

__all__ = ["Context", "ContextOptions"]


class ContextOptions(Protocol):
    """What the sockets of both ends ask of their options."""

    ack_timeout: float
    attachment_timeout: float
    cancel_on_disconnect: bool
    debug: bool
    dumps: Callable[[Any], bytes] | None
    loads: Callable[[bytes], Any] | None
    max_attachments: int
    max_handlers_in_flight: int
    max_name_length: int
    max_ordered_queue: int
    max_pending_acks: int
    max_thread_queue: int
    max_threads: int
    parser: Any


def parser_of(given: Any) -> Parser | None:
    """The parser that the option names, or is; None: JSON. Raises ConfigurationError."""
    if given == "json":
        return None
    if given == "msgpack":
        try:
            from duplexio.protocol.parser_msgpack import MsgpackParser
        except ImportError as error:
            raise ConfigurationError(
                "parser='msgpack' needs the package msgpack: pip install 'duplexio[msgpack]'"
            ) from error
        return MsgpackParser()
    expected = "expected 'json', 'msgpack', or an object with encode(packet) and decode(message)"
    if isinstance(given, str | type):
        what = f"the class {given.__name__}, not an object of it" if isinstance(given, type) else repr(given)
        raise ConfigurationError(f"parser={what}: {expected}")
    for name in ("encode", "decode"):
        method = getattr(given, name, None)
        if not callable(method):
            raise ConfigurationError(f"parser={given!r} has no {name}: {expected}")
        require_plain(method, f"a parser's {name}")
    return given  # type: ignore[no-any-return]


class Context:
    """Of one server, or of one connection of a client."""

    def __init__(self, options: ContextOptions, reporter: Reporter, owner: str = "Server") -> None:
        """`owner`: whose options they are, for messages."""
        self.options = options
        self.reporter = reporter
        self.options_owner = owner
        self.codec: Codec = JsonCodec()
        if options.dumps is not None or options.loads is not None:
            self.codec = UserCodec(options.dumps, options.loads)
        #: What writes whole packets, in place of the codec.
        self.parser: Parser | None = parser_of(options.parser)
        if self.parser is not None:
            self.codec = NoCodec()
        self.loop: asyncio.AbstractEventLoop
        self.wheel: Wheel
        self.threads: Threads
        #: The current task of handlers that need none of their own.
        self.ended_task: asyncio.Task[None]
        #: What makes the threads of plain handlers.
        self.make_executor: MakeExecutor = standard_executor
        #: Whether plain callbacks and listeners run in threads, as plain handlers do; else they run on the loop.
        self.plain_in_threads = False
        #: The thread that runs the loop; 0 before there is one.
        self.thread = 0
        #: Handlers that are running: the loop itself keeps no reference to a task.
        self.running: set[asyncio.Future[Any]] = set()
        self.error_listeners: list[Callable[..., Any]] = []
        self._ack_id = 0

    def bind(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> None:
        """To the running loop."""
        self.loop = loop
        self.wheel = wheel
        self.thread = threading.get_ident()
        self.ended_task = ended_task(loop)
        self.threads = Threads(loop, self.options.max_threads, self.make_executor)

    def next_ack_id(self) -> int:
        """One counter for all, so that a broadcast has one id for all its receivers."""
        self._ack_id += 1
        return self._ack_id

    def encode(
        self, kind: int, namespace: str, data: Any, number: int | None = None, refused: bool = False
    ) -> Outgoing:
        """A packet as a message of Engine.IO. Raises EncodeError.

        `refused`: the codec's `dumps`, the short way, has raised TypeError for this data.
        """
        if self.parser is None:
            return encode(kind, namespace, data, self.codec, number, refused)
        return encode_packet(self.parser, Packet(kind, namespace, number, data))

    def encode_numbered(self, head: bytes, kind: int, namespace: str, data: list[Any], number: int) -> Outgoing:
        """The same for a packet with the id of an acknowledgement, by the short way where that is open.

        `head`: what a packet of this kind and namespace begins with.
        """
        try:
            return b"%b%d%b" % (head, number, self.codec.dumps(data))
        except TypeError:
            # Not encoded in here: what cannot be sent at all is to be told by one error alone.
            pass
        return self.encode(kind, namespace, data, number, refused=True)

    def check_encodable(self, args: Sequence[Any]) -> None:
        """Raises EncodeError for what no event can carry."""
        self.encode(EVENT, "/", list(args))

    def check_event(self, event: str) -> None:
        """Raises ReservedEvent, or TypeError for a name that is no str."""
        if not isinstance(event, str):
            raise TypeError(f"an event's name is a str, not {type(event).__name__}: {event!r}")
        if event in RESERVED_EVENTS:
            raise ReservedEvent(event)

    def on_loop(self) -> bool:
        """Whether the caller is on the loop's thread, or there is no loop yet."""
        return threading.get_ident() == self.thread or not self.thread

    def call(self, function: Callable[[], object]) -> None:
        """Calls it now on the loop's thread, and from any other queues it to the loop, in the order of the calls.

        Where the loop has ended there is nobody to call it.
        """
        if self.on_loop():
            function()
            return
        try:
            self.loop.call_soon_threadsafe(partial(self._called, function))
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            self.reporter.count("calls_after_the_end")

    def _called(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            self.reporter.failure("a call from another thread failed", error)

    def run(
        self, function: Callable[..., object], arguments: Sequence[Any], failed: Callable[[BaseException], object]
    ) -> None:
        """Calls a callback or listener, plain or async; `failed` is told what it raises. On the loop's thread."""
        try:
            given = self._begin(function, arguments)
        except Exception as error:
            failed(error)
            return
        if isinstance(given, Awaitable):
            running = start(given, self.loop) if inspect.iscoroutine(given) else asyncio.ensure_future(given)
            self.keep(running)
            running.add_done_callback(partial(_tell_failure, failed))

    async def ask(self, function: Callable[[], Any]) -> Any:
        """What a function of the user's options gives, plain or async."""
        given = self._begin(function, ())
        return await given if isinstance(given, Awaitable) else given

    def _begin(self, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        if self.plain_in_threads and not is_async(function):
            return self.threads.run(function, list(arguments), {})
        return function(*arguments)

    def keep(self, future: asyncio.Future[Any]) -> None:
        """Holds a running handler until it ends."""
        self.running.add(future)
        future.add_done_callback(self.running.discard)

    def tell_error(self, error: BaseException, socket: Any, event: str) -> None:
        """The user's `on_error` listeners."""
        for listener in self.error_listeners:
            try:
                listener(error, socket, event)
            except Exception as failure:
                self.reporter.failure("an on_error listener raised", failure)

    def add_error_listener(self, listener: Callable[..., Any]) -> None:
        require_plain(listener, "an on_error listener")
        self.error_listeners.append(listener)


def _tell_failure(failed: Callable[[BaseException], object], ended: asyncio.Future[Any]) -> None:
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        failed(error)


def current_task_or_none() -> asyncio.Task[Any] | None:
    """The running task; None outside of any, and where no loop runs."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_cancelled(error: BaseException) -> bool:
    """Whether this is the end of the running task, and not of something it has waited for that was cancelled."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
