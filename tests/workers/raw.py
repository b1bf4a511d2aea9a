"""Requests one by one, each on a connection of its own, to whichever worker a test chooses."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

SECONDS = 20.0


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Sent:
    """A request that was sent, on a connection of its own."""

    def __init__(self, port: int, data: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        if tls is not None:
            self.connection = tls.wrap_socket(self.connection, server_hostname="localhost")
        self.connection.sendall(data)

    def response(self) -> Response:
        """Its answer; the connection is closed behind it."""
        with self.connection, self.connection.makefile("rb") as file:
            return read_response(file)

    def __enter__(self) -> Sent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.connection.close()


def read_response(file: Any) -> Response:
    line = file.readline()
    assert line.startswith(b"HTTP/1.1 "), line
    headers: dict[str, str] = {}
    while (field_line := file.readline().strip()) != b"":
        name, _, value = field_line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(file.readline(), 16):
            body += file.read(size)
            file.readline()
        file.readline()
    else:
        body = file.read(int(headers.get("content-length", "0")))
    return Response(int(line.split()[1]), headers, body)


def request_bytes(method: str, target: str, body: bytes | None = None, **headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


@dataclass
class Session:
    """A polling session, opened at one worker; each request may go to another."""

    port: int
    path: str = "/socket.io/"
    query: str = "EIO=4&transport=polling"
    sid: str = ""
    ids: int = 0
    waiting: list[str] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def target(self, query: str | None = None) -> str:
        return f"{self.path}?{query or self.query}" + (f"&sid={self.sid}" if self.sid else "")

    def send(self, port: int, method: str = "GET", body: bytes | None = None, **headers: str) -> Sent:
        return Sent(port, request_bytes(method, self.target(), body, **headers), self.tls)

    def ask(self, port: int, method: str = "GET", body: bytes | None = None, **headers: str) -> Response:
        return self.send(port, method, body, **headers).response()

    def open(self) -> Session:
        """Engine.IO's handshake, and the main namespace's."""
        response = self.ask(self.port)
        assert response.status == 200, response
        self.sid = json.loads(response.text.removeprefix("0"))["sid"]
        self.post(self.port, "40")
        assert self.expect(self.port).startswith("40")
        return self

    @contextlib.contextmanager
    def upgrade(self, port: int) -> Iterator[ClientConnection]:
        """Moves it to a WebSocket at that worker, as clients do: there are no more requests then."""
        target = self.target(self.query.replace("polling", "websocket"))
        scheme = "ws" if self.tls is None else "wss"
        with connect(
            f"{scheme}://localhost:{port}{target}",
            ssl=self.tls,
            sock=socket.create_connection(("127.0.0.1", port), timeout=SECONDS),
            proxy=None,
            max_size=None,
            close_timeout=SECONDS,
        ) as websocket:
            websocket.send("2probe")
            assert websocket.recv(SECONDS) == "3probe"
            assert self.ask(self.port).text in ("6", "1:6")
            websocket.send("5")
            yield websocket

    def open_by_script(self) -> Session:
        """The same for JSONP, up to Engine.IO's handshake; then the main namespace's."""
        text = self.ask(self.port, sec_fetch_site="same-origin").text
        self.sid = json.loads(json.loads(text[text.index("(") + 1 : text.rindex(")")])[1:])["sid"]
        form = "application/x-www-form-urlencoded"
        assert self.ask(self.port, "POST", b"d=40", sec_fetch_site="same-origin", content_type=form).text == "ok"
        assert '"40' in self.ask(self.port, sec_fetch_site="same-origin").text
        return self

    def post(self, port: int, packet: str) -> None:
        response = self.ask(port, "POST", packet.encode(), content_type="text/plain;charset=UTF-8")
        assert (response.status, response.text) == (200, "ok"), response

    def expect(self, port: int) -> str:
        """The next packet, by a poll at that worker where none is here; pings are answered."""
        while True:
            if not self.waiting:
                response = self.ask(port)
                assert response.status == 200, response
                self.waiting = response.text.split("\x1e")
            packet = self.waiting.pop(0)
            if packet != "2":
                return packet
            self.post(port, "3")

    def call(self, port: int, event: str, *args: Any) -> Any:
        """What the event is answered with; both requests go to that worker."""
        self.ids += 1
        self.post(port, f"42{self.ids}{json.dumps([event, *args], ensure_ascii=False)}")
        packet = self.expect(port)
        assert packet.startswith(f"43{self.ids}"), packet
        return json.loads(packet.removeprefix(f"43{self.ids}"))[0]
