"""Starting a coroutine in the call that makes it: a handler that never suspends costs no turn of the loop.

Python 3.12 has `eager_start`. On 3.11 the one `call_soon` that a task's constructor makes is caught, and called: the
task is a real one, so timeouts, task groups and cancel scopes entered in its first step hold after it.

A coroutine in whose code nothing is awaited cannot suspend, and a task is for what suspends: making one, and telling
everybody who asks that it has ended, is a third of what such an event costs. It is run by itself, in a context of its
own as a task would be; who asks for the current task is given one, which has ended.
"""

from __future__ import annotations

import asyncio
import dis
import inspect
import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

__all__ = ["call", "ended_task", "never_suspends", "start"]

#: What CPython compiles `await`, `async for` and `async with` to; a coroutine without any of them runs through.
_SUSPENDING = frozenset(
    ("GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "SEND", "YIELD_VALUE", "YIELD_FROM")
)


def never_suspends(function: Callable[..., Any]) -> bool:
    """Whether it is an `async def` in whose code nothing is awaited; False where its code is not there to be read."""
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return False
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return False
    return not any(step.opname in _SUSPENDING for step in dis.get_instructions(code))


async def _nothing() -> None:
    pass


def ended_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """A task of this loop that has nothing to do, to be current while a call runs."""
    return start(_nothing(), loop)


def _suspended(coroutine: Coroutine[Any, Any, Any]) -> RuntimeError:
    coroutine.close()
    return RuntimeError(f"{coroutine!r} has suspended, though nothing is awaited in its code")


if sys.version_info >= (3, 12):

    def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """A task whose first step has run; it may be done."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

    from asyncio.tasks import _swap_current_task  # type: ignore[attr-defined]

    def call(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, ended: asyncio.Task[None]) -> Any:
        """What the coroutine of a function that `never_suspends` returns; what it raises. `ended`: see `ended_task`."""
        outer = _swap_current_task(loop, ended)
        try:
            copy_context().run(coroutine.send, None)
        except StopIteration as returned:
            return returned.value
        finally:
            _swap_current_task(loop, outer)
        raise _suspended(coroutine)

else:
    from asyncio.tasks import _current_tasks, _enter_task, _leave_task  # type: ignore[attr-defined]

    _caught: list[Any] = []

    def _catch(callback: Any, *_: Any, context: Any = None) -> None:
        _caught.append(context)
        _caught.append(callback)

    def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """A task whose first step has run; it may be done."""
        try:
            loop.call_soon = _catch  # type: ignore[method-assign, assignment]
        except AttributeError:
            # A loop whose methods cannot be replaced: one turn later, and right all the same.
            return loop.create_task(coroutine)
        try:
            task = asyncio.Task(coroutine, loop=loop)
        finally:
            del loop.call_soon
        step, context = _caught.pop(), _caught.pop()
        outer = _current_tasks.get(loop)
        if outer is None:
            context.run(step)
            return task
        _leave_task(loop, outer)
        try:
            context.run(step)
        finally:
            _enter_task(loop, outer)
        return task

    def call(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, ended: asyncio.Task[None]) -> Any:
        """What the coroutine of a function that `never_suspends` returns; what it raises. `ended`: see `ended_task`."""
        outer = _current_tasks.get(loop)
        # What `_enter_task` and `_leave_task` do, without their checks: it is in front of every such handler.
        _current_tasks[loop] = ended
        try:
            copy_context().run(coroutine.send, None)
        except StopIteration as returned:
            return returned.value
        finally:
            if outer is None:
                del _current_tasks[loop]
            else:
                _current_tasks[loop] = outer
        raise _suspended(coroutine)
