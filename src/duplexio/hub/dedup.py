"""Processed once: an event that a client sends again, since it heard no answer, gets the first one's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from duplexio.errors import ConfigurationError
from duplexio.hub.acks import Ack
from duplexio.hub.functions import positional_range, require_plain
from duplexio.observe import shown

if TYPE_CHECKING:
    from duplexio.hub.receiver import Receiver

__all__ = ["Dedup"]

#: Keys remembered of one handler; the oldest go. A window of two minutes at 800 events a second.
MAX_KEYS = 100_000
#: Who waits for the answer of one key. A client that hears nothing tries again every few seconds, a few times: so many
#: tries would take it longer than most windows.
MAX_WAITING = 100
#: Characters of a text in a key. Ids have a few dozen; of a longer text its digest is remembered, since a client could
#: fill the memory with its own.
MAX_TEXT = 128

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

    The key is called with what the handler of `event` takes, which is `required` to `allowed` arguments.
    """

    __slots__ = ("_event", "_firsts", "_key", "_least", "_most", "_told", "_window")

    def __init__(self, key: Callable[..., Hashable], window: float, event: str, required: int, allowed: int) -> None:
        require_plain(key, "dedup")
        if not window > 0:
            raise ConfigurationError(f"window={window!r}: expected seconds")
        self._least, self._most = _arguments(key, required, allowed)
        self._event = event
        self._key = key
        self._told = False
        self._window = window
        self._firsts: dict[Hashable, _First] = {}

    def admit(self, socket: Receiver, args: list[Any], ack: int | Ack | None, now: float) -> Ack | int | bool | None:
        """What the handler is to answer with, or False for a repeat, which is seen to."""
        key = self._key_of(socket, args)
        if key is None:
            return ack
        try:
            hash(key)
        except TypeError as error:
            self._unhashable(socket, key, error)
            return False
        key = _kept(key)
        self._forget_old(now)
        first = self._firsts.get(key)
        reply = _reply_of(socket, ack)
        if first is not None:
            socket._hub.reporter.count("duplicates")
            if reply is not None and first.answer is not None:
                reply[0](reply[1], first.answer)
            elif reply is not None and len(first.waiting) < MAX_WAITING:
                first.waiting.append(reply)
            elif reply is not None:
                socket._hub.reporter.count("duplicates_dropped")
            return False
        first = self._firsts[key] = _First(now + self._window)
        if reply is not None:
            first.waiting.append(reply)

        def answered(_: int, answer: list[Any]) -> None:
            first.answer = answer
            waiting, first.waiting = first.waiting, []
            for send, number in waiting:
                send(number, answer)

        def failed() -> None:
            # It may have outlived the window, and another be the first since.
            if self._firsts.get(key) is first:
                del self._firsts[key]

        return Ack(answered, 0, failed=failed)

    def _key_of(self, socket: Receiver, args: list[Any]) -> Hashable:
        # As a handler gets them: how many a client sends is its own affair.
        values = args[1 : self._most + 1]
        return self._key(socket, *values, *[None] * (self._least - len(values)))

    def _unhashable(self, socket: Receiver, key: object, error: TypeError) -> None:
        """The event is dropped: nobody knows whether it is a repeat. A client may send it for ever, so said once."""
        hub = socket._hub
        hub.reporter.count("handler_errors")
        if not self._told:
            self._told = True
            hub.reporter.error(
                f"dedup of {shown(self._event)} in {socket._logged_namespace}: {_name(self._key)} gave {shown(key)},"
                " which cannot be hashed; let it return a str, a number or a tuple of them, such as str(...) of what a"
                " client sent. The event was dropped (said once per handler)"
            )
        hub.tell_error(error, socket, self._event)

    def _forget_old(self, now: float) -> None:
        # In order of arrival, and of one window, so the oldest are first.
        while self._firsts:
            key = next(iter(self._firsts))
            if self._firsts[key].expires > now and len(self._firsts) < MAX_KEYS:
                break
            del self._firsts[key]


def _reply_of(socket: Receiver, ack: int | Ack | None) -> tuple[Reply, int] | None:
    if isinstance(ack, int):
        return socket._reply_arguments, ack
    if ack is not None and ack.wanted:
        return lambda _, answer: ack(*answer), 0
    return None


def _kept(key: Hashable) -> Hashable:
    """The key as it is remembered."""
    if isinstance(key, tuple):
        return tuple(map(_kept, key))
    if isinstance(key, str | bytes) and len(key) > MAX_TEXT:
        data = key.encode(errors="surrogatepass") if isinstance(key, str) else key
        return type(key), hashlib.sha256(data).digest()
    return key


def _arguments(key: Callable[..., Hashable], required: int, allowed: int) -> tuple[int, int]:
    """The fewest and the most that the key takes behind the socket."""
    what = "the key function of dedup takes what its handler does, the socket first"
    least, most = positional_range(key, what)
    if most < required + 1 or least > allowed + 1:
        count = required + 1 if most < required + 1 else allowed + 1
        raise ConfigurationError(f"{_name(key)} cannot be called with {count} arguments: {what}")
    return max(least - 1, 0), most - 1


def _name(key: Callable[..., Hashable]) -> str:
    return getattr(key, "__qualname__", repr(key))
