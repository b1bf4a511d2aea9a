"""The rig itself: the stage is the same on every peer, and what is between the client and it does what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from tests.hosting.clients import TRANSPORTS, Transport, connected

from .certificates import WRONG_NAME, Certificate, Certificates
from .peers import DUPLEXIO, DUPLEXIO_EIO3, ENVIRONMENT, NODE2, NODE4, NODE4_EIO3, PEERS, Peer, PeerPool, running
from .proxies import HttpProxy, Proxy, SocksProxy
from .wire import Direction, How, Wire, deaf_port

CHECKS = Path(__file__).parent / "node" / "checks.mjs"
#: No answer takes longer.
SECONDS = 10.0
HOWS: tuple[How, ...] = ("rst", "fin")


# The peers.


def check(peer: Peer, url: str, transport: str, *options: str) -> None:
    """Goes through the stage with the JavaScript client of that version."""
    client = "2" if peer.eio == 3 else "4"
    command = ["node", str(CHECKS), "--client", client, "--url", url, "--transport", transport, *options]
    ran = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("peer", [*PEERS, NODE4_EIO3, DUPLEXIO_EIO3], ids=str)
def test_the_stage(pool: PeerPool, peer: Peer, transport: Transport) -> None:
    check(peer, pool.get(peer).url, transport)


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_the_stage_in_message_pack(pool: PeerPool, peer: Peer) -> None:
    check(peer, pool.get(peer, "--parser", "msgpack").url, "websocket", "--parser", "msgpack")


@pytest.mark.parametrize("peer", [each for each in PEERS if each.recovers], ids=str)
def test_recovery(pool: PeerPool, peer: Peer) -> None:
    check(peer, pool.get(peer, "--recovery").url, "upgrade", "--recovery")


def test_versions(pool: PeerPool) -> None:
    versions = {peer: pool.get(peer).version for peer in PEERS}
    assert versions[NODE4].startswith("4.8.")
    assert versions[NODE2].startswith("2.5.")


def test_a_pool_has_one_of_each(pool: PeerPool) -> None:
    first = pool.get(NODE4, "--path", "/pooled")
    assert pool.get(NODE4, "--path", "/pooled") is first
    assert pool.get(NODE4) is not first
    first.kill()
    second = pool.get(NODE4, "--path", "/pooled")
    assert second.pid != first.pid
    assert second.running


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_options(peer: Peer) -> None:
    """As the handshake shows them."""
    options = ["--path", "/x", "--transports", "polling", "--cookie", "io", "--max-payload", "5000"]
    with running(peer, *options, "--ping-interval", "1.5", "--ping-timeout", "2.5") as server:
        answer = httpx.get(f"{server.url}/x/?EIO={peer.eio}&transport=polling", trust_env=False)
        assert re.search(r'"pingInterval":1500,"pingTimeout":2500', answer.text)
        assert '"upgrades":[]' in answer.text
        assert ('"maxPayload":5000' in answer.text) == (peer.eio == 4)
        assert answer.headers["set-cookie"].startswith("io=")
        refused = httpx.get(f"{server.url}/x/?EIO={peer.eio}&transport=websocket", trust_env=False)
        assert refused.status_code == 400


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_a_server_that_knows_no_socket_io(pool: PeerPool, peer: Peer) -> None:
    url = f"{pool.get(peer, '--http').url}/socket.io/?EIO=4"
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "a" * 22 + "=="}
    for headers in {}, {**upgrade, "sec-websocket-version": "13"}:
        answer = httpx.get(url, headers=headers, trust_env=False)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html")
        assert "<html>" in answer.text


def test_an_option_that_cannot_be() -> None:
    """What it wrote is in the error."""
    with pytest.raises(AssertionError, match="2 has no recovery"), running(NODE2, "--recovery"):
        pass


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_held_and_gone(peer: Peer) -> None:
    with running(peer) as server:
        url = f"{server.url}/socket.io/?EIO={peer.eio}&transport=polling"
        server.hold()
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(url, timeout=0.2, trust_env=False)
        server.go_on()
        assert httpx.get(url, timeout=SECONDS, trust_env=False).status_code == 200
        port = server.port
        server.kill()
        assert not server.running
    with running(peer, "--port", str(port)) as again:
        assert again.port == port


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_the_end_is_that_of_the_process(peer: Peer) -> None:
    """And quick, with sessions open."""
    with running(peer) as server:
        assert httpx.get(f"{server.url}/socket.io/?EIO={peer.eio}&transport=polling", trust_env=False)
        log = server._log
        began = time.monotonic()
    assert time.monotonic() - began < SECONDS
    assert not log.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


# TLS.


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_tls(pool: PeerPool, peer: Peer, certificates: Certificates) -> None:
    server = pool.get(peer, *certificates.server.options)
    url = f"{server.url.replace('127.0.0.1', 'localhost')}/socket.io/?EIO={peer.eio}&transport=polling"
    with httpx.Client(verify=certificates.client_context(), trust_env=False) as http:
        assert http.get(url).status_code == 200


async def secured(certificate: Certificate, context: ssl.SSLContext, name: str) -> None:
    """A handshake."""
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.server_context()
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_certificates(certificates: Certificates) -> None:
    context = certificates.client_context()
    for name in "localhost", "127.0.0.1", "::1":
        await secured(certificates.server, context, name)
    await secured(certificates.wrong_name, context, WRONG_NAME)
    for certificate, reason in (
        (certificates.wrong_name, "(Hostname|IP address) mismatch"),
        (certificates.expired, "expired"),
        (certificates.unknown, "unable to get local issuer|self.signed"),
    ):
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            await secured(certificate, context, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        await secured(certificates.server, ssl.create_default_context(), "localhost")


@pytest.mark.parametrize("peer", PEERS, ids=str)
def test_a_certificate_of_the_client(pool: PeerPool, peer: Peer, certificates: Certificates) -> None:
    server = pool.get(peer, *certificates.server.options, *certificates.required)
    url = f"{server.url}/socket.io/?EIO={peer.eio}&transport=polling"
    with httpx.Client(verify=certificates.client_context(certificates.client), trust_env=False) as http:
        assert http.get(url).status_code == 200
    with (
        httpx.Client(verify=certificates.client_context(), trust_env=False) as http,
        pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)),
    ):
        http.get(url)


# The wire.


class Echo:
    """A server that answers every byte with itself, and tells of what came and how it ended."""

    def __init__(self) -> None:
        self.came: list[bytearray] = []
        self.ends: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came = bytearray()
        self.came.append(came)
        try:
            while data := await reader.read(65_536):
                came += data
                writer.write(data)
                await writer.drain()
            self.ends.append("fin")
        except ConnectionError:
            self.ends.append("rst")
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    @contextlib.asynccontextmanager
    async def through(self, *, seed: int = 0) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            async with Wire(server.sockets[0].getsockname()[1], seed=seed, record=True) as wire:
                yield wire
            server.close()
            await until(lambda: len(self.ends) == len(self.came))
        finally:
            server.close()


async def until(true: Callable[[], object]) -> None:
    """Until it is."""
    async with asyncio.timeout(SECONDS):
        while not true():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.002)


class Client:
    """A connection to the wire."""

    @classmethod
    async def dial(cls, wire: Wire) -> Client:
        client = cls()
        client.reader, client.writer = await asyncio.open_connection("127.0.0.1", wire.port)
        return client

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def all(self) -> tuple[bytes, str]:
        """What comes, and how it ends."""
        came = b""
        async with asyncio.timeout(SECONDS):
            try:
                while data := await self.reader.read(65_536):
                    came += data
            except ConnectionError:
                return came, "rst"
            return came, "fin"

    async def close(self) -> None:
        if self.writer.transport.get_write_buffer_size():
            self.writer.transport.abort()  # closing would wait until it is written, which may be never
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def dialled(wire: Wire) -> AsyncIterator[Client]:
    client = await Client.dial(wire)
    try:
        yield client
    finally:
        await client.close()


async def test_a_wire_changes_nothing_by_itself() -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        data = os.urandom(3_000_000)
        client.writer.write(data)
        client.writer.write_eof()
        assert await client.all() == (data, "fin")
        (link,) = wire.links
        assert (link.up.passed, link.down.passed, bytes(link.up.bytes)) == (len(data), len(data), data)
        assert (wire.passed("up"), wire.opened) == (len(data), 1)
        await until(lambda: not wire.open)
    assert echo.ends == ["fin"]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("after", [0, 1, 100_001])
async def test_a_cut_after_exactly_so_many_bytes(direction: Direction, how: How, after: int) -> None:
    """Of the second connection; the first one is left alone."""
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as first:
        wire.cut(direction, after, connection=1, how=how)
        data = os.urandom(200_000)
        async with dialled(wire) as client:
            with contextlib.suppress(ConnectionError):
                client.writer.write(data)
            came, end = await client.all()
        await until(lambda: not wire.links[1].open)
        assert wire.links[1].lane(direction).passed == after
        if direction == "down":
            # What a client that still writes is told is the kernel's affair.
            assert came == data[:after]
        await until(lambda: len(echo.ends) == len(echo.came) - 1)
        if direction == "up":
            assert b"".join(map(bytes, echo.came)) == data[:after]
        if after != 100_001:
            assert end == how
        first.writer.write(b"still here")
        assert await first.reader.readexactly(10) == b"still here"


@pytest.mark.parametrize("how", HOWS)
async def test_a_cut_as_the_client_sees_it(how: How) -> None:
    """Where it only reads, all that came before is there, and then the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(bytes(500_000))
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Wire(server.sockets[0].getsockname()[1]) as wire:
        wire.cut("down", 123_456, how=how)
        async with dialled(wire) as client:
            came, end = await client.all()
        assert (len(came), end) == (123_456, how)


