"""The page's files as an ASGI application: a fixed table, so nothing that a client sends is ever used as a path."""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]

FOLDER = Path(__file__).parent / "page"
SCRIPT = "text/javascript; charset=utf-8"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/theme.js": ("theme.js", SCRIPT),
    "/chat.js": ("chat.js", SCRIPT),
    "/log.js": ("log.js", SCRIPT),
    "/parts.js": ("parts.js", SCRIPT),
    "/pictures.js": ("pictures.js", SCRIPT),
}

# Older browsers do not count WebSockets of the same host as 'self', hence the two schemes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self' ws: wss:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def loaded(name: str, content_type: str) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """A file's content, its headers and its entity tag."""
    content = (FOLDER / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "content-type": content_type,
        "etag": tag,
        "cache-control": "no-cache",  # kept by the browser, and asked about each time: a new version is seen at once
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return content, [(key.encode(), value.encode()) for key, value in headers.items()], tag.encode()


TABLE = {path: loaded(*file) for path, file in FILES.items()}


async def page(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    assert scope["type"] == "http"  # raising is the ASGI way to say that there is no lifespan here
    status, body, headers = 404, b"Not found\n", [(b"content-type", b"text/plain; charset=utf-8")]
    if scope["path"] in TABLE:
        status, (body, headers, tag) = 200, TABLE[scope["path"]]
        if dict(scope["headers"]).get(b"if-none-match") == tag:
            status, body = 304, b""
    if scope["method"] not in ("GET", "HEAD"):
        status, body, headers = 405, b"", [(b"allow", b"GET, HEAD")]
    if status != 304:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
