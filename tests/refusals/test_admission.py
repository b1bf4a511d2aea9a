"""Sessions that the application, or its limits, do not let in."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest

from .conftest import Start
from .raw import TEXT, Answer, Wire, frame, handshake
from .stage import Stage, refusal

both = pytest.mark.parametrize("transport", ["polling", "websocket"])


async def ask(stage: Stage, transport: str, **query: str) -> Answer:
    return await (stage.knock(**query) if transport == "websocket" else stage.get(stage.target(**query)))


def forbidden(transport: str, message: str = "Forbidden") -> tuple[int, str, bytes]:
    return (400, "text/html", message.encode()) if transport == "websocket" else refusal(4, message)


def except_the_witness(answer: Any) -> Any:
    """What `allow_request` says of everybody else."""
    return lambda request: None if "witness" in request.query else answer


def later(answer: Any) -> Any:
    """The same, by a function that waits."""

    async def ask_elsewhere(request: Any) -> Any:
        await asyncio.sleep(0.01)
        return None if "witness" in request.query else answer

    return ask_elsewhere


ways = pytest.mark.parametrize("way", [except_the_witness, later], ids=["plain", "async"])


@both
@ways
async def test_false(start: Start, transport: str, way: Any) -> None:
    stage = await start(allow_request=way(False))
    assert (await ask(stage, transport)).brief == forbidden(transport)
    await stage.one_fault("forbidden", "allow_request refused it")
    assert stage.others == 0


@both
@ways
@pytest.mark.parametrize("message", ["no such token", 'say "please"', "a\\b", "né pas"])
async def test_a_text(start: Start, transport: str, way: Any, message: str) -> None:
    stage = await start(allow_request=way(message))
    answer = await ask(stage, transport)
    if transport == "websocket":
        assert answer.brief == (400, "text/html", message.encode())
    else:
        escaped = message.replace("\\", "\\\\").replace('"', '\\"')
        assert answer.brief == refusal(4, escaped)
    await stage.one_fault("forbidden", "allow_request refused it", message)
    assert stage.others == 0


@both
async def test_a_text_of_lines(start: Start, transport: str) -> None:
    """Of polling, it stays valid JSON."""
    stage = await start(allow_request=except_the_witness("a\r\nX-Injected: 1\r\n\r\nb\tc"))
    answer = await ask(stage, transport)
    assert answer.status == (400 if transport == "websocket" else 403)
    assert answer.header("x-injected") is None
    if transport == "polling":
        assert answer.body == b'{"code":4,"message":"a  X-Injected: 1    b c"}'
    await stage.one_fault("forbidden")
    assert len(stage.log.warnings[0].splitlines()) == 1


@both
@ways
@pytest.mark.parametrize("answer", [None, True])
async def test_let_in(start: Start, transport: str, way: Any, answer: bool | None) -> None:
    stage = await start(allow_request=way(answer))
    session = await stage.session(transport)
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    await stage.no_fault()


@both
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_exception(start: Start, transport: str, asynchronous: bool) -> None:
    """Nobody is let in by a mistake, and the client learns nothing of it."""

    def fail(request: Any) -> None:
        if "witness" not in request.query:
            raise RuntimeError("the password is 1234")

    async def fail_later(request: Any) -> None:
        await asyncio.sleep(0)
        fail(request)

    stage = await start(allow_request=fail_later if asynchronous else fail)
    stage.expects_errors = True
    assert (await ask(stage, transport)).brief == forbidden(transport)
    await stage.one_fault("allow_request_error", "allow_request raised")
    assert stage.errors == ["allow_request raised"]
    assert stage.others == 0


@both
@pytest.mark.hostings("listen", "asgi", "mounted", "handover")
async def test_too_slow(start: Start, transport: str) -> None:
    cancelled: list[bool] = []

    async def wait(request: Any) -> None:
        if "witness" in request.query:
            return
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    stage = await start(allow_request=wait, allow_request_timeout=0.1)
    assert (await ask(stage, transport)).brief == forbidden(transport)
    await stage.one_fault("allow_request_timeout", "0.1 s", "allow_request_timeout")
    assert cancelled == [True]
    assert stage.others == 0


@both
async def test_many_that_wait_at_once(start: Start, transport: str) -> None:
    """One that is slow holds up nobody."""
    go_on = asyncio.Event()

    async def wait(request: Any) -> bool | None:
        if "slow" in request.query:
            await go_on.wait()
            return False
        return None

    stage = await start(allow_request=wait)
    slow = [stage.background(ask(stage, transport, slow="1")) for _ in range(20)]
    session = await stage.session(transport)
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    go_on.set()
    assert {answer.brief for answer in await asyncio.gather(*slow)} == {forbidden(transport)}
    await stage.one_fault("forbidden", times=20)


@both
async def test_it_is_asked_once_a_session(start: Start, transport: str) -> None:
    asked: list[str] = []
    stage = await start(allow_request=lambda request: asked.append(request.query.get("who", "")))
    session = await stage.session("polling", who="me")
    if transport == "websocket":
        upgrade = await stage.websocket(sid=session.sid, who="me")  # type: ignore[attr-defined]
        await upgrade.send(b"2probe")
        assert await upgrade.read() == b"3probe"
    await session.send(b'421["echo",1]')
    assert asked.count("me") == 1


@both
@ways
async def test_what_it_is_told(start: Start, transport: str, way: Any) -> None:
    seen: list[Any] = []

    def look(request: Any) -> Any:
        if "witness" not in request.query:
            seen.append((request.query.get("token"), request.headers["x-token"], request.address, request.websocket))
        return way(False)(request)

    stage = await start(allow_request=look)
    headers = {"X-Token": "b"}
    if transport == "websocket":
        await stage.knock(headers, token="a")
    else:
        await stage.get(stage.target(token="a"), headers)
    assert seen == [("a", "b", "127.0.0.1", transport == "websocket")]


@pytest.mark.hostings("fast", "handover", "asgi")
async def test_a_client_that_sends_while_it_is_let_in(start: Start) -> None:
    """What comes before the answer waits with the kernel, not here."""
    go_on = asyncio.Event()

    async def wait(request: Any) -> None:
        if "witness" not in request.query:
            await go_on.wait()

    stage = await start(allow_request=wait)
    wire = await stage.wire()
    handshaking = stage.background(handshake(wire, stage.target(transport="websocket")))
    await asyncio.sleep(0.05)
    writing = stage.background(_write_for_ever(wire, frame(TEXT, b"6" * 100_000)))
    tracemalloc.start()
    try:
        await asyncio.sleep(0.3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        writing.cancel()
    assert peak < 8_000_000
    go_on.set()
    assert (await handshaking).status == 101


async def _write_for_ever(wire: Wire, data: bytes) -> None:
    while True:
        await wire.write(data)


# Too many.


@both
async def test_too_many_sessions(start: Start, transport: str) -> None:
    stage = await start(max_connections=2)
    second = await stage.polling()
    answer = await ask(stage, transport)
    if transport == "websocket":
        assert answer.brief == (503, "text/html", b"Too many connections")
    else:
        assert answer.brief == refusal(3, "Too many connections", status=503)
    await stage.one_fault("too_many_connections", "2 sessions are open", "max_connections")
    assert stage.others == 1
    # Those that are here are served, and one that leaves makes room.
    await second.send(b"40")
    assert (await second.read()).startswith(b"40{")
    await second.send(b"1")
    assert (await ask(stage, transport)).status in (101, 200)


@both
@pytest.mark.hostings("listen", "asgi", "mounted", "handover")
async def test_too_many_sessions_at_once(start: Start, transport: str) -> None:
    """All were asked about while there was room for one more."""
    stage = await start(max_connections=2, allow_request=later(None))
    answers = await asyncio.gather(*[ask(stage, transport) for _ in range(10)])
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [101 if transport == "websocket" else 200] + [503] * 9
    assert stage.others == 1
    await stage.one_fault("too_many_connections", times=9)


@both
async def test_a_server_that_closes(start: Start, transport: str) -> None:
    stage = await start(witness=False)
    waiting = await stage.session("websocket")
    closing = stage.background(stage.io.close())
    stage.io.engine.begin_closing()
    answer = await ask(stage, transport)
    if transport == "websocket":
        assert answer.brief == (503, "text/html", b"Server closing")
    else:
        assert answer.brief == refusal(3, "Server closing", status=503)
    assert waiting is not None
    await closing
    assert stage.faults == {"closing": 1}
    assert len(stage.log.warnings) == 1
