"""How the events of a socket reach their handlers, and are answered: of a server's socket and of a client's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, Unpack, overload

from duplexio.errors import DuplexioError, EncodeError, EventError
from duplexio.hub.acks import Ack, PendingAcks
from duplexio.hub.context import Context
from duplexio.hub.dedup import Dedup
from duplexio.hub.dispatch import Handler, HandlerOptions, Handlers, check_event_name, make_handler
from duplexio.hub.functions import require_plain
from duplexio.hub.lane import Lane
from duplexio.hub.values import to_arguments, to_value
from duplexio.observe import shown
from duplexio.types import Function

__all__ = ["AnyListener", "Receiver", "call_back", "settle"]

F = TypeVar("F", bound=Function)
AnyListener = Callable[..., object]


class Receiver:
    """What a server's socket and a client's have in common."""

    __slots__ = (
        "_acks",
        "_any",
        "_any_outgoing",
        "_handlers",
        "_lane",
        "_loop",
        "_running",
        "_slow",
        "_special",
        "_tasks",
    )

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._special = True
        self._slow = False
        self._running = 0
        self._lane: Lane | None = None
        self._acks: PendingAcks | None = None
        self._handlers: Handlers | None = None
        self._any: list[AnyListener] | None = None
        self._any_outgoing: list[AnyListener] | None = None
        self._tasks: set[asyncio.Future[Any]] | None = None

    # What differs between the two.

    @property
    def _hub(self) -> Context:
        raise NotImplementedError

    @property
    def _ordered(self) -> bool:
        """Whether a handler is ordered where its registration does not say."""
        raise NotImplementedError

    @property
    def _logged_id(self) -> str:
        """The id as a log may show it."""
        raise NotImplementedError

    @property
    def _logged_namespace(self) -> str:
        raise NotImplementedError

    @property
    def _remote(self) -> str:
        """The other end's address, for the log."""
        raise NotImplementedError

    def _check_event(self, event: str) -> None:
        """Raises ConfigurationError for an event that never comes."""

    def _update(self) -> None:
        """Something was registered: which short ways are open still?"""
        raise NotImplementedError

    def _forget(self, handler: Handler) -> None:
        """It was for one event, which has come."""
        raise NotImplementedError

    def _receive(self, args: list[Any], ack: int | None) -> None:
        """An event arrived: its name, then its arguments."""
        raise NotImplementedError

    def _reply_arguments(self, number: int, arguments: list[Any]) -> None:
        """Sends an acknowledgement. Raises EncodeError."""
        raise NotImplementedError

    def _may_start(self, handler: Handler, args: list[Any]) -> bool:
        """Whether a handler that has waited for its turn is still to be called."""
        return True

    def _pause_reading(self) -> None:
        raise NotImplementedError

    def _resume_reading(self) -> None:
        raise NotImplementedError

    # Registering.

    @overload
    def on(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def on(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Registers a handler of this socket's event; it takes the event's arguments only. See `Namespace.on`."""
        return self._register(event, handler, options, once=False)

    @overload
    def once(self, event: str, **options: Unpack[HandlerOptions]) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, handler: F, **options: Unpack[HandlerOptions]) -> F: ...
    def once(self, event: str, handler: F | None = None, **options: Unpack[HandlerOptions]) -> Any:
        """Like `on`, for the next such event only."""
        return self._register(event, handler, options, once=True)

    def _register(self, event: str, function: Any, options: HandlerOptions, once: bool) -> Any:
        check_event_name(event, "socket")
        if function is None:
            return lambda decorated: self._register(event, decorated, options, once)
        self._check_event(event)
        if self._handlers is None:
            self._handlers = Handlers()
        ordered = self._ordered
        self._handlers.add(
            make_handler(function, event, with_socket=False, once=once, ordered=ordered, options=options)
        )
        self._update()
        return function

    def off(self, event: str | None = None, handler: Function | None = None) -> None:
        """Removes a handler of this socket, all of an event, or all."""
        if self._handlers is not None:
            self._handlers.remove(event, handler)

    def listeners(self, event: str) -> list[Function]:
        """This socket's own handlers of an event."""
        return [] if self._handlers is None else self._handlers.functions(event)

    def on_any(self, listener: AnyListener) -> AnyListener:
        """Calls `listener(event, *args)` for every event that arrives, before its handlers. A plain function."""
        require_plain(listener, "an on_any listener")
        self._any = [*(self._any or ()), listener]
        self._update()
        return listener

    def prepend_any(self, listener: AnyListener) -> AnyListener:
        """Like `on_any`, before those that are there."""
        require_plain(listener, "an on_any listener")
        self._any = [listener, *(self._any or ())]
        self._update()
        return listener

    def off_any(self, listener: AnyListener | None = None) -> None:
        """Removes one, or all."""
        self._any = [known for known in self._any or () if listener is not None and known != listener]
        self._update()

    def listeners_any(self) -> list[AnyListener]:
        """Those of `on_any`, in the order of their calls."""
        return list(self._any or ())

    def on_any_outgoing(self, listener: AnyListener) -> AnyListener:
        """Calls `listener(event, *args)` for every event sent to this client, broadcasts too. A plain function."""
        require_plain(listener, "an on_any_outgoing listener")
        self._any_outgoing = [*(self._any_outgoing or ()), listener]
        self._update()
        return listener

    def prepend_any_outgoing(self, listener: AnyListener) -> AnyListener:
        """Like `on_any_outgoing`, before those that are there."""
        require_plain(listener, "an on_any_outgoing listener")
        self._any_outgoing = [listener, *(self._any_outgoing or ())]
        self._update()
        return listener

    def off_any_outgoing(self, listener: AnyListener | None = None) -> None:
        """Removes one, or all."""
        self._any_outgoing = [known for known in self._any_outgoing or () if listener is not None and known != listener]
        self._update()

    def listeners_any_outgoing(self) -> list[AnyListener]:
        """Those of `on_any_outgoing`, in the order of their calls."""
        return list(self._any_outgoing or ())

    # Running.

    def _call_listener(self, listener: AnyListener, event: str, args: Sequence[Any]) -> None:
        try:
            listener(event, *args)
        except Exception as error:
            self._handler_failed(error, event, None)

    def _run_all(self, handlers: Sequence[Handler], args: list[Any], ack: int | None) -> None:
        # With several, the first that answers is the acknowledgement.
        shared: int | Ack | None = ack
        if len(handlers) > 1 and ack is not None:
            shared = Ack(self._reply_arguments, ack)
        for handler in handlers:
            if handler.once:
                self._forget(handler)
            if handler.dedup is None:
                self._run(handler, args, shared)
            else:
                self._run_once(handler, handler.dedup, args, shared)

    def _run_once(self, handler: Handler, dedup: Dedup, args: list[Any], ack: int | Ack | None) -> None:
        try:
            admitted = dedup.admit(self, args, ack, self._loop.time())
        except Exception as error:
            self._handler_failed(error, handler.event, ack)
            return
        if admitted is not False:
            self._run(handler, args, admitted)

    def _run(self, handler: Handler, args: list[Any], ack: int | Ack | None) -> None:
        if self._lane is None and not handler.laned:
            running = handler.launch(self, args, ack)
            if running is not None:
                self._in_flight(running)
        else:
            self._make_lane().submit(handler, args, ack)

    def _make_lane(self) -> Lane:
        if self._lane is None:
            self._lane = Lane(self, self._running)
        return self._lane

    def _in_flight(self, running: asyncio.Future[Any]) -> None:
        self._running += 1
        self._keep(running)
        running.add_done_callback(self._flight_ended)
        if self._running >= self._hub.options.max_handlers_in_flight:
            self._make_lane().advance()

    def _flight_ended(self, ended: asyncio.Future[Any]) -> None:
        if self._lane is not None:
            self._lane.ended(ended)
        else:
            self._running -= 1

    def _keep(self, running: asyncio.Future[Any]) -> None:
        """Holds it until it ends; cancels it with the socket where that was asked for."""
        hub = self._hub
        hub.keep(running)
        if hub.options.cancel_on_disconnect:
            if self._tasks is None:
                self._tasks = set()
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)

    # Acknowledging.

    @property
    def _awaited(self) -> int:
        """How many acknowledgements the other end owes."""
        return 0 if self._acks is None else len(self._acks)

    def _pending_acks(self) -> PendingAcks:
        if self._acks is None:
            hub = self._hub
            self._acks = PendingAcks(hub.wheel, hub.options.max_pending_acks, hub.options_owner)
        return self._acks

    def _reply(self, ack: int | Ack, value: Any, event: str) -> None:
        """What a handler of `event` returned is its acknowledgement."""
        try:
            if isinstance(ack, Ack):
                if ack.answered:
                    self._hub.reporter.fault("late_ack", self._remote, "a second handler answered an event")
                else:
                    ack(*to_arguments(value))
            else:
                self._reply_arguments(ack, to_arguments(value))
        except EncodeError as error:
            self._handler_failed(error, event, None)

    async def _answer(
        self, number: int, event: str, timeout: float, deliver: Callable[..., object], *arguments: Any
    ) -> Any:
        """Waits for the acknowledgement of what `deliver(*arguments)` sends; see `emit_with_ack`."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        pending = self._acks if self._acks is not None else self._pending_acks()
        pending.expect(number, event, partial(settle, future), timeout)
        try:
            deliver(*arguments)
            if self._lane is not None:
                self._lane.advance()
            return to_value(await future)
        except BaseException:
            # Cancelled, or it could not be sent.
            pending.forget(number)
            raise

    def _acknowledged(self, number: int, arguments: list[Any]) -> None:
        """The other end acknowledged an event of ours."""
        if self._acks is None or not self._acks.resolve(number, arguments):
            self._hub.reporter.count("unknown_acks")

    def _handler_failed(self, error: BaseException, event: str, ack: int | Ack | None) -> None:
        """A handler raised. Nobody's connection ends for that."""
        if isinstance(error, EventError):
            if ack is not None:
                self._reply(ack, error.args, event)
            return
        if isinstance(ack, Ack):
            ack.fail()
        hub = self._hub
        text = f"the handler of {shown(event)} in {self._logged_namespace} raised for socket {self._logged_id}"
        hub.reporter.failure(text + _hint(error), error)
        hub.tell_error(error, self, event)


def _hint(error: BaseException) -> str:
    """For who knows an API in which `emit` is awaited: Python's own words do not say what to do."""
    text = str(error) if isinstance(error, TypeError) else ""
    if "NoneType" in text and "await" in text:
        return "; emit, join, leave and their relatives are not awaited: take the await away"
    return ""


def settle(future: asyncio.Future[list[Any]], error: DuplexioError | None, arguments: list[Any]) -> None:
    """Tells whoever awaits `future` of an acknowledgement."""
    if future.done():
        return
    if error is None:
        future.set_result(arguments)
    else:
        future.set_exception(error)


def call_back(
    hub: Context,
    event: str,
    callback: Callable[..., object],
    with_error: bool,
    error: DuplexioError | None,
    arguments: list[Any],
) -> None:
    """Calls the `ack` callback of `emit` as the JavaScript API does: with the error first where a timeout was given."""
    if error is not None and not with_error:
        return
    hub.run(
        callback,
        [error, *arguments] if with_error else arguments,
        lambda raised: hub.reporter.failure(f"the acknowledgement callback of {event!r} raised", raised),
    )
