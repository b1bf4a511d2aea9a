"""The reference names what there is: no more, no less."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import duplexio
from duplexio import sync
from duplexio.cli.client_arguments import EXITS
from duplexio.cli.main import main
from duplexio.client_options import CLIENT_OPTIONS
from duplexio.hub.client_operators import ClientOperator
from duplexio.hub.dispatch import HandlerOptions
from duplexio.hub.handshake import Handshake
from duplexio.hub.operators import SocketOperator
from duplexio.integrations.hosting import Listening
from duplexio.observe import Counts
from duplexio.options import OPTIONS
from duplexio.protocol.engine_handshake import MESSAGES
from duplexio.server import Server

from .option_tables import TABLE_PAGES, fill_in
from .pages import DOCS, PAGES, ROOT, blocks, name_of, sections, tables

REFERENCE = DOCS / "reference"
SOURCES = sorted((ROOT / "src" / "duplexio").rglob("*.py"))

#: What the layers call of each other: not for users, and not on the pages.
INTERNAL = {
    duplexio.Namespace: {"added", "all_middlewares", "check_empty", "encode", "encode_event"}
    | {"forget_handler", "lifecycle_handlers", "removed"},
    duplexio.ParentNamespace: {"adapter"},
    duplexio.Socket: {"acknowledged", "active", "close", "open", "receive"},
    duplexio.Ack: {"fail"},
    Handshake: {"record"},
    duplexio.Manager: {"in_use", "number", "usable_here"},
}
#: What instances have that their class does not show.
ON_INSTANCES = {
    Server: {"engine"},
    duplexio.Namespace: {"name"},
    duplexio.ParentNamespace: {"children"},
    Listening: {"host", "port"},
    duplexio.Manager: {"url"},
}
CLASSES: list[tuple[str, str, type]] = [
    ("server", "Server", Server),
    ("server", "Listening", Listening),
    ("server", "Counts", Counts),
    ("namespace", "Namespace", duplexio.Namespace),
    ("namespace", "ParentNamespace", duplexio.ParentNamespace),
    ("socket", "Socket", duplexio.Socket),
    ("socket", "Handshake", Handshake),
    ("socket", "Ack", duplexio.Ack),
    ("operators", "BroadcastOperator", duplexio.BroadcastOperator),
    ("operators", "SocketOperator", SocketOperator),
    ("operators", "RemoteSocket", duplexio.RemoteSocket),
    ("client", "ClientSocket", duplexio.ClientSocket),
    ("client", "ClientOperator", ClientOperator),
    ("client", "Manager", duplexio.Manager),
]


def text_of(page: str) -> str:
    return (REFERENCE / f"{page}.md").read_text(encoding="utf-8")


def first_cells(text: str, header: str) -> list[str]:
    """The first code span of each row, of the tables whose first column has this header."""
    cells = [row[0] for table in tables(text) if table[0][0] == header for row in table[1:]]
    return [re.findall(r"`([^`]+)`", cell)[0] for cell in cells]


@pytest.mark.parametrize(("page", "heading", "cls"), CLASSES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_name_of_a_class(page: str, heading: str, cls: type) -> None:
    cells = first_cells(sections(text_of(page))[heading], "Name")
    # `ack(…)` and `counts[…]` are calls of the object itself.
    listed = [cell.partition("(")[0] for cell in cells if not cell.startswith(("ack(", "counts["))]
    public = {name for name in dir(cls) if not name.startswith("_")} | ON_INSTANCES.get(cls, set())
    assert set(listed) == public - INTERNAL.get(cls, set())
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(("page", "heading", "cls"), CLASSES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_parameter_of_a_method(page: str, heading: str, cls: type) -> None:
    for cell in first_cells(sections(text_of(page))[heading], "Name"):
        call = ast.parse(cell, mode="eval").body if "(" in cell else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not hasattr(cls, call.func.id):
            continue
        given = [argument.id for argument in call.args if isinstance(argument, ast.Name)]
        given += [argument.value.id for argument in call.args if isinstance(argument, ast.Starred)]  # type: ignore[attr-defined]
        given += [keyword.arg or keyword.value.id for keyword in call.keywords]  # type: ignore[attr-defined]
        signature = inspect.signature(getattr(cls, call.func.id))
        assert given == [name for name in signature.parameters if name != "self"], cell
        for keyword in call.keywords:
            if keyword.arg is not None:
                assert signature.parameters[keyword.arg].default == ast.literal_eval(keyword.value), cell


@pytest.mark.parametrize(
    ("blocking", "cls", "more"),
    [
        (sync.Socket, duplexio.ClientSocket, set()),
        (sync.Operator, ClientOperator, set()),
        (sync.Manager, duplexio.Manager, {"settings"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_blocking_client_has_the_same_names(blocking: type, cls: type, more: set[str]) -> None:
    same = {name for name in dir(cls) if not name.startswith("_")} - ON_INSTANCES.get(cls, set())
    assert {name for name in dir(blocking) if not name.startswith("_")} == (same - {"io"}) | more


def test_every_name_of_the_blocking_client_is_on_a_page() -> None:
    section = sections(text_of("client"))["The blocking client"]
    assert [name for name in sync.__all__ if f"`sync.{name}" not in section] == []
    for cell in [row[0] for table in tables(section) for row in table[1:]]:
        for name, parameters in re.findall(r"`(\w+)\(([^`]*)\)`", cell):
            signature = inspect.signature(getattr(sync.Socket, name))
            listed = [part.split("=")[0].strip("* ") for part in parameters.split(",")]
            assert listed == [parameter for parameter in signature.parameters if parameter != "self"], cell


def test_every_public_name_is_on_a_page() -> None:
    everything = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    assert [name for name in duplexio.__all__ if not re.search(rf"\b{name}\b", everything)] == []


def test_every_exception() -> None:
    (table,) = tables(text_of("errors"))
    listed = {re.findall(r"`(\w+)", row[0])[0]: re.findall(r"`(\w+)`", row[1]) for row in table[1:]}
    exceptions = {
        name: value
        for name, value in vars(duplexio).items()
        if isinstance(value, type) and issubclass(value, duplexio.DuplexioError)
    }
    assert set(listed) == set(exceptions)
    made = {
        duplexio.AckTimeout: duplexio.AckTimeout("event", 1.0),
        duplexio.ConnectRefused: duplexio.ConnectRefused(),
        duplexio.ConnectError: duplexio.ConnectError("no"),
        duplexio.ConnectTimeout: duplexio.ConnectTimeout("no"),
        duplexio.Disconnected: duplexio.Disconnected("transport close"),
        duplexio.LimitExceeded: duplexio.LimitExceeded("max_threads", 1),
        duplexio.MessageTooLarge: duplexio.MessageTooLarge(2_000, 1_024),
        duplexio.ReservedEvent: duplexio.ReservedEvent("connect"),
    }
    for name, attributes in listed.items():
        error = made.get(exceptions[name]) or exceptions[name]()
        assert set(vars(error)) == set(attributes) - {"args"}, name


def test_every_option_of_on() -> None:
    listed = first_cells(sections(text_of("server"))["Options of on"], "Option")
    assert [option.split("=")[0] for option in listed] == list(HandlerOptions.__annotations__)


# Counters.


def counters() -> set[str]:
    """Every name that the code counts under, from its text."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    names = set(re.findall(r"\bcount\(\s*\"([a-z_]+)\"", code))
    causes = set(re.findall(r"(?:\bfault|_report)\(\s*\"([a-z_]+)\"", code)) | set(
        re.findall(r"\bcause=\"([a-z_]+)\"", code)
    )
    # `Refusal(CODE, "cause", …)`, and `reject(reason, …)`, whose reasons are causes with blanks.
    causes |= set(re.findall(r"\bRefusal\(\s*[A-Z_]+,\s*\"([a-z_]+)\"", code))
    causes |= {reason.replace(" ", "_") for reason in re.findall(r"\breject\(\s*\"([a-z ]+)\"", code)}
    return names | {f"fault.{cause}" for cause in causes}


