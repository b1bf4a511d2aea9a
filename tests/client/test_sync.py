"""duplexio.sync: the client in calls that wait, from threads that have no event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import duplexio
from duplexio import (
    AckTimeout,
    ConfigurationError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    Disconnected,
    EncodeError,
    LimitExceeded,
    ReservedEvent,
    Server,
    sync,
)
from duplexio.hub.client_operators import ClientOperator

from .peers import DUPLEXIO, PeerPool, PeerProcess, running

#: No wait is longer.
SECONDS = 20.0
TRANSPORTS: dict[str, Any] = {
    "polling": {"transports": ("polling",)},
    "websocket": {"transports": ("websocket",)},
    "upgrade": {},
}


def wait_until(condition: Callable[[], object]) -> None:
    """Within ten seconds."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it does not come true")


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("duplexio")]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """After each test nothing is connected: the loop's thread ends, and those of the handlers."""
    yield
    wait_until(lambda: not client_threads())


@pytest.fixture
def server(pool: PeerPool) -> PeerProcess:
    return pool.get(DUPLEXIO)


@pytest.fixture(params=TRANSPORTS)
def socket(request: pytest.FixtureRequest, server: PeerProcess) -> Iterator[sync.Socket]:
    """A connected one, by each transport."""
    with sync.connect(server.url, force_new=True, **TRANSPORTS[request.param]) as socket:
        assert socket.connected
        if request.param == "upgrade":
            assert socket.emit_with_ack("upgraded", timeout=SECONDS) == "websocket"
        yield socket


# What the sockets do.


def test_request_and_response(socket: sync.Socket) -> None:
    socket.emit("request", {"data": "Send Request"})
    assert socket.receive("response", timeout=SECONDS) == {"data": "Send Request"}


def test_what_is_acknowledged(socket: sync.Socket) -> None:
    assert socket.emit_with_ack("echo", 1) == 1
    assert socket.emit_with_ack("ack", timeout=SECONDS) == (1, "two", [3], {"four": 4}, None)
    assert socket.emit_with_ack("ack nothing") is None
    assert socket.timeout(SECONDS).emit_with_ack("echo", "a", "b") == ("a", "b")


def test_binary(socket: sync.Socket) -> None:
    assert socket.emit_with_ack("describe", b"\x00\xff", {"deep": [memoryview(b"\x01")]}) == [
        "hex:00ff",
        {"deep": ["hex:01"]},
    ]
    nested = {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}
    assert socket.emit_with_ack("binary") == (nested, b"last")
    assert socket.receive("binary", timeout=SECONDS) == (nested, b"last")


def test_the_server_asks(socket: sync.Socket) -> None:
    threads: list[threading.Thread] = []

    @socket.on("question")
    def answer(number: int) -> int:
        threads.append(threading.current_thread())
        return number + 1

    assert socket.emit_with_ack("ask", "question", 1) == [2]
    assert threads[0].name.startswith("duplexio-handler")


def test_a_handler_may_wait_for_the_server(socket: sync.Socket) -> None:
    @socket.on("question")
    def answer(number: int) -> Any:
        socket.emit("request", "from a handler")
        assert socket.receive("response", timeout=SECONDS) == "from a handler"
        return socket.emit_with_ack("echo", number + 1)

    assert socket.emit_with_ack("ask", "question", 1) == [2]


def test_an_async_handler_runs_on_the_loop_and_cannot_wait_otherwise(socket: sync.Socket) -> None:
    raised: list[Exception] = []

    @socket.on("question")
    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        waits: list[Callable[[], object]] = [
            lambda: socket.emit_with_ack("echo", 1),
            lambda: socket.receive("response"),
            lambda: next(socket.events()),
            socket.connect,
            socket.wait_connected,
            socket.wait_disconnected,
            socket.drain,
            socket.io.connect,
            socket.io.close,
        ]
        for wait in waits:
            with pytest.raises(ConfigurationError, match="event loop's own thread") as error:
                wait()
            raised.append(error.value)
        # What does not wait works there, too.
        socket.once("never comes", print)
        socket.off("never comes")
        socket.emit("request", "from the loop")
        return number + 1

    assert socket.emit_with_ack("ask", "question", 1) == [2]
    assert len(raised) == 9
    assert socket.receive("response", timeout=SECONDS) == "from the loop"


