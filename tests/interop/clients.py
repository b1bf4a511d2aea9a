"""The clients: which there are, what each needs to be built and run, and what it cannot do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: Where the Makefile builds them.
BUILT = ROOT / "build" / "interop"

TRANSPORTS = ("polling", "websocket", "upgrade")

#: In the order in which the clients go through them.
CHECKS = (
    "connect",
    "greeting",
    "transport",
    "ack",
    "ack_of_several",
    "asked",
    "asked_for_several",
    "text",
    "bytes_up",
    "bytes_down",
    "bytes_empty",
    "nested_up",
    "nested_down",
    "ack_with_bytes",
    "asked_for_bytes",
    "large_text",
    "large_bytes",
    "many_up",
    "many_down",
    "broadcast",
    "namespace",
    "two_namespaces",
    "refused",
    "refused_plainly",
    "kicked",
    "hung_up_on",
    "leaves",
    "heartbeat",
    "returns",
    # What the server has to say at its end.
    "gone",
    "counts",
)


@dataclass(frozen=True)
class Cannot:
    """What a client's own code is in the way of. A check that fails in another way fails; so does one that passes, but
    for what the client loses only `sometimes`, in a race within itself."""

    shows: str
    """A part of the check's error."""
    because: str
    transports: tuple[str, ...] = TRANSPORTS
    sometimes: bool = False


@dataclass(frozen=True)
class Client:
    name: str
    library: str
    protocol: int
    """Socket.IO's: 5 is Engine.IO 4, 4 is Engine.IO 3."""
    command: tuple[str, ...]
    """The transport and the URL follow."""
    built: Path
    """There, once it has been built."""
    target: str
    """Of make."""
    fetched: Path | None = None
    """There, once its makers' packages are; they may be out of reach."""
    tools: tuple[str, ...] = ()
    """What has to be installed to build it."""
    in_suite: bool = True
    """Whether it is quick enough to build to be among the tests; all run in `make interop`."""
    cannot: Mapping[str, Cannot] = field(default_factory=dict, compare=False)

    def missing(self) -> tuple[str, ...]:
        """What stands in the way of running it, where that is not this project's affair."""
        tools = tuple(tool for tool in self.tools if shutil.which(tool) is None)
        return tools or (("its packages",) if self.fetched and not self.fetched.exists() else ())

    def limit(self, check: str, transport: str) -> Cannot | None:
        cannot = self.cannot.get(check)
        return cannot if cannot is not None and transport in cannot.transports else None


def _python(version: str, kind: str, protocol: int, cannot: Mapping[str, Cannot]) -> Client:
    folder = BUILT / f"python-socketio-{version}"
    return Client(
        name=f"python-socketio {version} {kind}",
        library=f"python-socketio {version}, {kind}",
        protocol=protocol,
        command=(str(folder / "bin" / "python"), "-m", "tests.interop.python", kind),
        built=folder / "built",
        target="interop-python",
        cannot=cannot,
    )


def _java(version: str, protocol: int, cannot: Mapping[str, Cannot]) -> Client:
    folder = BUILT / f"java-{version}"
    return Client(
        name=f"java {version}",
        library=f"io.socket:socket.io-client {version}",
        protocol=protocol,
        command=("java", "-Xmx256m", "-cp", f"{folder / 'jars'}/*:{folder / 'classes'}", "Interop"),
        built=folder / "built",
        target="interop-java",
        fetched=folder / "jars" / "fetched",
        tools=("java", "javac", "mvn"),
        cannot=cannot,
    )


def _rust(kind: str, cannot: Mapping[str, Cannot]) -> Client:
    folder = BUILT / "rust"
    return Client(
        name=f"rust_socketio 0.6.0 {kind}",
        library=f"rust_socketio 0.6.0, {kind}",
        protocol=5,
        command=(str(folder / "debug" / "interop"), kind),
        built=folder / "built",
        target="interop-rust",
        tools=("cargo",),
        in_suite=False,
        cannot=cannot,
    )


_STAYS_AWAY = Cannot(
    "TimeoutError", "does not connect again after the end of a session on polling, be it the server's", ("polling",)
)
_CLOSES_FIRST = Cannot(
    "client namespace disconnect was expected",
    "may close the connection before it has written that it leaves the namespace",
    sometimes=True,
)
_NO_EMPTY = "takes an empty attachment for None"
_NO_ANSWER = Cannot("cannot: no event tells", "cannot answer the server: has no API for it")
_NO_NESTING = Cannot("cannot: a payload is either", "a payload is JSON or one attachment, not both")

_RUST = {
    "asked": _NO_ANSWER,
    "asked_for_several": _NO_ANSWER,
    "asked_for_bytes": _NO_ANSWER,
    "nested_up": _NO_NESTING,
    "nested_down": _NO_NESTING,
    "ack_with_bytes": Cannot(
        "cannot: what asks", "an event with bytes that asks for an acknowledgement is sent as an acknowledgement"
    ),
    "two_namespaces": Cannot("cannot: a client is in one", "a client is in one namespace"),
    "bytes_down": Cannot(
        "of 256: no bytes", "a WebSocket message is cut where it has a byte 0x1e", ("websocket", "upgrade")
    ),
}

CLIENTS = (
    _python(
        "5.18.1",
        "asyncio",
        5,
        {
            "leaves": _CLOSES_FIRST,
            "returns": _STAYS_AWAY,
        },
    ),
    _python("5.18.1", "threads", 5, {"leaves": _CLOSES_FIRST, "returns": _STAYS_AWAY}),
    _java("2.1.2", 5, {}),
    _rust(
        "blocking",
        {
            **_RUST,
            "returns": Cannot("no open", "does not connect again after the end of a session on polling", ("polling",)),
        },
    ),
    _rust(
        "async",
        {
            **_RUST,
            "large_text": Cannot(
                "no answer to large", "takes each piece of a body that it reads for a body", ("polling",)
            ),
            "large_bytes": Cannot(
                "no answer to kept", "takes each piece of a body that it reads for a body", ("polling",)
            ),
        },
    ),
    _python(
        "4.6.1",
        "asyncio",
        4,
        {
            "bytes_empty": Cannot("(None, 1) came", _NO_EMPTY),
            "nested_down": Cannot("[None, {'deep'", _NO_EMPTY),
            "leaves": _CLOSES_FIRST,
            "returns": _STAYS_AWAY,
        },
    ),
    _python(
        "4.6.1",
        "threads",
        4,
        {
            "bytes_empty": Cannot("(None, 1) came", _NO_EMPTY),
            "nested_down": Cannot("[None, {'deep'", _NO_EMPTY),
            "leaves": _CLOSES_FIRST,
            "returns": _STAYS_AWAY,
        },
    ),
    _java("1.0.2", 4, {"refused": Cannot("no error", "takes a refusal that is a text, not one with data")}),
)