async def test_a_rule_meets_what_is_open() -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        client.writer.write(b"12345")
        assert await client.reader.readexactly(5) == b"12345"
        wire.cut("down", 5)
        assert await client.all() == (b"", "rst")


async def test_half_closed() -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        wire.half_close("up", 3)
        client.writer.write(b"12345")
        assert await client.all() == (b"123", "fin")
        assert echo.ends == ["fin"]


async def test_silent_from_a_byte_on() -> None:
    """Nobody is told of anything."""
    echo = Echo()
    async with echo.through() as wire:
        wire.silence("down", 3, connection=0)
        async with dialled(wire) as client:
            client.writer.write(b"12345")
            assert await client.reader.readexactly(3) == b"123"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.05)
            assert bytes(echo.came[0]) == b"12345"
        await until(lambda: echo.ends == ["fin"])
        wire.clear()
        async with dialled(wire) as client:
            client.writer.write(b"12345")
            assert await client.reader.readexactly(5) == b"12345"
            wire.silence("up")
            client.writer.write(b"6")
            client.writer.write_eof()
            await until(lambda: wire.links[1].up.received == 6)
            await asyncio.sleep(0.02)
            assert (bytes(echo.came[1]), echo.ends) == (b"12345", ["fin"])


async def test_a_black_hole_accepts_and_that_is_all() -> None:
    echo = Echo()
    async with echo.through() as wire:
        wire.black_hole()
        async with dialled(wire) as client:
            client.writer.write(b"12345")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.reader.read(1), 0.05)
            await until(lambda: wire.links[0].up.received == 5)
        assert echo.came == []
        assert (wire.passed("up"), wire.opened) == (0, 1)


