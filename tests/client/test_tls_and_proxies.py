"""TLS and proxies: a client gets through by each transport, nothing goes past the proxy, and a refusal says why."""

from __future__ import annotations

import asyncio
import pickle
import random
from typing import Any, Literal

import pytest

import duplexio
from duplexio.errors import ConnectError, ConnectTimeout
from tests.hosting.clients import Transport

from .answering import Answering
from .certificates import Certificates
from .peers import DUPLEXIO, NODE2, NODE4, Peer, PeerPool
from .proxies import HttpProxy, Proxy, SocksProxy
from .stage import SECONDS, SOON, Stage
from .wire import Wire

Single = Literal["polling", "websocket"]
SINGLE: tuple[Single, ...] = ("polling", "websocket")
ALONE: dict[str, Any] = {"force_new": True, "timeout": SECONDS}
#: Resolved by proxies alone: who reaches it came through one.
NAME = "server.test"
SECRET = "sesame"
#: A handshake that is not answered is given up after so many seconds.
SHORT = 0.3
#: Answers of polls are compressed.
INCOMPRESSIBLE = random.Random(1).randbytes(100_000)

pytestmark = pytest.mark.usefixtures("tidy")


async def exchange(socket: duplexio.ClientSocket) -> Any:
    """Texts and bytes both ways, more than a TLS record or a buffer of the proxy's holds; what the server saw."""
    data = INCOMPRESSIBLE
    assert await socket.emit_with_ack("echo", "ä", {"bytes": data}) == ("ä", {"bytes": data})
    return await socket.emit_with_ack("whoami")


async def refusal(url: str, transport: Single, **options: Any) -> ConnectError:
    socket = duplexio.connect(url, transports=[transport], **{**ALONE, **options})
    async with asyncio.timeout(SECONDS):
        with pytest.raises(ConnectError) as caught:
            await socket.connect()
    await socket.io.close()
    error = caught.value
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert error.transport == transport
    assert SECRET not in f"{error}{error!r}{error.url}"
    return error


# TLS.


@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_tls(pool: PeerPool, peer: Peer, certificates: Certificates, transport: Transport) -> None:
    stage = Stage(pool.get(peer, *certificates.server.options), transport)
    async with stage.connected(ssl=certificates.client_context(), **ALONE) as socket:
        assert (await exchange(socket))["secure"] is True


@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_a_connection_with_tls_is_lost(
    pool: PeerPool, peer: Peer, certificates: Certificates, transport: Transport
) -> None:
    server = pool.get(peer, *certificates.server.options)
    async with Wire(server.port) as wire:
        stage = Stage(server, transport, wire.url("https"))
        async with stage.connected(ssl=certificates.client_context(), **ALONE) as socket:
            first = socket.id
            lost = asyncio.Event()
            socket.once("disconnect", lambda *_: lost.set(), inline=True)
            wire.cut_all()
            await lost.wait()
            await socket.wait_connected()
            assert socket.id != first
            await exchange(socket)


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("unknown", "the certificate does not hold: unable to get local issuer certificate", "trusts its authority"),
        ("wrong_name", "the certificate does not hold: IP address mismatch", "name the host as the certificate does"),
        ("expired", "the certificate does not hold: certificate has expired", "needs a new one"),
    ],
)
async def test_a_certificate_that_does_not_hold(
    pool: PeerPool, certificates: Certificates, transport: Single, name: str, message: str, hint: str
) -> None:
    server = pool.get(DUPLEXIO, *getattr(certificates, name).options)
    error = await refusal(server.url, transport, ssl=certificates.client_context())
    assert error.message.startswith(message)
    assert hint in error.hint


