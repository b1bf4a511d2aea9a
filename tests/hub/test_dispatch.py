"""Handlers: what of an event reaches a function of which signature, and which functions cannot be handlers."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from duplexio import Ack, ConfigurationError, EventError, Server, Socket
from duplexio.hub.dispatch import Handlers
from duplexio.hub.functions import is_async, require_plain

from .ends import Client, counts, joined, serving, until

if TYPE_CHECKING:
    from decimal import Decimal

Calls = list[Any]


def functions(calls: Calls) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Functions of each shape, by name, and what each notes of an event with the arguments 1, 2, 3."""

    def none(socket: Socket) -> None:
        calls.append([])

    def one(socket: Socket, a: Any) -> None:
        calls.append([a])

    def two(socket: Socket, a: Any, b: Any) -> None:
        calls.append([a, b])

    def exact(socket: Socket, a: Any, b: Any, c: Any) -> None:
        calls.append([a, b, c])

    def more(socket: Socket, a: Any, b: Any, c: Any, d: Any, e: Any) -> None:
        calls.append([a, b, c, d, e])

    def defaults(socket: Socket, a: Any, b: Any = "b", c: Any = "c", d: Any = "d") -> None:
        calls.append([a, b, c, d])

    def rest(socket: Socket, *args: Any) -> None:
        calls.append(list(args))

    def one_and_rest(socket: Socket, a: Any, *args: Any) -> None:
        calls.append([a, *args])

    def only_rest(*args: Any) -> None:
        assert isinstance(args[0], Socket)
        calls.append(list(args[1:]))

    def keywords(socket: Socket, a: Any, *, flag: bool = True, **more: Any) -> None:
        calls.append([a, flag, more])

    def positional_only(socket: Socket, a: Any, b: Any = "b", /) -> None:
        calls.append([a, b])

    return {
        "none": (none, []),
        "one": (one, [1]),
        "two": (two, [1, 2]),
        "exact": (exact, [1, 2, 3]),
        "more": (more, [1, 2, 3, None, None]),
        "defaults": (defaults, [1, 2, 3, "d"]),
        "rest": (rest, [1, 2, 3]),
        "one-and-rest": (one_and_rest, [1, 2, 3]),
        "only-rest": (only_rest, [1, 2, 3]),
        "keywords": (keywords, [1, True, {}]),
        "positional-only": (positional_only, [1, 2]),
    }


def asynchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapped(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return wrapped


NAMES = sorted(functions([]))


@pytest.mark.parametrize("kind", ["async", "inline", "thread"])
@pytest.mark.parametrize("name", NAMES)
async def test_every_arity(name: str, kind: str) -> None:
    calls: Calls = []
    function, expected = functions(calls)[name]
    async with serving() as io:
        if kind == "async":
            io.on("e", asynchronous(function))
        else:
            io.on("e", function, inline=kind == "inline")
        client, _ = joined(io)
        client.emit("e", 1, 2, 3, ack=7)
        assert await client.packet() == "437[]"
    assert calls == [expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [None, "b", "c"]),
        ([1], [1, "b", "c"]),
        ([1, 2], [1, 2, "c"]),
        ([1, 2, 3, 4], [1, 2, 3]),
        ([None, None], [None, None, "c"]),
    ],
)
async def test_missing_and_surplus_arguments(given: list[Any], expected: list[Any]) -> None:
    calls: Calls = []

    async def handler(socket: Socket, a: Any, b: Any = "b", c: Any = "c") -> None:
        calls.append([a, b, c])

    async with serving() as io:
        io.on("e", handler)
        client, _ = joined(io)
        client.emit("e", *given)
    assert calls == [expected]


async def test_a_sockets_own_handler_takes_the_arguments_only() -> None:
    calls: Calls = []
    async with serving() as io:
        client, socket = joined(io)

        @socket.on("a")
        async def a(*args: Any) -> None:
            calls.append(args)

        @socket.on("b")
        async def b() -> None:
            calls.append("b")

        async def c(first: Any, second: Any, third: Any = 3) -> None:
            calls.append((first, second, third))

        assert socket.on("c", c) is c
        client.emit("a", 1, 2)
        client.emit("b", 1)
        client.emit("c", 1)
    assert calls == [(1, 2), "b", (1, None, 3)]


# The `ack` parameter.


async def ack_last(socket: Socket, a: Any, ack: Ack) -> None:
    ack("got", a)


