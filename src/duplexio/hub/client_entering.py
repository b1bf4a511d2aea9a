"""A client's socket on its way into a namespace: what it shows of itself, and how long it waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from duplexio.client_values import check_auth
from duplexio.engine.wheel import Timer
from duplexio.errors import ConfigurationError, ConnectError, ConnectTimeout, EncodeError
from duplexio.hub.client_peer import ClientPeer
from duplexio.hub.context import current_task_or_none, is_cancelled
from duplexio.hub.eager import start
from duplexio.protocol.engine_packet import Outgoing
from duplexio.protocol.socket_packet import CONNECT

if TYPE_CHECKING:
    from duplexio.hub.client_socket import ClientSocket

__all__ = ["Entering"]


class Entering:
    """Of one socket. Each connection is a new way in; `stop` ends the one that there is."""

    __slots__ = ("_asking", "_running", "_socket", "_timer")

    def __init__(self, socket: ClientSocket) -> None:
        self._socket = socket
        #: Which call of the auth function counts.
        self._asking: object | None = None
        #: The task of it.
        self._running: asyncio.Task[None] | None = None
        #: Ends the wait for the answer to CONNECT.
        self._timer: Timer | None = None

    def begin(self, peer: ClientPeer) -> None:
        """There is a connection."""
        self._wait_for_answer()
        peer.enter(self._socket)

    def stop(self) -> None:
        """It is in, or out."""
        self._asking = None
        running, self._running = self._running, None
        if running is not None and running is not current_task_or_none():
            running.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ask(self, peer: ClientPeer) -> None:
        """Nothing stands in the way of a CONNECT."""
        socket = self._socket
        auth = socket.auth
        try:
            check_auth(auth)
        except ConfigurationError as error:
            # It was set after the socket was made.
            self._not_let_in(ConnectError(str(error), socket.io.url))
            return
        if callable(auth):
            self._asking = asking = object()
            running = start(self._ask_for_auth(peer, auth, asking), socket._loop)
            if not running.done():
                socket._hub.keep(running)
                self._running = running
        else:
            self._send_connect(peer, auth)

    async def _ask_for_auth(self, peer: ClientPeer, function: Callable[[], Any], asking: object) -> None:
        socket = self._socket
        try:
            auth = await socket._hub.ask(function)
            if auth is not None and not isinstance(auth, Mapping):
                raise TypeError(f"it gave a {type(auth).__name__}, a mapping was expected")
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            socket._hub.reporter.failure(f"the auth function of {socket.nsp} raised", error)
            if self._asking is asking:
                refused = ConnectError(f"the auth function raised {error!r}", socket.io.url)
                refused.__cause__ = error
                self._not_let_in(refused)
        else:
            # Whoever left, and came back while the function took its time, has asked for another one.
            if self._asking is asking:
                self._asking = None
                self._send_connect(peer, auth)

    def _send_connect(self, peer: ClientPeer, auth: Mapping[str, Any] | None) -> None:
        socket = self._socket
        encode = socket._hub.encode
        try:
            if peer.old:
                packet: Outgoing = encode(CONNECT, socket.nsp + _as_query(auth), None)
            else:
                packet = encode(CONNECT, socket.nsp, {**socket._session_to_recover(), **(auth or {})} or None)
        except EncodeError as error:
            self._not_let_in(ConnectError(f"auth cannot be sent: {error}", socket.io.url))
        else:
            peer.ask(socket, packet)

    def _wait_for_answer(self) -> None:
        socket = self._socket
        self._timer = socket._hub.wheel.call_later(socket.io.settings.timeout, self._not_answered)

    def _not_answered(self) -> None:
        self._timer = None
        socket = self._socket
        peer = socket._peer
        text = f"no answer to the CONNECT of the namespace {socket.nsp} within {socket.io.settings.timeout:g} s"
        hint = "Is it a Socket.IO server with the same parser=...?"
        if peer is not None and peer.old and peer.main_left and socket.nsp == "/":
            hint = "Servers of Socket.IO 2 let nobody in there twice over one connection; force_new=True makes another"
        error = ConnectTimeout(text, socket.io.url, hint=hint)
        if peer is None or not peer.asked(socket) or socket._gives_up:
            self._not_let_in(error)
            return
        # The server may take its time: asked again, it would begin again.
        socket._tell("connect_error", error)
        if socket._peer is peer and not socket.connected and self._timer is None:
            self._wait_for_answer()

    def _not_let_in(self, error: ConnectError) -> None:
        """It is not known whether the server would: tried again soon, unless somebody waits for this very attempt."""
        socket = self._socket
        self.stop()
        socket._step_back()
        socket._last_failure = error
        if socket._gives_up:
            socket._leave("transport error", str(error), error, error)
        else:
            socket.io._enter_later(socket)
            socket._tell("connect_error", error)


def _as_query(auth: Mapping[str, Any] | None) -> str:
    """What protocol 4 has in place of `auth`: a query behind the namespace's name."""
    return f"?{urlencode(dict(auth))}" if auth else ""
