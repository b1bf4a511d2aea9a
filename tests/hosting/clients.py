"""A small Socket.IO client, for what the JavaScript one does not show: headers, statuses, the order of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket

Transport = Literal["polling", "websocket", "upgrade"]
TRANSPORTS: tuple[Transport, ...] = ("polling", "websocket", "upgrade")
#: No answer takes longer.
SECONDS = 10.0


class Client:
    """A session that has joined the main namespace.

    Attributes:
        headers: of the first answer: the handshake's, or the accepted WebSocket's.
    """

    def __init__(self, http: httpx.AsyncClient, url: str, path: str) -> None:
        self._http = http
        self._url = url
        self._path = path
        self._socket: ClientConnection | None = None
        self._packets: deque[str] = deque()
        self._ids = 0
        self.sid = ""
        self.headers: list[tuple[str, str]] = []

    def header(self, name: str) -> list[str]:
        """All values of a header of the first answer."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def transport(self) -> str:
        return "polling" if self._socket is None else "websocket"

    async def ask(self, event: str, *args: Any) -> Any:
        """Emits an event, and returns the first argument of its answer."""
        self._ids += 1
        await self.send(f"42{self._ids}{json.dumps([event, *args])}")
        prefix = f"43{self._ids}"
        answer: list[Any] = json.loads((await self.expect(prefix)).removeprefix(prefix))
        return answer[0] if answer else None

    async def send(self, packet: str) -> None:
        if self._socket is not None:
            await self._socket.send(packet)
        else:
            response = await self._http.post(f"http://{self._url}{self._path}", params=self._query(), content=packet)
            assert (response.status_code, response.text) == (200, "ok")

    async def expect(self, prefix: str) -> str:
        """The next packet, which begins so; pings are answered."""
        async with asyncio.timeout(SECONDS):
            while True:
                packet = await self._receive()
                if packet == "2":
                    await self.send("3")
                    continue
                assert packet.startswith(prefix), packet
                return packet

    async def _receive(self) -> str:
        while not self._packets:
            if self._socket is not None:
                message = await self._socket.recv()
                assert isinstance(message, str)
                self._packets.append(message)
            else:
                self._packets.extend(await self._poll())
        return self._packets.popleft()

    async def _poll(self) -> list[str]:
        response = await self._http.get(f"http://{self._url}{self._path}", params=self._query())
        assert response.status_code == 200, response.text
        if not self.sid:
            self.headers = list(response.headers.multi_items())
        return response.text.split("\x1e")

    def _query(self) -> dict[str, str]:
        query = {"EIO": "4", "transport": self.transport}
        return {**query, "sid": self.sid} if self.sid else query

    async def open(self) -> None:
        opened = json.loads((await self.expect("0")).removeprefix("0"))
        self.sid = opened["sid"]
        await self.send("40")
        await self.expect("40")

    async def upgrade(self, socket: ClientConnection) -> None:
        """As the JavaScript client does it: the poll that is open is answered by a noop."""
        poll = asyncio.create_task(self._poll())
        try:
            await socket.send("2probe")
            assert await socket.recv() == "3probe"
            assert await poll == ["6"]
        finally:
            poll.cancel()
        await socket.send("5")
        self._socket = socket

    async def close(self) -> None:
        """So that the server needs not wait for a poll that never comes."""
        if self._socket is None and self.sid:
            with contextlib.suppress(AssertionError, httpx.TransportError):
                await self.send("1")

    def use(self, socket: ClientConnection) -> None:
        """Speaks by a WebSocket from the start."""
        self._socket = socket
        assert socket.response is not None
        self.headers = list(socket.response.headers.raw_items())


@contextlib.asynccontextmanager
async def connected(
    url: str, transport: Transport, path: str = "/socket.io/", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """A client of that transport. `url` is host and port; `headers` go with every request."""
    given = dict(headers or {})
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            httpx.AsyncClient(headers=given, timeout=SECONDS, verify=False, trust_env=False)
        )
        client = Client(http, url, path)
        if transport == "websocket":
            client.use(await stack.enter_async_context(websocket(url, path, given)))
        stack.push_async_callback(client.close)
        async with asyncio.timeout(SECONDS):
            await client.open()
            if transport == "upgrade":
                socket = await stack.enter_async_context(websocket(url, path, given, client.sid))
                await client.upgrade(socket)
        yield client


def websocket(url: str, path: str, headers: Mapping[str, str], sid: str = "") -> connect_websocket:
    query = f"?EIO=4&transport=websocket{'&sid=' + sid if sid else ''}"
    return connect_websocket(
        f"ws://{url}{path}{query}", additional_headers=headers, compression=None, open_timeout=SECONDS, proxy=None
    )


async def first_answer(
    url: str,
    transport: Literal["polling", "websocket"],
    path: str = "/socket.io/",
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a handshake, accepted or refused, as they are on the wire. Its session is ended."""
    sent = {"Host": url, **(headers or {})}
    if transport == "websocket":
        sent |= {"Upgrade": "websocket", "Connection": "Upgrade"}
        sent |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    else:
        sent["Connection"] = "close"
    status, received, body = await _request(url, method, f"{path}?EIO=4&transport={transport}", sent)
    if status == 200 and body.startswith("0{"):
        sid = json.loads(body[1:])["sid"]
        await _request(url, "POST", f"{path}?EIO=4&transport=polling&sid={sid}", sent, "1")
    return status, received, body


async def _request(
    url: str, method: str, target: str, headers: Mapping[str, str], content: str = ""
) -> tuple[int, dict[str, str], str]:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if content:
        lines.append(f"Content-Length: {len(content)}")
    host, port = url.split(":")
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write("\r\n".join([*lines, "", content]).encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *header_lines = head.strip().split("\r\n")
            received = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)
            }
            status = int(status_line.split()[1])
            body = b"" if status == 101 else await reader.readexactly(int(received.get("content-length", 0)))
            return status, received, body.decode()
        finally:
            writer.close()
            await writer.wait_closed()
