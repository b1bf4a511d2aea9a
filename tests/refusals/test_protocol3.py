"""Clients of Socket.IO 2, byte by byte: who is let in, what they are told, and what differs from clients of today."""

from __future__ import annotations

import json
from typing import Any

import pytest

from duplexio import ConnectRefused, Socket
from duplexio.protocol import engine_payload3

from .conftest import Start
from .raw import WebSocket
from .stage import Polling, Session, Stage, refusal, until

transports = pytest.mark.parametrize("transport", ["polling", "websocket"])


class Polling3:
    """A session on polling whose bodies are those of protocol 3."""

    def __init__(self, polling: Polling, packets: list[bytes]) -> None:
        self._polling = polling
        self._packets = packets

    async def send(self, packet: bytes) -> None:
        answer = await self._polling.post(b"%d:%b" % (len(packet.decode()), packet))
        assert answer.brief == (200, "text/html", b"ok")

    async def send_binary(self, data: bytes) -> None:
        raise NotImplementedError

    async def read(self) -> bytes:
        if not self._packets:
            answer = await self._polling.poll()
            assert (answer.status, answer.header("content-type")) == (200, "text/plain; charset=UTF-8"), answer
            self._packets += map(bytes, engine_payload3.decode(answer.body, 100))
        return self._packets.pop(0)


async def session(stage: Stage, transport: str) -> tuple[str, Session]:
    """The id of the session, and the session: it has joined the main namespace without a word."""
    opened: Session
    if transport == "polling":
        polls = await stage.wire()
        answer = await polls.request("GET", stage.target(EIO="3", b64="1"))
        assert answer.status == 200, answer
        first, *packets = map(bytes, engine_payload3.decode(answer.body, 100))
        sid = json.loads(first[1:])["sid"]
        polling = Polling(stage, sid, polls, await stage.wire())
        opened = Polling3(polling, packets)
    else:
        opened = await stage.websocket(EIO="3")
        sid = json.loads((await opened.read())[1:])["sid"]
    assert await opened.read() == b"40"
    return sid, opened


def details(socket: Socket) -> list[Any]:
    return [socket.id, socket.conn.id, socket.conn.protocol, dict(socket.handshake.auth)]


async def three(start: Start, **options: Any) -> Stage:
    stage = await start(allow_eio3=True, **options)
    for namespace in (stage.io.of("/"), stage.io.of("/chat")):
        namespace.on("details", details, inline=True)
    return stage


@transports
async def test_they_are_refused_where_nobody_asked_for_them(start: Start, transport: str) -> None:
    stage = await start()
    if transport == "polling":
        assert (await stage.get(stage.target(EIO="3"))).brief == refusal(5)
    else:
        assert (await stage.knock(EIO="3")).brief == (400, "text/html", b"Unsupported protocol version")
    assert stage.others == 0
    await stage.one_fault("unsupported_protocol", "allow_eio3=True")


@transports
async def test_the_main_namespace_is_joined_without_asking(start: Start, transport: str) -> None:
    """By an id that the client knows: it is the session's."""
    stage = await three(start)
    sid, client = await session(stage, transport)
    await client.send(b'421["details"]')
    assert json.loads((await client.read())[3:]) == [[sid, sid, 3, {}]]
    await stage.no_fault()


@transports
async def test_the_query_of_a_namespace_is_its_auth(start: Start, transport: str) -> None:
    stage = await three(start)
    sid, client = await session(stage, transport)
    await client.send(b"40/chat?token=a%26b&empty=,")
    assert await client.read() == b"40/chat,"
    await client.send(b'42/chat,1["details"]')
    reply = await client.read()
    assert reply.startswith(b"43/chat,1")
    assert json.loads(reply[9:]) == [[f"/chat#{sid}", sid, 3, {"token": "a&b", "empty": ""}]]
    await stage.no_fault()


@transports
async def test_a_refusal_is_its_text_or_its_data(start: Start, transport: str) -> None:
    stage = await three(start)

    @stage.io.of("/chat").use
    async def refuse(socket: Socket) -> None:
        data = socket.handshake.auth.get("data")
        raise ConnectRefused("not you", None if data is None else {"why": data})

    _, client = await session(stage, transport)
    await client.send(b"40/chat,")
    assert await client.read() == b'44/chat,"not you"'
    await client.send(b"40/chat?data=x,")
    assert await client.read() == b'44/chat,{"why":"x"}'


@transports
async def test_the_client_pings(start: Start, transport: str) -> None:
    """And is answered, with what it said; the server is silent."""
    stage = await three(start, witness=False, ping_interval=0.05, ping_timeout=0.5)
    _, client = await session(stage, transport)
    for number in range(5):
        await client.send(b"2")
        assert await client.read() == b"3"
        await client.send(b'42%d["echo"]' % number)
        assert await client.read() == b"43%d[]" % number
    await client.send(b"2probe")
    assert await client.read() == b"3probe"
    await stage.no_fault()


