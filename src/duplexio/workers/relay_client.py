"""Asking the worker that has a session: all polling requests of this worker for it go over one stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from duplexio.engine.neighbour import Asker
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import BAD_REQUEST, UNKNOWN_SID, Refusal, Request
from duplexio.workers.frame_stream import open_stream
from duplexio.workers.relay_message import (
    MAX_HEAD,
    Frames,
    Kind,
    RelayError,
    pack_request,
    unpack_answer,
    unpack_refusal,
    write_frames,
)

__all__ = ["MAX_UNREAD", "Asked", "Channel", "busy", "gone", "too_large"]

#: Bytes that wait for a neighbour that does not read: a second of its standing still, at a thousand bodies of the usual
#: size. One request is always let through.
MAX_UNREAD = 16 * 1024 * 1024
#: An answer may have the largest packet that the application sends, and nothing bounds that one.
MAX_ANSWER = 1024 * 1024 * 1024


def gone() -> Refusal:
    """Whoever had the session is no more."""
    return Refusal(UNKNOWN_SID, "unknown_sid", "the worker that had the session has ended")


def busy(hint: str) -> Refusal:
    """The client is to come again."""
    return Refusal(BAD_REQUEST, "relay_overload", hint, "Too many relayed requests", status=503)


def too_large(head: int) -> Refusal | None:
    """Why a request with so many bytes besides its body is not handed on: the other end would give up the stream, and
    with it the requests of everybody else."""
    if head <= MAX_HEAD:
        return None
    hint = f"a request head of {head} bytes, for a session of another worker; {MAX_HEAD} are handed on"
    return Refusal(BAD_REQUEST, "head_too_large", hint, "Request head too large", status=431)


class Asked:
    """How many requests of this worker wait for others, all neighbours together."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting = 0


class _Pending:
    __slots__ = ("asker", "poll", "timer")

    def __init__(self, asker: Asker, poll: bool, timer: asyncio.TimerHandle) -> None:
        self.asker = asker
        self.poll = poll
        self.timer = timer


class Channel(asyncio.Protocol):
    """The stream to one neighbour, on a connection that has greeted it. `lost` is called when it has ended."""

    def __init__(self, engine: EngineServer, connection: socket.socket, asked: Asked, lost: Callable[[], None]) -> None:
        self._engine = engine
        self._asked = asked
        self._lost = lost
        self._frames = Frames(MAX_ANSWER)
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._raw: asyncio.Transport | None = None
        #: What was to be written before the loop had made its transport.
        self._early: list[bytes] = []
        self._early_size = 0
        self._ended = False
        self._leaving = False
        self._unwanted = False
        # A neighbour that is stuck answers nothing; its client pings in vain for as long.
        self._patience = engine.options.ping_interval + engine.options.ping_timeout
        # The loop itself keeps no task alive.
        self._opening = engine.loop.create_task(self._open(connection))

    async def _open(self, connection: socket.socket) -> None:
        try:
            await open_stream(connection, self)
        except OSError:
            self._end()

    # What the hosts call.

    def ask(self, request: Request, body: bytes, asker: Asker) -> Callable[[], None]:
        """See `engine.neighbour.Neighbour`."""
        if self._ended:
            asker.unanswered(gone())
            return _nothing
        unread = self._early_size if self._raw is None else self._raw.get_write_buffer_size()
        if self._asked.waiting >= self._engine.options.max_relayed_requests or (
            unread and unread + len(body) > MAX_UNREAD
        ):
            asker.unanswered(
                busy(f"{self._asked.waiting} requests wait for other workers, {unread} bytes for this one")
            )
            return _nothing
        payload = pack_request(request, body)
        refusal = too_large(len(payload) - len(body))
        if refusal is not None:
            asker.unanswered(refusal)
            return _nothing
        self._asked.waiting += 1
        self._number = number = (self._number + 1) & 0xFFFF_FFFF
        poll = request.method == "GET"
        # Not on the engine's wheel, which ends before the last requests for others have come.
        timer = self._engine.loop.call_later(self._patience, self._too_late, number)
        self._pending[number] = _Pending(asker, poll, timer)
        self._engine.reporter.count("relayed_requests")
        self._write(Kind.ASK, number, payload)
        if poll and self._engine.closing:
            self._write(Kind.RELEASE, number, b"")
        return lambda: self._cancel(number)

    def release_polls(self) -> None:
        """Has the polls answered that wait: this worker is about to end, and their clients are to ask another."""
        for number, pending in self._pending.items():
            if pending.poll:
                self._write(Kind.RELEASE, number, b"")

    def leave(self) -> None:
        """This worker closes: the stream ends with the last answer."""
        self._leaving = True
        if not self._pending:
            self._close()

    def _close(self) -> None:
        # From now on another is dialled.
        self._tell_lost()
        self._unwanted = True
        if self._raw is not None:
            self._raw.close()

    def _close_unasked(self) -> None:
        if not self._pending:
            self._close()

    def _cancel(self, number: int) -> None:
        if self._take(number) is not None:
            self._write(Kind.CANCEL, number, b"")

    def _too_late(self, number: int) -> None:
        pending = self._take(number)
        if pending is not None:
            self._write(Kind.CANCEL, number, b"")
            pending.asker.unanswered(busy(f"the session's worker has not answered in {self._patience:g} s"))

    def _take(self, number: int) -> _Pending | None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            self._asked.waiting -= 1
            pending.timer.cancel()
            if self._leaving and not self._pending:
                # Not at once: a cancellation is written yet.
                self._engine.loop.call_soon(self._close_unasked)
        return pending

    def _write(self, kind: Kind, number: int, payload: bytes) -> None:
        for frame in write_frames(kind, number, payload):
            if self._raw is None:
                self._early.append(frame)
                self._early_size += len(frame)
            elif not self._raw.is_closing():
                self._raw.write(frame)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = raw = cast(asyncio.Transport, transport)
        early, self._early = b"".join(self._early), []
        if early:
            raw.write(early)
        if self._unwanted:
            raw.close()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._frames.feed(data):
                self._received(kind, number, payload)
        except RelayError as error:
            self._engine.reporter.count("relay_errors")
            self._engine.reporter.error(f"a neighbouring worker sent what is not understood: {error}")
            if self._raw is not None:
                self._raw.abort()

    def _received(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.ANSWER:
            answer = unpack_answer(payload)
            pending = self._take(number)
            if pending is not None:
                pending.asker.answered(answer)
                if pending.poll:
                    self._write(Kind.WRITTEN, number, b"")
        elif kind is Kind.REFUSE:
            refusal = unpack_refusal(payload)
            pending = self._take(number)
            if pending is not None:
                pending.asker.unanswered(refusal)
        else:
            raise RelayError(f"a frame of kind {kind.name} as an answer")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _tell_lost(self) -> None:
        """Once: there may be another by then."""
        lost, self._lost = self._lost, _nothing
        lost()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._tell_lost()
        for number in list(self._pending):
            pending = self._take(number)
            if pending is not None:
                pending.asker.unanswered(gone())


def _nothing() -> None: ...