def test_every_counter() -> None:
    listed = first_cells(text_of("counters"), "Counter")
    assert sorted(listed) == sorted(counters())


def test_counters_that_pages_name() -> None:
    known = counters()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"fault\.[a-z_]+", text)) | set(re.findall(r"counts\[\"([a-z_.]+)\"\]", text))
        assert named <= known, name_of(page)
    assert {option.counter for option in (*OPTIONS, *CLIENT_OPTIONS) if option.counter} <= known


# Options.


@pytest.mark.parametrize("page", TABLE_PAGES, ids=name_of)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert fill_in(text) == text, "python -m tests.docs.option_tables writes them anew"


def test_every_option_is_in_a_table_once() -> None:
    text = text_of("options")
    assert sorted(first_cells(text, "Option")) == sorted(option.name for option in OPTIONS)
    by_name = {row[0]: row for table in tables(text) for row in table[1:]}
    assert by_name["`ping_interval` (`pingInterval`)"][1] == "25 s"
    assert by_name["`max_connections`"][1] == "100,000 sessions"
    assert by_name["`cors_allowed_origins` (`cors.origin`)"][1] == "`None`"


def test_every_option_of_a_client_is_in_a_table_once() -> None:
    text = text_of("client-options")
    assert sorted(first_cells(text, "Option")) == sorted(option.name for option in CLIENT_OPTIONS)
    by_name = {row[0]: row for table in tables(text) for row in table[1:]}
    assert by_name["`reconnection_delay_max` (`reconnectionDelayMax`)"][1] == "5 s"
    assert by_name["`reconnection_attempts` (`reconnectionAttempts`)"][1] == "no limit"
    assert by_name["`ssl`"][1] == "`None`"


