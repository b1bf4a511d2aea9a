"""Handlers, and how each is called: read from its signature once, at registration.

A handler is one of three kinds: an `async def` starts in the call that received the event; a `def` runs in a thread;
a `def` registered with `inline=True` runs on the loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from duplexio.errors import ConfigurationError
from duplexio.hub.acks import Ack
from duplexio.hub.dedup import Dedup
from duplexio.hub.eager import call, never_suspends, start
from duplexio.hub.functions import UNBOUNDED, is_async
from duplexio.types import Function

if TYPE_CHECKING:
    from duplexio.hub.receiver import Receiver

__all__ = ["Handler", "HandlerOptions", "Handlers", "check_event_name", "make_handler"]

Kind = Literal["async", "thread", "inline"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes, without the socket and the `ack` parameter."""

    required: int
    allowed: int
    #: Where the `ack` parameter stands among the others; None: there is none.
    ack_index: int | None
    ack_name: str
    #: Whether it can only be given by name.
    ack_keyword: bool
    #: Whether nothing is awaited in its code, so that it needs no task.
    never_suspends: bool


#: By code object and hints: a handler registered inside a `connection` handler is a new function each time.
_signatures: dict[Any, Signature] = {}
#: Functions made by `exec` or decorators may bring new code for ever.
_SIGNATURES_KEPT = 10_000


def _signature(function: Function, with_socket: bool) -> Signature:
    if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
        return _read_signature(function, with_socket)
    key = (function.__code__, with_socket, *function.__annotations__.values())
    try:
        known = _signatures.get(key)
    except TypeError:
        # A hint that cannot be a key.
        return _read_signature(function, with_socket)
    if known is None:
        known = _read_signature(function, with_socket)
        if len(_signatures) < _SIGNATURES_KEPT:
            _signatures[key] = known
    return known


def _read_signature(function: Function, with_socket: bool) -> Signature:
    name = getattr(function, "__qualname__", repr(function))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be a handler: {error}") from error
    hints = _hints(function, name)
    if with_socket:
        if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
            raise ConfigurationError(f"{name} takes no argument: a handler of a namespace takes the socket first")
        if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            del parameters[0]
    required = allowed = 0
    ack_index, ack_name, ack_keyword = None, "", False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            allowed = UNBOUNDED
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        elif _is_ack(parameter, hints):
            ack_index, ack_name = allowed, parameter.name
            ack_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.default is inspect.Parameter.empty:
                raise ConfigurationError(f"{name}: no event can fill the keyword-only parameter {parameter.name!r}")
        else:
            allowed += 1
            required += parameter.default is inspect.Parameter.empty
    return Signature(required, allowed, ack_index, ack_name, ack_keyword, never_suspends(function))


def _hints(function: Function, name: str) -> dict[str, Any]:
    annotated: Any = inspect.unwrap(function)
    while isinstance(annotated, functools.partial):
        annotated = annotated.func
    if not inspect.isroutine(annotated):
        # An object: its own annotations are of its attributes.
        annotated = type(annotated).__call__
    annotations = getattr(annotated, "__annotations__", None)
    if not annotations:
        return {}
    try:
        return typing.get_type_hints(annotated)
    except Exception as error:
        unresolved = [key for key, hint in annotations.items() if isinstance(hint, str) and str(error).find(hint) >= 0]
        which = f"parameter {unresolved[0]!r}" if unresolved else "a parameter"
        raise ConfigurationError(
            f"{name}: the type hint of {which} cannot be resolved: {error}."
            " Import its type where the module is run, not only for type checking"
        ) from error


