"""Applications served in the loop of the test: by uvicorn with our classes, and by uvicorn alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn

from duplexio import Server
from duplexio.integrations import hosting

#: Serves an application beside the server that closes with it; gives host and port as `127.0.0.1:1234`.
Host = Callable[..., AbstractAsyncContextManager[str]]


async def wait_until(condition: Callable[[], object]) -> None:
    """Until it holds, within ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def fast(app: Any, io: Server, **options: Any) -> AsyncIterator[str]:
    """Our protocol classes, as `duplexio run` has them."""
    async with await hosting.listen(app, "127.0.0.1", 0, io.close, **options) as listening:
        yield f"127.0.0.1:{listening.port}"


@contextlib.asynccontextmanager
async def plain(
    app: Any, io: Server, http: Any = "httptools", ws: Any = "websockets-sansio", **options: Any
) -> AsyncIterator[str]:
    """uvicorn as it comes."""
    # asyncio sends small writes at once only where the socket says that it is TCP's.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        settings = {"log_level": "warning", "access_log": False, **options}
        server = uvicorn.Server(uvicorn.Config(app, http=http, ws=ws, timeout_graceful_shutdown=5, **settings))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await wait_until(lambda: server.started or serving.done())
            assert server.started, "uvicorn did not start"
            yield f"127.0.0.1:{listener.getsockname()[1]}"
            await io.close()
        finally:
            server.should_exit = True
            await asyncio.wait((serving,), timeout=10)
            assert serving.done(), "uvicorn did not end"
