"""The contract between a session and what carries its packets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.types import CloseReason

__all__ = ["NOBODY", "Sink", "Transport"]


class Sink(Protocol):
    """Whom a transport reports to: a connection, or an upgrade that is being tried."""

    @property
    def outbox(self) -> list[Outgoing]:
        """What waits for the transport; only ever asked whether it is empty."""

    def receive(self, packet: bytes) -> None:
        """A text packet came, its digit included. Not called again before it returns; in order."""

    def receive_binary(self, data: bytes) -> None:
        """A binary message came."""

    def transport_ready(self) -> None:
        """The transport can take packets again, after `writable` was False."""

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        """The transport is gone. Called once at most; nothing is called after it.

        `cause` names the counter, where the reason is not name enough.
        """


class Transport(Protocol):
    """What carries packets. All of it is called on the event loop."""

    #: As the query names it.
    name: str
    #: Whom it reports to; the upgrade changes it.
    sink: Sink

    @property
    def writable(self) -> bool:
        """False while it cannot take a packet: no poll is open, or the peer reads too slowly."""

    #: True while a packet may skip the outbox: the last frame of a read is being worked off.
    direct: bool

    @property
    def congested(self) -> bool:
        """Whether bytes of earlier packets still wait here."""

    def write(self, packets: Sequence[Outgoing]) -> None:
        """Sends these, in order. Called only while `writable`; never raises for a peer that is gone."""

    def write_one(self, packet: bytes) -> None:
        """The same for one text packet: the hot case of a transport that has one."""

    def write_shared(self, message: Message) -> None:
        """The same for one message that goes to many: its bytes are made once."""

    def close(self) -> None:
        """Ends it in the transport's own way, after what was written. It does not report that to its sink."""

    def fail(self, code: int, text: str) -> None:
        """Ends it because of what the peer sent: a WebSocket says so with this close code."""

    def pause_reading(self) -> None:
        """Nothing more is read from the peer until `resume_reading`; what was read already may still be reported."""

    def resume_reading(self) -> None: ...


class Nobody:
    """The sink of a transport that has no session yet."""

    outbox: list[Outgoing] = []

    def receive(self, packet: bytes) -> None: ...
    def receive_binary(self, data: bytes) -> None: ...
    def transport_ready(self) -> None: ...
    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None: ...


NOBODY = Nobody()