def _is_ack(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return hint is Ack or (hint is None and parameter.name == "ack")


class HandlerOptions(TypedDict, total=False):
    """The options of `on` and `once`."""

    #: A plain function runs on the loop, not in a thread: for one that only computes and emits.
    inline: bool
    #: Each handler of a socket waits for the one before to end.
    ordered: bool
    #: `(socket, *arguments)` to a key: an event with a key that was seen gets the first one's answer.
    dedup: Callable[..., Hashable]
    #: For how many seconds a key is remembered.
    window: float


#: Twice the time that a client with the default settings waits between two tries, and then some.
DEDUP_WINDOW = 120.0


class Handler:
    """A registered function. `launch` calls it for an event; the rest says how."""

    __slots__ = (
        "_exact",
        "dedup",
        "event",
        "function",
        "immediate",
        "kind",
        "laned",
        "once",
        "ordered",
        "signature",
        "with_socket",
    )

    def __init__(
        self,
        function: Function,
        event: str,
        kind: Kind,
        with_socket: bool,
        ordered: bool,
        once: bool,
        dedup: Dedup | None,
    ) -> None:
        self.function = function
        self.event = event
        self.kind: Kind = kind
        self.with_socket = with_socket
        self.ordered = ordered
        self.once = once
        self.dedup = dedup
        self.signature = signature = _signature(function, with_socket)
        #: Whether it has to wait for others, so that a socket's lane decides when it starts.
        self.laned = ordered or kind == "thread"
        #: Whether an event of it can start it and no more.
        self.immediate = not self.laned and not once and dedup is None
        # The length of the event's list where nothing has to be fitted: the name and the arguments.
        plain = signature.ack_index is None and signature.required == signature.allowed
        self._exact = signature.allowed + 1 if plain else -1

    def launch(self, socket: Receiver, args: list[Any], ack: int | Ack | None) -> asyncio.Future[Any] | None:
        """Calls the function with the event's arguments, `args[0]` being the event's name.

        Returns what is still running, or None; the acknowledgement and errors are seen to.
        """
        if self.kind == "async":
            if len(args) == self._exact:
                coroutine: Any = self.function(socket, *args[1:]) if self.with_socket else self.function(*args[1:])
            else:
                positional, keywords, ack = self._fit(socket, args, ack)
                coroutine = self.function(*positional, **keywords)
            if self.signature.never_suspends:
                self._call(coroutine, socket, ack)
                return None
            task = start(coroutine, socket._loop)
            if not task.done():
                task.add_done_callback(lambda ended: self._finish(socket, ended, ack))
                return task
            self._finish(socket, task, ack)
            return None
        if self.kind == "thread":
            positional, keywords, ack = self._fit(socket, args, ack)
            future = socket._hub.threads.run(self.function, positional, keywords)
            future.add_done_callback(lambda ended: self._finish(socket, ended, ack))
            return future
        exact = len(args) == self._exact
        if not exact:
            positional, keywords, ack = self._fit(socket, args, ack)
        try:
            if not exact:
                result = self.function(*positional, **keywords)
            elif self.with_socket:
                result = self.function(socket, *args[1:])
            else:
                result = self.function(*args[1:])
        except (Exception, asyncio.CancelledError) as error:
            socket._handler_failed(error, self.event, ack)
        else:
            if ack is not None and self.signature.ack_index is None:
                socket._reply(ack, result, self.event)
        return None

    def _call(self, coroutine: Any, socket: Receiver, ack: int | Ack | None) -> None:
        try:
            result = call(coroutine, socket._loop, socket._hub.ended_task)
        except asyncio.CancelledError:
            # Raised by the function itself: a task would have been cancelled, which is no failure.
            if isinstance(ack, Ack):
                ack.fail()
        except Exception as error:
            socket._handler_failed(error, self.event, ack)
        else:
            if ack is not None and self.signature.ack_index is None:
                socket._reply(ack, result, self.event)

    def _finish(self, socket: Receiver, ended: asyncio.Future[Any], ack: int | Ack | None) -> None:
        if ended.cancelled():
            if isinstance(ack, Ack):
                ack.fail()
            return
        error = ended.exception()
        if error is not None:
            socket._handler_failed(error, self.event, ack)
        elif ack is not None and self.signature.ack_index is None:
            socket._reply(ack, ended.result(), self.event)

    def _fit(
        self, socket: Receiver, args: list[Any], ack: int | Ack | None
    ) -> tuple[list[Any], dict[str, Any], int | Ack | None]:
        """The arguments as the function takes them: surplus ones dropped, missing ones None. Arity never raises."""
        signature = self.signature
        values = args[1 : signature.allowed + 1]
        if len(values) < signature.required:
            values += [None] * (signature.required - len(values))
        keywords: dict[str, Any] = {}
        if signature.ack_index is not None:
            given = ack if isinstance(ack, Ack) else Ack(socket._reply_arguments, ack)
            ack = given
            if not signature.ack_keyword and signature.ack_index <= len(values):
                values.insert(signature.ack_index, given)
            else:
                keywords[signature.ack_name] = given
        return [socket, *values] if self.with_socket else values, keywords, ack


class Handlers:
    """Handlers by event, in order of registration. Tuples, so that a running dispatch is not disturbed."""

    __slots__ = ("_changed", "table")

    def __init__(self, changed: Callable[[str], None] | None = None) -> None:
        self.table: dict[str, tuple[Handler, ...]] = {}
        self._changed = changed

    def add(self, handler: Handler) -> None:
        self.table[handler.event] = (*self.table.get(handler.event, ()), handler)
        if self._changed is not None:
            self._changed(handler.event)

    def remove(self, event: str | None, function: Function | None = None, handler: Handler | None = None) -> None:
        """One handler, all of a function, all of an event, or all."""
        for name in list(self.table) if event is None else [event]:
            kept = tuple(
                known
                for known in self.table.get(name, ())
                if (handler is not None and known is not handler)
                or (function is not None and known.function != function)
            )
            if kept:
                self.table[name] = kept
            else:
                self.table.pop(name, None)
            if self._changed is not None:
                self._changed(name)

    def functions(self, event: str) -> list[Function]:
        return [handler.function for handler in self.table.get(event, ())]


def check_event_name(event: object, owner: str = "io") -> None:
    """Raises TypeError for what is no name, such as the function under a bare `@io.on`."""
    if not isinstance(event, str):
        name = getattr(event, "__name__", "event")
        raise TypeError(f"on() takes the event's name first, a str, not {event!r}: @{owner}.on({name!r})")
    if event == "*":
        raise ConfigurationError("there is no event '*': on_any(listener) hears every event")


def make_handler(
    function: Function, event: str, *, with_socket: bool, once: bool, ordered: bool, options: HandlerOptions
) -> Handler:
    """A handler of this function; `ordered` where the options do not say.

    Raises ConfigurationError for a signature that no event can fill, TypeError for an `async def` that is to be inline.
    """
    if not callable(function):
        raise ConfigurationError(f"the handler of {event!r} must be a function, not {function!r}")
    unknown = sorted(set(options) - set(HandlerOptions.__annotations__))
    if unknown:
        known = ", ".join(HandlerOptions.__annotations__)
        raise TypeError(f"on() has no option {', '.join(unknown)}; it has {known}")
    inline, asynchronous = options.get("inline", False), is_async(function)
    if inline and asynchronous:
        raise TypeError(f"the handler of {event!r} is an async def; inline=True is for a plain def")
    key = options.get("dedup")
    if key is not None and not with_socket:
        raise ConfigurationError(
            "dedup belongs to a handler of a namespace: a client that tries again is another socket"
        )
    kind: Kind = "async" if asynchronous else "inline" if inline else "thread"
    dedup = None
    if key is not None:
        takes = _signature(function, with_socket)
        dedup = Dedup(key, options.get("window", DEDUP_WINDOW), event, takes.required, takes.allowed)
    return Handler(
        function,
        event,
        kind,
        with_socket,
        options.get("ordered", ordered),
        once,
        dedup,
    )
