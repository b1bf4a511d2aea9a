"""Handlers start in the call that received their event, and are ordinary tasks all the same: on both loops."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from duplexio import EventError, Socket
from duplexio.hub.eager import call, ended_task, never_suspends, start

from .ends import joined, serving, until

Log = list[Any]
value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="outside")


def run(runner: asyncio.Runner, main: Callable[[Log], Coroutine[Any, Any, None]]) -> Log:
    log: Log = []
    runner.run(main(log))
    return log


def started(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return start(coroutine, asyncio.get_running_loop())


def test_a_coroutine_that_never_waits_is_done_on_return(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def quick() -> str:
            log.append("ran")
            return "value"

        task = started(quick())
        log.append("returned")
        assert task.done()
        assert task.result() == "value"
        assert await task == "value"

    assert run(runner, main) == ["ran", "returned"]


def test_its_first_step_only_where_it_waits(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def waiting() -> str:
            log.append("first")
            await asyncio.sleep(0)
            log.append("second")
            return "value"

        task = started(waiting())
        log.append("returned")
        assert not task.done()
        assert await task == "value"

    assert run(runner, main) == ["first", "returned", "second"]


def test_an_exception_in_the_first_step_is_the_tasks(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def failing() -> None:
            raise ValueError("first step")

        task = started(failing())
        assert task.done()
        assert isinstance(task.exception(), ValueError)

    run(runner, main)


def test_current_task_is_the_task_itself_before_and_after_waiting(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def who() -> None:
            log.append(asyncio.current_task())
            await asyncio.sleep(0)
            log.append(asyncio.current_task())
            await asyncio.sleep(0.001)
            log.append(asyncio.current_task())

        outer = asyncio.current_task()
        task = started(who())
        assert asyncio.current_task() is outer
        await task
        assert log == [task, task, task]
        assert task in (task, *asyncio.all_tasks())

    run(runner, main)


def test_it_may_be_started_where_no_task_runs(runner: asyncio.Runner) -> None:
    """As a protocol's callback does."""

    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        async def who() -> None:
            log.append(asyncio.current_task() is not None)
            await asyncio.sleep(0)
            log.append("after")

        def callback() -> None:
            assert asyncio.current_task() is None
            task = started(who())
            assert asyncio.current_task() is None
            task.add_done_callback(lambda ended: done.set_result(ended is task))

        loop.call_soon(callback)
        assert await asyncio.wait_for(done, 5)

    assert run(runner, main) == [True, "after"]


