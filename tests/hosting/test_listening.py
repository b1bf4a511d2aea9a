"""`io.listen` in a loop that is running already."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import statistics
import threading
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from duplexio import Server, Socket

from .applications import make_server
from .clients import SECONDS, TRANSPORTS, connected, first_answer
from .hosts import fast, wait_until


async def assert_answers(port: int, path: str = "/socket.io/") -> None:
    for transport in TRANSPORTS:
        async with connected(f"127.0.0.1:{port}", transport, path) as client:
            assert await client.ask("echo", transport) == [transport]


async def assert_refuses(port: int) -> None:
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_port_0_finds_one() -> None:
    io = make_server()
    async with await io.listen() as listening:
        assert (listening.host, listening.url) == ("127.0.0.1", f"http://127.0.0.1:{listening.port}")
        assert listening.port > 0
        await assert_answers(listening.port)
    await assert_refuses(listening.port)


async def test_a_port_that_is_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with await make_server().listen("127.0.0.1", port) as listening:
        assert listening.port == port
        await assert_answers(port)


async def test_a_port_in_the_hosts_place() -> None:
    with pytest.raises(TypeError, match="by name: port=3000"):
        await Server().listen(3000)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by name: port=3000"):
        Server().run(3000)  # type: ignore[arg-type]


async def test_an_address_in_use() -> None:
    async with await make_server().listen() as first:
        with pytest.raises(
            OSError, match=rf"cannot listen on 127\.0\.0\.1:{first.port}: Address already in use"
        ) as error:
            await make_server().listen(port=first.port)
        assert error.value.errno == errno.EADDRINUSE
        await assert_answers(first.port)


@pytest.mark.parametrize(
    ("host", "message"),
    [("192.0.2.1", "cannot listen on 192.0.2.1:"), ("no.such.host.invalid", "no.such.host.invalid")],
)
async def test_an_address_that_is_not_ours(host: str, message: str) -> None:
    with pytest.raises(OSError, match=message):
        await make_server().listen(host)


async def test_a_name_as_the_host() -> None:
    async with await make_server().listen("localhost") as listening:
        await assert_answers(listening.port)


async def test_version_six() -> None:
    async with await make_server().listen("::1") as listening:
        assert listening.url == f"http://[::1]:{listening.port}"
        async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as http:
            response = await http.get(f"{listening.url}/socket.io/?EIO=4&transport=websocket")
            assert response.status_code == 400


async def test_leaving_the_block_closes_also_where_it_is_left_by_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        async with await make_server().listen() as listening:
            raise ZeroDivisionError
    await assert_refuses(listening.port)


async def test_closing_is_idempotent_and_can_be_waited_for() -> None:
    listening = await make_server().listen()
    waiting = asyncio.create_task(listening.wait_closed())
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(listening.close(), listening.close())
        await listening.close()
        await waiting
    await assert_refuses(listening.port)


async def test_closing_ends_the_sessions() -> None:
    io = make_server()
    reasons: list[str] = []

    @io.on("disconnect")
    async def disconnect(socket: object, reason: str) -> None:
        reasons.append(reason)

    listening = await io.listen()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connected(f"127.0.0.1:{listening.port}", "websocket"))
        async with asyncio.timeout(SECONDS):
            await listening.close()
        assert io.engine.clients_count == 0
    assert reasons == ["server shutting down"] * 3


async def test_two_servers_in_one_loop() -> None:
    first, second = make_server(), make_server(path="/two")
    async with await first.listen() as one, await second.listen() as two:
        await asyncio.gather(assert_answers(one.port), assert_answers(two.port, "/two/"))
        await one.close()
        await assert_answers(two.port, "/two/")


async def test_one_server_on_two_ports() -> None:
    """One set of sessions, whichever way they came."""
    io = make_server()
    async with (
        await io.listen() as one,
        await io.listen() as two,
        connected(f"127.0.0.1:{one.port}", "websocket") as a,
        connected(f"127.0.0.1:{two.port}", "polling") as b,
    ):
        assert io.engine.clients_count == 2
        assert await a.ask("echo", 1) == await b.ask("echo", 1)


async def test_listening_again_after_closing() -> None:
    """On the same port, too: that is what a program does that stops a while."""
    io = make_server()
    port = 0
    for _ in range(3):
        async with await io.listen(port=port) as listening:
            port = listening.port
            await assert_answers(port)


async def test_listening_again_after_the_server_was_closed() -> None:
    """`io.close()` refuses new sessions from its first moment on; `io.listen()` is the wish to have some again."""
    io = make_server()
    async with await io.listen() as listening:
        await io.close()
        assert (await first_answer(f"127.0.0.1:{listening.port}", "polling"))[0] == 503
    async with await io.listen() as listening:
        await assert_answers(listening.port)


@pytest.mark.parametrize("lifespan", ["auto", "off"])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_listening_again_while_the_server_is_being_closed(wrapped: bool, lifespan: str) -> None:
    """Its sessions of before end first."""
    io = make_server()
    app = io.wrap(Starlette()) if wrapped else io
    async with await app.listen() as before, connected(f"127.0.0.1:{before.port}", "websocket") as client:
        assert await client.ask("echo", 1) == [1]
        closing = asyncio.create_task(io.close())
        await asyncio.sleep(0)
        assert io.engine.closing
        assert not io.engine.closed
        async with await app.listen(lifespan=lifespan) as again:
            assert closing.done()
            await assert_answers(again.port)


async def test_a_handler_in_a_thread_after_listening_again() -> None:
    io = make_server()

    @io.on("thread")
    def thread(socket: object) -> str:
        return threading.current_thread().name

    for _ in range(2):
        async with await io.listen() as listening, connected(f"127.0.0.1:{listening.port}", "websocket") as client:
            assert (await client.ask("thread")).startswith("duplexio")


def test_another_loop_after_closing() -> None:
    io = make_server()

    async def serve() -> None:
        async with await io.listen() as listening:
            await assert_answers(listening.port)

    for _ in range(2):
        asyncio.run(serve())


def test_another_loop_while_it_has_sessions() -> None:
    """A session belongs to its loop: an error, rather than what would come of it."""
    io = make_server()

    async def other_loop() -> None:
        with pytest.raises(Exception, match="one event loop"):
            await io.listen()

    async def serve() -> None:
        async with await io.listen() as listening, connected(f"127.0.0.1:{listening.port}", "websocket") as client:
            await asyncio.to_thread(asyncio.run, other_loop())
            assert await client.ask("echo", 1) == [1]

    asyncio.run(serve())


def test_in_a_thread_that_is_not_the_main_one() -> None:
    """Where no signal can be heard, and none needs to be."""
    failures: list[BaseException] = []

    async def serve() -> None:
        async with await make_server().listen() as listening:
            await assert_answers(listening.port)

    def thread() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failures.append(error)

    running = threading.Thread(target=thread)
    running.start()
    running.join(30)
    assert not running.is_alive()
    assert failures == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_handlers_of_signals_are_given_back(number: signal.Signals) -> None:
    """A program that listens and closes a thousand times has no chain of a thousand handlers."""
    before = signal.getsignal(number)
    for _ in range(2):
        async with await make_server().listen():
            assert signal.getsignal(number) is not before
        assert signal.getsignal(number) is before


@pytest.mark.parametrize("order", ["first", "last"])
async def test_the_handlers_of_signals_are_given_back_by_two(order: str) -> None:
    """In whatever order they close."""
    before = signal.getsignal(signal.SIGTERM)
    one = await make_server().listen()
    two = await make_server().listen()
    for listening in (one, two) if order == "first" else (two, one):
        await listening.close()
    assert signal.getsignal(signal.SIGTERM) is before


async def test_without_handling_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with await make_server(handle_signals=False).listen():
        assert signal.getsignal(signal.SIGTERM) is before


async def test_sigterm_closes_and_then_does_what_it_did() -> None:
    """The program's own handler is called, and decides."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    io = make_server()
    try:
        async with await io.listen() as listening, connected(f"127.0.0.1:{listening.port}", "websocket"):
            signal.raise_signal(signal.SIGTERM)
            await wait_until(lambda: not io.engine.clients_count)
            assert heard == [signal.SIGTERM]
            assert (await first_answer(f"127.0.0.1:{listening.port}", "polling"))[0] == 503
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_wrapped_application_listens_too() -> None:
    app = make_server().wrap(Starlette(routes=[Route("/", home)]))
    async with await app.listen() as listening:
        await assert_answers(listening.port)
        assert (await first_answer(f"127.0.0.1:{listening.port}", "polling", "/"))[2] == "home"


