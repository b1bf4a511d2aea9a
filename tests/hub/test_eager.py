"""Handlers start in the call that received their event, and are ordinary tasks all the same: on both loops."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from duplexio import Socket
from duplexio.hub.eager import start

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
