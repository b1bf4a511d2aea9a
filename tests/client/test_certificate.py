"""A server whose authority nobody trusts: what the error says."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

import duplexio


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_certificate_that_does_not_hold(transport: str, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = {"ssl_certfile": str(tmp_path / "cert.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    async with await duplexio.Server().listen("127.0.0.1", 0, **files) as listening:
        socket = duplexio.connect(listening.url, transports=["polling" if transport == "polling" else "websocket"])
        with pytest.raises(
            duplexio.ConnectError, match="certificate does not hold: unable to get local issuer"
        ) as raised:
            await socket.connect()
        await socket.io.close()
    assert raised.value.hint.startswith("ssl=... takes an ssl.SSLContext")
