"""A server that breaks the rules in the middle of a session: the client ignores it or ends the connection, says so in
its log, and comes back; nothing of its own fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

import pytest

import duplexio

from .answering import Answering, Handle, answer, frame, http, open_packet, switching
from .stage import SECONDS, until

Transport = Literal["polling", "websocket"]
LARGEST = 1000
JOINED = b'40{"sid":"mine"}'
TICK = b'42["tick",%d]'
PAUSE = 0.02

pytestmark = pytest.mark.usefixtures("tidy")


def over_websocket(*frames: bytes, joined: tuple[bytes, ...] = (frame(JOINED),), opened: bytes = b"") -> Handle:
    """In the first session those frames after the client is in; each session ticks with its number then."""
    sessions = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sessions
        sessions += 1
        number = sessions
        first = number == 1
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")))
        writer.write(frame(opened if opened and first else open_packet()))
        # CONNECT.
        await reader.read(1000)
        for each in joined if first else (frame(JOINED),):
            writer.write(each)
        await asyncio.sleep(PAUSE)
        if first:
            for each in frames:
                writer.write(each)
        writer.write(frame(TICK % number))
        await writer.drain()
        # Its goodbye, or its end.
        await reader.read(1000)

    return handle


def over_polling(body: bytes) -> Handle:
    """In the first session that as the answer to a poll, as it is; each session ticks with its number then."""
    sessions, polls, left = 0, dict[bytes, int](), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sessions
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                line = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                sent = await reader.readexactly(int(line.partition(b":")[2]))
                writer.write(http(200, b"ok"))
                if not sent.startswith(b"40"):
                    left.set()
                continue
            _, found, sid = head.split(b" ")[1].partition(b"sid=")
            if not found:
                sessions += 1
                writer.write(http(200, open_packet(sid=f"{sessions}")))
                continue
            sid = sid.partition(b"&")[0]
            polls[sid] = polls.get(sid, 0) + 1
            if polls[sid] == 1:
                writer.write(http(200, JOINED))
            elif polls[sid] == 2 and sid == b"1":
                await asyncio.sleep(PAUSE)
                writer.write(body)
                await writer.drain()
                if b"content-length: %d\r\n" % len(body.partition(b"\r\n\r\n")[2]) not in body:
                    return
            elif polls[sid] <= 3:
                await asyncio.sleep(PAUSE)
                writer.write(http(200, TICK % int(sid)))
            else:
                await left.wait()
                writer.write(http(200, b"6"))

    return handle


async def endured(
    handle: Handle, transport: Transport, caplog: pytest.LogCaptureFixture
) -> tuple[list[str], int, list[str]]:
    """The reasons of disconnects, the session that ticked, and what the log says from INFO on."""
    caplog.set_level(logging.INFO, "duplexio")
    reasons: list[str] = []
    ticks: list[int] = []
    async with Answering(handle) as server:
        socket = duplexio.connect(
            server.url,
            transports=[transport],
            force_new=True,
            retry=True,
            timeout=SECONDS,
            reconnection_delay=PAUSE,
            max_message_bytes=LARGEST,
        )
        socket.on("disconnect", lambda reason, details: reasons.append(reason), inline=True)
        socket.on("tick", ticks.append, inline=True)
        async with asyncio.timeout(SECONDS), socket:
            await until(lambda: ticks)
            # Nothing of it was taken for an answer.
            assert socket.id == "mine"
            await asyncio.sleep(PAUSE)
            assert socket.connected
            lost = list(reasons)
    await socket.io.close()
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    return lost, ticks[0], [record.getMessage() for record in caplog.records]


PLACEHOLDER = b'{"_placeholder":true,"num":%d}'
#: What comes, and the reason of the end; None: it is ignored.
MESSAGES: dict[str, tuple[tuple[bytes, ...], str | None]] = {
    "unknown packet": ((frame(b"9hello"),), "parse error"),
    "empty": ((frame(b""),), "parse error"),
    "unknown kind": ((frame(b"49"),), "parse error"),
    "no JSON": ((frame(b'42["tick"'),), "parse error"),
    "no name": ((frame(b"42[]"),), "parse error"),
    "no array": ((frame(b'42{"tick":1}'),), "parse error"),
    "deep": ((frame(b"42" + b"[" * 400),), "parse error"),
    "not UTF-8": ((frame(b'42["tick\xff",1]'),), "parse error"),
    "large": ((frame(b'42["' + bytes(2 * LARGEST)),), "transport error"),
    "huge": ((frame(b"", length=1 << 50),), "transport error"),
    "large in pieces": (
        (frame(b'42["', fin=False), *(frame(bytes(500), 0, fin=False) for _ in range(10))),
        "transport error",
    ),
    "frame garbage": ((bytes(range(200, 256)),), "transport error"),
    "masked": ((frame(TICK % 0, masked=True),), "transport error"),
    "continuation of nothing": ((frame(b"x", 0),), "transport error"),
    "bytes for nobody": ((frame(b"abc", 2),), "parse error"),
    "attachment that does not come": ((frame(b'451-["tick",%s]' % (PLACEHOLDER % 0)),), "parse error"),
    "attachment of no number": ((frame(b'451-["tick",%s]' % (PLACEHOLDER % 7)), frame(b"abc", 2)), "parse error"),
    "attachments by the million": ((frame(b'459999999-["tick"]'),), "parse error"),
    "pong": ((frame(b"3"),), None),
    "opened again": ((frame(open_packet(sid="another")),), None),
    "upgrade": ((frame(b"5"),), None),
    "noop": ((frame(b"6"),), None),
    "in again": ((frame(b'40{"sid":"other"}'),), None),
    "let in elsewhere": ((frame(b'40/elsewhere,{"sid":"other"}'),), None),
    "refused elsewhere": ((frame(b'44/elsewhere,{"message":"no"}'),), None),
    "out elsewhere": ((frame(b"41/elsewhere,"),), None),
    "event elsewhere": ((frame(b'42/elsewhere,["tick",0]'),), None),
    "answer for nobody": ((frame(b"4399[1]"), frame(b"430[]"), frame(b"43" + b"9" * 15 + b"[1]")), None),
    "answer of no number": ((frame(b"43[1]"),), "parse error"),
    "answer of a number too large": ((frame(b"43" + b"9" * 30 + b"[1]"),), "parse error"),
    "own events": ((frame(b'42["connect"]'),), "parse error"),
    "closed": ((frame(b"1"),), "transport close"),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_over_a_websocket(name: str, caplog: pytest.LogCaptureFixture) -> None:
    frames, reason = MESSAGES[name]
    reasons, session, log = await endured(over_websocket(*frames), "websocket", caplog)
    assert reasons == ([] if reason is None else [reason])
    assert session == (1 if reason is None else 2)
    if reason not in (None, "transport close"):
        assert log


async def test_an_attachment_that_never_comes(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else does, either."""
    sessions: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.append(writer)
        first = len(sessions) == 1
        writer.write(switching(await reader.readuntil(b"\r\n\r\n")) + frame(open_packet()))
        await reader.read(1000)
        writer.write(frame(JOINED) + frame(b'451-["tick",%s]' % (PLACEHOLDER % 0) if first else TICK % 2))
        await reader.read(1000)

    reasons: list[str] = []
    async with Answering(handle) as server:
        socket = duplexio.connect(
            server.url,
            transports=["websocket"],
            force_new=True,
            reconnection_delay=PAUSE,
            attachment_timeout=0.2,
        )
        socket.on("disconnect", lambda reason, details: reasons.append(reason), inline=True)
        async with asyncio.timeout(SECONDS), socket:
            assert await socket.receive("tick") == 2
            assert reasons == ["parse error"]
        await socket.io.close()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


