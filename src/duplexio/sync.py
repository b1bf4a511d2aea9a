"""The client for code that has no event loop: the names of `duplexio.connect`, and calls that wait.

    from duplexio import sync

    with sync.connect("http://localhost:3000") as socket:
        socket.emit("request", {"data": "Send Request"})
        print(socket.receive("response", timeout=5))

All of it runs on one event loop in a background thread, which begins with the first use and ends when nothing is
connected any more. Every call may be made from any thread, but for one: what waits cannot be called on the loop's own
thread, in an `async def` handler or an `on_any` listener. Plain handlers, callbacks and listeners run in other threads,
where they may wait. A forked child connects anew, with sockets of its own.
"""

from __future__ import annotations

from typing import Unpack

from duplexio.client import SharedManagers
from duplexio.client_options import ClientOptions
from duplexio.hub import background
from duplexio.hub.sync_manager import Manager
from duplexio.hub.sync_socket import Operator, Socket

__all__ = ["Manager", "Operator", "Socket", "connect"]

_shared = SharedManagers(Manager)


def connect(url: str, **options: Unpack[ClientOptions]) -> Socket:
    """A socket of the namespace that the URL's path names. Dials nothing yet: `duplexio.connect` in calls that wait.

        with sync.connect("http://localhost:3000/orders", auth={"token": "..."}) as socket:
            ...

    `socket.connect()` dials, too, and `socket.open()` begins to without waiting. Sockets of several namespaces of one
    server share its connection where their other options are the same, unless `multiplex=False` or `force_new=True`.

    Options are keyword arguments, those of `duplexio.connect`. Raises ConfigurationError for one that cannot be, or a
    URL that is none.
    """
    with background.lock:
        found, namespace, own = _shared.find(url, options)
        # Under the lock, so that no other thread takes the same namespace.
        return found.socket(namespace, **own)
