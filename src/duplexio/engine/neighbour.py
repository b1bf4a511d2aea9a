"""A session that another worker has: the verdict on a request for it, and what asks that worker.

Here are the words only; how they travel is the business of a layer above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from duplexio.engine.transport import Transport
from duplexio.protocol.engine_handshake import Refusal, Request

__all__ = ["Answer", "Asker", "Bridge", "Elsewhere", "Gift", "Neighbour"]

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What another worker answers to a request: all but the headers that the host of the connection writes."""

    status: int
    headers: Headers
    content_type: bytes
    body: bytes
    #: May be sent in a content coding that the request accepts.
    compressible: bool


class Asker(Protocol):
    """A request that waits for the answer of another worker. One of the two is called, once."""

    def answered(self, answer: Answer) -> None: ...

    def unanswered(self, refusal: Refusal) -> None:
        """There will be no answer."""


class Bridge(Protocol):
    """A WebSocket of this process whose session another worker has: what comes goes there, and what comes back out."""

    #: What the answer to the handshake has of the session's own headers.
    headers: Headers

    def carry(self, transport: Transport) -> None:
        """The WebSocket was accepted; this is what carries it here."""

    def cancel(self) -> None:
        """It will not be, where it has not been: its client has gone."""


class Neighbour(Protocol):
    """The worker that has the session."""

    def ask(self, request: Request, body: bytes, asker: Asker) -> Callable[[], None]:
        """Hands a polling request on. Returns what is to be called when its client goes away."""

    async def bridge(self, request: Request) -> Bridge | Refusal:
        """Asks whether a WebSocket handshake may be accepted; the frames are to be carried there then.

        Cancelling it gives the handshake up.
        """

    def pass_on(self, request: Request, descriptor: int, leftover: bytes, headers: Headers | None = None) -> bool:
        """Gives the connection of a WebSocket handshake away, unanswered, with what came behind the handshake.

        `headers`: what the answer has besides WebSocket's own, where a framework around this server has a say in that;
        None: the session's worker knows.

        True: the caller closes its own end, without a word to the client. False: nothing was done.
        """


@dataclass(slots=True)
class Gift:
    """A WebSocket's connection that is to be another worker's, when its handshake is accepted here."""

    request: Request
    neighbour: Neighbour
    #: It could not be given; nothing was answered.
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere(Refusal):
    """No session here, as every `Refusal` of its code; but another worker has it, for whoever can ask that one."""

    neighbour: Neighbour | None = None
