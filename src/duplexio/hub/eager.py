"""Starting a coroutine in the call that makes it: a handler that never suspends costs no turn of the loop.

Python 3.12 has `eager_start`. On 3.11 the one `call_soon` that a task's constructor makes is caught, and called: the
task is a real one, so timeouts, task groups and cancel scopes entered in its first step hold after it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

__all__ = ["start"]

if sys.version_info >= (3, 12):

    def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """A task whose first step has run; it may be done."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

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