async def test_refused_for_a_while() -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        port = wire.port
        async with wire.refusing():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", wire.port)
            client.writer.write(b"open")
            assert await client.reader.readexactly(4) == b"open"
        assert wire.port == port
        async with dialled(wire) as other:
            other.writer.write(b"again")
            assert await other.reader.readexactly(5) == b"again"
        assert wire.opened == 2


@pytest.mark.parametrize("how", HOWS)
async def test_all_cut_at_once(how: How) -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as one, dialled(wire) as two:
        for client in one, two:
            client.writer.write(b"x")
            await client.reader.readexactly(1)
        assert wire.cut_all(how) == 2
        assert [await client.all() for client in (one, two)] == [(b"", how)] * 2
        await until(lambda: echo.ends == [how] * 2)
        async with dialled(wire) as client:
            client.writer.write(b"y")
            assert await client.reader.readexactly(1) == b"y"


async def test_a_reset_goes_through() -> None:
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        client.writer.write(b"x")
        await client.reader.readexactly(1)
        connection = client.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await until(lambda: echo.ends == ["rst"])


async def test_no_server_behind_it() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with Wire(unused.getsockname()[1]) as wire, dialled(wire) as client:
            assert await client.all() == (b"", "rst")


async def test_delayed() -> None:
    """Both ways, and as much at once as without."""
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        wire.delay("up", 0.05)
        wire.delay("down", 0.1, jitter=0.01)
        data = os.urandom(500_000)
        began = time.monotonic()
        client.writer.write(data)
        client.writer.write_eof()
        assert await client.all() == (data, "fin")
        assert 0.15 <= time.monotonic() - began < 5


