"""How packets are written: other parsers, and other encoders of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from duplexio.errors import EncodeError
from tests.hosting.clients import Transport

from .peers import DUPLEXIO, NODE2, NODE4, Peer, PeerPool
from .stage import Stage, dropped

NESTED = {"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä", "float": 1.5, "none": None}


@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_message_pack(pool: PeerPool, peer: Peer, transport: Transport, nothing_left: None) -> None:
    stage = Stage(pool.get(peer, "--parser", "msgpack"), transport)
    async with stage.connected(parser="msgpack") as socket, socket.io.socket("/other") as other:
        assert await socket.emit_with_ack("echo", NESTED, b"x") == (NESTED, b"x")
        assert await other.emit_with_ack("echo", 2**40, -1, [True]) == (2**40, -1, [True])
        socket.on("question", lambda *args: [*args, b"1"], inline=True)
        assert await socket.emit_with_ack("ask", "question", 1) == [[1, "hex:31"]]
        await dropped(socket)
        assert await socket.emit_with_ack("echo", b"back") == b"back"
        with pytest.raises(EncodeError):
            socket.emit("echo", object())


@pytest.mark.parametrize("peer", [NODE4, NODE2, DUPLEXIO], ids=str)
async def test_json_of_ones_own(pool: PeerPool, peer: Peer, transport: Transport, nothing_left: None) -> None:
    calls = {"dumps": 0, "loads": 0}

    def dumps(value: Any) -> bytes:
        calls["dumps"] += 1
        return json.dumps(value, default=lambda each: sorted(each)).encode()

    def loads(data: bytes) -> Any:
        calls["loads"] += 1
        return json.loads(data)

    stage = Stage(pool.get(peer), transport)
    async with stage.connected(dumps=dumps, loads=loads) as socket:
        assert await socket.emit_with_ack("echo", {3, 1, 2}, NESTED) == ([1, 2, 3], NESTED)
    assert min(calls.values()) >= 1
