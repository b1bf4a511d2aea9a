"""An authority of the tests' own, and certificates as a client may meet them."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme

#: Not the name of anything.
WRONG_NAME = "elsewhere.test"


class Certificate:
    """A certificate and its key, as files and as a context.

    Attributes:
        chain: the certificate and what stands between it and the authority, in PEM.
        key: in PEM, without a password.
    """

    def __init__(self, folder: Path, name: str, leaf: trustme.LeafCert) -> None:
        self._leaf = leaf
        self.chain = folder / f"{name}.pem"
        self.key = folder / f"{name}-key.pem"
        self.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(self.key)

    @property
    def options(self) -> tuple[str, ...]:
        """For the command line of a peer that serves it."""
        return "--ssl-certfile", str(self.chain), "--ssl-keyfile", str(self.key)

    def server_context(self) -> ssl.SSLContext:
        """For a server in this process."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.show(context)
        return context

    def show(self, context: ssl.SSLContext) -> None:
        """Makes it what a context shows the other side, a client's too."""
        self._leaf.configure_cert(context)


class Certificates:
    """Attributes:
    authority: the file of the authority's own certificate.
    server: for `localhost`, `127.0.0.1` and `::1`.
    wrong_name: for `WRONG_NAME`, by the same authority.
    expired: of the right names, which ended yesterday.
    unknown: of the right names, by an authority that nobody trusts.
    client: for a client to show, where the server asks for one.
    """

    def __init__(self, folder: Path) -> None:
        ours, others = trustme.CA(), trustme.CA()
        names = ("localhost", "127.0.0.1", "::1")
        now = datetime.datetime.now(datetime.UTC)
        ended = ours.issue_cert(
            *names, not_before=now - datetime.timedelta(days=30), not_after=now - datetime.timedelta(days=1)
        )
        self.authority = folder / "authority.pem"
        ours.cert_pem.write_to_path(self.authority)
        self.server = Certificate(folder, "server", ours.issue_cert(*names))
        self.wrong_name = Certificate(folder, "wrong-name", ours.issue_cert(WRONG_NAME))
        self.expired = Certificate(folder, "expired", ended)
        self.unknown = Certificate(folder, "unknown", others.issue_cert(*names))
        self.client = Certificate(folder, "client", ours.issue_cert("anna@client.test"))

    def client_context(self, shown: Certificate | None = None) -> ssl.SSLContext:
        """For a client that trusts the authority, and shows a certificate of its own where one is given."""
        context = ssl.create_default_context(cafile=self.authority)
        if shown is not None:
            shown.show(context)
        return context

    @property
    def required(self) -> tuple[str, ...]:
        """For the command line of a peer: clients have to show a certificate."""
        return "--ssl-ca-certs", str(self.authority)
