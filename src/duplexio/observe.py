"""The one seam for metrics, traces and the admin page, and the log of what clients did wrong.

Nothing else in the library imports a metrics or tracing package; they implement `Observer`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from duplexio.errors import ConfigurationError

__all__ = ["Counts", "Observer", "Reporter", "own_counts", "shown", "without_secrets"]

#: How many pairs of cause and address the once-only log remembers: enough for a busy site's misfits in a day,
#: some 2 MB at most. The oldest go first.
REMEMBERED_CAUSES = 10_000
#: How much of a client's text a log line shows.
SHOWN_CHARACTERS = 120


class Observer(Protocol):
    """What watches a server. Called on the event loop, synchronously: it must be quick and must not raise."""

    def count(self, name: str, amount: int = 1) -> None:
        """`amount` more of what `name` says, such as `packets_dropped` or `fault.parse_error`.

        Names come from a fixed set in the code, never from a client's text, so a metric's cardinality is bounded.
        """


class Counts:
    """The default observer: plain totals, to read as a mapping."""

    __slots__ = ("_totals",)

    def __init__(self) -> None:
        self._totals: Counter[str] = Counter()

    def count(self, name: str, amount: int = 1) -> None:
        self._totals[name] += amount

    def snapshot(self) -> Mapping[str, int]:
        """All totals so far, as a copy."""
        return dict(self._totals)

    def __getitem__(self, name: str) -> int:
        return self._totals[name]


def own_counts(observer: Observer) -> Counts:
    """The default observer. Raises ConfigurationError where another one was given."""
    if not isinstance(observer, Counts):
        raise ConfigurationError(f"observer={observer!r} counts: ask it")
    return observer


class Reporter:
    """Counts what went wrong and logs it: a warning once per cause and address, at debug level after that."""

    __slots__ = ("_logger", "_observer", "_seen")

    def __init__(self, observer: Observer, logger: logging.Logger) -> None:
        self._observer = observer
        self._logger = logger
        self._seen: dict[tuple[str, str], None] = {}

    def count(self, name: str, amount: int = 1) -> None:
        self._observer.count(name, amount)

    def fault(self, cause: str, address: str, text: str) -> None:
        """A client did what it should not: `cause` is the counter's name, `text` says what was seen and what helps."""
        self._observer.count("fault." + cause)
        # A proxy hands on what the client claims to be.
        address, text = one_line(address[:SHOWN_CHARACTERS]), one_line(text)
        if self._first(cause, address):
            self._logger.warning("%s: %s (said once per cause and address)", address, text)
        else:
            self._logger.debug("%s: %s", address, text)

    def _first(self, cause: str, where: str) -> bool:
        """Whether it is to be said: it was not, or so long ago that it is forgotten."""
        key = (cause, where)
        if key in self._seen:
            return False
        if len(self._seen) >= REMEMBERED_CAUSES:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True

    def unheard(self, where: str, text: str, loudly: bool) -> None:
        """An event nobody listens to: no fault, but the commonest mistake of a program that is being written."""
        self._observer.count("unheard_events")
        if self._first("unheard", where):
            self._logger.log(logging.WARNING if loudly else logging.DEBUG, "%s", one_line(text))

    def before_the_start(self, event: str) -> None:
        """An event of a server that does not serve: a mistake where another process was meant to send it."""
        if self._first("before_the_start", ""):
            text = "emitted before this server has started, or in a process in which it never does: nobody hears it"
            self._logger.warning("%s was %s (said once)", shown(event), text)

    def attempt_failed(self, text: str) -> None:
        """A connection that is going to be tried again: a warning for each cause, and once."""
        self._observer.count("attempts_failed")
        self._logger.log(logging.WARNING if self._first("attempt", text) else logging.DEBUG, "%s", one_line(text))

    def failure(self, text: str, error: BaseException) -> None:
        """The user's code raised: logged with its traceback, every time."""
        self._observer.count("handler_errors")
        self._logger.error(text, exc_info=error)

    def note(self, text: str, quietly: bool = False) -> None:
        """What is worth knowing, and nobody's fault; at debug level where it is `quietly`."""
        self._logger.log(logging.DEBUG if quietly else logging.INFO, "%s", one_line(text))

    def warning(self, text: str) -> None:
        self._logger.warning(text)

    def error(self, text: str) -> None:
        self._logger.error(text)


def one_line(text: str) -> str:
    """A text that may hold a client's, for a log in which a line is a line."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shown(value: object) -> str:
    """`value` as a log line may show it: escaped, and cut where it is long."""
    try:
        text = repr(value[: SHOWN_CHARACTERS + 1] if isinstance(value, bytes | str) else value)
    except RecursionError:
        # JSON's decoder nests deeper than Python writes.
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def without_secrets(url: str) -> str:
    """The URL as a message may show it: without user, password and query. It need not be one that can be used."""
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        scheme, rest = "", scheme
    # A password may have any character, written as it should be or not: nothing in front of the last @ is shown.
    return f"{scheme}{slashes}{rest.rpartition('@')[2].partition('?')[0]}"