async def pieces(seed: int) -> list[int]:
    """The sizes in which a wire cuts 2,000 bytes."""
    echo = Echo()
    sizes: list[int] = []
    async with echo.through(seed=seed) as wire, dialled(wire) as client:
        wire.scatter("up", 100, pause=0.0005)
        await until(lambda: wire.open and wire.open[0].linked)
        lane = wire.links[0].up
        passing = lane._pass

        async def note(data: bytes) -> None:
            sizes.append(len(data))
            await passing(data)

        lane._pass = note  # type: ignore[method-assign]
        client.writer.write(bytes(2000))
        await client.reader.readexactly(2000)
    return sizes


async def test_scattered_by_a_seed() -> None:
    once, again, other = await pieces(1), await pieces(1), await pieces(2)
    assert once == again
    assert once != other
    assert max(once) <= 100


async def test_stalled() -> None:
    """The sender cannot go on for ever, and nothing is lost."""
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        wire.stall("up")
        data = bytes(8_000_000)
        client.writer.write(data)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.1)
        assert wire.passed("up") == 0
        wire.flow("up")
        client.writer.write_eof()
        came, end = await client.all()
        assert (len(came), end) == (len(data), "fin")


async def test_nothing_is_left() -> None:
    before = len(asyncio.all_tasks())
    echo = Echo()
    async with echo.through() as wire, dialled(wire) as client:
        client.writer.write(bytes(5_000_000))
        wire.delay("down", 10)
        wire.stall("up")
        await asyncio.sleep(0.01)
    assert wire.open == []
    await until(lambda: len(asyncio.all_tasks()) == before)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", wire.port)


def test_a_port_that_is_deaf() -> None:
    with deaf_port() as port, socket.socket() as client:
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.0.1", port))


def test_on_uvloop() -> None:
    """Its sockets are closed in another way."""

    async def run() -> None:
        for how in HOWS:
            await test_a_cut_after_exactly_so_many_bytes("up", how, 100_001)
            await test_a_cut_as_the_client_sees_it(how)
            await test_all_cut_at_once(how)
        await test_a_reset_goes_through()
        await test_nothing_is_left()

    uvloop.run(asyncio.wait_for(run(), SECONDS))


async def test_a_peer_behind_a_wire(wire: Wire, peer: Peer) -> None:
    url = f"{wire.url()}/socket.io/?EIO={peer.eio}&transport=polling"
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS) as http:
        assert (await http.get(url)).status_code == 200
    assert (wire.opened, len(wire.links)) == (1, 1)
    assert wire.passed("down") > 100


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_through_a_wire(pool: PeerPool, transport: Transport) -> None:
    """However the bytes are cut."""
    async with Wire(pool.get(NODE4).port) as wire:
        wire.scatter("up", 20)
        wire.scatter("down", 20)
        async with connected(f"127.0.0.1:{wire.port}", transport) as client:
            assert await client.ask("echo", "a" * 1000) == "a" * 1000


# Proxies.