@pytest.mark.parametrize("written", ["bytes", "base64"])
@transports
async def test_a_ping_that_cannot_be_answered(start: Start, transport: str, written: str) -> None:
    """It comes as bytes and would go back as text, which it is not. One that is text is answered."""
    stage = await three(start)
    sid, client = await session(stage, transport)
    good, bad = (b"\x02\xe2\x82\xac", b"\x02\xff") if written == "bytes" else (b"b24oKs", b"b2/w==")
    if isinstance(client, WebSocket):
        send = client.send_binary if written == "bytes" else client.send
        await send(good)
        assert await client.read() == "3€".encode()
        await send(bad)
        await stage.closed(client, 1007)
    else:
        target = stage.target(EIO="3", b64="1", sid=sid)
        wire, polls = await stage.wire(), await stage.wire()
        octets = [("Content-Type", "application/octet-stream")]
        for packet, said in ((good, "2:3€".encode()), (bad, b"1:1")):
            text = b"%d:%b" % (len(packet), packet)
            body, headers = (binary(1, packet), octets) if written == "bytes" else (text, [])
            poll = stage.background(polls.request("GET", target))
            await until(lambda: stage.io.engine.connections[sid].transport.writable, "the poll is open")
            assert (await wire.request("POST", target, body, headers)).body == b"ok"
            assert (await poll).body == said
    await stage.gone()
    await stage.one_fault("parse_error", "a ping that is not UTF-8")


@transports
async def test_a_client_that_does_not_ping(start: Start, transport: str) -> None:
    stage = await three(start, witness=False, ping_interval=0.1, ping_timeout=0.2)
    _, client = await session(stage, transport)
    await client.send(b'421["echo"]')
    assert await client.read() == b"431[]"
    await stage.gone()
    if isinstance(client, WebSocket):
        await stage.closed(client)
    await stage.one_fault("ping_timeout", "no ping came within 0.3 s")


async def test_too_large_a_message(start: Start) -> None:
    """Is counted and said as one of a client of today."""
    stage = await three(start, max_http_buffer_size=1000)
    _, client = await session(stage, "websocket")
    assert isinstance(client, WebSocket)
    await client.send(b'42["echo","' + b"a" * 1000 + b'"]')
    await stage.closed(client, 1009)
    await stage.gone()
    await stage.one_fault("message_too_big", "max_http_buffer_size")


def binary(kind: int, packet: bytes) -> bytes:
    """A packet in a body of bytes: text is 0, bytes are 1; the digits of its length are bytes, too."""
    return bytes((kind, *map(int, str(len(packet))), 255)) + packet


async def test_text_and_bytes_in_one_body(start: Start) -> None:
    """Lengths are those of bytes there, whatever the letters."""
    stage = await three(start)
    polls = await stage.wire()
    answer = await polls.request("GET", stage.target(EIO="3"))
    sid = json.loads(answer.body.partition(b":")[2].partition(b"2:40")[0][1:])["sid"]
    target = stage.target(EIO="3", sid=sid)
    if not answer.body.endswith(b"2:40"):
        assert (await polls.request("GET", target)).body == b"2:40"
    sent = (
        binary(0, '421["echo","€€€€ 😀"]'.encode())
        + binary(0, b'451-2["echo",{"_placeholder":true,"num":0}]')
        + binary(1, b"\x04\x01\x02\x03")
    )
    octets = [("Content-Type", "application/octet-stream")]
    assert (await (await stage.wire()).request("POST", target, sent, octets)).body == b"ok"
    answer = await polls.request("GET", target)
    assert (answer.status, answer.header("content-type")) == (200, "application/octet-stream")
    assert answer.body == (
        binary(0, '431["€€€€ 😀"]'.encode())
        + binary(0, b'461-2[{"_placeholder":true,"num":0}]')
        + binary(1, b"\x04\x01\x02\x03")
    )
    assert stage.heard == [("€€€€ 😀",), (b"\1\2\3",)]
    await stage.no_fault()


async def test_text_and_bytes_for_who_takes_no_bytes(start: Start) -> None:
    """Lengths are those of JavaScript's texts: a smiley is two."""
    stage = await three(start)
    polls = await stage.wire()
    answer = await polls.request("GET", stage.target(EIO="3", b64="1"))
    sid = json.loads(answer.body.partition(b":")[2].partition(b"2:40")[0][1:])["sid"]
    target = stage.target(EIO="3", b64="1", sid=sid)
    if not answer.body.endswith(b"2:40"):
        assert (await polls.request("GET", target)).body == b"2:40"
    sent = '21:421["echo","€€€€ 😀"]43:451-2["echo",{"_placeholder":true,"num":0}]6:b4AQID'.encode()
    assert (await (await stage.wire()).request("POST", target, sent)).body == b"ok"
    answer = await polls.request("GET", target)
    assert (answer.status, answer.header("content-type")) == (200, "text/plain; charset=UTF-8")
    assert answer.body == '14:431["€€€€ 😀"]36:461-2[{"_placeholder":true,"num":0}]6:b4AQID'.encode()
    await stage.no_fault()
