"""What `duplexio run` serves: the application it was told, and the state of its server at one path more."""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sys
from typing import Any, NoReturn

from uvicorn.importer import ImportFromStringError, import_from_string

from duplexio.integrations.asgi import ENDPOINT, Receive, Scope, Send, answer_health
from duplexio.integrations.hosting import CLOSE, find_close, find_health
from duplexio.integrations.uvicorn_http import endpoint_of

__all__ = ["APPLICATION", "FACTORY", "HEALTH_PATH", "Served", "application"]

# The process that --reload starts gets them, too.
APPLICATION = "DUPLEXIO_APPLICATION"
FACTORY = "DUPLEXIO_FACTORY"
HEALTH_PATH = "DUPLEXIO_HEALTH_PATH"


class Served:
    """An application behind the health path; as fast as the application itself where that is ours."""

    def __init__(self, app: Any, health_path: str) -> None:
        self.app = app
        self._health_path = health_path
        self._health = find_health(app)
        endpoint = endpoint_of(app)
        if endpoint is not None:
            setattr(self, ENDPOINT, endpoint)
        close = find_close(app)
        if close is not None:
            setattr(self, CLOSE, close)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "http" and self._health_path and scope["path"] == self._health_path:
            await answer_health(self._health() if self._health is not None else {"status": "ok"}, send)
        else:
            await self.app(scope, receive, send)


def application() -> Served:
    """uvicorn's factory: imports what the command was told."""
    name = os.environ[APPLICATION]
    try:
        app = import_from_string(name)
    except ImportFromStringError as error:
        _refuse(str(error))
    if os.environ.get(FACTORY):
        app = app()
        if not _takes(app, 3):
            _refuse(f"{name}() returned {app!r}, which is no ASGI application")
    elif not _takes(app, 3):
        hint = "; if it makes one, add --factory" if _takes(app, 0) else ""
        _refuse(f"{name} is {app!r}, which is no ASGI application{hint}")
    served = Served(app, os.environ.get(HEALTH_PATH, ""))
    # Modules and what they have made stay for good: the collector has no need to look through them for each thousand
    # sessions that come and go.
    gc.collect()
    gc.freeze()
    return served


def _takes(function: Any, arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except ValueError:
        return True
    except TypeError:
        return False
    return True


def _refuse(text: str) -> NoReturn:
    """As uvicorn does where it cannot load an application."""
    logging.getLogger("duplexio").error(text)
    sys.exit(3)