@contextlib.asynccontextmanager
async def http_through(proxy: Proxy, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(proxy=url, trust_env=False, timeout=SECONDS) as client:
        yield client


@pytest.mark.parametrize("user", [None, "anna"])
async def test_a_request_through_an_http_proxy(pool: PeerPool, user: str | None) -> None:
    port = pool.get(NODE4).port
    async with HttpProxy(user=user, password="sesame", names={"server.test": "127.0.0.1"}) as proxy:
        async with http_through(proxy, proxy.url) as http:
            target = f"http://server.test:{port}/socket.io/?EIO=4&transport=polling"
            opened = (await http.get(target)).text
            assert opened.startswith("0{")
            sid = opened.split('"')[3]
            posted = await http.post(f"{target}&sid={sid}", content="40")
            assert posted.text == "ok"
        assert proxy.targets == [f"server.test:{port}"] * 2
        assert [line.split("?")[0] for line in proxy.forwarded] == [
            f"GET http://server.test:{port}/socket.io/",
            f"POST http://server.test:{port}/socket.io/",
        ]
        assert (proxy.connections, proxy.refused) == (2, 0)
        assert proxy.up > 100
        assert proxy.down > 100


@pytest.mark.parametrize("user", [None, "anna"])
async def test_a_tunnel(pool: PeerPool, certificates: Certificates, user: str | None) -> None:
    port = pool.get(DUPLEXIO, *certificates.server.options).port
    async with HttpProxy(user=user, password="sesame") as proxy:
        verify = certificates.client_context()
        async with httpx.AsyncClient(proxy=proxy.url, verify=verify, trust_env=False, timeout=SECONDS) as http:
            answer = await http.get(f"https://localhost:{port}/socket.io/?EIO=4&transport=polling")
            assert answer.text.startswith("0{")
        assert (proxy.targets, proxy.forwarded) == ([f"localhost:{port}"], [])
        assert proxy.heads[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n")


async def test_what_a_proxy_refuses(pool: PeerPool) -> None:
    target = f"{pool.get(NODE4).url}/"
    async with HttpProxy(user="anna", password="sesame") as proxy:
        async with http_through(proxy, f"http://anna:wrong@127.0.0.1:{proxy.port}") as http:
            answer = await http.get(target)
            assert (answer.status_code, answer.headers["proxy-authenticate"]) == (407, 'Basic realm="tests"')
        assert (proxy.refused, proxy.targets) == (1, [])
    async with HttpProxy(refuse=403) as proxy, http_through(proxy, proxy.url) as http:
        assert (await http.get(target)).status_code == 403
        with pytest.raises(httpx.ProxyError, match="403"):
            await http.get(target.replace("http:", "https:"))
    async with HttpProxy() as proxy, http_through(proxy, proxy.url) as http:
        assert (await http.get("http://elsewhere.test/")).status_code == 403
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            assert (await http.get(f"http://127.0.0.1:{unused.getsockname()[1]}/")).status_code == 502


async def socks(proxy: SocksProxy, host: str, port: int, credentials: bytes = b"") -> bytes:
    """What the proxy says to a client that wants to go there, and what comes through then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(b"\x05\x01" + (b"\x02" if credentials else b"\x00"))
            said = await reader.readexactly(2)
            if credentials:
                writer.write(credentials)
                said += await reader.readexactly(2)
            if not said.endswith(b"\x00") and said[-1:] != b"\x02":
                return said + await reader.read()
            name = host.encode()
            writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
            said += (await reader.readexactly(10))[1:2]
            writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return said + await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_socks_proxy(pool: PeerPool) -> None:
    port = pool.get(NODE4).port
    async with SocksProxy(names={"server.test": "127.0.0.1"}) as proxy:
        came = await socks(proxy, "server.test", port)
        assert came.startswith(b"\x05\x00\x00HTTP/1.1 200")
        assert (proxy.targets, proxy.kinds, proxy.refused) == ([f"server.test:{port}"], ["name"], 0)
        assert proxy.down > 100
        assert (await socks(proxy, "elsewhere.test", port))[:3] == b"\x05\x00\x02"
        assert proxy.refused == 1


async def test_a_socks_proxy_with_a_password(pool: PeerPool) -> None:
    port = pool.get(NODE4).port
    async with SocksProxy(user="anna", password="sesame") as proxy:
        right = await socks(proxy, "localhost", port, b"\x01\x04anna\x06sesame")
        assert right.startswith(b"\x05\x02\x01\x00\x00HTTP/1.1 200")
        assert await socks(proxy, "localhost", port, b"\x01\x04anna\x05wrong") == b"\x05\x02\x01\x01"
        assert await socks(proxy, "localhost", port) == b"\x05\xff"
        assert (proxy.refused, len(proxy.targets)) == (2, 1)


async def test_a_socks_proxy_that_refuses(pool: PeerPool) -> None:
    async with SocksProxy(refuse=SocksProxy.REFUSED) as proxy:
        assert await socks(proxy, "localhost", 80) == b"\x05\x00\x05"
