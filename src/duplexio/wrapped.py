"""A server around another ASGI application: its path is the server's, and everything else the application's."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from duplexio.integrations import hosting
from duplexio.integrations.asgi import ENDPOINT, AsgiEndpoint, Receive, Scope, Send
from duplexio.serving import run
from duplexio.workers.supervisor import WORKER_TIMEOUT

if TYPE_CHECKING:
    from duplexio.server import Server

__all__ = ["Wrapped"]

logger = logging.getLogger("duplexio")


class Wrapped:
    """What `Server.wrap` returns."""

    def __init__(self, server: Server, app: Callable[..., Any]) -> None:
        self._server = server
        self._endpoint: AsgiEndpoint = getattr(server, ENDPOINT)
        self.app = app
        setattr(self, ENDPOINT, self._endpoint)
        setattr(self, hosting.CLOSE, server.close)
        setattr(self, hosting.HEALTH, server.health)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif self._endpoint.owns(_relative_path(scope)):
            await self._endpoint(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's own, inside ours; of one that has none, or ends it too early, ours alone."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                state = await stack.enter_async_context(self._server.lifespan(self._server))
            except Exception as error:
                logger.exception("the lifespan failed to start")
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            scope.get("state", {}).update(state or {})
            asked = answered = told = False

            async def end(message: Any) -> None:
                # Who serves may stop the loop at this message: all of ours is to be over by then.
                try:
                    await stack.aclose()
                except Exception as error:
                    logger.exception("the lifespan failed to end")
                    message = {"type": "lifespan.shutdown.failed", "message": str(error)}
                await send(message)

            async def noting_receive() -> Any:
                nonlocal asked, told
                asked = True
                message = await receive()
                told = told or message["type"] == "lifespan.shutdown"
                return message

            async def noting_send(message: Any) -> None:
                nonlocal answered, told
                kind = message["type"]
                if not kind.startswith("lifespan."):
                    # An application that answers whatever it is asked, and has none.
                    raise RuntimeError(f"{kind!r} is no answer to lifespan's messages")
                answered = True
                if kind.startswith("lifespan.shutdown."):
                    await end(message)
                    return
                told = told or kind == "lifespan.startup.failed"
                await send(message)

            try:
                await self.app(scope, noting_receive, noting_send)
            except Exception:
                # The specification's way to say that an application has no lifespan; returning is another that is seen.
                if answered:
                    raise
            if told:
                return
            if answered:
                logger.warning("the wrapped application's lifespan ended before it was told to; Socket.IO goes on")
            else:
                if not asked:
                    await receive()
                await send({"type": "lifespan.startup.complete"})
            await receive()
            await end({"type": "lifespan.shutdown.complete"})

    async def listen(self, host: str = "127.0.0.1", port: int = 0, **uvicorn_options: Any) -> hosting.Listening:
        """See `Server.listen`."""
        await self._server._open_again()
        return await hosting.listen(self, host, port, self._server.close, **uvicorn_options)

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 3000,
        *,
        workers: int = 1,
        worker_timeout: float = WORKER_TIMEOUT,
        **uvicorn_options: Any,
    ) -> None:
        """See `Server.run`."""
        run(self, host, port, workers, worker_timeout, **uvicorn_options)


def _relative_path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
