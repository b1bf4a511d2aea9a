"""Listeners of what is no packet: plain functions, or async ones that run as tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from duplexio.errors import ConfigurationError
from duplexio.hub.context import Context
from duplexio.types import Function

__all__ = ["Listeners"]


class Listeners:
    """By event, of the events that there are."""

    __slots__ = ("_context", "_events", "_table", "_what")

    def __init__(self, what: str, events: Collection[str], context: Context) -> None:
        self._what = what
        self._events = events
        self._context = context
        self._table: dict[str, list[tuple[Function, bool]]] = {}

    def add(self, event: str, listener: Function, once: bool = False) -> None:
        """Raises ConfigurationError for an event that there is not."""
        if event not in self._events:
            raise ConfigurationError(f"{self._what} has no event {event!r}; it has {', '.join(self._events)}")
        if not callable(listener):
            raise ConfigurationError(f"the listener of {event!r} must be a function, not {listener!r}")
        self._table.setdefault(event, []).append((listener, once))

    def remove(self, event: str | None, listener: Function | None) -> None:
        """One, all of an event, or all."""
        for name in list(self._table) if event is None else [event]:
            kept = [known for known in self._table.get(name, ()) if listener is not None and known[0] != listener]
            self._table[name] = kept

    def functions(self, event: str) -> list[Callable[..., Any]]:
        return [listener for listener, _ in self._table.get(event, ())]

    def tell(self, event: str, *arguments: Any) -> None:
        """Calls them, in order of registration. What one raises is logged."""
        for known in list(self._table.get(event, ())):
            listener, once = known
            if known not in self._table.get(event, ()):
                # Removed by one before it.
                continue
            if once:
                self._table[event].remove(known)
            self._context.run(listener, arguments, partial(self._failed, event))

    def _failed(self, event: str, error: BaseException) -> None:
        self._context.reporter.failure(f"a listener of {self._what}'s {event!r} raised", error)
