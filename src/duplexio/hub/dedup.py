"""Processed once: an event that a client sends again, since it heard no answer, gets the first one's answer."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from duplexio.errors import ConfigurationError
from duplexio.hub.acks import Ack
from duplexio.hub.functions import require_plain

if TYPE_CHECKING:
    from duplexio.hub.socket import Socket

__all__ = ["Dedup"]

#: Keys remembered of one handler; the oldest go. A window of two minutes at 800 events a second.
MAX_KEYS = 100_000

#: Sends an acknowledgement by its id.
Reply = Callable[[int, list[Any]], None]


class _First:
    """The first event of a key: its answer, or who waits for it."""

    __slots__ = ("answer", "expires", "waiting")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.answer: list[Any] | None = None
        self.waiting: list[tuple[Reply, int]] = []


class Dedup:
    """Of one handler. `key` names an event by socket and arguments; None: it is like no other.

    A repeat within `window` seconds of the first, on whatever socket, does not reach the handler. One whose handler
    failed is forgotten, so that trying again helps.
    """

    __slots__ = ("_firsts", "_key", "_window")

    def __init__(self, key: Callable[..., Hashable], window: float) -> None:
        require_plain(key, "dedup")
        if not window > 0:
            raise ConfigurationError(f"window={window!r}: expected seconds")
        self._key = key
        self._window = window
        self._firsts: dict[Hashable, _First] = {}

    def admit(self, socket: Socket, args: list[Any], ack: int | Ack | None, now: float) -> Ack | int | bool | None:
        """What the handler is to answer with, or False for a repeat, which is seen to."""
        key = self._key(socket, *args[1:])
        if key is None:
            return ack
        self._forget_old(now)
        first = self._firsts.get(key)
        reply = _reply_of(socket, ack)
        if first is not None:
            socket.nsp.hub.reporter.count("duplicates")
            if reply is not None and first.answer is not None:
                reply[0](reply[1], first.answer)
            elif reply is not None:
                first.waiting.append(reply)
            return False
        first = self._firsts[key] = _First(now + self._window)
        if reply is not None:
            first.waiting.append(reply)

        def answered(_: int, answer: list[Any]) -> None:
            first.answer = answer
            waiting, first.waiting = first.waiting, []
            for send, number in waiting:
                send(number, answer)

        return Ack(answered, 0, failed=lambda: self._firsts.pop(key, None))

    def _forget_old(self, now: float) -> None:
        # In order of arrival, and of one window, so the oldest are first.
        while self._firsts:
            key = next(iter(self._firsts))
            if self._firsts[key].expires > now and len(self._firsts) < MAX_KEYS:
                break
            del self._firsts[key]


def _reply_of(socket: Socket, ack: int | Ack | None) -> tuple[Reply, int] | None:
    if isinstance(ack, int):
        return socket._reply_arguments, ack
    if ack is not None and ack.wanted:
        return lambda _, answer: ack(*answer), 0
    return None
