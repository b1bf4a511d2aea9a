"""Each test runs once per hosting, which is also what names its event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.middleware import Middleware

from duplexio import Server

from .stage import HOSTINGS, Log, Stage

#: On which loop a server runs where it is installed as documented.
production_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):
    from uvloop import new_event_loop

    production_loop = new_event_loop

#: The hosting of the loop that was made last: the one that the test at hand runs in.
_hosting = ""


def _loop_of(hosting: str) -> Callable[[], asyncio.AbstractEventLoop]:
    def new_loop() -> asyncio.AbstractEventLoop:
        global _hosting
        _hosting = hosting
        return production_loop() if hosting in ("fast", "listen") else asyncio.new_event_loop()

    return new_loop


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hostings(*names): where a test runs, if not in the usual two hostings")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("hostings")
    names = ("fast", "asgi") if marker is None else marker.args
    assert set(names) <= set(HOSTINGS)
    return {name: _loop_of(name) for name in names}


class Start(Protocol):
    """Starts a server with these options; a witness echoes while the test runs."""

    def __call__(
        self, *, witness: bool = True, middleware: list[Middleware] | None = None, **options: Any
    ) -> Awaitable[Stage]: ...


@pytest.fixture
def log() -> Iterator[Log]:
    handler = Log()
    handler.install()
    yield handler
    handler.remove()


@pytest.fixture
async def start(log: Log, tmp_path: Path) -> AsyncIterator[Start]:
    stages: list[Stage] = []

    async def begin(*, witness: bool = True, middleware: list[Middleware] | None = None, **options: Any) -> Stage:
        defaults: dict[str, Any] = {"handle_signals": False, "drain_seconds": 0, "client_directory": tmp_path}
        stage = Stage(_hosting, Server(**{**defaults, **options}), log)
        stages.append(stage)
        await stage.serve(witness, middleware or [])
        return stage

    yield begin
    for stage in stages:
        await stage.close()
