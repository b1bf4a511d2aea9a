"""What the modifiers of a client's socket return: how to send to the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from duplexio.hub.targets import Flags

if TYPE_CHECKING:
    from duplexio.hub.client_socket import ClientSocket

__all__ = ["ClientOperator"]


class ClientOperator:
    """Immutable: each modifier returns a new one, which can be kept and used again."""

    __slots__ = ("_flags", "_socket")

    def __init__(self, socket: ClientSocket, flags: Flags) -> None:
        self._socket = socket
        self._flags = flags

    def _with(self, **changes: Any) -> ClientOperator:
        return ClientOperator(self._socket, dataclasses.replace(self._flags, **changes))

    @property
    def volatile(self) -> ClientOperator:
        """May be lost where there is no connection, or the server is not ready for it."""
        return self._with(volatile=True)

    def compress(self, compress: bool) -> ClientOperator:
        """Whether it may be compressed, where compression is on."""
        return self._with(compress=compress)

    def timeout(self, seconds: float) -> ClientOperator:
        """How long to wait for the acknowledgement."""
        return self._with(timeout=seconds)

    def emit(self, event: str, *args: Any, ack: Callable[..., object] | None = None) -> None:
        """See `ClientSocket.emit`. With a timeout, `ack` gets the error, or None, before the arguments."""
        self._socket._emit(event, args, self._flags, ack)

    def send(self, *args: Any) -> None:
        """Emits `message`."""
        self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """See `ClientSocket.emit_with_ack`."""
        flags = self._flags if timeout is None else dataclasses.replace(self._flags, timeout=timeout)
        return await self._socket._emit_with_ack(event, args, flags)
