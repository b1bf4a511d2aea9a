"""HTTP and SOCKS5 proxies, which lead to this machine only, and count what went through them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
import struct
from collections.abc import Mapping
from typing import Literal, Self
from urllib.parse import urlsplit

CHUNK = 65_536


class Refusal(Exception):
    """Of a request: the status, or SOCKS' reply."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Proxy:
    """What both kinds have.

    Attributes:
        port: where it listens, on 127.0.0.1.
        targets: what it connected to, as `host:port` the way the client named it.
        connections: how many came.
        refused: how many of those it turned away.
        up, down: bytes that went through, from the client and to it.
        names: what hosts the proxy knows, beside those of this machine.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        names: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.user = user
        self.password = password
        self.names = dict(names or {})
        self.port = 0
        self.targets: list[str] = []
        self.connections = 0
        self.refused = 0
        self.up = 0
        self.down = 0
        self._context = context
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=CHUNK, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks, writers = list(self._tasks), list(self._writers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for error in self._errors:
            raise error

    def cut_all(self) -> None:
        """Ends all that goes through it."""
        for writer in self._writers:
            writer.transport.abort()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._run(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.targets.append(f"{host}:{port}")
        address = self.names.get(host, host)
        local = address == "localhost" or _is_loopback(address)
        if not local:
            raise Refusal(403)
        return await asyncio.open_connection(address, port, limit=CHUNK)

    async def _relay(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._writers.add(far[1])
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(near[0], far[1], "up"))
                group.create_task(self._pump(far[0], near[1], "down"))
        finally:
            self._writers.discard(far[1])
            far[1].close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Literal["up", "down"]
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                setattr(self, direction, getattr(self, direction) + len(data))
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()
        except OSError:
            writer.transport.abort()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class HttpProxy(Proxy):
    """CONNECT, and requests with a whole URL, one a connection; with `user`, only for whom says so.

    Attributes:
        refuse: a status that everything is answered with, such as 403 or 407; 0: nothing is.
        forwarded: the requests that were none for a tunnel, as `GET http://…`.
        heads: of all requests, as they came.
    """

    REASONS = {400: "Bad Request", 403: "Forbidden", 407: "Proxy Authentication Required", 502: "Bad Gateway"}

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        refuse: int = 0,
        names: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(user=user, password=password, names=names, context=context)
        self.refuse = refuse
        self.forwarded: list[str] = []
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        """With the user and password that it wants."""
        scheme = "http" if self._context is None else "https"
        credentials = "" if self.user is None else f"{self.user}:{self.password}@"
        return f"{scheme}://{credentials}127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        method, target, lines = _read_head(head)
        try:
            self._admit(lines)
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                far = await self._reach(host.strip("[]"), int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                far = await self._forward(method, target, lines)
        except Refusal as refusal:
            self.refused += 1
            writer.write(self._refusal(refusal.code))
            await writer.drain()
            return
        await self._relay((reader, writer), far)

    def _admit(self, lines: list[tuple[str, str]]) -> None:
        if self.refuse:
            raise Refusal(self.refuse)
        if self.user is not None:
            wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if dict(lines).get("proxy-authorization") != f"Basic {wanted}":
                raise Refusal(407)

    async def _reach(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await self._dial(host, port)
        except OSError:
            raise Refusal(502) from None

    async def _forward(
        self, method: str, target: str, lines: list[tuple[str, str]]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = urlsplit(target)
        if url.scheme not in ("http", "ws") or url.hostname is None:
            raise Refusal(400)
        self.forwarded.append(f"{method} {target}")
        far = await self._reach(url.hostname, url.port or 80)
        upgrade = "upgrade" in dict(lines)
        kept = [line for line in lines if not line[0].startswith("proxy-") and (upgrade or line[0] != "connection")]
        if not upgrade:
            # The end of the answer is then the end of the connection, and needs no parsing.
            kept.append(("connection", "close"))
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        head = "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in kept), "\r\n"])
        far[1].write(head.encode("latin-1"))
        self.up += len(head)
        return far

    def _refusal(self, status: int) -> bytes:
        reason = self.REASONS.get(status, "Refused")
        body = f"<html><body><h1>{status} {reason}</h1></body></html>".encode()
        asks = b'proxy-authenticate: Basic realm="tests"\r\n' if status == 407 else b""
        return b"HTTP/1.1 %d %s\r\n%scontent-type: text/html\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
            status,
            reason.encode(),
            asks,
            len(body),
            body,
        )


def _read_head(head: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Method, target, and the headers by name in lower case."""
    first, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    lines = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    return method, target, lines


class SocksProxy(Proxy):
    """SOCKS5: connecting only, without authentication, or with `user` and `password`.

    Attributes:
        refuse: a reply that every request gets, such as 2 (not allowed) or 5 (refused); 0: the true one.
        kinds: how each target was named: `name`, `ipv4` or `ipv6`.
    """

    GENERAL, NOT_ALLOWED, REFUSED, NO_SUCH_COMMAND, NO_SUCH_ADDRESS = 1, 2, 5, 7, 8

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        refuse: int = 0,
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(user=user, password=password, names=names)
        self.refuse = refuse
        self.kinds: list[str] = []

    @property
    def url(self) -> str:
        """With the user and password that it wants."""
        credentials = "" if self.user is None else f"{self.user}:{self.password}@"
        return f"socks5://{credentials}127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._greet(reader, writer)
            far = await self._connect(reader)
        except Refusal as refusal:
            self.refused += 1
            if refusal.code:
                writer.write(_reply(refusal.code))
            await writer.drain()
            return
        writer.write(_reply(0))
        await self._relay((reader, writer), far)

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 0 if self.user is None else 2
        if version != 5 or wanted not in methods:
            writer.write(b"\x05\xff")
            raise Refusal(0)
        writer.write(bytes([5, wanted]))
        if wanted:
            await reader.readexactly(1)
            user = await _read_text(reader)
            password = await _read_text(reader)
            right = (user, password) == (self.user, self.password)
            writer.write(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                raise Refusal(0)

    async def _connect(self, reader: asyncio.StreamReader) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        _, command, _, kind = await reader.readexactly(4)
        if kind == 3:
            name, host = "name", await _read_text(reader)
        elif kind in (1, 4):
            name = "ipv4" if kind == 1 else "ipv6"
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        else:
            raise Refusal(self.NO_SUCH_ADDRESS)
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        self.kinds.append(name)
        if self.refuse:
            raise Refusal(self.refuse)
        if command != 1:
            raise Refusal(self.NO_SUCH_COMMAND)
        try:
            return await self._dial(host, port)
        except Refusal:
            raise Refusal(self.NOT_ALLOWED) from None
        except OSError:
            raise Refusal(self.REFUSED) from None


async def _read_text(reader: asyncio.StreamReader) -> str:
    (length,) = await reader.readexactly(1)
    return (await reader.readexactly(length)).decode()


def _reply(code: int) -> bytes:
    """With an address of nothing: clients of CONNECT have no use for it."""
    return b"\x05%c\x00\x01" % code + bytes(6)