def test_handlers_of_one_socket_run_in_the_order_of_their_events(socket: sync.Socket) -> None:
    seen: list[int] = []
    socket.on("item", lambda index: seen.append(index))
    socket.emit("burst", 200)
    wait_until(lambda: len(seen) == 200)
    assert seen == list(range(200))


def test_every_event_in_a_for_loop(socket: sync.Socket) -> None:
    socket.emit("burst", 5, True)
    received = []
    for event, args in socket.events(timeout=SECONDS):
        received.append((event, args))
        if len(received) == 5:
            break
    assert received == [("item", (i, bytes([i])) if i % 3 == 1 else (i,)) for i in range(5)]
    with pytest.raises(TimeoutError):
        next(socket.events(timeout=0.01))
    socket.emit("kick")
    assert list(socket.events(timeout=SECONDS)) == []


def test_callbacks_of_acknowledgements_run_in_threads(socket: sync.Socket) -> None:
    called: list[Any] = []

    def answered(value: str) -> None:
        called.append(socket.emit_with_ack("echo", value))

    socket.emit("echo", "once more", ack=answered)
    wait_until(lambda: called)
    assert called == ["once more"]
    socket.timeout(0.01).emit("never", ack=lambda *answer: called.append(answer))
    wait_until(lambda: len(called) == 2)
    assert isinstance(called[1][0], AckTimeout)


def test_an_answer_that_does_not_come(socket: sync.Socket) -> None:
    with pytest.raises(AckTimeout, match="'never'"):
        socket.emit_with_ack("never", timeout=0.01)
    with pytest.raises(AckTimeout):
        socket.timeout(0.01).emit_with_ack("never")
    with pytest.raises(TimeoutError):
        socket.receive("nothing", timeout=0.01)
    with pytest.raises(TimeoutError):
        socket.wait_disconnected(timeout=0.01)


def test_many_threads_emit_at_once(socket: sync.Socket) -> None:
    ledger = f"threads {socket.id}"
    failed: list[BaseException] = []

    def emit(thread: int) -> None:
        try:
            for index in range(50):
                socket.emit("numbered", [thread, index], ledger)
            assert socket.emit_with_ack("echo", thread, timeout=SECONDS) == thread
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    recorded = socket.emit_with_ack("recorded", ledger, timeout=SECONDS)
    assert failed == []
    for number in range(16):
        assert [index for thread, index in recorded if thread == number] == list(range(50))


def test_what_cannot_be_sent_is_said_to_the_caller(socket: sync.Socket) -> None:
    for emit in (socket.emit, socket.emit_with_ack, socket.volatile.emit):
        with pytest.raises(ReservedEvent):
            emit("connect")
        with pytest.raises(EncodeError):
            emit("echo", threading.Lock())
        with pytest.raises(TypeError, match="an event's name is a str"):
            emit(5)  # type: ignore[arg-type]


def test_what_is_changed_after_the_call_is_not_sent(socket: sync.Socket) -> None:
    given = ["before"]
    socket.emit("request", given)
    given[0] = "after"
    assert socket.receive("response", timeout=SECONDS) == ["before"]


def test_disconnecting(socket: sync.Socket) -> None:
    told: list[Any] = []
    socket.on("disconnect", lambda reason: told.append(reason))
    socket.disconnect()
    assert (socket.connected, socket.active, socket.id) == (False, False, None)
    assert socket.wait_disconnected() == "io client disconnect"
    wait_until(lambda: told)
    assert told == ["io client disconnect"]
    with pytest.raises(Disconnected):
        socket.receive("response")
    with pytest.raises(Disconnected):
        socket.wait_connected()
    # And again, for another time.
    socket.connect(timeout=SECONDS)
    assert socket.emit_with_ack("echo", 1) == 1


