"""One attempt of a client to open a connection: asks what is sent along, opens it in time, and tidies up behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from duplexio.client_options import ClientSettings, TextsSource
from duplexio.client_values import check_texts
from duplexio.engine.client import EngineClient
from duplexio.engine.connection import Connection, Owner
from duplexio.engine.http_client import Cookies
from duplexio.errors import ConfigurationError, ConnectError, ConnectTimeout
from duplexio.hub.context import Context, is_cancelled
from duplexio.protocol.server_url import ServerUrl

__all__ = ["Dial"]


class Dial:
    """Of one manager: each attempt is another one.

    Attributes:
        engine: what dials, and has the connection then; None before the options' functions have answered.
        closed: done when the connection that was opened has ended.
    """

    __slots__ = ("_context", "_cookies", "_owner", "_server", "_settings", "closed", "engine")

    def __init__(
        self,
        context: Context,
        settings: ClientSettings,
        server: ServerUrl,
        cookies: Cookies | None,
        owner: Callable[[Connection], Owner],
    ) -> None:
        self.engine: EngineClient | None = None
        self.closed: asyncio.Future[None] = context.loop.create_future()
        self._context = context
        self._settings = settings
        self._server = server
        self._cookies = cookies
        self._owner = owner

    async def open(self, wanted: Callable[[], bool], websocket_first: bool) -> bool:
        """Raises ConnectError. False: nobody wants a connection any more."""
        settings = self._settings
        try:
            async with asyncio.timeout(settings.timeout):
                headers = await self._asked(settings.extra_headers, "extra_headers")
                query = await self._asked(settings.query, "query")
                if not wanted():
                    return False
                context = self._context
                self.engine = EngineClient(
                    self._server,
                    settings,
                    headers,
                    query,
                    self._cookies,
                    context.wheel,
                    context.reporter,
                    self._owner,
                )
                await self.engine.open(websocket_first)
        except ConnectError:
            # ConnectTimeout is a TimeoutError, and says more.
            raise
        except TimeoutError:
            if self.engine is None:
                text = f"the functions of extra_headers and query took longer than {settings.timeout:g} s (timeout)"
                raise ConnectTimeout(text, self._server.origin) from None
            if not self._is_open:
                raise self.engine.late() from None
            # It was opened in the moment in which the time was up.
        except asyncio.CancelledError:
            if self.engine is not None and self.engine.connection is not None:
                self.engine.connection.close()
            raise
        return True

    @property
    def _is_open(self) -> bool:
        return self.engine is not None and self.engine.connection is not None and not self.closed.done()

    async def wait_closed(self) -> None:
        """Returns when nothing of it is left: of a connection that was opened, when that has ended."""
        engine = self.engine
        if engine is None:
            return
        try:
            if engine.connection is not None:
                await self.closed
        except asyncio.CancelledError:
            # The loop is about to end.
            if engine.connection is not None:
                engine.connection.end("forced close", "the event loop ends")
            await engine.abandon()
            raise
        await engine.wait_closed()

    async def _asked(self, source: TextsSource, name: str) -> Mapping[str, str]:
        """The texts, where a function gives them."""
        if not callable(source):
            return source
        url = self._server.origin
        try:
            given: Mapping[str, str] = await self._context.ask(source)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            raise ConnectError(f"the {name} function raised {error!r}", url) from error
        try:
            check_texts(f"what the {name} function gave", given)
        except ConfigurationError as error:
            raise ConnectError(str(error), url) from None
        return given