async def ack_first(socket: Socket, ack: Ack, a: Any) -> None:
    ack("got", a)


async def ack_named(socket: Socket, a, ack) -> None:  # type: ignore[no-untyped-def]
    ack("got", a)


async def ack_hinted(socket: Socket, a: Any, answer: Ack) -> None:
    answer("got", a)


async def ack_alone(socket: Socket, ack: Ack) -> None:
    ack("got", 1)


async def ack_after_a_default(socket: Socket, a: Any = 0, b: Any = 0, *, ack: Ack) -> None:
    ack("got", a)


async def ack_with_rest(socket: Socket, *args: Any, ack: Ack) -> None:
    ack("got", *args)


async def ack_before_rest(socket: Socket, ack: Ack, *args: Any) -> None:
    ack("got", *args)


async def ack_between_and_rest(socket: Socket, a: Any, ack: Ack, *args: Any) -> None:
    ack("got", a, *args)


async def ack_keyword_only(socket: Socket, a: Any, *, ack: Ack) -> None:
    ack("got", a)


async def ack_optional(socket: Socket, a: Any = None, answer: Ack = None) -> None:  # type: ignore[assignment]
    answer("got", a)


def ack_in_a_thread(socket: Socket, a: Any, ack: Ack) -> None:
    ack("got", a)


class CallableObject:
    async def __call__(self, socket: Socket, a: Any, answer: Ack) -> None:
        answer("got", a)


class WithMethod:
    async def method(self, socket: Socket, a: Any, answer: Ack) -> None:
        answer("got", a)


ACKED: dict[str, Any] = {
    "last": ack_last,
    "first": ack_first,
    "named": ack_named,
    "hinted": ack_hinted,
    "alone": ack_alone,
    "keyword-only-after-defaults": ack_after_a_default,
    "behind-rest": ack_with_rest,
    "before-rest": ack_before_rest,
    "between-and-rest": ack_between_and_rest,
    "keyword-only": ack_keyword_only,
    "optional": ack_optional,
    "thread": ack_in_a_thread,
    "callable-object": CallableObject(),
    "bound-method": WithMethod().method,
    "partial": functools.partial(ack_last),
}


@pytest.mark.parametrize("given", [(1,), (1, 2), (1, 2, 3, 4)])
@pytest.mark.parametrize("name", ACKED)
async def test_the_ack_parameter(name: str, given: tuple[int, ...]) -> None:
    async with serving() as io:
        io.on("e", ACKED[name])
        client, _ = joined(io)
        client.emit("e", *given, ack=3)
        await until(lambda: client.packets or counts(io).get("handler_errors"))
        taken = ",".join(map(str, given if "rest" in name else given[:1]))
        assert client.take() == [f'433["got",{taken}]']


async def test_an_ack_behind_missing_arguments() -> None:
    async with serving() as io:
        io.on("e", ack_optional)
        client, _ = joined(io)
        client.emit("e", ack=3)
        assert await client.packet() == '433["got",null]'
        io.on("f", ack_last)
        client.emit("f", ack=4)
        assert await client.packet() == '434["got",null]'


@pytest.mark.parametrize("given", [[], [1, 2, 3]])
async def test_an_ack_beside_all_arguments(given: list[Any]) -> None:
    async with serving() as io:
        io.on("e", ack_with_rest)
        client, _ = joined(io)
        client.emit("e", *given, ack=3)
        assert await client.packet() == '433["got"' + "".join(f",{item}" for item in given) + "]"


async def test_a_client_that_asked_for_no_answer_gets_none() -> None:
    seen: list[tuple[bool, bool]] = []

    async def handler(socket: Socket, ack: Ack) -> None:
        ack("got")
        seen.append((ack.wanted, ack.answered))

    async with serving() as io:
        io.on("e", handler)
        client, _ = joined(io)
        client.emit("e")
        assert client.take() == []
        client.emit("e", ack=1)
        assert client.take() == ['431["got"]']
    assert seen == [(False, False), (True, True)]


async def test_an_answer_is_given_once_whenever_the_handler_likes() -> None:
    kept: list[Ack] = []

    async def handler(socket: Socket, ack: Ack) -> str:
        kept.append(ack)
        return "what it returns is not the answer"

    async with serving() as io:
        io.on("e", handler)
        client, _ = joined(io)
        client.emit("e", ack=1)
        await asyncio.sleep(0)
        assert client.take() == []
        assert not kept[0].answered
        kept[0]("late", b"\x01")
        kept[0]("later")
        await asyncio.sleep(0)
        assert client.take() == ['461-1["late",{"_placeholder":true,"num":0}]', b"\x01"]
        assert kept[0].answered


