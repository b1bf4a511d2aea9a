"""`duplexio run --ssl-certfile`: JavaScript clients over TLS, messages that need many records included."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from .applications import make_server
from .crowd import LocalCrowd, crowd
from .processes import assert_quiet, duplexio_run, running

#: More than a TLS record, a read of the loop, and the buffer that the fast path keeps.
LARGE = 300_000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for position, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "chain.pem", append=position > 0)
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"sesame"))
    (folder / "locked.pem").write_bytes(locked)
    return folder


@pytest.fixture(scope="module", params=["applications:io", "applications:starlette_app"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    files = ["--ssl-certfile", str(folder / "chain.pem"), "--ssl-keyfile", str(folder / "key.pem")]
    with running(*duplexio_run(request.param, 0, *files)) as process:
        port = process.wait_listening()
        assert f"https://127.0.0.1:{port}" in process.log
        yield f"https://127.0.0.1:{port}"
        assert_quiet(process)


@pytest.mark.parametrize("kind", ["polling", "websocket", "upgrade"])
def test_large_messages_both_ways(url: str, folder: Path, kind: str) -> None:
    with crowd(url, ca=folder / "authority.pem", **{kind: 2}) as clients:
        report = clients.wait_connected()
        assert report.transports == {"polling" if kind == "polling" else "websocket": 2}
        clients.echo(10)
        for _ in range(4):
            clients.echo(LARGE)
            clients.echo(10)
        assert clients.report().reasons == {}


@pytest.mark.parametrize("kind", ["polling", "websocket"])
def test_much_at_once_to_the_client(url: str, folder: Path, kind: str) -> None:
    with crowd(url, ca=folder / "authority.pem", **{kind: 2}) as clients:
        clients.wait_connected()
        clients.hear(length=100_000, count=10)
        clients.hear(length=10, count=500)
        assert clients.report().reasons == {}


def test_an_authority_that_is_not_known_is_not_trusted(url: str) -> None:
    """The certificate is really shown."""
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False) as http, pytest.raises(httpx.ConnectError):
        http.get(f"{url}/socket.io/?EIO=4&transport=polling")


def test_a_key_with_a_password(folder: Path) -> None:
    files = ["--ssl-certfile", str(folder / "chain.pem"), "--ssl-keyfile", str(folder / "locked.pem")]
    with running(*duplexio_run("applications:io", 0, *files, "--ssl-keyfile-password", "sesame")) as process:
        port = process.wait_listening()
        with httpx.Client(verify=ssl.create_default_context(cafile=folder / "authority.pem"), trust_env=False) as http:
            response = http.get(f"https://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling")
            assert response.status_code == 200


async def test_listening_in_a_program(folder: Path) -> None:
    io = make_server()
    certificate, key = str(folder / "chain.pem"), str(folder / "key.pem")
    async with await io.listen(ssl_certfile=certificate, ssl_keyfile=key) as listening:
        assert listening.url == f"https://127.0.0.1:{listening.port}"
        options = {"ca": folder / "authority.pem"}
        async with LocalCrowd(listening.url, polling=1, websocket=1, upgrade=1, **options) as clients:
            await clients.wait_connected()
            await clients.echo(LARGE)
            sockets = list(io.sockets.sockets.values())
            assert [socket.handshake.secure for socket in sockets] == [True] * 3


async def test_clients_that_show_a_certificate(authority: trustme.CA, folder: Path) -> None:
    """Asked of all, on both transports; who has none, or one of nobody's, is turned away before any request."""
    io = make_server()
    async with await io.listen(
        ssl_certfile=str(folder / "chain.pem"),
        ssl_keyfile=str(folder / "key.pem"),
        ssl_ca_certs=str(folder / "authority.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    ) as listening:
        target = f"127.0.0.1:{listening.port}/socket.io/?EIO=4"

        async def ask(context: ssl.SSLContext) -> list[str]:
            async with httpx.AsyncClient(verify=context, trust_env=False) as http:
                polling = (await http.get(f"https://{target}&transport=polling")).text
                sid = polling.split('"')[3]
                await http.post(f"https://{target}&transport=polling&sid={sid}", content="1")
            async with connect(f"wss://{target}&transport=websocket", ssl=context, proxy=None) as websocket:
                return [polling, str(await websocket.recv())]

        shown = ssl.create_default_context(cafile=folder / "authority.pem")
        authority.issue_cert("anna").configure_cert(shown)
        assert all(answer.startswith('0{"sid":"') for answer in await ask(shown))
        foreign = ssl.create_default_context(cafile=folder / "authority.pem")
        trustme.CA().issue_cert("anna").configure_cert(foreign)
        for refused in foreign, ssl.create_default_context(cafile=folder / "authority.pem"):
            with pytest.raises(httpx.TransportError):
                await ask(refused)
            with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
                async with connect(f"wss://{target}&transport=websocket", ssl=refused, proxy=None):
                    pass
        assert io.counts["connections_opened"] == 2


async def test_a_certificate_that_is_asked_for_and_not_needed(folder: Path) -> None:
    """The application may look who has shown one."""
    io = make_server()
    async with (
        await io.listen(
            ssl_certfile=str(folder / "chain.pem"),
            ssl_keyfile=str(folder / "key.pem"),
            ssl_ca_certs=str(folder / "authority.pem"),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
        ) as listening,
        LocalCrowd(listening.url, polling=1, websocket=1, ca=folder / "authority.pem") as clients,
    ):
        await clients.wait_connected()
        await clients.echo(10)


def test_a_certificate_that_is_not_there() -> None:
    """The message names the file, and is not a traceback."""
    with running(*duplexio_run("applications:io", 0, "--ssl-certfile", "nosuch.pem")) as process:
        assert process.wait(10) != 0
        assert "nosuch.pem" in process.log
        assert "Traceback" not in process.log


async def test_a_certificate_that_is_none_where_a_program_listens(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("not a certificate")
    with pytest.raises(ssl.SSLError):
        await make_server().listen(ssl_certfile=str(tmp_path / "none.pem"))
    with pytest.raises(OSError, match="No such file"):
        await make_server().listen(ssl_certfile=str(tmp_path / "nosuch.pem"))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_waits_for_a_handshake_that_ends_late(folder: Path, workers: str) -> None:
    """The connection is made when the others have been told already that the server ends."""
    tls = ssl.create_default_context(cafile=folder / "authority.pem")
    options = ["--ssl-certfile", str(folder / "chain.pem"), "--ssl-keyfile", str(folder / "key.pem")]
    with (
        running(*duplexio_run("applications:io", 0, "--workers", workers, *options)) as process,
        contextlib.ExitStack() as stack,
    ):
        port = process.wait_listening()
        # Some are silent, for whom the server waits a moment; the others are late.
        silent, late = ([stack.enter_context(connected(port)) for _ in range(8)] for _ in range(2))
        secured = [stack.enter_context(tls.wrap_socket(one, server_hostname="localhost")) for one in silent]
        process.signal(signal.SIGTERM)
        process.wait_for("Shutting down")
        for connection in late:
            with contextlib.suppress(OSError):
                secured.append(stack.enter_context(tls.wrap_socket(connection, server_hostname="localhost")))
        for one in secured:
            with contextlib.suppress(OSError):
                assert one.recv(1) == b""
            one.close()
        process.wait(20)
        assert "graceful shutdown exceeded" not in process.log


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)
