"""A client's session on polling tries a WebSocket, and moves to it when that has proved that it works."""

from __future__ import annotations

import asyncio

from duplexio.engine.connection import Connection
from duplexio.engine.polling_client import ClientPolling
from duplexio.engine.transport import Transport
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.engine_session import Action, State, during_probe
from duplexio.types import CloseReason

__all__ = ["Probe"]


class Probe:
    """The `Sink` of the candidate while it is tried."""

    def __init__(self, connection: Connection) -> None:
        self.outbox: list[Outgoing] = []
        self._connection = connection
        self._answered = asyncio.get_running_loop().create_future()
        self._ended = False

    async def run(self, candidate: Transport) -> None:
        """Moves the session to this transport. Raises ProbeFailed; the session then stays where it is."""
        connection = self._connection
        polling = connection.transport
        assert isinstance(polling, ClientPolling)
        connection.begin_upgrade(self, candidate)
        moved = False
        try:
            candidate.write((b"2probe",))
            await self._answered
            # From here on the server answers the open poll, and holds back what it has to say.
            await polling.leave()
            # One that is about to end ends there: what waits goes out by it.
            if self._failure() is None and connection.state is not State.CLOSED and not self._ended:
                candidate.write((b"5",))
                connection.complete_upgrade(candidate)
                moved = True
        finally:
            if not moved:
                connection.abandon_upgrade(self)
                candidate.close()
                if connection.state is not State.CLOSED:
                    polling.stay()
        if moved:
            polling.close()
        elif (failure := self._failure()) is not None:
            raise failure

    def _failure(self) -> BaseException | None:
        return self._answered.exception() if self._answered.done() and not self._answered.cancelled() else None

    def _fail(self, text: str) -> None:
        if not self._answered.done():
            self._answered.set_exception(ProbeFailed(text))
            # Who waits for it may have been cancelled.
            self._answered.exception()
        else:
            self._ended = True

    # What the candidate reports.

    def receive(self, packet: bytes) -> None:
        if during_probe(packet) is Action.PROBE_ANSWERED and not self._answered.done():
            self._answered.set_result(None)
        else:
            self._fail("the server sent something else than the answer to the probe")

    def receive_binary(self, data: bytes) -> None:
        self._fail("the server answered the probe with a binary message")

    def transport_ready(self) -> None:
        """Nothing waits for a candidate."""

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        self._fail(details)

    # What the session calls.

    def release_poll(self) -> None:
        """The server does that."""

    def session_ended(self) -> None:
        """The session ends before it has moved."""
        self._connection.abandon_upgrade(self)
        self._fail("the session ended")


class ProbeFailed(Exception):
    """The WebSocket is none to move to; its text says why."""
