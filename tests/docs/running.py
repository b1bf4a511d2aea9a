"""Runs the examples as their readers do: programs by Python or `duplexio run`, clients by Node or Python."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import sys
import types
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from .pages import ROOT, Block, Example, Script

__all__ = ["Place", "run_commands", "run_script", "same", "serve"]

NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
#: Every wait ends by then; two cores may be busy with other tests.
SECONDS = 30.0

_ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1"}

#: The ports that the pages use.
_PORTS = re.compile(r"\b(?:3000|20111)\b")
_TIME = re.compile(r"\d\d:\d\d:\d\d\.\d{3}")
_ID = re.compile(r"(?<![\w-])[\w-]{20}(?![\w-])")

#: What a script gets that is shown as a browser runs it: `io` and `fetch`, which reach the page's own server.
_BROWSER = """\
import { io as connect } from "socket.io-client";
const page = "BASE";
const io = (first, options) =>
  typeof first === "string" ? connect(new URL(first, page).href, options) : connect(page, first);
const fetch = (path, options) => globalThis.fetch(new URL(path, page), options);
"""


@dataclass
class Place:
    """Where a program is running."""

    folder: Path
    base: str
    #: The program's `Server`, where it runs in this process.
    server: Any = None


def same(printed: str, expected: str) -> bool:
    """Ids are new each time, and so are ports."""
    return _masked(printed) == _masked(expected)


def _masked(text: str) -> list[str]:
    masked = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:port", _ID.sub("an id", text))
    return [line.rstrip() for line in masked.strip().splitlines()]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _last_call(code: str) -> str:
    """`io.run` where the program ends with `io.run(…)`, guarded or not."""
    last = ast.parse(code).body[-1]
    if isinstance(last, ast.If):
        last = last.body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return ast.unparse(last.value.func)
    return ""


def _prepare(folder: Path, code: str) -> None:
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES, target_is_directory=True)
    if "cert.pem" in code:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for index, pem in enumerate(certificate.cert_chain_pems):
            pem.write_to_path(folder / "cert.pem", append=index > 0)
        authority.cert_pem.write_to_path(folder / "ca.pem")


# Programs.


@contextlib.asynccontextmanager
async def serve(example: Example, folder: Path) -> AsyncIterator[Place]:
    """Runs the program and, where it serves, waits until it does; ends it with the block.

    One that ends with `.run(…)` is a process of its own, as is an application that is not ours and one of several
    files; anything else is served in this process, where the exceptions of its handlers can be counted.
    """
    _prepare(folder, example.code)
    call = _last_call(example.code)
    file = folder / (example.block.title if example.block.title.endswith(".py") else "app.py")
    port = _free_port()
    file.write_text(_PORTS.sub(str(port), example.code), encoding="utf-8")
    if "pytest" in example.block.notes:
        for block in example.files:
            (folder / block.title).write_text(block.code, encoding="utf-8")
        async with _process(["-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)], folder, None):
            yield Place(folder, "")
        return
    if call.endswith(".run"):
        # A program that runs to its end by itself has done all it has to when it is there.
        ends = call == "asyncio.run"
        async with _process([str(file)], folder, None if ends else port) as output:
            scheme = "https" if "ssl_certfile" in example.code else "http"
            yield Place(folder, f"{scheme}://127.0.0.1:{port}")
        _check_output(output, example)
        return
    if example.files:
        for block in example.files:
            (folder / block.title).write_text(block.code, encoding="utf-8")
        for arguments in example.first:
            async with _process(arguments.split(), folder, None):
                pass
        async with _application(file, folder, port) as output:
            yield Place(folder, f"http://127.0.0.1:{port}")
        _check_output(output, example)
        return
    module = _execute(file)
    app, server = getattr(module, "app", None), getattr(module, "io", None)
    if app is None and server is None:
        yield Place(folder, "")
    elif app is not None and not hasattr(app, "listen"):
        async with _application(file, folder, port) as output:
            yield Place(folder, f"http://127.0.0.1:{port}")
        _check_output(output, example)
    else:
        root: Any = server if app is None else app
        async with await root.listen("127.0.0.1", 0) as listening:
            yield Place(folder, listening.url, server)
    sys.modules.pop(module.__name__, None)


def _execute(file: Path) -> types.ModuleType:
    module = types.ModuleType(f"example_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
    return module


def _application(file: Path, folder: Path, port: int) -> contextlib.AbstractAsyncContextManager[list[str]]:
    command = ["-m", "duplexio", "run", f"{file.stem}:app", "--port", str(port), "--log-level", "warning"]
    return _process(command, folder, port)


@contextlib.asynccontextmanager
async def _process(arguments: list[str], folder: Path, port: int | None) -> AsyncIterator[list[str]]:
    """A program in Python. With a port, it serves until it is told to end; without, it ends by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        env=_ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(process.communicate())
    output: list[str] = []
    try:
        async with asyncio.timeout(SECONDS):
            if port is not None:
                while not await _listens(port):
                    assert process.returncode is None, (await reading)[1].decode()
                    await asyncio.sleep(0.05)
        yield output
        async with asyncio.timeout(SECONDS):
            if port is not None:
                process.send_signal(signal.SIGINT)  # Ctrl+C
            printed, log = await reading
        output.append(printed.decode())
        assert process.returncode == 0, f"the program ended with {process.returncode}:\n{log.decode()}"
    finally:
        if process.returncode is None:
            process.kill()
        await reading