# What is returned.


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, "[]"),
        (1, "[1]"),
        ((1, "a"), '[1,"a"]'),
        ((None,), "[null]"),
        ((), "[]"),
        ([1, 2], "[[1,2]]"),
        ({"a": None}, '[{"a":null}]'),
        (float("nan"), "[null]"),
    ],
)
async def test_what_a_handler_returns_is_the_answer(value: Any, answer: str) -> None:
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket) -> Any:
            return value

        @io.of("/n").on("e")
        async def of_a_namespace(socket: Socket) -> Any:
            return value

        client, _ = joined(io)
        client.join("/n")
        client.emit("e", ack=12)
        client.emit("e", ack=13, namespace="/n")
        assert client.take() == [f"4312{answer}", f"43/n,13{answer}"]
        client.emit("e")
        assert client.take() == []


async def test_binary_answers() -> None:
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket) -> Any:
            return b"\x01", {"b": b"\x02"}

        client, _ = joined(io)
        client.emit("e", ack=5)
        assert client.take() == [
            '462-5[{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}]',
            b"\x01",
            b"\x02",
        ]


async def test_an_answer_that_cannot_be_sent_is_an_error_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Any] = []
    async with serving() as io:
        io.on_error(lambda error, socket, event: errors.append((type(error).__name__, event)))

        @io.on("e")
        async def handler(socket: Socket) -> Any:
            return {1, 2}

        client, _ = joined(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.emit("e", ack=5)
        assert client.take() == []
        assert not client.closed
    assert errors == [("EncodeError", "e")]
    assert "the handler of 'e' in / raised for socket" in caplog.text
    assert caplog.text.count("Traceback") == 1, "one error, not the chain of those that led to it"


async def test_an_emit_that_is_awaited(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket) -> None:
            await socket.emit("f")  # type: ignore[func-returns-value, misc]

        client, _ = joined(io)
        client.emit("e")
        await until(lambda: caplog.text)
    assert "emit, join, leave and their relatives are not awaited" in caplog.text


@pytest.mark.parametrize("event", [5, None, b"e"])
async def test_a_name_that_is_none(event: Any) -> None:
    async with serving() as io:
        client, socket = joined(io)
        for on in io.on, io.once, io.of("/n").on, io.of(re.compile("x")).on, socket.on:
            with pytest.raises(TypeError, match="takes the event's name first"):
                on(event)
        client.drop()


async def test_an_inline_handler_that_raises_what_ends_tasks() -> None:
    async with serving() as io:

        @io.on("e", inline=True)
        def handler(socket: Socket) -> None:
            raise asyncio.CancelledError

        client, _ = joined(io)
        client.emit("e")
        assert not client.closed
        assert counts(io)["handler_errors"] == 1


async def test_a_decorator_without_its_name() -> None:
    async with serving() as io:
        with pytest.raises(TypeError, match=r"@io\.on\('ping'\)"):

            @io.on  # type: ignore[call-overload]
            async def ping(socket: Socket) -> None: ...


# Errors.


@pytest.mark.parametrize("kind", ["async", "suspending", "inline", "thread"])
async def test_a_handler_that_raises(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def plain(socket: Socket, what: str) -> None:
        raise EventError("no", 1) if what == "told" else ValueError("broken")

    async def eager(socket: Socket, what: str) -> None:
        plain(socket, what)

    async def suspending(socket: Socket, what: str) -> None:
        await asyncio.sleep(0)
        plain(socket, what)

    heard: list[Any] = []
    async with serving() as io:
        io.on_error(lambda error, socket, event: heard.append((str(error), socket.id, event)))
        io.on("fence", _fence)
        if kind in ("inline", "thread"):
            io.on("e", plain, inline=kind == "inline")
        else:
            io.on("e", eager if kind == "async" else suspending)
        client, socket = joined(io)
        client.emit("e", "told", ack=1)
        assert await client.packet() == '431["no",1]'
        assert heard == []
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.emit("e", "broken", ack=2)
            client.emit("e", "told")
            await until(lambda: heard)
        assert await client.settled() == []
        assert heard == [("broken", socket.id, "e")]
        assert counts(io)["handler_errors"] == 1
    assert "the handler of 'e' in / raised" in caplog.text
    assert "ValueError: broken" in caplog.text


async def _fence(socket: Socket) -> None: ...


async def test_an_on_error_listener_that_raises_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []
    async with serving() as io:

        @io.on_error
        def failing(error: BaseException, socket: Any, event: str) -> None:
            raise RuntimeError("listener")

        io.on_error(lambda error, socket, event: heard.append(event))

        @io.on("e")
        async def handler(socket: Socket) -> None:
            raise ValueError

        client, _ = joined(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            client.emit("e")
    assert heard == ["e"]
    assert "an on_error listener raised" in caplog.text


async def test_a_handler_that_is_cancelled_answers_nothing() -> None:
    async with serving() as io:

        @io.on("e")
        async def handler(socket: Socket) -> None:
            raise asyncio.CancelledError

        io.on("fence", _fence)
        client, _ = joined(io)
        client.emit("e", ack=1)
        assert await client.settled() == []
        assert not client.closed


# Several handlers of one event.


async def test_all_run_in_order_of_registration_the_namespaces_first() -> None:
    calls: list[str] = []
    async with serving() as io:
        client, socket = joined(io)
        for name in ("own-1", "own-2"):
            socket.on("e", _noting(calls, name, with_socket=False))
        for name in ("nsp-1", "nsp-2"):
            io.on("e", _noting(calls, name, with_socket=True))
        client.emit("e", ack=1)
        assert calls == ["nsp-1", "nsp-2", "own-1", "own-2"]
        assert client.take() == ['431["nsp-1"]']
        assert counts(io)["fault.late_ack"] == 3


def _noting(calls: list[str], name: str, with_socket: bool) -> Callable[..., Any]:
    async def of_a_namespace(socket: Socket) -> str:
        calls.append(name)
        return name

    async def of_a_socket() -> str:
        calls.append(name)
        return name

    return of_a_namespace if with_socket else of_a_socket


async def test_the_first_that_answers_is_the_answer() -> None:
    async with serving() as io:

        @io.on("e")
        async def slow(socket: Socket) -> str:
            await asyncio.sleep(0.01)
            return "slow"

        @io.on("e")
        async def quick(socket: Socket) -> str:
            return "quick"

        io.on("fence", _fence)
        client, _ = joined(io)
        client.emit("e", ack=1)
        assert await client.packet() == '431["quick"]'
        await until(lambda: counts(io).get("fault.late_ack"))
        assert await client.settled() == []


async def test_handlers_share_an_ack_parameter() -> None:
    async with serving() as io:
        io.on("e", ack_last)
        io.on("e", ack_first)
        client, _ = joined(io)
        client.emit("e", 1, ack=1)
        assert client.take() == ['431["got",1]']


async def test_an_event_that_nobody_listens_to_is_never_answered() -> None:
    async with serving() as io:
        io.on("fence", _fence)
        client, _ = joined(io)
        client.emit("nobody", 1, ack=1)
        assert await client.settled() == []


# What cannot be a handler.


def keyword_only(socket: Socket, *, needed: int) -> None: ...


def nothing() -> None: ...


def keyword_first(*, socket: Socket) -> None: ...


async def unresolved(socket: Socket, price: Decimal) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (keyword_only, "keyword-only parameter 'needed'"),
        (nothing, "takes no argument"),
        (keyword_first, "takes no argument"),
        ("not a function", "must be a function"),
        (None, None),
        (unresolved, "parameter 'price' cannot be resolved"),
    ],
)
def test_what_no_event_can_fill_raises_where_it_is_registered(function: Any, text: str | None) -> None:
    io = Server()
    if text is None:
        assert callable(io.on("e", function))
    else:
        with pytest.raises(ConfigurationError, match=text):
            io.on("e", function)
    assert io.listeners("e") == []


def test_a_builtin_without_a_signature() -> None:
    with pytest.raises(ConfigurationError, match="cannot be a handler"):
        Server().on("e", type)


def test_an_async_def_cannot_be_inline() -> None:
    with pytest.raises(TypeError, match="async def"):
        Server().on("e", ack_last, inline=True)


def test_an_unknown_option_of_on() -> None:
    with pytest.raises(TypeError, match="no option sorted"):
        Server().on("e", ack_last, sorted=True)  # type: ignore[call-overload]


@pytest.mark.parametrize("event", ["connect_error", "newListener", "removeListener"])
def test_names_that_never_reach_a_server(event: str) -> None:
    with pytest.raises(ConfigurationError, match="never reaches"):
        Server().on(event, ack_last)


# Other things that can be called.


class Service:
    """An object with annotations of its own, which are not its handler's."""

    store: Decimal
    count: int = 0

    async def __call__(self, socket: Socket, a: Any) -> Any:
        return ["object", a]

    async def method(self, socket: Socket, a: Any) -> Any:
        return ["method", a]

    @classmethod
    async def of_the_class(cls, socket: Socket, a: Any) -> Any:
        return ["class", a]

    @staticmethod
    async def static(socket: Socket, a: Any) -> Any:
        return ["static", a]


class Plain:
    def __call__(self, socket: Socket, a: Any) -> Any:
        return ["plain", a]


async def with_prefix(prefix: str, socket: Socket, a: Any) -> Any:
    return [prefix, a]


async def with_keyword(socket: Socket, a: Any, suffix: str = "none") -> Any:
    return [suffix, a]


def decorated() -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return ["decorated", *(await function(*args))[1:]]

        return wrapper

    return decorate(with_keyword)


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "callable-object": (Service, "object"),
    "plain-callable-object": (Plain, "plain"),
    "bound-method": (lambda: Service().method, "method"),
    "class-method": (lambda: Service.of_the_class, "class"),
    "static-method": (lambda: Service.static, "static"),
    "partial": (lambda: functools.partial(with_prefix, "partial"), "partial"),
    "partial-keyword": (lambda: functools.partial(with_keyword, suffix="kw"), "kw"),
    "partial-of-a-partial": (lambda: functools.partial(functools.partial(with_prefix, "pp")), "pp"),
    "partial-of-a-method": (lambda: functools.partial(Service().method), "method"),
    "decorated": (decorated, "decorated"),
    "lambda": (lambda: lambda socket, a: ["lambda", a], "lambda"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_whatever_can_be_called(name: str) -> None:
    make, expected = OTHERS[name]
    async with serving() as io:
        io.on("e", make())
        client, _ = joined(io)
        client.emit("e", 1, "surplus", ack=1)
        assert await client.packet() == f'431[["{expected}",1]]'


async def test_functions_of_one_text_are_told_apart_by_their_hints() -> None:
    """A signature is read once for each text; hints that a factory filled in differ all the same."""

    def make(kind: Any) -> Callable[..., Any]:
        async def handler(socket: Socket, value: Any) -> Any:
            if isinstance(value, Ack):
                value("ack")
                return None
            return "value"

        handler.__annotations__["value"] = kind
        return handler

    async with serving() as io:
        io.on("a", make(Ack))
        io.on("b", make(int))
        client, _ = joined(io)
        client.emit("a", 1, ack=1)
        client.emit("b", 1, ack=2)
        assert client.take() == ['431["ack"]', '432["value"]']


async def test_hints_that_cannot_be_keys() -> None:
    def make(kind: Any) -> Callable[..., Any]:
        async def handler(socket: Socket, value: Any, ack: Any) -> None:
            assert isinstance(ack, Ack)
            ack(value)

        handler.__annotations__["value"] = kind
        handler.__annotations__["ack"] = Ack
        return handler

    async with serving() as io:
        io.on("a", make(Annotated[int, ["unhashable"]]))
        io.on("b", make(Annotated[str, ["unhashable"]]))
        client, _ = joined(io)
        client.emit("a", 1, ack=1)
        client.emit("b", "x", ack=2)
        assert client.take() == ["431[1]", '432["x"]']


def test_is_async() -> None:
    assert is_async(ack_last)
    assert is_async(Service())
    assert is_async(functools.partial(ack_last))
    assert not is_async(Plain())
    assert not is_async(ack_in_a_thread)
    with pytest.raises(TypeError, match="a thing must be a plain def"):
        require_plain(ack_last, "a thing")
    require_plain(ack_in_a_thread, "a thing")


def test_signatures_of_made_up_functions_are_not_kept_for_ever() -> None:
    from duplexio.hub import dispatch

    before = len(dispatch._signatures)
    for number in range(50):
        made: dict[str, Any] = {}
        exec(f"def handler(socket, a{number}): pass", made)
        Server().on("e", made["handler"])
    assert before <= len(dispatch._signatures) <= min(before + 50, dispatch._SIGNATURES_KEPT)


# on, once, off, listeners.


async def test_once() -> None:
    calls: list[Any] = []
    async with serving() as io:

        @io.once("e")
        async def handler(socket: Socket, a: Any) -> None:
            calls.append(a)

        first, _ = joined(io)
        second, _ = joined(io)
        first.emit("e", 1)
        second.emit("e", 2)
        first.emit("e", 3)
        assert calls == [1]
        assert io.listeners("e") == []


async def test_once_of_a_socket() -> None:
    calls: list[Any] = []
    async with serving() as io:
        client, socket = joined(io)
        socket.once("e", _note(calls))
        socket.on("e", _note(calls))
        client.emit("e", 1)
        client.emit("e", 2)
        assert calls == [1, 1, 2]
        assert len(socket.listeners("e")) == 1


def _note(calls: list[Any]) -> Callable[..., Any]:
    async def note(a: Any) -> None:
        calls.append(a)

    return note


async def test_off() -> None:
    calls: list[str] = []
    a, b = _noting(calls, "a", True), _noting(calls, "b", True)
    async with serving() as io:
        io.on("e", a)
        io.on("e", b)
        io.on("f", a)
        assert io.listeners("e") == [a, b]
        client, _ = joined(io)
        io.off("e", a)
        client.emit("e")
        assert calls == ["b"]
        io.off("e")
        assert io.listeners("e") == []
        io.off("e")
        io.off("never", a)
        client.emit("f")
        assert calls == ["b", "a"]
        io.off()
        client.emit("f")
        assert calls == ["b", "a"]


async def test_off_of_a_bound_method() -> None:
    service = Service()
    async with serving() as io:
        io.on("e", service.method)
        io.off("e", service.method)
        assert io.listeners("e") == []


async def test_off_of_a_socket() -> None:
    calls: list[Any] = []
    async with serving() as io:
        client, socket = joined(io)
        socket.off("e")
        assert socket.listeners("e") == []
        note = _note(calls)
        socket.on("e", note)
        socket.off("e", note)
        client.emit("e", 1)
        assert calls == []


async def test_a_handler_may_be_removed_while_its_event_runs() -> None:
    calls: list[str] = []
    async with serving() as io:

        @io.on("e")
        async def first(socket: Socket) -> None:
            calls.append("first")
            io.off("e")

        io.on("e", _noting(calls, "second", True))
        client, _ = joined(io)
        client.emit("e")
        client.emit("e")
    assert calls == ["first", "second"]


async def test_the_table_alone() -> None:
    changed: list[str] = []
    handlers = Handlers(changed.append)
    handlers.remove("nothing")
    handlers.remove(None)
    assert changed == ["nothing"]
    assert handlers.functions("nothing") == []


async def test_names_of_the_lifecycle_are_out_of_a_packets_reach() -> None:
    calls: list[str] = []
    async with serving() as io:
        io.on("connection", _noting(calls, "connection", True))
        io.on("new_namespace", lambda namespace: calls.append(namespace.name))
        client, _ = joined(io)
        client.emit("connection", ack=1)
        client.emit("new_namespace", ack=2)
        assert not client.closed
        assert client.take() == []
    assert calls == ["connection"]


@pytest.mark.parametrize("name", ["connect", "connection"])
async def test_connection_and_its_synonym(name: str) -> None:
    calls: list[str] = []
    async with serving() as io:
        handler = _noting(calls, name, True)
        io.on(name, handler)
        assert io.listeners("connect") == io.listeners("connection") == [handler]
        joined(io)
        io.off("connection", handler)
        joined(io)
    assert calls == [name]


async def test_all_handlers_of_connection_run() -> None:
    calls: list[str] = []
    async with serving() as io:
        for name in ("first", "second"):
            io.on("connection", _noting(calls, name, True))
        joined(io)
        joined(io)
    assert calls == ["first", "second"] * 2


async def test_events_by_number() -> None:
    """JavaScript's names may be numbers."""
    calls: list[Any] = []
    async with serving() as io:
        io.on("5", _with_socket(calls))
        io.on("1.5", _with_socket(calls))
        client, _ = joined(io)
        client.send("42[5,1]", "42[1.5,2]")
    assert calls == [1, 2]


def _with_socket(calls: list[Any]) -> Callable[..., Any]:
    async def handler(socket: Socket, a: Any) -> None:
        calls.append(a)

    return handler


async def test_client_of_the_ends() -> None:
    """The helper of these tests tells text from attachments."""
    async with serving() as io:
        client = Client(io)
        client.join()
        io.emit("e", b"\x01")
        assert await client.packet() == '451-["e",{"_placeholder":true,"num":0}]'
        assert await client.packet() == b"\x01"
