"""The layers, read from the syntax trees: who may import whom, and where each wire library is."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import duplexio

ROOT = Path(duplexio.__file__).parent

#: The rows of the picture in the design: a module imports from its own package, and from the rows above its own.
ROWS: dict[str, int] = {
    "duplexio.errors": 0,
    "duplexio.compression": 0,
    "duplexio.types": 0,
    "duplexio.observe": 0,
    "duplexio.option_table": 0,
    "duplexio.client_options": 0,
    "duplexio.client_values": 0,
    "duplexio.options": 0,
    "duplexio.unix_owner": 0,
    "duplexio.unforked": 0,
    "duplexio.protocol": 1,
    "duplexio.engine": 2,
    "duplexio.hub": 3,
    "duplexio.adapters": 4,
    "duplexio.integrations": 4,
    "duplexio.workers": 4,
    "duplexio.server": 5,
    "duplexio.serving": 5,
    "duplexio.wrapped": 5,
    "duplexio.client": 5,
    "duplexio.sync": 6,
    "duplexio.portal": 5,
    "duplexio.cli": 6,
    "duplexio": 6,
    "duplexio.testing": 7,
    "duplexio.__main__": 7,
}

#: Each wire library, and the files that know it. One more is a decision, not an accident.
KNOWN_BY: dict[str, set[str]] = {
    "orjson": {"protocol/codec_json.py", "protocol/engine_open.py", "engine/server.py", "engine/refused.py"},
    "msgpack": {"protocol/parser_msgpack.py"},
    "msgspec": {"protocol/cluster_message.py"},
    "picows": {"engine/websocket.py", "engine/websocket_client.py"},
    "aiohttp": {"engine/http_client.py"},
    "aiohttp_socks": {"engine/http_client.py"},
    "yarl": {"engine/http_client.py"},
    "python_socks": {"engine/client.py", "engine/refused.py", "engine/websocket_client.py"},
    "httptools": {"integrations/uvicorn_entry.py", "integrations/uvicorn_http.py"},
    "uvicorn": {
        "integrations/hosting.py",
        "integrations/uvicorn_entry.py",
        "integrations/uvicorn_handshake.py",
        "integrations/uvicorn_http.py",
        "integrations/uvicorn_request.py",
        "integrations/uvicorn_websocket.py",
        "cli/main.py",
        "cli/served.py",
    },
    # Optional: used where it is installed.
    "brotli": {"protocol/content_encoding.py"},
    "prompt_toolkit": {"cli/client_reader.py"},
    # uvicorn finds the loop of a server by itself.
    "uvloop": {"hub/background.py"},
    # uvicorn has the class that serves other WebSockets; of the library itself only what masks is used.
    "websockets": {"protocol/websocket_masked_frame.py"},
}


class Import(NamedTuple):
    name: str
    line: int
    type_checking: bool


def module_name(path: Path) -> str:
    parts = ("duplexio", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(ROOT.rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}


@functools.cache
def imports_of(path: Path) -> list[Import]:
    """All of them, those in functions and under conditions too."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path), False))


def _imports(node: ast.AST, module: str, type_checking: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, type_checking)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module}:{child.lineno}: a relative import"
            assert child.module is not None
            for alias in child.names:
                # `from package import module` names the module; `from module import name` does not.
                submodule = f"{child.module}.{alias.name}"
                yield Import(submodule if submodule in MODULES else child.module, child.lineno, type_checking)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for statement in child.body:
                yield from _imports(ast.Module([statement], []), module, True)
            for statement in child.orelse:
                yield from _imports(ast.Module([statement], []), module, type_checking)
        else:
            yield from _imports(child, module, type_checking)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def row_of(module: str) -> int:
    package = ".".join(module.split(".")[:2])
    return ROWS[package]


def package_of(module: str) -> str:
    """The layer's package; of the modules beside the packages, none: each is for itself, in its row."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or module in (f"duplexio.{name}" for name in PACKAGES) else ""


PACKAGES = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}

OURS = [
    (module, found)
    for module, path in MODULES.items()
    for found in imports_of(path)
    if found.name == "duplexio" or found.name.startswith("duplexio.")
]


def test_every_module_has_its_row() -> None:
    assert {".".join(module.split(".")[:2]) for module in MODULES} == set(ROWS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_from_its_own_package_and_from_above(module: str) -> None:
    for importing, found in OURS:
        if importing != module or found.type_checking:
            continue
        same_package = package_of(module) == package_of(found.name) != ""
        # Modules beside the packages stand side by side in their row.
        same_row = package_of(module) == package_of(found.name) == "" and row_of(module) == row_of(found.name)
        above = row_of(found.name) < row_of(module)
        assert same_package or same_row or above, f"{module}:{found.line} imports {found.name}, which is below it"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_for_type_checkers_reach_the_next_row_at_most(module: str) -> None:
    for importing, found in OURS:
        if importing == module and found.type_checking:
            distance = row_of(found.name) - row_of(module)
            assert distance <= 1, f"{module}:{found.line} names {found.name}, {distance} rows below"


def test_the_root_is_imported_by_nobody() -> None:
    assert [(module, found.line) for module, found in OURS if found.name == "duplexio"] == []


def test_no_cycle_at_run_time() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, found in OURS:
        if not found.type_checking:
            graph[module].add(found.name)
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " imports ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for imported in sorted(graph[module]):
                visit(imported, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert done == set(MODULES)


@pytest.mark.parametrize("library", sorted(KNOWN_BY))
def test_a_wire_library_is_known_by_few(library: str) -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if any(name.name.partition(".")[0] == library for name in imports_of(path))
    }
    assert found == KNOWN_BY[library]


def test_no_library_is_imported_that_is_not_a_dependency() -> None:
    allowed = {*sys.stdlib_module_names, *KNOWN_BY, "duplexio"}
    names = {found.name.partition(".")[0] for path in FILES for found in imports_of(path)}
    assert names <= allowed, names - allowed


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith("duplexio.protocol")))
def test_the_protocol_has_no_loop_no_sockets_and_no_clock(module: str) -> None:
    forbidden = {"asyncio", "socket", "ssl", "select", "selectors", "threading", "time", "concurrent", "subprocess"}
    names = {found.name.partition(".")[0] for found in imports_of(MODULES[module])}
    assert not names & forbidden


def test_the_tree_is_read_as_it_is_meant(tmp_path: Path) -> None:
    """The reader itself: imports in functions, in branches, and for type checkers."""
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from duplexio.hub.hub import Hub
else:
    import a
def function():
    import b
    if True:
        from duplexio.hub import current
try:
    import c.d
except ImportError:
    pass
"""
    found = list(_imports(ast.parse(source), "test", False))
    assert [(name, checking) for name, _, checking in found] == [
        ("typing", False),
        ("duplexio.hub.hub", True),
        ("a", False),
        ("b", False),
        ("duplexio.hub.current", False),
        ("c.d", False),
    ]