def test_the_server_disconnects(socket: sync.Socket) -> None:
    socket.emit("kick")
    assert socket.wait_disconnected(timeout=SECONDS) == "io server disconnect"
    assert not socket.active


# Beginning and end.


def test_a_refusal(server: PeerProcess) -> None:
    told: list[Exception] = []
    socket = sync.connect(f"{server.url}/refused")
    socket.on("connect_error", told.append)
    with pytest.raises(ConnectRefused, match="nobody comes in here") as refused, socket:
        raise AssertionError
    assert refused.value.data == {"code": "closed", "retry": False}
    wait_until(lambda: told)
    assert isinstance(told[0], ConnectRefused)
    assert not socket.active


def test_auth_is_a_mapping_or_a_function_which_may_wait(server: PeerProcess) -> None:
    with pytest.raises(ConnectRefused, match="not authorized"):
        sync.connect(f"{server.url}/auth").connect()
    with sync.connect(f"{server.url}/auth", auth={"token": "secret"}, force_new=True) as socket:
        assert socket.auth == {"token": "secret"}

    def ask() -> dict[str, Any]:
        with sync.connect(server.url, force_new=True) as other:
            return {"token": other.emit_with_ack("echo", "secret")}

    async def ask_on_the_loop() -> dict[str, Any]:
        return {"token": "secret"}

    for function in (ask, ask_on_the_loop):
        with sync.connect(f"{server.url}/auth", auth=function, force_new=True) as socket:
            assert socket.emit_with_ack("whoami")["auth"] == {"token": "secret"}
    socket.auth = {"token": "another"}
    with pytest.raises(ConnectRefused):
        socket.connect()
    assert socket.auth == {"token": "another"}


def test_a_server_that_is_not_there() -> None:
    socket = sync.connect("http://127.0.0.1:9")
    errors: list[Exception] = []
    socket.on("connect_error", errors.append)
    with pytest.raises(ConnectError, match=r"http://127\.0\.0\.1:9"):
        socket.connect()
    wait_until(lambda: errors)
    socket.open()
    with pytest.raises(ConnectError):
        socket.wait_connected(timeout=SECONDS)
    with pytest.raises(ConnectError):
        sync.Manager("http://127.0.0.1:9").connect()


def test_a_server_that_does_not_answer() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        socket = sync.connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ConnectTimeout, match=r"not connected within 0\.05 s"):
            socket.connect(timeout=0.05)
        assert not socket.active
        with pytest.raises(ConnectTimeout):
            socket.io.connect(timeout=0.05)
        socket.io.close(timeout=SECONDS)


def test_a_server_that_goes_and_comes_back() -> None:
    told: list[Any] = []
    options: Any = {"reconnection_delay": 0.05, "reconnection_delay_max": 0.1}
    with running(DUPLEXIO) as first:
        port = first.port
        socket = sync.connect(first.url, **options)
        for event in ("reconnect_attempt", "reconnect"):
            socket.io.on(event, lambda number, event=event: told.append(event))
        socket.on("disconnect", lambda reason, details: told.append(reason))
        socket.connect()
        waiting: list[Any] = []
        thread = threading.Thread(target=lambda: waiting.append(socket.receive("response")))
        thread.start()
        first.kill()
    wait_until(lambda: not socket.connected)
    assert socket.active
    socket.emit("request", "while the server was not there")
    with running(DUPLEXIO, "--port", str(port)):
        socket.wait_connected(timeout=SECONDS)
        thread.join(SECONDS)
        assert waiting == ["while the server was not there"]
        wait_until(lambda: "reconnect" in told)
        assert told[0] in ("transport close", "transport error")
        assert "reconnect_attempt" in told
        socket.io.close()


