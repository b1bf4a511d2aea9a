"""Polls whose answers are compressed, as the client accepts it: on the fast path, and on plain ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import os
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import brotli
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from duplexio import Server, Socket

from .hosts import Host, fast, plain

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class Poller:
    """A session on polling that sees its answers as they are on the wire."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._host = url
        self._url = f"http://{url}/socket.io/?EIO=4&transport=polling"
        self.sid = ""

    async def open(self) -> None:
        headers, body = await self.poll("")
        assert "content-encoding" not in headers
        self.sid = body.decode().split('"')[3]
        self._url += f"&sid={self.sid}"
        await self.post("40")
        await self.poll("")

    async def post(self, packet: str) -> None:
        answer = await self._http.post(self._url, content=packet)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert "content-encoding" not in answer.headers

    async def poll(self, accept: str, **more: str) -> tuple[httpx.Headers, bytes]:
        """Headers and raw body."""
        headers = {"Accept-Encoding": accept, **more}
        async with self._http.stream("GET", self._url, headers=headers) as answer:
            assert answer.status_code == 200
            body = b"".join([piece async for piece in answer.aiter_raw()])
        assert int(answer.headers["content-length"]) == len(body)
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.headers["cache-control"] == "no-store"
        return answer.headers, body

    async def ask(self, query: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A poll on a connection of its own, whose answer is not read."""
        reader, writer = await asyncio.open_connection(*self._host.split(":"))
        target = f"/socket.io/?EIO=4&transport=polling{query}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        return reader, writer

    async def texts(self, accept: str, *sizes: int, event: str = "texts", **more: str) -> tuple[httpx.Headers, bytes]:
        """The answer that brings texts of these sizes."""
        await self.post(f'42["{event}",{list(sizes)}]')
        return await self.poll(accept, **more)


def server(**options: Any) -> Server:
    io = Server(**options)

    @io.on("texts", inline=True)
    def texts(socket: Socket, sizes: list[int]) -> None:
        for size in sizes:
            socket.emit("text", "x" * size)

    @io.on("quiet", inline=True)
    def quiet(socket: Socket, sizes: list[int]) -> None:
        for size in sizes:
            socket.compress(False).emit("text", "x" * size)

    @io.on("mixed", inline=True)
    def mixed(socket: Socket, sizes: list[int]) -> None:
        quiet(socket, sizes[:1])
        texts(socket, sizes[1:])

    @io.on("noise", inline=True)
    def noise(socket: Socket, sizes: list[int]) -> None:
        for size in sizes:
            socket.emit("noise", os.urandom(size))

    @io.on("everybody", inline=True)
    def everybody(socket: Socket, sizes: list[int]) -> None:
        for size in sizes:
            io.compress(False).emit("text", "x" * size)

    return io


@contextlib.asynccontextmanager
async def poller(
    host: Host, app: Callable[[Server], Any] = lambda io: io, **options: Any
) -> AsyncIterator[tuple[Poller, Server]]:
    io = server(**options)
    async with host(app(io), io) as url, httpx.AsyncClient(timeout=10, trust_env=False) as http:
        client = Poller(http, url)
        await client.open()
        yield client, io
        await client.post("1")


def event(size: int) -> bytes:
    return b'42["text","' + b"x" * size + b'"]'


@pytest.mark.parametrize("coding", DECODERS)
async def test_each_coding(host: Host, coding: str) -> None:
    async with poller(host) as (client, _):
        for size in (1024, 65_536, 300_000, 3_000_000, 2000):
            headers, body = await client.texts(coding, size)
            assert headers["content-encoding"] == coding
            assert headers["vary"] == "Accept-Encoding"
            assert len(body) < size / 20
            assert DECODERS[coding](body) == event(size)


async def test_bytes(host: Host) -> None:
    """A client that decodes by itself."""
    async with poller(host) as (client, _):
        headers, body = await client.texts("gzip", 200_000, event="noise")
        assert headers["content-encoding"] == "gzip"
        # As base64, of which a quarter is air.
        assert len(body) < 220_000
        assert gzip.decompress(body).startswith(b'451-["noise",{"_placeholder":true,"num":0}]\x1eb')


async def test_the_client_decides(host: Host) -> None:
    async with poller(host) as (client, _):
        for accept, coding in (
            ("gzip, deflate", "gzip"),
            ("gzip, deflate, br", "br"),
            ("gzip;q=0.1, deflate", "deflate"),
            ("zstd, *;q=0.1", "br"),
        ):
            headers, body = await client.texts(accept, 2000)
            assert headers["content-encoding"] == coding
            assert DECODERS[coding](body) == event(2000)
        for accept in ("", "identity", "zstd", "gzip;q=0", "identity, gzip;q=0.5"):
            headers, body = await client.texts(accept, 2000)
            assert "content-encoding" not in headers
            # Another client would have got it compressed.
            assert headers["vary"] == "Accept-Encoding"
            assert body == event(2000)


async def test_a_small_body_goes_out_as_it_is(host: Host) -> None:
    async with poller(host) as (client, _):
        for sizes in ((1023 - len(event(0)),), (10, 20)):
            headers, body = await client.texts("gzip", *sizes)
            assert "content-encoding" not in headers
            assert "vary" not in headers
            assert body == b"\x1e".join(map(event, sizes))
        # It is the body that counts, not a packet.
        headers, _ = await client.texts("gzip", 500, 600)
        assert headers["content-encoding"] == "gzip"


async def test_a_threshold_of_ones_own(host: Host) -> None:
    async with poller(host, http_compression={"threshold": 5000}) as (client, _):
        assert "content-encoding" not in (await client.texts("gzip", 4900))[0]
        assert (await client.texts("gzip", 5000))[0]["content-encoding"] == "gzip"


async def test_off(host: Host) -> None:
    async with poller(host, http_compression=False) as (client, _):
        headers, body = await client.texts("gzip", 5000)
        assert not headers.keys() & {"content-encoding", "vary"}
        assert body == event(5000)


@pytest.mark.parametrize("of_all", ["quiet", "everybody"])
async def test_a_body_of_which_something_asked_to_be_left_out(host: Host, of_all: str) -> None:
    """A secret is not compressed beside what somebody else chose."""
    async with poller(host) as (client, _):
        headers, body = await client.texts("gzip", 5000, 6000, event=of_all)
        assert not headers.keys() & {"content-encoding", "vary"}
        assert body == b"\x1e".join((event(5000), event(6000)))
        headers, body = await client.texts("gzip", 5000, 10, event="mixed")
        assert not headers.keys() & {"content-encoding", "vary"}
        assert body == b"\x1e".join((event(5000), event(10)))


async def test_one_field_says_what_an_answer_depends_on(host: Host) -> None:
    """Vary has the origin in it already where CORS is configured."""
    async with poller(host, cors_allowed_origins=["http://a.test"]) as (client, io):
        headers, _ = await client.texts("gzip", 5000, Origin="http://a.test")
        assert headers.get_list("vary") == ["Origin, Accept-Encoding"]
        assert headers["access-control-allow-origin"] == "http://a.test"
        headers, _ = await client.texts("gzip", 50, Origin="http://a.test")
        assert headers.get_list("vary") == ["Origin"]

        @io.engine.on("headers")
        def more(headers: dict[str, str], request: Any) -> None:
            headers["Vary"] = "Cookie"

        headers, _ = await client.texts("gzip", 5000, Origin="http://a.test")
        assert headers.get_list("vary") == ["Origin, Cookie, Accept-Encoding"]


@pytest.mark.parametrize("serve", [fast, plain])
async def test_under_middlewares(serve: Host) -> None:
    """One that compresses, too, leaves alone what is compressed."""
    around = [Middleware(GZipMiddleware, minimum_size=100), Middleware(CORSMiddleware, allow_origins=["http://a.test"])]
    async with poller(serve, lambda io: Starlette(routes=[Mount("/socket.io", app=io)], middleware=around)) as found:
        client, _ = found
        headers, body = await client.texts("gzip", 5000, Origin="http://a.test")
        assert headers.get_list("content-encoding") == ["gzip"]
        assert gzip.decompress(body) == event(5000)


async def test_no_refusal_is_compressed(host: Host) -> None:
    io = Server(allow_request=lambda request: "x" * 5000)
    async with host(io, io) as url, httpx.AsyncClient(timeout=10, trust_env=False) as http:
        for method in ("GET", "HEAD"):
            answer = await http.request(method, f"http://{url}/socket.io/?EIO=4&transport=polling")
            assert answer.status_code in (400, 403)
            assert not answer.headers.keys() & {"content-encoding", "vary"}


async def test_others_are_answered_in_between(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """What is large is compressed bit by bit. Here its client goes away before the end, too."""
    async with poller(host) as (client, _):
        await client.post('42["noise",[3000000]]')
        large_reader, large = await client.ask(f"&sid={client.sid}")
        small_reader, small = await client.ask("&sid=nobody")
        first = asyncio.create_task(large_reader.read(1))
        async with asyncio.timeout(10):
            assert await small_reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        assert not first.done(), "the large one was compressed in one go"
        first.cancel()
        for writer in (large, small):
            writer.transport.abort()
        _, body = await client.texts("gzip", 2000)
        assert gzip.decompress(body) == event(2000)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_body_of_jsonp(host: Host) -> None:
    io = server(jsonp=True, cors_allowed_origins="*")
    async with host(io, io) as url, httpx.AsyncClient(timeout=10, trust_env=False) as http:
        target = f"http://{url}/socket.io/?EIO=4&transport=polling&j=0"
        target += "&sid=" + (await http.get(target)).text.split('\\"')[3]
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for packet in ("40", '42["texts",[5000]]'):
            await http.post(target, content=urlencode({"d": packet}), headers=form)
            answer = await http.get(target, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.text.startswith('___eio[0]("42[\\"text\\",\\"xxx')
        await http.post(target, content=urlencode({"d": "1"}), headers=form)
