"""A server and clients of it joined in memory: all of duplexio but its transports, packets as they are on the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from duplexio import Server, Socket
from duplexio.observe import Counts
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.engine_session import State
from tests.engine.ends import Line, request
from tests.engine.waiting import until

__all__ = ["Client", "Packet", "counts", "joined", "serving", "until"]

Packet = str | bytes


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    """A started server that listens nowhere."""
    io = Server(handle_signals=False, **{"drain_seconds": 0.0, **options})
    async with io.lifespan(None):
        yield io


def counts(io: Server) -> dict[str, int]:
    assert isinstance(io.counts, Counts)
    return dict(io.counts.snapshot())


class Client:
    """A session over a line. What the server sent is in `packets`: text as str, attachments as bytes."""

    def __init__(self, io: Server, target: str = "/socket.io/?EIO=4&transport=websocket", **headers: str) -> None:
        self.io = io
        self.line = Line()
        sid = io.engine.new_sid()
        io.engine.open_websocket(request(target, **headers), self.line, sid, None)
        self.connection = io.engine.connections[sid]
        self.line.sent.clear()

    @property
    def packets(self) -> list[Packet]:
        return [part for packet in self.line.packets for part in _parts(packet)]

    def send(self, *messages: Packet) -> None:
        """A str is a text packet, bytes are an attachment; as if they had come in one read."""
        for message in messages:
            if isinstance(message, str):
                self.connection.receive(message.encode())
            else:
                self.connection.receive_binary(message)
        if self.connection.outbox and self.line.writable:
            self.connection.transport_ready()

    def emit(self, event: str, *args: Any, ack: int | None = None, namespace: str = "/") -> None:
        """An event without binaries."""
        head = "42" + ("" if namespace == "/" else namespace + ",") + ("" if ack is None else str(ack))
        self.send(head + json.dumps([event, *args]))

    def take(self) -> list[Packet]:
        """What was sent until now, once; as at the end of this turn of the loop."""
        if self.connection.outbox and self.line.writable:
            self.connection.transport_ready()
        packets = self.packets
        self.line.sent.clear()
        return packets

    async def packet(self) -> Packet:
        """The next packet; the ones behind it stay."""
        await until(lambda: self.packets)
        first, *rest = self.packets
        self.line.sent[:] = [[part.encode()] if isinstance(part, str) else [_Attachment(part)] for part in rest]
        return first

    async def settled(self) -> list[Packet]:
        """What comes until the server has worked off all that it was sent: `fence` is answered last."""
        number = 900_000_001
        self.send(f'42{number}["fence"]')
        answer = f"43{number}[]"
        await until(lambda: answer in self.packets)
        packets = self.take()
        assert packets[-1] == answer
        return packets[:-1]

    def join(self, namespace: str = "/", auth: object = None) -> dict[str, Any]:
        """Joins a namespace that asks nobody; the CONNECT reply."""
        head = "40" if namespace == "/" else f"40{namespace},"
        self.send(head + ("" if auth is None else json.dumps(auth)))
        replies = [packet for packet in self.take() if isinstance(packet, str) and packet.startswith(head)]
        assert len(replies) == 1, replies
        reply: dict[str, Any] = json.loads(replies[0][len(head) :])
        return reply

    @property
    def closed(self) -> bool:
        return self.connection.state is State.CLOSED

    def drop(self) -> None:
        """The connection is lost."""
        self.line.writable = False
        self.line.sink.transport_closed(self.line, "transport close", "")


class _Attachment(bytes):
    """Told from a text packet."""


def _parts(packet: Outgoing) -> list[Packet]:
    if isinstance(packet, _Attachment):
        return [bytes(packet)]
    if isinstance(packet, bytes):
        return [packet.decode()]
    return [*([packet.text.decode()] if packet.text else []), *packet.attachments]


def joined(io: Server, namespace: str = "/", auth: object = None) -> tuple[Client, Socket]:
    """A client in a namespace, and its socket."""
    client = Client(io)
    sid = client.join(namespace, auth)["sid"]
    return client, io.of(namespace).sockets[sid]