@pytest.mark.parametrize("transport", SINGLE)
async def test_an_authority_is_trusted_only_where_it_is_said(
    pool: PeerPool, certificates: Certificates, transport: Single
) -> None:
    error = await refusal(pool.get(DUPLEXIO, *certificates.server.options).url, transport)
    assert error.message.startswith("the certificate does not hold: unable to get local issuer certificate")


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_tls_on_one_side_only(pool: PeerPool, peer: Peer, certificates: Certificates, transport: Single) -> None:
    plain, secure = pool.get(peer), pool.get(peer, *certificates.server.options)
    error = await refusal(f"https://127.0.0.1:{plain.port}", transport, ssl=certificates.client_context())
    assert error.message.startswith("what answers there does not speak TLS")
    assert "http://" in error.hint
    error = await refusal(f"http://127.0.0.1:{secure.port}", transport)
    assert error.message == "the connection was closed before an answer came"
    assert "https://" in error.hint


@pytest.mark.parametrize("peer", [NODE4, DUPLEXIO], ids=str)
async def test_a_server_that_asks_for_a_certificate(
    pool: PeerPool, peer: Peer, certificates: Certificates, transport: Transport
) -> None:
    server = pool.get(peer, *certificates.server.options, *certificates.required)
    shown = certificates.client_context(certificates.client)
    async with Stage(server, transport).connected(ssl=shown, **ALONE) as socket:
        await exchange(socket)
    if transport != "upgrade":
        error = await refusal(server.url, transport, ssl=certificates.client_context())
        # Which of the two comes first, its alert or the end, is chance.
        told = ("TLS connection (TLSV13_ALERT_CERTIFICATE_REQUIRED)", "the connection was closed before")
        assert any(text in error.message for text in told)
        assert "ssl=... takes an ssl.SSLContext that has one" in error.hint


@pytest.mark.parametrize("peer", [NODE2, DUPLEXIO], ids=str)
async def test_the_url_of_a_websocket(
    pool: PeerPool, peer: Peer, certificates: Certificates, transport: Transport
) -> None:
    """`wss://` is `https://`, for polling as well."""
    server = pool.get(peer, *certificates.server.options)
    stage = Stage(server, transport, server.url.replace("https", "wss"))
    async with stage.connected(ssl=certificates.client_context(), **ALONE) as socket:
        assert (await exchange(socket))["secure"] is True
        assert socket.io.url == server.url


async def never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


