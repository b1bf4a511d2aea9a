"""Giving a connection away: its descriptor goes to the worker that has the session, with the request that was read.

Only what lives on is worth that: a WebSocket. The bytes of a request are read already, so they go along. It is given
away once: whoever gets it answers it, whatever the answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from duplexio.engine.server import EngineServer
from duplexio.engine.transport import NOBODY
from duplexio.engine.websocket_deflate import accept_websocket
from duplexio.protocol.engine_handshake import BAD_REQUEST, Refusal, Request
from duplexio.protocol.websocket_handshake import refusing, switching_protocols, websocket_key
from duplexio.workers.frame_stream import FrameStream
from duplexio.workers.relay_message import (
    MAX_HEAD,
    PIECE,
    Hello,
    Kind,
    RelayError,
    headers_of,
    hello,
    pack,
    pack_request,
    unpack,
    unpack_request,
    write_frames,
)
from duplexio.workers.relayed_request import decide
from duplexio.workers.run_directory import Gone, Unreachable, dial

__all__ = ["Adoption", "pass_on"]

#: Seconds that the rest of the message may take; it was sent in one piece.
MESSAGE_TIMEOUT = 5.0


Headers = list[tuple[bytes, bytes]]


def pass_on(
    folder: Path, tag: str, request: Request, descriptor: int, leftover: bytes, headers: Headers | None
) -> bool:
    """See `engine.neighbour.Neighbour`."""
    if headers is None:
        kind, payload = Kind.ADOPT, pack_request(request, leftover)
    else:
        words = [word for header in headers for word in header]
        kind, payload = Kind.ADOPT_WITH, pack_request(request, leftover, pack(words))
    if len(payload) > PIECE:
        # More than what a socket that nobody has read from yet takes for certain.
        return False
    message = b"".join((hello(Hello.DESCRIPTOR), *write_frames(kind, 0, payload)))
    try:
        with dial(folder, tag) as connection:
            return socket.send_fds(connection, [message], [descriptor]) == len(message)
    except (Gone, Unreachable, OSError):
        return False


class Adoption(FrameStream):
    """The message that came with a descriptor, up to the answer to the handshake."""

    def __init__(
        self,
        engine: EngineServer,
        early: bytes,
        passed: socket.socket,
        ended: Callable[[Adoption], None],
    ) -> None:
        super().__init__(engine, MAX_HEAD, early)
        self._passed: socket.socket | None = passed
        self._told_ended = ended
        self._task: asyncio.Task[None] | None = None
        self._timer = engine.loop.call_later(MESSAGE_TIMEOUT, self._too_late)

    def received(self, kind: Kind, number: int, payload: bytes) -> None:
        passed = self._passed
        if kind not in (Kind.ADOPT, Kind.ADOPT_WITH) or passed is None:
            raise RelayError(f"a frame of kind {kind.name} with a descriptor")
        headers: Headers | None = None
        if kind is Kind.ADOPT:
            request, (leftover,) = unpack_request(payload, 1)
        else:
            request, (leftover, words) = unpack_request(payload, 2)
            headers = headers_of(unpack(words))
        self._passed = None
        self._task = self.engine.loop.create_task(self._adopt(passed, request, leftover, headers))

    def ended(self) -> None:
        self._timer.cancel()
        self._told_ended(self)
        if self._passed is not None:
            self._passed.close()
            self._passed = None

    def _too_late(self) -> None:
        if self._passed is not None:
            self.break_off(f"a descriptor came without its message in {MESSAGE_TIMEOUT:g} s")

    async def _adopt(self, passed: socket.socket, request: Request, leftover: bytes, headers: Headers | None) -> None:
        passed.setblocking(False)
        try:
            raw, _ = await self.engine.loop.connect_accepted_socket(_Held, passed)
        except (OSError, ValueError):
            passed.close()
            return
        held = cast(_Held, raw.get_protocol())
        try:
            self._answer(raw, request, leftover, headers, held)
        except Exception as error:
            # Headers that are no text, say. Nothing is read from it yet: that its client goes would not be seen.
            raw.abort()
            self.engine.reporter.failure("the handshake of a WebSocket was not answered", error)

    def _answer(
        self, raw: asyncio.Transport, request: Request, leftover: bytes, headers: Headers | None, held: _Held
    ) -> None:
        engine = self.engine
        key = websocket_key(request)
        verdict = decide(engine, request)
        if key is None or not request.websocket:
            verdict = Refusal(BAD_REQUEST, "relay_without_sid", "a relayed WebSocket without a session id")
        if isinstance(verdict, Refusal):
            engine.refuse(request, verdict)
            answer = [(b"content-type", b"text/html"), *engine.hint_headers(verdict)]
            raw.write(refusing(verdict.status or 400, verdict.text.encode(), answer))
            raw.close()
            return
        assert key is not None
        transport, extensions = accept_websocket(request, engine.options, NOBODY)
        if headers is None:
            headers = engine.response_headers(request)
        raw.write(switching_protocols(key, [*headers, *extensions]))
        engine.adopted.add(transport)
        transport.on_lost = engine.adopted.discard
        transport.attach(raw)
        engine.open_websocket(request, transport, "", verdict)
        early = leftover + bytes(held.early)
        if early:
            transport.feed(early)
        with contextlib.suppress(RuntimeError):
            raw.resume_reading()


class _Held(asyncio.Protocol):
    """A connection until it is known what it becomes: nothing is read from it."""

    def __init__(self) -> None:
        self.early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).pause_reading()

    def data_received(self, data: bytes) -> None:
        self.early += data
