"""Messages that are no Socket.IO packets, or none that may come now: the session ends for each, on both transports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Start
from .raw import TEXT, WebSocket, frame
from .stage import Polling, join

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])

DEEP = b"[" * 100_000

#: A packet of a client that is in the main namespace, and what the log must say of it.
BAD_PACKETS = {
    "an empty message": (b"4", "unknown Socket.IO packet type"),
    "type 7": (b'47["echo",1]', "unknown Socket.IO packet type"),
    "type 9": (b"49", "unknown Socket.IO packet type"),
    "a letter for a type": (b'4x["echo",1]', "unknown Socket.IO packet type"),
    "a digit of another script": ("4٢[]".encode(), "unknown Socket.IO packet type"),
    "a negative type": (b"4-1", "unknown Socket.IO packet type"),
    "cut after the name": (b'42["echo"', "malformed JSON"),
    "cut in a text": (b'42["echo","ab', "malformed JSON"),
    "cut in an escape": (b'42["echo","\\u12', "malformed JSON"),
    "an unknown escape": (b'42["echo","\\x41"]', "malformed JSON"),
    "a line break in a text": (b'42["echo","a\nb"]', "malformed JSON"),
    "a NUL in a text": (b'42["echo","a\x00b"]', "malformed JSON"),
    "a NUL behind": (b'42["echo",1]\x00', "malformed JSON"),
    "something behind": (b'42["echo",1]x', "malformed JSON"),
    "another packet behind": (b'42["echo",1]42["echo",2]', "malformed JSON"),
    "a comma at the end": (b'42["echo",1,]', "malformed JSON"),
    "single quotes": (b"42['echo',1]", "malformed JSON"),
    "a comment": (b'42["echo",/*1*/1]', "malformed JSON"),
    "a byte order mark": (b'42\xef\xbb\xbf["echo",1]', "malformed JSON"),
    "NaN": (b'42["echo",NaN]', "malformed JSON"),
    "NaN beside an escape": (b'42["echo","\\ud800",NaN]', "malformed JSON"),
    "Infinity": (b'42["echo",Infinity]', "malformed JSON"),
    "minus Infinity": (b'42["echo",-Infinity]', "malformed JSON"),
    "1e400": (b'42["echo",1e400]', "malformed JSON"),
    "1e400 beside an escape": (b'42["echo","\\ud800",1e400]', "malformed JSON"),
    "an integer of 5,000 digits": (b'42["echo",' + b"9" * 5000 + b"]", "malformed JSON"),
    "5,000 digits beside an escape": (b'42["echo","\\ud800",' + b"9" * 5000 + b"]", "malformed JSON"),
    "a leading zero": (b'42["echo",01]', "malformed JSON"),
    "deep lists": (b"42" + DEEP, "malformed JSON"),
    "deep lists, closed": (b'42["echo",' + DEEP + b"]" * 100_001, "malformed JSON"),
    "deep lists behind an escape": (b'42["\\ud800",' + DEEP, "malformed JSON"),
    "deep objects": (b'42["echo",' + b'{"a":' * 100_000, "malformed JSON"),
    "deep lists for auth": (b"40" + DEEP, "malformed JSON"),
    "lists for auth, as deep as can be decoded": (b"40" + b"[" * 1020 + b"]" * 1020, "a packet of type 0 cannot be"),
    "deep lists for an acknowledgement": (b"431" + DEEP, "malformed JSON"),
    "no arguments at all": (b"42", "type 2 cannot be None"),
    "an empty list": (b"42[]", "type 2 cannot be []"),
    "an object": (b'42{"0":"echo"}', "type 2 cannot be"),
    "a text": (b'42"echo"', "type 2 cannot be"),
    "null": (b"42null", "type 2 cannot be None"),
    "no name but null": (b"42[null]", "type 2 cannot be [None]"),
    "no name but true": (b"42[true]", "type 2 cannot be [True]"),
    "no name but a list": (b'42[["echo"]]', "type 2 cannot be [['echo']]"),
    "no name but an object": (b'42[{"name":"echo"}]', "type 2 cannot be"),
    "an acknowledgement without its number": (b"43[1]", "without its id"),
    "an acknowledgement of no list": (b'431{"a":1}', "type 3 cannot be"),
    "an acknowledgement of nothing": (b"431", "type 3 cannot be None"),
    "a number of 17 digits": (b'4212345678901234567["echo",1]', "more than 16 digits"),
    "an acknowledgement of 17 digits": (b"4312345678901234567[1]", "more than 16 digits"),
    "a number of 5,000 digits": (b"43" + b"9" * 5000 + b"[1]", "more than 16 digits"),
    "a negative number": (b'42-1["echo",1]', "malformed JSON"),
    "a number that is none": (b'421.5["echo",1]', "malformed JSON"),
    "a second CONNECT": (b"40", "second CONNECT"),
    "CONNECT with a list": (b'40["a"]', "type 0 cannot be ['a']"),
    "CONNECT with a text": (b'40"a"', "type 0 cannot be 'a'"),
    "CONNECT with null": (b"40null", "type 0 cannot be None"),
    "CONNECT_ERROR": (b'44{"message":"no"}', "only a server sends it"),
    "CONNECT_ERROR without data": (b"44", "type 4 cannot be None"),
    "DISCONNECT with data": (b"41{}", "type 1 cannot be {}"),
    "an event for a namespace not joined": (b'42/chat,["echo",1]', "'/chat', which was not joined"),
    "an acknowledgement for a namespace not joined": (b"43/chat,1[1]", "'/chat', which was not joined"),
    "DISCONNECT from a namespace not joined": (b"41/chat,", "'/chat', which was not joined"),
    "an event name of 257 bytes": (b'42["' + b"x" * 257 + b'",1]', "an event name of over 256 bytes"),
    "an event name of 86 characters": (('42["' + "€" * 86 + '"]').encode(), "an event name of over 256 bytes"),
    "an event name of 500 KB": (b'42["' + b"x" * 500_000 + b'",1]', "an event name of over 256 bytes"),
    "a namespace of 257 bytes": (b"40/" + b"x" * 256 + b",", "a namespace of over 256 bytes"),
    "a namespace of 300 bytes without an end": (b"40/" + b"x" * 299, "a namespace of over 256 bytes"),
    "a ping": (b"2", "a ping from the client"),
    "the probe of an upgrade": (b"2probe", "a ping from the client"),
}

#: Those that are refused by another rule of the protocol than Socket.IO's grammar.
CAUSES = {"a ping": "transport_error", "the probe of an upgrade": "transport_error"}


@transports
@pytest.mark.parametrize("name", BAD_PACKETS)
async def test_a_packet_that_ends_the_session(start: Start, transport: str, name: str) -> None:
    packet, said = BAD_PACKETS[name]
    stage = await start()
    session = await stage.session(transport)
    await stage.refused(session, packet)
    await stage.one_fault(CAUSES.get(name, "parse_error"), "127.0.0.1", said)
    assert len(stage.log.warnings[0]) < 600
    assert stage.heard == []


RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]


@transports
@pytest.mark.parametrize("event", RESERVED)
async def test_a_reserved_name(start: Start, transport: str, event: str) -> None:
    """Lifecycle handlers are there, and no packet reaches them."""
    stage = await start()
    heard: list[str] = []
    stage.io.on("disconnecting", lambda socket, reason: heard.append(reason), inline=True)
    stage.io.on("disconnect", lambda socket, reason: heard.append(reason), inline=True)
    session = await stage.session(transport)
    await stage.refused(session, f'42["{event}","forged"]'.encode())
    await stage.one_fault("parse_error", f"the event name '{event}' is reserved")
    assert heard == ["parse error", "parse error"]


@pytest.mark.parametrize("event", RESERVED)
async def test_a_reserved_name_by_the_long_way(start: Start, event: str) -> None:
    """With an acknowledgement, in another namespace, with a listener for everything: other paths, the same rule."""
    stage = await start()
    heard: list[Any] = []
    stage.io.of("/chat").on("connection", lambda socket: socket.on_any(lambda *args: heard.append(args)), inline=True)
    for text in (f'42/chat,["{event}"]', f'42/chat,1["{event}"]', f'421["{event}"]', f'450-["{event}"]'):
        session = await stage.session("websocket")
        await join(session, "/chat")
        await stage.refused(session, text.encode())
    await stage.one_fault("parse_error", "reserved", times=4)
    assert heard == []


#: Event names that a client may use, and that reach nothing they should not.
HARMLESS = [
    "connection",
    "new_namespace",
    "error",
    "message",
    "__init__",
    "__class__",
    "constructor",
    "__proto__",
    "*",
    "",
    "../../etc/passwd",
    "{socket.id}",
    "%s%n",
    "\u0000",
    "connection ",
    "x" * 256,
]


@transports
async def test_names_nobody_listens_to(start: Start, transport: str) -> None:
    """They are passed over, and never acknowledged."""
    stage = await start()
    connected: list[object] = []
    stage.io.on("connection", connected.append, inline=True)
    stage.io.on("new_namespace", connected.append)
    session = await stage.session(transport)
    before = len(connected)
    for event in HARMLESS:
        packet = json.dumps([event, {"forged": True}]).encode()
        await session.send(b"42" + packet)
        await session.send(b"427" + packet)
    await session.send(b'428["echo",1]')
    assert await session.read() == b"438[1]"
    assert len(connected) == before
    assert stage.heard == [(1,)]
    await stage.no_fault()


@transports
async def test_names_that_are_numbers(start: Start, transport: str) -> None:
    """JavaScript lets them be."""
    stage = await start()
    heard: list[tuple[str, object]] = []
    for name in ("7", "0", "-1", "1.5"):
        stage.io.on(name, lambda socket, value, name=name: heard.append((name, value)), inline=True)
    session = await stage.session(transport)
    for text in (b'42[7,"a"]', b'42[0,"b"]', b'42[-1,"c"]', b'42[1.5,"d"]', b'421["echo",1]'):
        await session.send(text)
    assert await session.read() == b"431[1]"
    assert heard == [("7", "a"), ("0", "b"), ("-1", "c"), ("1.5", "d")]
    await stage.no_fault()


@transports
async def test_a_lone_surrogate_is_no_fault(start: Start, transport: str) -> None:
    """JavaScript sends them; each becomes U+FFFD. A pair stays the character it is."""
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'421["echo","a\\ud800b","\\udc00","\\ud83d\\ude00",{"\\udfff":1}]')
    assert await session.read() == '431["a\ufffdb","\ufffd","\U0001f600",{"\ufffd":1}]'.encode()
    assert stage.heard == [("a\ufffdb", "\ufffd", "\U0001f600", {"\ufffd": 1})]
    await stage.no_fault()


@transports
async def test_a_lone_surrogate_for_a_name(start: Start, transport: str) -> None:
    stage = await start()
    stage.io.on("\ufffd", lambda socket: "heard", inline=True)
    session = await stage.session(transport)
    await session.send(b'421["\\ud800"]')
    assert await session.read() == b'431["heard"]'
    await stage.no_fault()


@transports
async def test_a_lone_surrogate_with_a_codec_of_ones_own(start: Start, transport: str) -> None:
    """The standard library's lets it through, so the name cannot even be measured in bytes; nobody falls over it."""
    stage = await start(loads=json.loads, dumps=lambda value: json.dumps(value, separators=(",", ":")).encode())
    session = await stage.session(transport)
    for text in (b'42["\\ud800"]', b'42["' + b"\\ud800" * 70 + b'"]', b'427["\\ud800"]'):
        await session.send(text)
    await session.send(b'421["echo","\\ud800"]')
    assert await session.read() == b'431["\\ud800"]'
    await stage.no_fault()