async def test_options_of_uvicorn_pass_through() -> None:
    async with await make_server().listen(headers=[("x-served-by", "us")], root_path="/behind") as listening:
        _, headers, _ = await first_answer(f"127.0.0.1:{listening.port}", "polling")
        assert headers["x-served-by"] == "us"


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


async def quick(ask: Callable[[], Awaitable[object]]) -> float:
    """The median of many, in seconds."""
    times = []
    for _ in range(21):
        start = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


async def test_small_answers_are_sent_at_once() -> None:
    """An answer in two writes must not wait for the client's delayed acknowledgement, some 40 ms."""
    io = make_server()
    app = Starlette(routes=[Route("/", home), Mount("/socket.io", app=io)])
    async with fast(app, io) as url, httpx.AsyncClient(trust_env=False, timeout=SECONDS) as http:
        assert await quick(lambda: http.get(f"http://{url}/")) < 0.035
        async with connected(url, "polling") as client:
            assert await quick(lambda: client.ask("echo", 1)) < 0.07


async def test_nobody_is_left_when_the_task_that_listened_is_cancelled() -> None:
    io = Server()
    ports: list[int] = []

    async def serve() -> None:
        async with await io.listen() as listening:
            ports.append(listening.port)
            await asyncio.sleep(3600)

    task = asyncio.create_task(serve())
    await wait_until(lambda: ports)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, SECONDS)
    await assert_refuses(ports[0])


async def test_a_connection_that_rests_is_closed_and_one_that_asks_is_not() -> None:
    """By uvicorn's `timeout_keep_alive`; a poll that came in one segment with another request asks as any does."""
    io = Server()

    @io.on("ask")
    async def answer_late(socket: Socket) -> None:
        await asyncio.sleep(0.5)
        socket.emit("late")

    async with await io.listen(timeout_keep_alive=0.1) as listening:
        path = "/socket.io/?EIO=4&transport=polling"

        def get(query: str = "") -> bytes:
            return f"GET {path}{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode()

        def post(query: str, body: str) -> bytes:
            return f"POST {path}{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

        async def ask(request: bytes) -> bytes:
            """Everything until the end of the connection."""
            reader, writer = await asyncio.open_connection(listening.host, listening.port)
            with contextlib.closing(writer):
                writer.write(request)
                return await asyncio.wait_for(reader.read(), SECONDS)

        opened = (await ask(get())).decode()
        query = "&sid=" + opened.partition('"sid":"')[2].partition('"')[0]
        assert (await ask(post(query, "40"))).endswith(b"ok")
        assert b"\r\n\r\n40{" in await ask(get(query))
        assert (await ask(post(query, '42["ask"]') + get(query))).endswith(b'\r\n\r\n42["late"]')
