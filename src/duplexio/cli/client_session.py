"""A connection as the client's command follows it: what it prints of it, and what it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

from duplexio.cli.client_hints import in_options
from duplexio.cli.client_output import Output
from duplexio.cli.client_shown import compact
from duplexio.errors import ConnectError, ConnectRefused, DuplexioError
from duplexio.hub.client_socket import ClientSocket

__all__ = ["Session"]

REASONS = {
    "io server disconnect": "the server has ended it, and it stays so",
    "io client disconnect": "as you wanted",
    "transport close": "the connection was lost",
    "transport error": "the connection failed",
    "ping timeout": "nothing was heard from the server for too long",
    "parse error": "the server sent what is not Socket.IO",
}


class Session:
    """A socket that is listened to.

    Attributes:
        names: of events that came or were sent, with how often each.
        left: whether it was disconnected because somebody asked for it.
        leaving: whether the command comes to its end, and nobody wants to know that the connection does, too.
    """

    def __init__(self, socket: ClientSocket, output: Output, timeout: float) -> None:
        self.socket = socket
        self.output = output
        self.timeout = timeout
        self.names: dict[str, dict[str, int]] = {}
        self.left = self.leaving = False
        self._told: DuplexioError | None = None
        self._expected: dict[str, asyncio.Future[list[Any]]] = {}
        self._missing = 0
        self._all_came: asyncio.Future[None] | None = None
        socket.on_any(self._came)
        socket.on_any_outgoing(lambda event, *_: self._count(event, "sent"))
        socket.on("connect", self._connected, inline=True)
        socket.on("connect_error", self.tell_error, inline=True)
        socket.on("disconnect", self._disconnected, inline=True)
        socket.io.on("open", self._opened)
        socket.io.on("reconnect_attempt", self._connecting_again)

    # What is waited for.

    def expect(self, event: str) -> asyncio.Future[list[Any]]:
        """The arguments of the next such event."""
        return self._expected.setdefault(event, asyncio.get_running_loop().create_future())

    def expect_many(self, count: int) -> asyncio.Future[None]:
        """Done when so many events have come."""
        self._missing = count
        self._all_came = asyncio.get_running_loop().create_future()
        return self._all_came

    def _came(self, event: str, *args: Any) -> None:
        if self._all_came is not None and self._all_came.done():
            return
        self._count(event, "received")
        expected = self._expected.pop(event, None)
        if expected is not None and not expected.done():
            expected.set_result(list(args))
        else:
            self.output.event(event, args)
        if self._all_came is not None:
            self._missing -= 1
            if not self._missing:
                self._all_came.set_result(None)

    def _count(self, event: str, how: str) -> None:
        counts = self.names.setdefault(event, {"received": 0, "sent": 0})
        counts[how] += 1

    # What is told of the connection.

    @property
    def state(self) -> dict[str, Any]:
        """What `status` tells."""
        socket, engine = self.socket, self.socket.io.engine
        connecting = "connecting again" if socket.io.reconnecting else "connecting"
        return {
            "state": "connected" if socket.connected else connecting if socket.active else "not connected",
            "url": socket.io.url,
            "namespace": socket.nsp,
            "id": socket.id,
            "transport": None if engine is None else engine.transport.name,
            "recovered": socket.recovered,
        }

    def _opened(self) -> None:
        engine = self.socket.io.engine
        if engine is not None:
            engine.on("upgrade", lambda *_: self._upgraded())

    def _upgraded(self) -> None:
        engine = self.socket.io.engine
        # Before that, `connect` is going to tell it.
        if engine is not None and self.socket.connected and not self.leaving:
            self.output.note("upgrade", f"moved to {engine.transport.name}", transport=engine.transport.name)

    def _connected(self) -> None:
        state = self.state
        where = "" if state["namespace"] == "/" else f", namespace {state['namespace']}"
        recovered = ", with all that was missed" if state["recovered"] else ""
        text = f"connected to {state['url']} as {state['id']} by {state['transport']}{where}{recovered}"
        self.output.note("connect", text, **state)

    def _disconnected(self, reason: str, details: str) -> None:
        if self.leaving:
            return
        words = REASONS.get(reason, "the connection has ended")
        text = f"disconnected: {reason}, {words}"
        if details and details != words:
            text += f" ({in_options(details)})"
        if self.socket.active:
            text += "; it is being opened again"
        self.output.note("disconnect", text, reason=reason, details=details)

    def _connecting_again(self, number: int) -> None:
        self.output.note("reconnect_attempt", f"connecting again, attempt {number}", number=number)

    def tell_error(self, error: DuplexioError) -> None:
        """Why it could not connect; the same error once."""
        if error is self._told:
            return
        self._told = error
        if isinstance(error, ConnectRefused):
            data = "" if error.data is None else f"; data: {compact(error.data)}"
            text = f"the server refuses the namespace {self.socket.nsp}: {error.message}{data}"
            self.output.error("connect_error", text, message=error.message, data=error.data)
        elif isinstance(error, ConnectError):
            by = f" by {error.transport}" if error.transport else ""
            hint = f". {error.hint}" if error.hint else ""
            text = in_options(f"cannot connect to {self.socket.io.url}{by}: {error.message}{hint}")
            self.output.error("connect_error", text, message=error.message, status=error.status)
        else:
            self.output.error("connect_error", f"cannot connect: {error}", message=str(error))