@pytest.mark.parametrize("transport", SINGLE)
async def test_a_handshake_of_tls_that_is_not_answered(certificates: Certificates, transport: Single) -> None:
    async with Answering(never_answer) as server:
        url = server.url.replace("http", "https")
        error = await refusal(url, transport, ssl=certificates.client_context(), timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    assert error.message == "no answer came within 0.3 s (timeout)"


async def test_the_end_of_tls_that_is_not_answered(
    pool: PeerPool, certificates: Certificates, transport: Transport
) -> None:
    """TLS ends with words of both sides; a client does not wait for the other's as long as asyncio would: 30 s."""
    server = pool.get(DUPLEXIO, *certificates.server.options)
    async with Wire(server.port) as wire:
        stage = Stage(server, transport, wire.url("https"))
        # That is bounded, and nothing is left behind.
        async with stage.connected(ssl=certificates.client_context(), **ALONE) as socket:
            wire.black_hole()
            socket.disconnect()


# Proxies.


def proxy_of(kind: str, user: str | None = None, **options: Any) -> Any:
    made: type[HttpProxy] | type[SocksProxy] = HttpProxy if kind == "http" else SocksProxy
    return made(user=user, password=SECRET if user else "", names={NAME: "127.0.0.1"}, **options)


def all_went_through(proxy: Proxy, transport: Transport, target: str) -> None:
    """Each connection was one to the server, and by HTTP each transport went its own way."""
    assert set(proxy.targets) == {target}
    assert len(proxy.targets) == proxy.connections
    assert proxy.refused == 0
    if isinstance(proxy, HttpProxy):
        tunnels = sum(head.startswith("CONNECT ") for head in proxy.heads)
        assert tunnels == (0 if transport == "polling" else 1)
        assert bool(proxy.forwarded) == (transport != "websocket")
    else:
        assert isinstance(proxy, SocksProxy)
        assert set(proxy.kinds) == {"name"}


@pytest.mark.parametrize("user", [None, "anna"], ids=["open", "password"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_through_a_proxy(pool: PeerPool, kind: str, user: str | None, transport: Transport) -> None:
    server = pool.get(DUPLEXIO)
    async with proxy_of(kind, user) as proxy:
        stage = Stage(server, transport, f"http://{NAME}:{server.port}")
        async with stage.connected(proxy=proxy.url, **ALONE) as socket:
            await exchange(socket)
        # What `exchange` sent and got.
        assert proxy.up >= len(INCOMPRESSIBLE)
        assert proxy.down >= len(INCOMPRESSIBLE)
        all_went_through(proxy, transport, f"{NAME}:{server.port}")


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_tls_through_a_proxy(pool: PeerPool, certificates: Certificates, kind: str, transport: Transport) -> None:
    """The proxy sees no request: all is a tunnel, and the certificate is the server's."""
    server = pool.get(DUPLEXIO, *certificates.server.options)
    async with proxy_of(kind, "anna") as proxy:
        stage = Stage(server, transport, f"https://localhost:{server.port}")
        async with stage.connected(proxy=proxy.url, ssl=certificates.client_context(), **ALONE) as socket:
            assert (await exchange(socket))["secure"] is True
        assert set(proxy.targets) == {f"localhost:{server.port}"}
        assert len(proxy.targets) == proxy.connections
        if kind == "http":
            assert proxy.forwarded == []
            assert "/socket.io" not in "".join(proxy.heads)
    if transport != "upgrade":
        async with proxy_of(kind) as proxy:
            error = await refusal(stage.url, transport, proxy=proxy.url)
            assert error.message.startswith("the certificate does not hold")


async def test_a_proxy_with_tls(pool: PeerPool, certificates: Certificates, transport: Transport) -> None:
    server = pool.get(DUPLEXIO)
    async with proxy_of("http", "anna", context=certificates.server.server_context()) as proxy:
        stage = Stage(server, transport, f"http://{NAME}:{server.port}")
        async with stage.connected(proxy=proxy.url, ssl=certificates.client_context(), **ALONE) as socket:
            await exchange(socket)
        all_went_through(proxy, transport, f"{NAME}:{server.port}")


async def test_tls_through_a_proxy_with_tls(pool: PeerPool, certificates: Certificates, transport: Transport) -> None:
    server = pool.get(DUPLEXIO, *certificates.server.options)
    async with proxy_of("http", "anna", context=certificates.server.server_context()) as proxy:
        stage = Stage(server, transport, f"https://localhost:{server.port}")
        async with stage.connected(proxy=proxy.url, ssl=certificates.client_context(), **ALONE) as socket:
            await exchange(socket)
        assert proxy.forwarded == []


@pytest.mark.parametrize("transport", SINGLE)
async def test_a_certificate_of_the_proxy_that_does_not_hold(
    pool: PeerPool, certificates: Certificates, transport: Single
) -> None:
    async with proxy_of("http", context=certificates.unknown.server_context()) as proxy:
        error = await refusal(f"http://{NAME}:3000", transport, proxy=proxy.url, ssl=certificates.client_context())
        assert (proxy.targets, proxy.heads) == ([], [])
    assert error.message.startswith("the certificate does not hold: unable to get local issuer certificate")


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_cuts_what_goes_through_it(pool: PeerPool, kind: str, transport: Transport) -> None:
    server = pool.get(DUPLEXIO)
    async with proxy_of(kind) as proxy:
        stage = Stage(server, transport, f"http://{NAME}:{server.port}")
        async with stage.connected(proxy=proxy.url, reconnection_delay=SOON, **ALONE) as socket:
            first = socket.id
            lost = asyncio.Event()
            socket.once("disconnect", lambda *_: lost.set(), inline=True)
            while not lost.is_set():
                # Between two polls there is nothing to cut.
                proxy.cut_all()
                await asyncio.sleep(0.01)
            await socket.wait_connected()
            assert socket.id != first
            await exchange(socket)
        assert set(proxy.targets) == {f"{NAME}:{server.port}"}


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("status", "hint"), [(403, "does not let this client"), (407, "proxy='http://user:password@host:port'")]
)
async def test_an_http_proxy_refuses(transport: Single, secure: bool, status: int, hint: str) -> None:
    async with HttpProxy(refuse=status) as proxy:
        url = f"{'https' if secure else 'http'}://{NAME}:3000"
        error = await refusal(url, transport, proxy=f"http://anna:{SECRET}@127.0.0.1:{proxy.port}")
        assert proxy.refused == 1
    assert f"answered {status}" in error.message
    assert "proxy" in error.message
    assert error.status == status
    assert hint in error.hint


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_does_not_know_the_password(kind: str, transport: Single) -> None:
    async with proxy_of(kind, "anna") as proxy:
        for credentials in ("", f"anna:not-{SECRET}@"):
            url = f"{kind}://{credentials}127.0.0.1:{proxy.port}"
            error = await refusal(f"http://{NAME}:3000", transport, proxy=url)
            assert "proxy" in error.message
            assert f"proxy='{kind}://user:password@host:port'" in error.hint
        assert proxy.targets == []


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_is_not_running(kind: str, transport: Single) -> None:
    async with Wire(1) as wire, wire.refusing():
        url = f"{kind}://anna:{SECRET}@127.0.0.1:{wire.port}"
        error = await refusal(f"http://{NAME}:3000", transport, proxy=url)
        shown = f"{kind}://127.0.0.1:{wire.port}"
    assert error.message == f"nobody listens there: the proxy {shown} is not running, or on another port"


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_does_not_reach_the_server(kind: str, transport: Single) -> None:
    async with Wire(1) as wire, wire.refusing(), proxy_of(kind) as proxy:
        error = await refusal(f"http://{NAME}:{wire.port}", transport, proxy=proxy.url)
        assert proxy.targets == [f"{NAME}:{wire.port}"]
    assert "proxy" in error.message
    # Not taken for the proxy's own absence.
    assert "is not running" not in error.message


@pytest.mark.parametrize("transport", SINGLE)
async def test_a_socks_proxy_refuses(transport: Single) -> None:
    async with SocksProxy(refuse=SocksProxy.NOT_ALLOWED) as proxy:
        error = await refusal(f"http://{NAME}:3000", transport, proxy=proxy.url)
        assert (proxy.refused, proxy.targets) == (1, [])
    assert error.message.startswith(f"the proxy {proxy.url} refused: ")


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_the_name_of_a_proxy_cannot_be_resolved(kind: str, transport: Single) -> None:
    error = await refusal(f"http://{NAME}:3000", transport, proxy=f"{kind}://anna:{SECRET}@nowhere.invalid:1080")
    assert error.message == "the name of the proxy's host cannot be resolved"


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_proxy_that_says_nothing(kind: str, transport: Single) -> None:
    async with Answering(never_answer) as server:
        url = f"{kind}://anna:{SECRET}@127.0.0.1:{server.port}"
        error = await refusal(f"http://{NAME}:3000", transport, proxy=url, timeout=SHORT)
    assert isinstance(error, ConnectTimeout)
    assert error.message == f"no answer came by the proxy {kind}://127.0.0.1:{server.port} within 0.3 s (timeout)"


@pytest.mark.parametrize("transport", SINGLE)
@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("data", [b"", b"\xff\x00 no proxy of any kind\r\n\r\n"], ids=["closes", "garbage"])
async def test_a_proxy_that_is_none(data: bytes, kind: str, transport: Single) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.write(data)
        await writer.drain()

    async with Answering(nonsense) as server:
        url = f"{kind}://anna:{SECRET}@127.0.0.1:{server.port}"
        error = await refusal(f"http://{NAME}:3000", transport, proxy=url)
    assert not isinstance(error, ConnectTimeout)
    assert error.status is None
    if kind == "socks5" and not data:
        assert "the proxy" in error.message
