"""The smallest server there is: it answers each `request` with a `response`. Run it with `python server.py`."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from duplexio import Server, Socket

HOST, PORT = "127.0.0.1", 20111
PAGE = (Path(__file__).parent / "index.html").read_bytes()

Message = MutableMapping[str, Any]

io = Server()


@io.on("connection")
async def connected(socket: Socket) -> None:
    print("Connect client by Socket.io", socket.id, flush=True)


@io.on("request")
async def request(socket: Socket, data: object) -> None:
    print('Receive event "request":', data, flush=True)
    socket.emit("response", {"data": "Receive Respond"})


async def page(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Any ASGI application would do: what is not Socket.IO's goes to it."""
    assert scope["type"] == "http"
    found = scope["path"] == "/"
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE if found else b"Not found"})


app = io.wrap(page)

if __name__ == "__main__":
    print(f"Listening on http://{HOST}:{PORT}/", flush=True)
    app.run(HOST, PORT, log_level="warning")
