"""The JavaScript client beside the endpoint, from the npm package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from duplexio import Server

from .clients import SECONDS
from .hosts import Host
from .processes import duplexio_run, running

PACKAGE = Path(__file__).parent.parent / "node" / "node_modules" / "socket.io-client"
BUNDLES = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
SCRIPT, MAP = "application/javascript; charset=utf-8", "application/json; charset=utf-8"


def as_root(io: Server) -> Any:
    return io


def as_mount(io: Server) -> Any:
    return Starlette(routes=[Mount("/socket.io", app=io)])


def as_wrap(io: Server) -> Any:
    return io.wrap(Starlette())


async def get(url: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS, verify=False) as http:
        return await http.request(method, f"http://{url}", headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("make", [as_root, as_mount, as_wrap])
async def test_every_form_and_its_map(host: Host, make: Any) -> None:
    io = Server(client_directory=PACKAGE)
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    async with host(make(io), io) as url:
        for name in (*BUNDLES, *(f"{bundle}.map" for bundle in BUNDLES)):
            response = await get(f"{url}/socket.io/{name}", accept_encoding="identity")
            assert response.status_code == 200, name
            assert response.content == (PACKAGE / "dist" / name).read_bytes()
            assert "content-encoding" not in response.headers
            assert response.headers["content-type"] == (MAP if name.endswith(".map") else SCRIPT)
            assert response.headers["etag"] == f'"{version}"'
            assert response.headers["cache-control"] == "public, max-age=0"
            assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip, br, deflate", "br"), ("br", "br"), ("gzip", "gzip"), ("*", "br")]
)
async def test_in_the_coding_that_the_client_likes(host: Host, accepted: str, coding: str) -> None:
    io = Server(client_directory=PACKAGE)
    whole = (PACKAGE / "dist" / "socket.io.js").read_bytes()
    async with host(io, io) as url:
        for _ in range(2):
            response = await get(f"{url}/socket.io/socket.io.js", accept_encoding=accepted)
            assert response.headers["content-encoding"] == coding
            assert response.headers["vary"] == "Accept-Encoding"
            assert response.headers["etag"].startswith('W/"')
            assert int(response.headers["content-length"]) < len(whole) / 2
            assert response.content == whole
        known = response.headers["etag"]
        again = await get(f"{url}/socket.io/socket.io.js", accept_encoding=accepted, if_none_match=known)
        assert (again.status_code, again.content) == (304, b"")
        head = await get(f"{url}/socket.io/socket.io.js", "HEAD", accept_encoding=accepted)
        assert (head.content, head.headers["content-encoding"]) == (b"", coding)


async def test_compressed_only_where_compression_is_on(host: Host) -> None:
    io = Server(client_directory=PACKAGE, http_compression=False)
    async with host(io, io) as url:
        response = await get(f"{url}/socket.io/socket.io.js", accept_encoding="gzip")
        assert "content-encoding" not in response.headers
        assert "vary" not in response.headers


async def test_under_a_mount_elsewhere(host: Host) -> None:
    io = Server(client_directory=PACKAGE)
    async with host(Starlette(routes=[Mount("/api/ws", app=io)]), io) as url:
        for folder in "/api/ws", "/api/ws/socket.io":
            assert (await get(f"{url}{folder}/socket.io.min.js")).status_code == 200
        assert (await get(f"{url}/socket.io/socket.io.min.js")).status_code == 404


async def test_what_is_known_already_is_not_sent_again(host: Host) -> None:
    io = Server(client_directory=PACKAGE)
    async with host(io, io) as url:
        page = f"{url}/socket.io/socket.io.js"
        tag = (await get(page, accept_encoding="identity")).headers["etag"]
        for known in tag, f"W/{tag}", f'"other", {tag}', f'W/"other",W/{tag}':
            response = await get(page, accept_encoding="identity", if_none_match=known)
            assert (response.status_code, response.content) == (304, b""), known
            assert response.headers["etag"] == tag
        for other in '"other"', tag.strip('"'), f'"{tag}"':
            assert (await get(page, if_none_match=other)).status_code == 200, other


async def test_a_page_that_may_connect_may_load_it(host: Host) -> None:
    """A module is fetched as any other resource is; only a plain script needs nobody's leave."""
    io = Server(client_directory=PACKAGE, cors_allowed_origins=["http://page.example"], cors_credentials=True)
    async with host(io, io) as url:
        module = f"{url}/socket.io/socket.io.esm.min.js"
        first = await get(module, origin="http://page.example")
        known = await get(module, origin="http://page.example", if_none_match=first.headers["etag"])
        foreign = await get(f"{url}/socket.io/socket.io.js", origin="http://other.example")
        assert (first.status_code, known.status_code, foreign.status_code) == (200, 304, 200)
        for response in first, known:
            assert response.headers["access-control-allow-origin"] == "http://page.example"
            assert response.headers["access-control-allow-credentials"] == "true"
        assert "access-control-allow-origin" not in foreign.headers
        for response in first, known, foreign:
            assert response.headers["vary"] == "Origin, Accept-Encoding"
        assert (await get(module)).headers["vary"] == "Accept-Encoding"