def test_nested(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def nested(depth: int) -> None:
            own = asyncio.current_task()
            log.append(f"in {depth}")
            if depth:
                tasks.append(started(nested(depth - 1)))
            assert asyncio.current_task() is own
            log.append(f"out {depth}")
            await asyncio.sleep(0)
            assert asyncio.current_task() is own

        outer = started(nested(3))
        assert log == ["in 3", "in 2", "in 1", "in 0", "out 0", "out 1", "out 2", "out 3"]
        await outer
        await asyncio.gather(*tasks)
        assert len({id(task) for task in (outer, *tasks)}) == 4

    run(runner, main)


def test_the_context_is_a_copy(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def changing() -> None:
            log.append(value.get())
            value.set("changed within")
            await asyncio.sleep(0)
            log.append(value.get())

        value.set("of the caller")
        task = started(changing())
        assert value.get() == "of the caller"
        value.set("changed by the caller")
        await task
        assert value.get() == "changed by the caller"

    assert run(runner, main) == ["of the caller", "changed within"]


def test_timeout_across_a_suspension(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def limited() -> None:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(30)
            except TimeoutError:
                log.append("timed out")
            async with asyncio.timeout(30):
                await asyncio.sleep(0)
            log.append("went on")

        await asyncio.wait_for(started(limited()), 10)

    assert run(runner, main) == ["timed out", "went on"]


def test_timeout_does_not_hit_the_caller(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def limited() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(30)

        task = started(limited())
        await asyncio.sleep(0.05)
        assert isinstance(task.exception(), TimeoutError)
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()

    run(runner, main)


def test_wait_for(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def limited() -> None:
            assert await asyncio.wait_for(asyncio.sleep(0, "value"), 5) == "value"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(30), 0.01)
            log.append("timed out")

        await asyncio.wait_for(started(limited()), 10)

    assert run(runner, main) == ["timed out"]


def test_task_group(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(asyncio.sleep(0, "a"))
                second = group.create_task(asyncio.sleep(0.001, "b"))
            log.append((first.result(), second.result()))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(30))
                    group.create_task(failing())
            except* ValueError:
                log.append("failed")

        async def failing() -> None:
            raise ValueError

        await asyncio.wait_for(started(grouped()), 10)

    assert run(runner, main) == [("a", "b"), "failed"]


def test_anyio_cancel_scope(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def scoped() -> None:
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep(30)
            log.append(scope.cancelled_caught)
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0.01):
                    await anyio.sleep(30)
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 0)
                group.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
            log.append("went on")

        await asyncio.wait_for(started(scoped()), 10)

    assert run(runner, main) == [True, "went on"]


def test_cancelling(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def waiting() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                log.append("cleaned up")

        task = started(waiting())
        task.cancel()
        await asyncio.wait((task,), timeout=5)
        assert task.cancelled()

    assert run(runner, main) == ["cleaned up"]


def test_a_task_that_cancels_itself_in_its_first_step(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def ending() -> None:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            log.append("goes on until it waits")
            await asyncio.sleep(0)
            log.append("never")

        task = started(ending())
        await asyncio.wait((task,), timeout=5)
        assert task.cancelled()

    assert run(runner, main) == ["goes on until it waits"]


def test_callbacks_in_the_first_step_are_called_in_their_turn(runner: asyncio.Runner) -> None:
    """What starting a task catches is that task's own first step, and nothing that runs in it."""

    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()

        async def scheduling() -> None:
            loop.call_soon(log.append, "soon")
            other = asyncio.create_task(noting())
            await other

        async def noting() -> None:
            log.append("another task")

        task = started(scheduling())
        assert log == []
        await task
        assert "call_soon" not in vars(loop)

    assert run(runner, main) == ["soon", "another task"]


def test_loops_are_left_as_they_were_when_a_task_cannot_be_made(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError):
            start("no coroutine", loop)  # type: ignore[arg-type]
        loop.call_soon(log.append, "alive")
        await asyncio.sleep(0)

    assert run(runner, main) == ["alive"]


class Sealed(asyncio.SelectorEventLoop):
    """A loop whose methods nobody replaces, as one in C may be."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "call_soon":
            raise AttributeError("read-only")
        super().__setattr__(name, value)


def test_a_loop_whose_methods_cannot_be_replaced() -> None:
    log: Log = []

    async def main() -> None:
        async def quick() -> str:
            log.append("ran")
            return "value"

        task = started(quick())
        assert await task == "value"

    with asyncio.Runner(loop_factory=Sealed) as sealed:
        sealed.run(main())
    assert log == ["ran"]


# Through the server.


def serve(runner: asyncio.Runner, handler: Callable[..., Awaitable[Any]], check: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with serving() as io:
            io.on("e", handler)
            client, _ = joined(io)
            client.emit("e", ack=1)
            check(client.take())
            await until(lambda: not io._hub.running)

    runner.run(main())


def test_a_handler_that_never_waits_has_answered_before_the_call_returns(runner: asyncio.Runner) -> None:
    async def handler(socket: Socket) -> str:
        return "now"

    def check(packets: Any) -> None:
        assert packets == ['431["now"]']

    serve(runner, handler, check)


def test_a_handler_that_waits_is_held_until_it_ends(runner: asyncio.Runner) -> None:
    import gc

    log: Log = []

    async def main() -> None:
        async with serving() as io:

            @io.on("e")
            async def handler(socket: Socket) -> None:
                waiter = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.02, waiter.set_result, None)
                await waiter
                log.append("ended")

            client, _ = joined(io)
            client.emit("e")
            gc.collect()
            await until(lambda: log)

    runner.run(main())
    assert log == ["ended"]


# What awaits nothing needs no task.


def called(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.get_running_loop()
    return call(coroutine, loop, ended_task(loop))


class Methods:
    async def passes(self, socket: Socket) -> None: ...

    async def waits(self, socket: Socket) -> None:
        await asyncio.sleep(0)

    async def __call__(self, socket: Socket) -> None: ...

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


async def passes(socket: Socket) -> int:
    return sum(number for number in range(3))


async def awaits(socket: Socket) -> None:
    await asyncio.sleep(0)


async def iterates(socket: Socket) -> None:
    async for _ in Aiter():
        pass


async def enters(socket: Socket) -> None:
    async with Methods():
        pass


async def comprehends(socket: Socket) -> list[int]:
    return [number async for number in Aiter()]


async def awaits_in_a_branch(socket: Socket) -> None:
    if socket is None:
        try:
            pass
        finally:
            await asyncio.sleep(0)


async def holds_another(socket: Socket) -> Callable[[], Coroutine[Any, Any, None]]:
    async def inner() -> None:
        await asyncio.sleep(0)

    return inner


def plain(socket: Socket) -> Coroutine[Any, Any, None]:
    return awaits(socket)


class Aiter:
    def __aiter__(self) -> Aiter:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


@pytest.mark.parametrize("function", [passes, holds_another, Methods().passes])
def test_what_awaits_nothing_is_known(function: Callable[..., Any]) -> None:
    assert never_suspends(function)


@pytest.mark.parametrize(
    "function",
    [
        *(awaits, iterates, enters, comprehends, awaits_in_a_branch, plain, Methods().waits),
        # Whose code is another object's, or nobody's.
        *(Methods(), functools.partial(passes), print),
    ],
)
def test_what_may_wait_or_cannot_be_read_gets_a_task(function: Callable[..., Any]) -> None:
    assert not never_suspends(function)


def test_a_call_returns_what_the_function_returns_and_raises_what_it_raises(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def failing() -> None:
            raise ValueError("its own")

        async def stopping() -> None:
            raise StopIteration("not the coroutine's")

        assert called(passes(None)) == 3  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="its own"):
            called(failing())
        with pytest.raises(RuntimeError, match="StopIteration"):
            called(stopping())

    run(runner, main)


def test_a_call_of_what_suspends_after_all_says_so(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        outer = asyncio.current_task()
        with pytest.raises(RuntimeError, match="has suspended"):
            called(awaits(None))  # type: ignore[arg-type]
        assert asyncio.current_task() is outer

    run(runner, main)


def test_a_call_has_a_current_task_and_leaves_the_callers(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        loop = asyncio.get_running_loop()
        outer = asyncio.current_task()

        async def who() -> None:
            own = asyncio.current_task()
            assert own is not None
            assert own is not outer
            assert own.done()
            assert anyio.get_current_task().id

        async def nested() -> None:
            own = asyncio.current_task()
            called(who())
            assert asyncio.current_task() is own

        def callback() -> None:
            assert asyncio.current_task() is None
            called(nested())
            assert asyncio.current_task() is None
            log.append("called back")

        called(nested())
        assert asyncio.current_task() is outer
        loop.call_soon(callback)
        await asyncio.sleep(0.01)

    assert run(runner, main) == ["called back"]


def test_a_call_has_a_context_of_its_own(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def changing() -> None:
            log.append(value.get())
            value.set("changed within")

        value.set("of the caller")
        called(changing())
        log.append(value.get())

    assert run(runner, main) == ["of the caller", "of the caller"]


def test_a_scope_in_a_call_cancels_nobody(runner: asyncio.Runner) -> None:
    async def main(log: Log) -> None:
        async def scoped() -> None:
            with anyio.move_on_after(0) as scope:  # noqa: ASYNC100
                log.append("within")
            with anyio.CancelScope() as other:  # noqa: ASYNC100
                other.cancel()
            assert not scope.cancelled_caught

        for _ in range(3):
            called(scoped())
            await asyncio.sleep(0.01)

        async def starting() -> asyncio.Task[str]:
            return asyncio.get_running_loop().create_task(later())

        async def later() -> str:
            await asyncio.sleep(0)
            return "a task of its own"

        log.append(await called(starting()))

    assert run(runner, main) == ["within"] * 3 + ["a task of its own"]


@pytest.mark.parametrize("waits", [False, True])
def test_with_a_task_or_without_a_handler_ends_alike(runner: asyncio.Runner, waits: bool) -> None:
    """Answers, failures and a cancelling of its own, as the client sees them."""

    async def main() -> None:
        async with serving() as io:
            heard: list[str] = []
            io.on_error(lambda error, *_: heard.append(repr(error)))

            def register(event: str, act: Callable[[], Any]) -> None:
                if waits:

                    async def handler(socket: Socket) -> Any:
                        await asyncio.sleep(0)
                        return act()
                else:

                    async def handler(socket: Socket) -> Any:
                        return act()

                io.on(event, handler)

            def fail() -> None:
                raise ValueError("on purpose")

            def refuse() -> None:
                raise EventError({"code": 7})

            def cancel() -> None:
                raise asyncio.CancelledError

            register("value", lambda: (1, b"two"))
            register("nothing", lambda: None)
            register("fail", fail)
            register("refuse", refuse)
            register("cancel", cancel)
            client, _ = joined(io)
            for number, event in enumerate(("value", "nothing", "fail", "refuse", "cancel"), 1):
                client.emit(event, ack=number)
                await until(lambda: not io._hub.running)
            packets = client.take()
            assert packets == ['461-1[1,{"_placeholder":true,"num":0}]', b"two", "432[]", '434[{"code":7}]']
            assert heard == ["ValueError('on purpose')"]

    runner.run(main())
