"""A second transport that wants to become a session's: it proves that it works, then the session moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duplexio.engine.connection import Connection
from duplexio.engine.transport import Transport
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.engine_session import Action, State, during_upgrade
from duplexio.types import CloseReason

if TYPE_CHECKING:
    from duplexio.engine.server import EngineServer

__all__ = ["Upgrade"]


class Upgrade:
    """A transport that wants to become a session's: it has to answer the probe first."""

    __slots__ = ("_candidate", "_connection", "_engine", "_probed", "_timer", "outbox")

    def __init__(self, connection: Connection, candidate: Transport, engine: EngineServer) -> None:
        self.outbox: list[Outgoing] = []
        self._connection = connection
        self._candidate = candidate
        self._engine = engine
        self._probed = False
        self._timer = engine.wheel.call_later(engine.options.upgrade_timeout, self._too_late)
        candidate.sink = self
        connection.begin_upgrade(self, candidate)

    def receive(self, packet: bytes) -> None:
        action = during_upgrade(packet)
        if action is Action.ANSWER_PROBE:
            self._probed = True
            self._candidate.write((b"3probe",))
            self.release_poll()
        elif action is Action.COMPLETE and self._connection.state is not State.CLOSED:
            self._timer.cancel()
            self._connection.complete_upgrade(self._candidate)
        else:
            self._abandon("the upgrade's transport sent something else than its probe")

    def receive_binary(self, data: bytes) -> None:
        self._abandon("the upgrade's transport sent a binary message")

    def transport_ready(self) -> None:
        """Nothing waits for a candidate."""

    def transport_closed(self, transport: Transport, reason: CloseReason, details: str, cause: str = "") -> None:
        self._timer.cancel()
        self._connection.abandon_upgrade(self)

    def release_poll(self) -> None:
        """The client moves once its poll is answered; with nothing to say, the answer is a noop."""
        transport = self._connection.transport
        if self._probed and transport.writable:
            transport.write((b"6",))

    def session_ended(self) -> None:
        """The session ends before the upgrade does.

        A client whose poll was released waits for nothing but this transport, and would not notice: it is closed when
        the client has moved to it.
        """
        self._connection.abandon_upgrade(self)
        if not self._probed:
            self._cancel()

    def _cancel(self) -> None:
        self._timer.cancel()
        self._connection.abandon_upgrade(self)
        self._candidate.close()

    def _abandon(self, text: str) -> None:
        if self._connection.state is not State.CLOSED:
            self._engine.reporter.fault("upgrade", self._connection.remote_address, text)
        self._cancel()

    def _too_late(self) -> None:
        self._engine.reporter.count("upgrade_timeouts")
        self._abandon(
            f"an upgrade was not completed within {self._engine.options.upgrade_timeout:g} s (upgrade_timeout)"
        )