def test_events_that_come_before_anybody_asks_are_kept() -> None:
    with greeting_server() as url, sync.connect(url) as socket:
        # Later than the turns of the loop for which an asyncio client keeps them.
        assert socket.emit_with_ack("echo", 1) == 1
        assert socket.receive("greeting", timeout=SECONDS) == 1
        assert [next(socket.events()) for _ in range(2)] == [("greeting", (2,)), ("greeting", (3,))]


@contextlib.contextmanager
def greeting_server() -> Iterator[str]:
    """In a thread of this process: `io.listen` in a loop of its own."""
    io = Server()
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    @io.on("connection")
    async def greet(socket: duplexio.Socket) -> None:
        for number in (1, 2, 3):
            socket.emit("greeting", number)

    @io.on("echo")
    async def echo(socket: duplexio.Socket, value: Any) -> Any:
        return value

    async def serve() -> None:
        end = asyncio.Event()
        async with await io.listen() as listening:
            begun.set_result((asyncio.get_running_loop(), end, listening.url))
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="server")
    thread.start()
    loop, end, url = begun.result(SECONDS)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_events_wait_through_the_end_of_the_loop(server: PeerProcess) -> None:
    """What was not received is there when the socket is used on the next loop."""
    socket = sync.connect(server.url)
    with socket:
        socket.emit("request", "first")
        assert socket.emit_with_ack("echo", 1) == 1
    wait_until(lambda: not client_threads())
    with socket:
        socket.emit("request", "second")
        received = [socket.receive("response", timeout=SECONDS) for _ in range(2)]
        assert received == ["first", "second"]
        assert socket.emit_with_ack("echo", 2) == 2


def test_what_is_emitted_before_connecting_is_sent_then(server: PeerProcess) -> None:
    socket = sync.connect(server.url)
    answers: list[Any] = []
    socket.emit("request", "early")
    socket.emit("echo", "early, too", ack=answers.append)
    with socket:
        assert socket.receive("response", timeout=SECONDS) == "early"
        wait_until(lambda: answers)
    assert answers == ["early, too"]


def test_limits_are_said_to_the_caller(server: PeerProcess) -> None:
    socket = sync.connect(server.url, retries=1, max_retry_queue=2, force_new=True)
    socket.emit("request", 1)
    socket.emit("request", 2)
    with pytest.raises(LimitExceeded, match="max_retry_queue"):
        socket.emit("request", 3)
    socket = sync.connect(server.url, max_pending_acks=1, force_new=True)
    socket.emit("never", ack=print)
    with pytest.raises(LimitExceeded, match="max_pending_acks"):
        socket.emit("never", ack=print)
    with pytest.raises(LimitExceeded, match="max_pending_acks"):
        socket.emit_with_ack("never")


def test_several_namespaces_share_a_connection(server: PeerProcess) -> None:
    # Managers of other tests, which may be there still, have other options.
    own: Any = {"query": {"test": "several namespaces"}}
    with sync.connect(server.url, **own) as main, sync.connect(f"{server.url}/other", **own) as other:
        assert other.io is main.io
        assert (main.nsp, other.nsp) == ("/", "/other")
        assert main.io.engine is not None
        assert set(main.io.sockets) == {"/", "/other"}
        assert main.io.socket("other") is other
        assert other.emit_with_ack("whoami")["nsp"] == "/other"
        assert sync.connect(server.url, **own).io is not main.io
        main.disconnect()
        assert other.emit_with_ack("echo", 1) == 1
    with sync.Manager(server.url) as manager:
        manager.connect()
        assert manager.engine is not None
        assert manager.socket().connect().connected
    assert manager.engine is None


def test_a_thread_for_each_of_two_managers_is_the_same(server: PeerProcess) -> None:
    with sync.connect(server.url, force_new=True), sync.connect(server.url, force_new=True):
        assert client_threads().count("duplexio.sync") == 1