def _check_output(output: list[str], example: Example) -> None:
    if example.prints is not None:
        assert same(output[0], example.prints), f"the program printed:\n{output[0]}"


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


# Clients.


async def run_script(script: Script, place: Place) -> None:
    """Runs a client by Node or Python until it has printed what the page says; it must be exactly that.

    One with an `import` is a whole program, and has to come to an end, too. Any other is shown as a browser runs it:
    `io` and `fetch` reach the server, and `socket` is there where the script makes none.
    """
    code = script.block.code
    python = script.block.language == "python"
    whole = "import " in code
    if whole:
        code = _PORTS.sub(place.base.rpartition(":")[2], code)
    else:
        socket_made = "" if re.search(r"\bio\(", code) else "const socket = io();\n"
        code = _BROWSER.replace("BASE", place.base) + socket_made + code
    file = place.folder / (f"script_{script.block.line}.py" if python else f"script-{script.block.line}.mjs")
    file.write_text(code, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable if python else "node",
        file.name,
        cwd=place.folder,
        env=_ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints = asyncio.create_task(process.stderr.read())
    printed = ""
    lines = len(script.prints.strip().splitlines())
    code_of_exit: int | None = None
    try:
        async with asyncio.timeout(SECONDS):
            while whole or len(printed.splitlines()) < lines:
                line = await process.stdout.readline()
                if not line:
                    break
                printed += line.decode()
            if not whole and process.returncode is None:
                process.terminate()
            code_of_exit = await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    errors = (await complaints).decode()
    assert same(printed, script.prints), f"{file.name} printed:\n{printed}\n{errors}"
    if whole:
        assert code_of_exit == 0, f"{file.name} ended with {code_of_exit}, not by itself where that is None:\n{errors}"


async def run_commands(block: Block, place: Place) -> None:
    """Runs commands of `duplexio` in a shell; each has to print what stands below it."""
    port, command = place.base.rpartition(":")[2], f"{shlex.quote(sys.executable)} -m duplexio "
    for entry in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        line, _, expected = entry.partition("\n")
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", re.sub(r"\bduplexio (?=client)", lambda _: command, _PORTS.sub(port, line))),
            cwd=place.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                printed, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert same(_TIME.sub("a time", printed.decode()), _TIME.sub("a time", expected)), (
            f"{line}\n{printed!r}\n{errors!r}"
        )