BODIES: dict[str, tuple[bytes, str | None]] = {
    "garbage": (b"\x00\xff\r\n\r\n", "transport error"),
    "half": (http(200, TICK % 0)[:-4], "transport error"),
    "page": (http(200, b"<html>"), "parse error"),
    "empty": (http(200), "parse error"),
    "not UTF-8": (http(200, b'42["tick\xff",0]'), "parse error"),
    "no JSON": (http(200, b'42["tick"'), "parse error"),
    "separators": (http(200, b"\x1e\x1e"), "parse error"),
    "no base64": (http(200, b'451-["tick",%s]\x1eb!!' % (PLACEHOLDER % 0)), "parse error"),
    "large": (http(200, b"4" + bytes(2 * LARGEST)), "transport error"),
    "500": (http(500), "transport error"),
    "unknown session": (http(400, b'{"code":1,"message":"Session ID unknown"}'), "transport error"),
    "elsewhere": (http(200, b'42/elsewhere,["tick",0]'), None),
    "answer for nobody": (http(200, b"4399[1]\x1e430[]"), None),
    "closed": (http(200, b"1"), "transport close"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_over_polling(name: str, caplog: pytest.LogCaptureFixture) -> None:
    body, reason = BODIES[name]
    reasons, session, _ = await endured(over_polling(body), "polling", caplog)
    assert reasons == ([] if reason is None else [reason])
    assert session == (1 if reason is None else 2)


BEFORE: dict[str, tuple[bytes, ...]] = {
    "event first": (frame(b'42["other"]'), frame(JOINED)),
    "answer first": (frame(b"430[1]"), frame(JOINED)),
    "out before in": (frame(b"41/elsewhere,"), frame(JOINED)),
    "in twice": (frame(JOINED), frame(JOINED)),
}


@pytest.mark.parametrize("name", BEFORE)
async def test_in_the_wrong_order(name: str, caplog: pytest.LogCaptureFixture) -> None:
    reasons, session, _ = await endured(over_websocket(joined=BEFORE[name]), "websocket", caplog)
    assert (reasons, session) == ([], 1)


OPENED = [b"0", b"0{", b"0[]", b'0{"sid":1}', open_packet(pingInterval=-1), JOINED, b"\xff", b"2probe"]


@pytest.mark.parametrize("opened", OPENED, ids=str)
async def test_an_open_packet_that_is_none(opened: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """With `retry`, it tries until there is a server that does better."""
    reasons, session, _ = await endured(over_websocket(opened=opened), "websocket", caplog)
    assert (reasons, session) == ([], 2)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_garbage_at_each_attempt(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    async with Answering(answer(b"\xff\x00 garbage\r\n\r\n")) as server:
        socket = duplexio.connect(
            server.url,
            transports=[transport],
            force_new=True,
            retry=True,
            reconnection_delay=PAUSE,
            reconnection_attempts=5,
        )
        with pytest.raises(duplexio.ConnectError, match="not HTTP"):
            async with asyncio.timeout(SECONDS):
                await socket.connect()
        await socket.io.close()
        assert server.connections == 6
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
