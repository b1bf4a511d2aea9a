"""The JavaScript client, served beside the endpoint from the npm package `socket.io-client` where that is installed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from duplexio.protocol import content_encoding

__all__ = ["FILES", "ClientFiles"]

#: What may be asked for, and what it is: nothing a client sends is used as a path.
FILES: dict[str, str] = {
    name: "application/json; charset=utf-8" if name.endswith(".map") else "application/javascript; charset=utf-8"
    for bundle in ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
    for name in (bundle, bundle + ".map")
}

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class ClientFiles:
    """`directory`: of the package, or of its `dist`; None searches `node_modules` in and above the given places.

    `compressed`: whether files may go out in a content coding.
    """

    def __init__(self, directory: str | Path | None, places: Iterable[Path], compressed: bool = True) -> None:
        self._directory = directory
        self._places = tuple(places)
        self._compressed = compressed
        self._found: Path | None = None
        self._etag = b""
        #: By name and content coding.
        self._bodies: dict[tuple[str, bytes], bytes] = {}

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

    def answer(self, name: str, method: str, if_none_match: bytes | None, accept_encoding: bytes | None) -> Answer:
        """Status, headers and body for one of `FILES`. Reads the file, and compresses it, at its first request."""
        dist = self._find()
        if dist is None or not (dist / name).is_file():
            text = (
                f"{name} is not here. duplexio serves it from the npm package socket.io-client: run"
                " `npm install socket.io-client` beside your application, or say where it is with"
                " Server(client_directory=...), or load it from elsewhere and set serve_client=False.\n"
            )
            return 404, [(b"content-type", b"text/plain; charset=utf-8")], text.encode()
        # Revalidated at each load, as on Node: a new version of the package is seen at once.
        coding = content_encoding.choose(accept_encoding) if self._compressed else b""
        # Weak, where the bytes are others: RFC 9110 §8.8.3.3.
        headers = [(b"cache-control", b"public, max-age=0"), (b"etag", b"W/" + self._etag if coding else self._etag)]
        if if_none_match is not None and self._etag in [
            tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")
        ]:
            return 304, headers, b""
        headers.append((b"content-type", FILES[name].encode()))
        headers.append((b"x-content-type-options", b"nosniff"))
        if coding:
            headers.append((b"content-encoding", coding))
        body = self._body(dist, name, coding)
        headers.append((b"content-length", b"%d" % len(body)))
        return 200, headers, b"" if method == "HEAD" else body

    def _body(self, dist: Path, name: str, coding: bytes) -> bytes:
        body = self._bodies.get((name, coding))
        if body is None:
            body = (dist / name).read_bytes()
            if coding:
                body = b"".join(content_encoding.in_pieces(body, coding))
            self._bodies[name, coding] = body
        return body