async def test_a_function_for_origins_that_raises_takes_nothing_away(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(origin: str) -> bool:
        raise RuntimeError("of the user's")

    io = Server(client_directory=PACKAGE, cors_allowed_origins=failing)
    async with host(io, io) as url:
        response = await get(f"{url}/socket.io/socket.io.js", origin="http://page.example")
        assert response.status_code == 200
        assert "access-control-allow-origin" not in response.headers
    assert "cors_allowed_origins raised" in caplog.text


async def test_under_a_cors_middleware_its_headers_are_there_once(host: Host) -> None:
    io = Server(client_directory=PACKAGE)
    cors = Middleware(CORSMiddleware, allow_origins=["http://page.example"])
    app = Starlette(routes=[Mount("/socket.io", app=io)], middleware=[cors])
    async with host(app, io) as url:
        response = await get(f"{url}/socket.io/socket.io.esm.min.js", origin="http://page.example")
        assert response.headers.get_list("access-control-allow-origin") == ["http://page.example"]


async def test_a_query_changes_nothing(host: Host) -> None:
    """Pages add one, so that a browser asks anew."""
    io = Server(client_directory=PACKAGE)
    async with host(io, io) as url:
        for query in "?v=4.8", "?EIO=4&transport=polling", "?":
            response = await get(f"{url}/socket.io/socket.io.min.js{query}")
            assert response.content == (PACKAGE / "dist" / "socket.io.min.js").read_bytes(), query


async def test_head_and_other_methods(host: Host) -> None:
    io = Server(client_directory=PACKAGE)
    async with host(io, io) as url:
        page = f"{url}/socket.io/socket.io.js"
        whole, head = await get(page), await get(page, "HEAD")
        assert (head.status_code, head.content) == (200, b"")
        for name in "content-length", "content-type", "etag":
            assert head.headers[name] == whole.headers[name]
        refused = await get(page, "POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_only_its_own_files(host: Host) -> None:
    """What a client asks for is never a path."""
    io = Server(client_directory=PACKAGE)
    async with host(io, io) as url:
        for name in "package.json", "..%2Fpackage.json", "dist/socket.io.js", "socket.io.js.gz", "socket.io", "x.js":
            assert (await get(f"{url}/socket.io/{name}")).status_code == 404, name


@pytest.mark.parametrize("directory", [PACKAGE, PACKAGE / "dist", str(PACKAGE), f"{PACKAGE}/dist/"])
async def test_the_directory_of_the_package_or_of_its_files(host: Host, directory: str | Path) -> None:
    io = Server(client_directory=directory)
    async with host(io, io) as url:
        assert (await get(f"{url}/socket.io/socket.io.min.js")).status_code == 200


async def test_a_directory_without_it(host: Host, tmp_path: Path) -> None:
    """The body says how to get it."""
    io = Server(client_directory=tmp_path)
    async with host(io, io) as url:
        response = await get(f"{url}/socket.io/socket.io.js")
        assert response.status_code == 404
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        for word in "npm install socket.io-client", "client_directory", "serve_client=False":
            assert word in response.text


async def test_it_may_come_later(host: Host, tmp_path: Path) -> None:
    """Installed while the server runs."""
    io = Server(client_directory=tmp_path / "socket.io-client")
    async with host(io, io) as url:
        assert (await get(f"{url}/socket.io/socket.io.js")).status_code == 404
        install(tmp_path)
        assert (await get(f"{url}/socket.io/socket.io.js")).content == b"// socket.io.js"


async def test_a_form_that_the_package_has_not(host: Host, tmp_path: Path) -> None:
    install(tmp_path)
    io = Server(client_directory=tmp_path / "socket.io-client")
    async with host(io, io) as url:
        assert (await get(f"{url}/socket.io/socket.io.js")).status_code == 200
        assert (await get(f"{url}/socket.io/socket.io.msgpack.min.js")).status_code == 404


@pytest.mark.parametrize("make", [as_root, as_mount, as_wrap])
async def test_not_served_when_not_wanted(host: Host, make: Any) -> None:
    io = Server(serve_client=False, client_directory=PACKAGE)
    async with host(make(io), io) as url:
        response = await get(f"{url}/socket.io/socket.io.js")
        assert response.status_code == 404
        assert "javascript" not in response.headers["content-type"]


def install(modules: Path) -> None:
    """A package as npm would put it there; its one file says who it is."""
    dist = modules / "socket.io-client" / "dist"
    dist.mkdir(parents=True)
    (dist.parent / "package.json").write_text('{"version": "4.0.0"}')
    (dist / "socket.io.js").write_text("// socket.io.js")


APPLICATION = "from duplexio import Server\n\nio = Server()\n"


@pytest.mark.parametrize(
    ("modules", "current", "arguments"),
    [
        pytest.param("site", "site", duplexio_run("app:io", 0), id="beside"),
        pytest.param(".", "site", duplexio_run("app:io", 0), id="above"),
        pytest.param("site", ".", duplexio_run("app:io", 0, "--app-dir", "site"), id="app-dir"),
        pytest.param(
            "site", ".", ["-m", "uvicorn", "app:io", "--port", "0", "--app-dir", "site"], id="uvicorn-app-dir"
        ),
        pytest.param("site", ".", ["site/script.py"], id="script"),
    ],
)
def test_found_beside_the_application(tmp_path: Path, modules: str, current: str, arguments: list[str]) -> None:
    """Wherever it was started from."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "app.py").write_text(APPLICATION)
    (tmp_path / "site" / "script.py").write_text(f"{APPLICATION}io.run(port=0)\n")
    install(tmp_path / modules / "node_modules")
    with running(*arguments, folder=tmp_path / current) as process:
        url = f"http://127.0.0.1:{process.wait_listening()}/socket.io/socket.io.js"
        response = httpx.get(url, trust_env=False)
        assert (response.status_code, response.text) == (200, "// socket.io.js")


def test_not_installed_anywhere(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    with running(*duplexio_run("app:io", 0), folder=tmp_path) as process:
        url = f"http://127.0.0.1:{process.wait_listening()}/socket.io/socket.io.js"
        response = httpx.get(url, trust_env=False)
        assert response.status_code == 404
        assert "npm install socket.io-client" in response.text


def test_the_package_of_these_tests_is_there() -> None:
    assert shutil.which("node")
    assert (PACKAGE / "dist" / "socket.io.js").is_file(), "run `npm ci` in tests/node"
