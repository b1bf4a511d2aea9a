"""What is not the endpoint: the client's files, and names that look like paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Start
from .raw import request_bytes
from .stage import PATH

everywhere = pytest.mark.hostings("fast", "asgi", "mounted")

NAMES = ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js.map"]


@everywhere
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_npm_package_is_not_here(start: Start, name: str, method: str) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request(method, PATH + name)
    assert (answer.status, answer.header("content-type")) == (404, "text/plain; charset=utf-8")
    if method == "GET":
        assert b"npm install socket.io-client" in answer.body
        assert b"client_directory" in answer.body
    # Whatever had a body and whatever had none, the next answer begins where it should.
    assert (await wire.request("GET", stage.target())).status == 200
    await stage.no_fault()


#: Request targets that name no file of ours, whatever is on the disk.
PATHS = [
    "../../etc/passwd",
    "../secret.txt",
    "dist/../../secret.txt",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2e%2e%2fsecret.txt",
    "..%252fsecret.txt",
    "..\\secret.txt",
    "..%5csecret.txt",
    "....//secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "socket.io.js/../secret.txt",
    "socket.io.js/../../secret.txt",
    "socket.io.js%00",
    "socket.io.js%00.txt",
    "socket.io.js%0a",
    "socket.io.js/",
    "socket.io.js.",
    "SOCKET.IO.JS",
    "package.json",
    "dist/socket.io.js",
    "%73ecret.txt",
    "index.html",
    "~root",
    "%c0%ae%c0%ae/secret.txt",
    "%ff",
    "x" * 4000,
]


@everywhere
async def test_names_that_look_like_paths(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "package"
    fill(package)
    stage = await start(client_directory=package)
    wire = await stage.wire()
    for name in PATHS:
        answer = await wire.request("GET", PATH + name)
        assert answer.status == 404, name
        for text in (b"SECRET", b"root:", b"the client"):
            assert text not in answer.body, name
    assert (await wire.request("GET", PATH + "socket.io.js")).body == b"the client"
    await stage.no_fault()


def fill(package: Path) -> None:
    """What would be found by a server that took a name for a path."""
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"version":"9.9.9","secret":"SECRET"}')
    (package / "dist" / "socket.io.js").write_text("the client")
    for place in (package.parent, package, package / "dist"):
        (place / "secret.txt").write_text("SECRET")


@pytest.mark.hostings("fast", "asgi")
@pytest.mark.parametrize("target", ["/", "/socket.io.js", "/socket.iox/", "/socket.io/x/", "/etc/passwd"])
async def test_a_path_of_nobodys(start: Start, target: str) -> None:
    """The answer says where the server is, and nothing of what was asked."""
    stage = await start()
    answer = await stage.get(f"{target}?EIO=4&transport=polling")
    assert answer.status == 404
    assert answer.body == b"Not found. Socket.IO answers at /socket.io/ here.\n"
    await stage.one_fault("wrong_path", f"a client asked at {target!r}", "Socket.IO answers at /socket.io/")


@pytest.mark.hostings("fast", "asgi")
async def test_a_path_of_nobodys_that_no_client_asks_for(start: Start) -> None:
    """A browser's icon is no fault."""
    stage = await start()
    assert (await stage.get("/favicon.ico")).status == 404
    await stage.no_fault()


@pytest.mark.hostings("fast", "asgi", "handover")
async def test_a_websocket_for_a_path_of_nobodys(start: Start) -> None:
    stage = await start()
    wire = await stage.wire()
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    answer = await wire.request("GET", PATH + "elsewhere/?EIO=4&transport=websocket", headers=headers)
    assert answer.status == 404
    assert b"Socket.IO answers at /socket.io" in answer.body
    await stage.one_fault("wrong_path", "elsewhere/", "Socket.IO answers at /socket.io/")


async def test_the_client_is_not_served(start: Start) -> None:
    stage = await start(serve_client=False)
    answer = await stage.get(PATH + "socket.io.js")
    assert answer.status == 404
    assert answer.body == b"Not found. Socket.IO answers at /socket.io/ here.\n"


@everywhere
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_file_can_only_be_read(start: Start, tmp_path: Path, method: str) -> None:
    stage = await start()
    wire = await stage.wire()
    answer = await wire.request(method, PATH + "socket.io.js", b"alert(1)")
    assert (answer.status, answer.header("allow"), answer.body) == (405, "GET, HEAD", b"")
    assert os.listdir(tmp_path) == []
    assert (await wire.request("GET", stage.target())).status == 200


@pytest.mark.hostings("fast", "asgi")
@pytest.mark.parametrize("path", ["/socket.io", "/socket.io/", "/socket.io//", "/socket%2Eio/", "/%73ocket.io/"])
async def test_other_spellings_of_the_endpoint(start: Start, path: str) -> None:
    stage = await start()
    answer = await stage.get(f"{path}?EIO=4&transport=polling")
    assert answer.status == 200
    assert answer.body.startswith(b'0{"sid":"')
    await stage.no_fault()


async def test_the_whole_address_for_a_target(start: Start) -> None:
    """As clients write it to a proxy. RFC 9112 §3.2.2."""
    stage = await start()
    wire = await stage.wire()
    await wire.write(request_bytes("GET", f"http://duplexio.test{stage.target()}"))
    answer = await wire.answer()
    assert answer.status == 200
    assert answer.body.startswith(b'0{"sid":"')
    await stage.no_fault()