def test_listeners_of_a_manager(server: PeerProcess) -> None:
    told: list[Any] = []
    manager = sync.Manager(server.url)
    socket = manager.socket()

    @manager.on("open")
    def opened() -> None:
        told.append((threading.current_thread().name, socket.emit_with_ack("echo", "open")))

    @manager.once("close")
    async def closed(reason: str, details: str) -> None:
        told.append(reason)

    assert manager.listeners("open") == [opened]
    with socket:
        wait_until(lambda: told)
    wait_until(lambda: len(told) == 2)
    assert told[0][0].startswith("duplexio-handler")
    assert told[0][1] == "open"
    manager.off("open")
    assert manager.listeners("open") == []


def test_any_listeners(socket: sync.Socket) -> None:
    incoming: list[Any] = []
    outgoing: list[Any] = []
    hear = socket.on_any(lambda *event: incoming.append(event))
    tell = socket.on_any_outgoing(lambda *event: outgoing.append(event))
    assert socket.listeners_any() == [hear]
    assert socket.listeners_any_outgoing() == [tell]
    socket.emit("request", 1)
    socket.receive("response", timeout=SECONDS)
    assert incoming == [("response", 1)]
    assert outgoing == [("request", 1)]
    socket.off_any(hear)
    socket.off_any_outgoing()
    assert socket.listeners_any() == socket.listeners_any_outgoing() == []


def test_registering_needs_no_thread() -> None:
    socket = sync.connect("http://127.0.0.1:9")
    socket.on("event", print)
    socket.once("event")(repr)
    assert socket.listeners("event") == [print, repr]
    socket.off("event", print)
    assert socket.listeners("event") == [repr]
    socket.disconnect()
    assert client_threads() == []


def test_options_are_checked_where_they_are_given() -> None:
    with pytest.raises(ConfigurationError):
        sync.connect("http://127.0.0.1:9", reconnect=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError):
        sync.connect("ftp://127.0.0.1")


# That it does not drift from the client for asyncio.

PAIRS = [
    (sync.Socket, duplexio.ClientSocket),
    (sync.Manager, duplexio.Manager),
    (sync.Operator, ClientOperator),
]
#: What nobody needs who has no loop.
INTERNAL = {"context", "dialled"}
COUNTERPARTS = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


def names_of(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")} - INTERNAL


@pytest.mark.parametrize(("ours", "other"), PAIRS)
def test_the_names_are_the_same(ours: type, other: type) -> None:
    # What the other one sets in its __init__ is seen in its annotations or slots only.
    assert names_of(ours) - names_of(other) <= {"settings", "url"}
    instance = {"io", "settings", "url"}
    assert names_of(other) - names_of(ours) - instance == set()
    for plain, asynchronous in COUNTERPARTS.items():
        assert hasattr(ours, plain) == hasattr(other, asynchronous)


@pytest.mark.parametrize(("ours", "other"), PAIRS)
def test_the_parameters_are_the_same(ours: type, other: type) -> None:
    for name in sorted(names_of(ours) & names_of(other)):
        mine, theirs = inspect.getattr_static(ours, name), inspect.getattr_static(other, name)
        if not inspect.isfunction(theirs):
            # An attribute of the one may be a property of the other.
            assert not inspect.isfunction(mine), name
            continue
        waits = inspect.iscoroutinefunction(theirs) or inspect.isasyncgenfunction(theirs)
        assert not inspect.iscoroutinefunction(mine), name
        parameters = shown(mine)
        if waits:
            assert ("timeout", inspect.Parameter.POSITIONAL_OR_KEYWORD, None) in parameters or (
                "timeout",
                inspect.Parameter.KEYWORD_ONLY,
                None,
            ) in parameters, f"{name} waits, and has no timeout"
            if "timeout" not in inspect.signature(theirs).parameters:
                parameters = [parameter for parameter in parameters if parameter[0] != "timeout"]
        assert parameters == shown(theirs), name


def shown(function: Callable[..., object]) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_connect_takes_the_same() -> None:
    assert shown(sync.connect) == shown(duplexio.connect)
    assert shown(sync.Manager.__init__) == shown(duplexio.Manager.__init__)
