"""The same servers inside one application, for ASGI servers that are commands: ``hypercorn behaviours.hosted:django``.

Each of the subjects' servers is under its own name, at ``/<name>/socket.io``. ``GET /stage`` gives the line that
``server.py`` prints. Nothing of it needs a lifespan, which not every ASGI server has.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount

from duplexio import Server

from .board import Board
from .gathering import VARIABLE, Line
from .server import Visit, set_up
from .subjects import SUBJECTS, make_servers
from .subjects.stage import Stage


class Hosted:
    """An ASGI application that is made when it is first called: the stage needs a running loop."""

    def __init__(self, build: Callable[[Mapping[str, Server]], Any], middleware: bool) -> None:
        self._build = build
        self._middleware = middleware
        self._app: Any = None
        self._names: list[str] = []
        self._board: Board
        self._heeding: asyncio.Task[None]
        self._line = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            servers = make_servers(allow_eio3=True)
            self._names = list(servers)
            self._app = self._build(servers)
            if VARIABLE in os.environ:
                self._join(servers)
            else:
                self._board = set_up(servers)
        if scope["type"] == "http" and scope["path"] == "/stage":
            await self._tell(scope, send)
        else:
            await self._app(scope, receive, send)

    def _join(self, servers: Mapping[str, Server]) -> None:
        """This process is one of several workers."""
        line = Line()
        stage = Stage(servers, line.note)
        for prepare in SUBJECTS:
            prepare(stage)
        self._heeding = asyncio.create_task(line.heed(stage))
        line.ready(dict.fromkeys(servers, 0))

    async def _tell(self, scope: Any, send: Any) -> None:
        if not self._line:
            line = {
                "control": await self._board.serve(),
                "ports": dict.fromkeys(self._names, scope["server"][1]),
                "paths": {name: f"/{name}/socket.io" for name in self._names},
                "middleware": self._middleware,
            }
            self._line = json.dumps(line).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self._line})


def in_starlette(servers: Mapping[str, Server]) -> Any:
    """Mounted, behind a middleware."""
    routes = [Mount(f"/{name}/socket.io", app=server) for name, server in servers.items()]
    return Visit(Starlette(routes=routes))


def around_django(servers: Mapping[str, Server]) -> Any:
    """Beside Django, whose middlewares see Django's requests only; cut off by a prefix, as a proxy's is."""
    settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="of the tests")
    django = get_asgi_application()
    wrapped = {name: server.wrap(django) for name, server in servers.items()}

    async def by_name(scope: Any, receive: Any, send: Any) -> None:
        name = "main" if scope["type"] == "lifespan" else scope["path"].split("/")[1]
        if name in wrapped:
            if scope["type"] != "lifespan":
                scope = {**scope, "root_path": f"/{name}"}
            await wrapped[name](scope, receive, send)
        else:
            await django(scope, receive, send)

    return by_name


#: Django's: it has no page of its own.
urlpatterns: list[Any] = []

starlette = Hosted(in_starlette, middleware=True)
django = Hosted(around_django, middleware=False)
