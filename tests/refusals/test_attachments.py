"""Binary packets whose attachments are too many, too few, late, unannounced, or not where a placeholder says."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from .conftest import Start
from .stage import Session

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])

#: What a client sends, texts as str and attachments as bytes, and what the log must say of it.
BAD: dict[str, tuple[list[str | bytes], str]] = {
    "an attachment without a packet": ([b"abc"], "a binary message of 3 bytes that no packet announced"),
    "an empty attachment without a packet": ([b""], "a binary message of 0 bytes that no packet announced"),
    "an attachment too many": (
        ['451-["echo",{"_placeholder":true,"num":0}]', b"a", b"b"],
        "a binary message of 1 bytes that no packet announced",
    ),
    "an attachment for a packet without any": (['450-["echo",1]', b"a"], "that no packet announced"),
    "a text among them": (
        ['452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"a", '42["echo",1]'],
        "text while 1 attachments were to come",
    ),
    "a text instead of them": (['451-["echo",{"_placeholder":true,"num":0}]', '42["echo",1]'], "text while 1"),
    "another packet before they came": (['451-["echo",1]', '451-["echo",1]'], "text while 1"),
    "CONNECT before they came": (['451-["echo",1]', "40/chat,"], "text while 1"),
    "11 announced": (['4511-["echo",1]'], "11 attachments announced, 10 allowed"),
    "a billion announced": (['45999999999-["echo",1]'], "999999999 attachments announced, 10 allowed"),
    "a number without end": (["45" + "9" * 5000 + '-["echo",1]'], "number of attachments"),
    "no number": (['45-["echo",1]'], "number of attachments"),
    "a letter": (['45x-["echo",1]'], "number of attachments"),
    "minus one": (['45-1-["echo",1]'], "number of attachments"),
    "no dash": (['451["echo",1]'], "number of attachments"),
    "nothing": (["45"], "number of attachments"),
    "a digit of another script": (['45٢-["echo",1]'], "number of attachments"),
    "a placeholder and none announced": (
        ['450-["echo",{"_placeholder":true,"num":0}]'],
        "placeholder 0 among 0 attachments",
    ),
    "an acknowledgement's placeholder and none announced": (
        ['460-1[{"_placeholder":true,"num":0}]'],
        "placeholder 0 among 0 attachments",
    ),
    "a placeholder one too far": (['451-["echo",{"_placeholder":true,"num":1}]', b"a"], "placeholder 1 among 1"),
    "a placeholder of minus one": (['451-["echo",{"_placeholder":true,"num":-1}]', b"a"], "placeholder -1 among 1"),
    "a placeholder of a huge number": (
        ['451-["echo",{"_placeholder":true,"num":9007199254740993}]', b"a"],
        "placeholder 9007199254740993 among 1",
    ),
    "a placeholder of true": (['451-["echo",{"_placeholder":true,"num":true}]', b"a"], "placeholder True among 1"),
    "a placeholder of a text": (['451-["echo",{"_placeholder":true,"num":"0"}]', b"a"], "placeholder '0' among 1"),
    "a placeholder of a fraction": (['451-["echo",{"_placeholder":true,"num":0.5}]', b"a"], "placeholder 0.5 among 1"),
    "a placeholder of null": (['451-["echo",{"_placeholder":true,"num":null}]', b"a"], "placeholder None among 1"),
    "a placeholder of nothing": (['451-["echo",{"_placeholder":true}]', b"a"], "placeholder None among 1"),
    "a placeholder deep inside": (
        ['451-["echo",{"a":[{"b":{"_placeholder":true,"num":7}}]}]', b"a"],
        "placeholder 7 among 1",
    ),
    "a placeholder for a name": (['451-[{"_placeholder":true,"num":0}]', b"echo"], "type 5 cannot be"),
    "a reserved name": (['451-["disconnect",{"_placeholder":true,"num":0}]', b"a"], "'disconnect' is reserved"),
    "an empty list": (["451-[]", b"a"], "type 5 cannot be []"),
    "broken JSON": (['451-["echo",{"_placeholder":true', b"a"], "malformed JSON"),
    "an acknowledgement without its id": (['461-[{"_placeholder":true,"num":0}]', b"a"], "without its id"),
    "a namespace not joined": (['451-/chat,["echo",{"_placeholder":true,"num":0}]', b"a"], "which was not joined"),
}


@transports
@pytest.mark.parametrize("name", BAD)
async def test_a_binary_packet_that_ends_the_session(start: Start, transport: str, name: str) -> None:
    messages, said = BAD[name]
    stage = await start()
    session = await stage.session(transport)
    # Over polling in one body, so that what is behind the fault is there, too.
    if transport == "polling":
        await stage.refused(session, b"\x1e".join(map(_record, messages)))
    else:
        try:
            for message in messages:
                await _send(session, message)
        except ConnectionError:
            pass  # the fault was seen before the last of them was sent
        await stage.refused(session)
    await stage.one_fault("parse_error", said)
    # An event that was whole before the fault was rightly heard.
    whole: dict[str, Any] = {"an attachment too many": [(b"a",)], "an attachment for a packet without any": [(1,)]}
    assert stage.heard == whole.get(name, [])


def _record(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else b"b" + base64.b64encode(message)


async def _send(session: Session, message: str | bytes) -> None:
    await (session.send(message.encode()) if isinstance(message, str) else session.send_binary(message))


@transports
async def test_an_attachment_before_connect(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.engine(transport)
    if transport == "websocket":
        await session.send_binary(b"abc")
        await stage.refused(session)
    else:
        await stage.refused(session, b"bYWJj")
    await stage.one_fault("parse_error", "a binary message of 3 bytes")


@transports
@pytest.mark.parametrize("sent", [0, 1])
async def test_an_attachment_that_never_comes(start: Start, transport: str, sent: int) -> None:
    stage = await start(attachment_timeout=0.1)
    session = await stage.session(transport)
    await session.send(b'452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    for _ in range(sent):
        await session.send_binary(b"a")
    await stage.refused(session)
    await stage.one_fault("parse_error", f"{2 - sent} attachments did not come within 0.1 s")
    assert stage.heard == []


@transports
async def test_attachments_that_come_slowly_but_in_time(start: Start, transport: str) -> None:
    stage = await start(attachment_timeout=5)
    session = await stage.session(transport)
    await session.send(b'452-1["echo",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]')
    for data in (b"first", b"second"):
        await asyncio.sleep(0.05)
        await session.send_binary(data)
    assert await session.read() == b'462-1[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert stage.heard == [(b"second", b"first")]
    await stage.no_fault()


@transports
async def test_the_attachment_timeout_is_over_with_the_packet(start: Start, transport: str) -> None:
    stage = await start(attachment_timeout=0.1)
    session = await stage.session(transport)
    await session.send(b'451-["echo",{"_placeholder":true,"num":0}]')
    await session.send_binary(b"a")
    await asyncio.sleep(0.2)
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    assert stage.heard == [(b"a",), (1,)]
    await stage.no_fault()


@transports
async def test_a_placeholder_in_an_event_that_is_not_binary(start: Start, transport: str) -> None:
    """It is an object like any other there: nothing is looked for."""
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'421["echo",{"_placeholder":true,"num":0}]')
    assert await session.read() == b'431[{"_placeholder":true,"num":0}]'
    assert stage.heard == [({"_placeholder": True, "num": 0},)]
    await stage.no_fault()


@transports
async def test_one_attachment_named_twice_and_one_never(start: Start, transport: str) -> None:
    """As on Node."""
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'452-["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]')
    await session.send_binary(b"a")
    await session.send_binary(b"b")
    await session.send(b'421["echo"]')
    assert await session.read() == b"431[]"
    assert stage.heard == [(b"a", b"a"), ()]
    await stage.no_fault()


@transports
async def test_an_object_that_only_looks_like_a_placeholder(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'451-["echo",{"_placeholder":1,"num":0},{"_placeholder":"true"},{"num":0}]')
    await session.send_binary(b"a")
    await session.send(b'421["echo"]')
    assert await session.read() == b"431[]"
    assert stage.heard == [({"_placeholder": 1, "num": 0}, {"_placeholder": "true"}, {"num": 0}), ()]
    await stage.no_fault()


@transports
@pytest.mark.parametrize("depth", [200, 500, 900, 990, 1010])
async def test_placeholders_in_deep_json(start: Start, transport: str, depth: int) -> None:
    """Whatever the decoder lets through, the search for placeholders goes all the way down, or refuses it."""
    stage = await start()
    session = await stage.session(transport)
    placeholder = b'{"_placeholder":true,"num":0}'
    event = b'451-["echo",' + b"[" * depth + placeholder + b"]" * depth + b"]"
    await session.send(event)
    await session.send_binary(b"a")
    if depth < 900:
        await session.send(b'421["witness",1]')
        assert await session.read() == b"431[1]"
        assert len(stage.heard) == 1
        await stage.no_fault()
        return
    await asyncio.sleep(0.05)
    if stage.faults:
        await stage.one_fault("parse_error")
        await stage.gone()
        assert stage.heard == []
    else:
        assert len(stage.heard) == 1


@transports
async def test_many_attachments_with_the_limit_raised(start: Start, transport: str) -> None:
    stage = await start(max_attachments=500)
    session = await stage.session(transport)
    placeholders = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(500))
    await session.send(f'45500-["echo",{placeholders}]'.encode())
    for number in range(500):
        await session.send_binary(b"%d" % number)
    await session.send(b'421["witness",1]')
    assert await session.read() == b"431[1]"
    assert stage.heard == [tuple(b"%d" % number for number in range(500))]
    await stage.no_fault()


@transports
async def test_no_attachments_allowed(start: Start, transport: str) -> None:
    stage = await start(max_attachments=0)
    session = await stage.session(transport)
    await session.send(b'450-1["echo"]')
    assert await session.read() == b"431[]"
    await stage.refused(session, b'451-["echo",{"_placeholder":true,"num":0}]')
    await stage.one_fault("parse_error", "1 attachments announced, 0 allowed", "max_attachments")
