"""The JavaScript client, served beside the endpoint from the npm package `socket.io-client` where that is installed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

__all__ = ["FILES", "ClientFiles"]

#: What may be asked for, and what it is: nothing a client sends is used as a path.
FILES: dict[str, str] = {
    name: "application/json; charset=utf-8" if name.endswith(".map") else "application/javascript; charset=utf-8"
    for bundle in ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
    for name in (bundle, bundle + ".map")
}

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class ClientFiles:
    """`directory`: of the package, or of its `dist`; None searches `node_modules` in and above the given places."""

    def __init__(self, directory: str | Path | None, places: Iterable[Path]) -> None:
        self._directory = directory
        self._places = tuple(places)
        self._found: Path | None = None
        self._etag = b""
        self._bodies: dict[str, bytes] = {}

    def _find(self) -> Path | None:
        if self._found is None:
            given = Path(self._directory) if self._directory is not None else None
            candidates = [given] if given is not None else list(self._searched())
            for candidate in candidates:
                dist = candidate if candidate.name == "dist" else candidate / "dist"
                manifest = dist.parent / "package.json"
                if (dist / "socket.io.js").is_file() and manifest.is_file():
                    self._found = dist
                    version = json.loads(manifest.read_text(encoding="utf-8")).get("version", "")
                    self._etag = f'"{version}"'.encode()
                    break
        return self._found

    def _searched(self) -> Iterable[Path]:
        for place in self._places:
            for folder in (place, *place.parents):
                yield folder / "node_modules" / "socket.io-client"

    def answer(self, name: str, method: str, if_none_match: bytes | None) -> Answer:
        """Status, headers and body for one of `FILES`. Reads the file at its first request."""
        dist = self._find()
        if dist is None or not (dist / name).is_file():
            text = (
                f"{name} is not here. duplexio serves it from the npm package socket.io-client: run"
                " `npm install socket.io-client` beside your application, or say where it is with"
                " Server(client_directory=...), or load it from elsewhere and set serve_client=False.\n"
            )
            return 404, [(b"content-type", b"text/plain; charset=utf-8")], text.encode()
        # Revalidated at each load, as on Node: a new version of the package is seen at once.
        headers = [(b"cache-control", b"public, max-age=0"), (b"etag", self._etag)]
        if if_none_match is not None and self._etag in [
            tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")
        ]:
            return 304, headers, b""
        headers.append((b"content-type", FILES[name].encode()))
        headers.append((b"x-content-type-options", b"nosniff"))
        body = self._bodies.get(name)
        if body is None:
            body = self._bodies[name] = (dist / name).read_bytes()
        headers.append((b"content-length", b"%d" % len(body)))
        return 200, headers, b"" if method == "HEAD" else body