@transports
async def test_an_integer_of_more_than_64_bits(start: Start, transport: str) -> None:
    """JavaScript writes 2**64 so, and means the float; it is that here, too."""
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'421["echo",18446744073709552000,-18446744073709552000]')
    assert (await session.read()).startswith(b"431[")
    assert stage.heard == [(float(2**64), -float(2**64))]
    await stage.no_fault()


@transports
async def test_deep_json_within_the_codecs_limit(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.session(transport)
    await session.send(b'42["echo",' + b"[" * 900 + b"]" * 900 + b"]")
    await session.send(b'421["witness",1]')
    assert await session.read() == b"431[1]"
    assert len(stage.heard) == 1
    await stage.no_fault()


@transports
async def test_text_that_is_not_utf8(start: Start, transport: str) -> None:
    """RFC 6455 §8.1 has a code for it; of polling, the whole body is refused."""
    stage = await start()
    session = await stage.session(transport)
    if isinstance(session, WebSocket):
        await stage.refused(session, b'42["echo","\xff"]', code=1007)
    else:
        assert isinstance(session, Polling)
        assert (await session.post(b'42["echo","\xff"]')).brief == (400, None, b"")
    # Where the server in front refuses the frame, it is the transport that failed.
    await stage.one_fault("parse_error" if stage.our_frames or transport == "polling" else "transport_error")
    await stage.gone()
    assert stage.heard == []


@transports
@pytest.mark.parametrize("packet", [b'42["echo",1]', b'421["echo",1]', b"431[1]", b"41", b'42/chat,["echo"]'])
async def test_a_packet_before_connect(start: Start, transport: str, packet: bytes) -> None:
    stage = await start()
    session = await stage.engine(transport)
    await stage.refused(session, packet)
    await stage.one_fault("parse_error", "which was not joined")
    assert stage.heard == []


@transports
async def test_acknowledgements_nobody_asked_for(start: Start, transport: str) -> None:
    """Passed over and counted: the answer to what has timed out here looks the same."""
    stage = await start()
    session = await stage.session(transport)
    for text in (b"430[1]", b"439999999999999999[1]", b"4300001[]", b'460-7[{"a":1}]', b'421["echo",1]'):
        await session.send(text)
    assert await session.read() == b"431[1]"
    assert stage.counts["unknown_acks"] == 4
    await stage.no_fault()


@transports
async def test_an_acknowledgement_given_twice(start: Start, transport: str) -> None:
    stage = await start()
    answers: list[object] = []
    stage.io.on("ask", lambda socket: socket.emit("question", ack=answers.append), inline=True)
    session = await stage.session(transport)
    await session.send(b'42["ask"]')
    question = await session.read()
    assert question.endswith(b'["question"]')
    number = question.removeprefix(b"42").removesuffix(b'["question"]')
    for value in (b"1", b"2"):
        await session.send(b"43" + number + b"[" + value + b"]")
    await session.send(b'421["echo",1]')
    assert await session.read() == b"431[1]"
    assert answers == [1]
    assert stage.counts["unknown_acks"] == 1
    await stage.no_fault()


@transports
async def test_what_comes_behind_a_bad_packet_is_not_heard(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.session(transport)
    if isinstance(session, WebSocket):
        packets = (b'42["echo",1]', b"42[]", b'42["echo",2]')
        await session.wire.write(b"".join(frame(TEXT, packet) for packet in packets))
        await stage.closed(session)
    else:
        await stage.refused(session, b'42["echo",1]\x1e42[]\x1e42["echo",2]')
    await stage.one_fault("parse_error", "type 2 cannot be []")
    await stage.gone()
    assert stage.heard == [(1,)]


@transports
async def test_nothing_a_client_sends_is_evaluated(start: Start, transport: str) -> None:
    stage = await start()
    session = await stage.session(transport)
    values = [
        {"__reduce__": ["os.system", "true"]},
        {"__class__": "Server"},
        {"py/object": "os.system"},
        {"toString": 1},
        "__import__('os').getpid()",
        "{0.__class__}",
    ]
    await session.send(b"421" + json.dumps(["echo", *values]).encode())
    assert json.loads((await session.read())[3:]) == values
    assert stage.heard == [tuple(values)]
    await stage.no_fault()
