"""permessage-deflate with clients: `websockets` and `ws` with each set of parameters, and socket.io-client."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, PerMessageDeflate

from duplexio import Server, Socket
from duplexio.engine.websocket import WebSocketTransport
from duplexio.engine.websocket_deflate import DeflatingWebSocket

from .applications import make_server
from .hosts import fast, wait_until

SCRIPT = Path(__file__).with_name("deflate.mjs")
#: No client takes longer.
SECONDS = 60

#: What servers ask for, with their contexts kept and not kept, with a window of their own for each side.
SERVERS: list[dict[str, Any]] = [
    {
        "threshold": 100,
        "server_no_context_takeover": server,
        "client_no_context_takeover": client,
        "server_max_window_bits": server_bits,
        "client_max_window_bits": client_bits,
    }
    for (server, client), (server_bits, client_bits) in itertools.product(
        itertools.product((True, False), repeat=2), ((15, 15), (9, 15), (15, 9), (10, 12))
    )
]
TEXTS = ["", "short", "x" * 1000, os.urandom(500).hex(), os.urandom(20_000).hex(), "é" * 5000]
TEXTS += TEXTS[2:4]


def served(io: Server, where: str) -> Any:
    return io if where == "root" else Starlette(routes=[Mount("/socket.io", app=io)])


def factories() -> list[ClientPerMessageDeflateFactory]:
    """Every offer: four parameters, each not there, or there, or with a value."""
    bits = (None, 9, 12, 15)
    return [
        ClientPerMessageDeflateFactory(server, client, server_bits, client_bits)
        for server, client, server_bits, client_bits in itertools.product(
            (False, True), (False, True), bits, (*bits, True)
        )
    ]


@pytest.mark.parametrize("number", range(len(SERVERS)))
async def test_websockets(number: int) -> None:
    """Each server has a fifth of the offers, and each offer is made to several servers."""
    options, offers = SERVERS[number], factories()[number % 5 :: 5]
    io = make_server(per_message_deflate=options)
    async with fast(served(io, "mounted" if number % 2 else "root"), io) as url:
        # websockets itself refuses an answer that its offer does not allow.
        found = [await talk(url, offer) for offer in offers]
    unable = [offer.client_max_window_bits is None and options["client_max_window_bits"] < 15 for offer in offers]
    assert [extension is None for extension in found] == unable


async def talk(url: str, factory: ClientPerMessageDeflateFactory) -> PerMessageDeflate | None:
    """Texts there and back, whole and in fragments; the extension that was agreed on."""
    async with (
        asyncio.timeout(SECONDS),
        connect(
            f"ws://{url}/socket.io/?EIO=4&transport=websocket", extensions=[factory], compression=None, proxy=None
        ) as client,
    ):
        assert str(await client.recv()).startswith("0{")
        await client.send("40")
        assert str(await client.recv()).startswith("40{")
        for text in TEXTS:
            packet = f'421["echo",{json.dumps(text, ensure_ascii=False)}]'
            expected = f"431[[{json.dumps(text, ensure_ascii=False)}]]"
            await client.send(packet)
            assert await client.recv() == expected
            await client.send([packet[:7], packet[7:30], packet[30:]])
            assert await client.recv() == expected
        found = client.protocol.extensions
    return found[0] if found else None  # type: ignore[return-value]


async def test_ws_and_socket_io_client() -> None:
    """All sets of parameters of `ws`, at servers that keep no context and both."""
    # Without a context or not asking: a False would say that the other side must not ask, either.
    contexts: list[dict[str, Any]] = [
        {},
        {"serverNoContextTakeover": True},
        {"clientNoContextTakeover": True},
        {"serverNoContextTakeover": True, "clientNoContextTakeover": True},
    ]
    windows: list[dict[str, Any]] = [
        {},
        {"serverMaxWindowBits": 9},
        {"clientMaxWindowBits": 9},
        {"serverMaxWindowBits": 11, "clientMaxWindowBits": 12},
    ]
    offers = [{**context, **window} for context, window in itertools.product(contexts, windows)]
    for options in (True, SERVERS[-1]):
        io = make_server(per_message_deflate=options)
        async with fast(io, io) as url:
            results = await node({"host": url, "offers": offers})
        assert results["client"] == dict.fromkeys(["websocket", "polling,websocket"], "permessage-deflate")
        assert [found["extensions"] for found in results["ws"]] == ["permessage-deflate"] * len(offers)
        # Without a code, as it was sent.
        assert {found["code"] for found in results["ws"]} == {1005}
        forgets = ["server_no_context_takeover" in found["answer"] for found in results["ws"]]
        assert forgets == [options is True or "serverNoContextTakeover" in offer for offer in offers]


async def node(argument: dict[str, Any]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), json.dumps(argument), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    results: dict[str, Any] = json.loads(out)
    return results


async def test_a_broadcast_to_all_kinds_of_clients() -> None:
    """With and without the extension, with contexts and without; in the end everybody has everything, in order."""
    io = Server(
        per_message_deflate={"server_no_context_takeover": False, "client_no_context_takeover": False, "threshold": 100}
    )

    @io.on("connection", inline=True)
    def connection(socket: Socket) -> None:
        socket.join("all")

    kinds: list[ClientPerMessageDeflateFactory | None] = [
        None,
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True, server_max_window_bits=9),
        ClientPerMessageDeflateFactory(server_max_window_bits=9),
    ]
    async with fast(io, io) as url, asyncio.timeout(SECONDS):
        heard = [asyncio.create_task(listen(url, kind, 9)) for kind in kinds]
        await wait_until(lambda: len(io.of("/").sockets) == len(kinds))
        transports = [connection.transport for connection in io.engine.connections.values()]
        assert sum(isinstance(transport, DeflatingWebSocket) for transport in transports) == len(kinds) - 1
        assert all(isinstance(transport, WebSocketTransport) for transport in transports)
        sent = []
        for index in range(9):
            text = os.urandom(10 if index % 3 == 0 else 4000).hex()
            emit = io.compress(index % 4 != 0)
            # To all at once, and to one after another: contexts go apart and must not mix.
            emit.to("all").emit("text", text)
            sent.append(f'42["text","{text}"]')
        assert await asyncio.gather(*heard) == [sent] * len(kinds)


async def listen(url: str, factory: ClientPerMessageDeflateFactory | None, count: int) -> list[str]:
    extensions = [] if factory is None else [factory]
    async with connect(
        f"ws://{url}/socket.io/?EIO=4&transport=websocket", extensions=extensions, compression=None, proxy=None
    ) as client:
        await client.recv()
        await client.send("40")
        await client.recv()
        return [str(await client.recv()) for _ in range(count)]