def test_every_limit_is_in_the_table() -> None:
    text = text_of("limits")
    for heading, options in ("Limits that are options", OPTIONS), ("Limits of a client", CLIENT_OPTIONS):
        limits = [option.name for option in options if option.name.startswith("max_")]
        assert first_cells(sections(text)[heading], "Limit") == limits


def options_named(text: str, names: str = "Server") -> Iterable[str]:
    """Keyword arguments of `Server(…)`."""
    for call in re.findall(rf"\b(?:{names})\(([^()]*(?:\([^()]*\)[^()]*)*)\)", text):
        yield from re.findall(r"(?:^|[,\s])(\w+)=", re.sub(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)", "…", call))


#: Of python-socketio.
FOREIGN = {"max_decode_packets"}


def test_options_that_pages_name() -> None:
    # Not in the table: its type is of a layer below.
    known = {option.name for option in OPTIONS} | {"adapter"}
    of_clients = {option.name for option in CLIENT_OPTIONS}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("ping_intervall", "ping_interval")  # misspelt on purpose there
        assert set(options_named(text)) <= known, name_of(page)
        assert set(options_named(text, "connect|Manager")) <= of_clients, name_of(page)
        prefixed = set(re.findall(r"\bmax_[a-z_]+\b", text)) - {"max_size", "max_disconnection_duration", *FOREIGN}
        assert prefixed <= known | of_clients, name_of(page)


# The command.


COMMANDS = ("run", "client")


def options_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    return set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [re.split("[ ,]", cell)[0] for cell in first_cells(sections(text_of("cli"))[command], "Option")]
    assert sorted(listed) == sorted(options_of_the_command(command, capsys))


def test_every_exit_code_of_the_client() -> None:
    rows = next(rows for rows in tables(sections(text_of("cli"))["client"]) if rows[0][0] == "Exit code")
    assert {int(code): text for code, text in rows[1:]} == EXITS


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_the_command_that_pages_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = options_of_the_command(name, capsys)
    for page in PAGES:
        commands = [line for block in blocks(page) if block.language == "console" for line in block.code.splitlines()]
        commands += re.findall(rf"`(duplexio {name}[^`]*)`", page.read_text(encoding="utf-8"))
        for command in commands:
            if f"duplexio {name}" in command:
                assert set(re.findall(r"--[a-z-]+", command)) <= known, command


# Links and words.


def pages_with_anchors() -> dict[Path, set[str]]:
    anchors = {}
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
        anchors[page] = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    return anchors


def test_links_lead_somewhere() -> None:
    anchors = pages_with_anchors()
    for page in PAGES:
        # Not in code, which may look like a link.
        text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http:", "https:")):
                continue
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), f"{name_of(page)}: {target}"
            assert not anchor or anchor in anchors[linked], f"{name_of(page)}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_codes_of_refusals_are_the_protocols() -> None:
    text = text_of("refusals")
    for code, message in MESSAGES.items():
        assert f'{{"code":{code},"message":"{message}"}}' in text
