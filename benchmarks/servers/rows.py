"""The rows of the table: what clients do, and what is read of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from .generator import Step, Steps
from .wire import BINARY, DEFLATED, TEXT, binary_event, event, expects, hello, msgpack_packet, packet, sends, text

__all__ = ["FULL", "QUICK", "Figure", "Pace", "Row", "rows"]

SMALL = {"id": 12345, "user": "alice", "text": "hello, world!", "ok": True}
NEWS = "abcdefghijklmnopqrstuvwxyz" * 4
ATTACHMENT = bytes((number * 31 + 7) & 255 for number in range(65_536))
#: Files that a server and the generator need beside a row's connections.
SPARE_FILES = 500
DEFLATE = "header Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"
CONNECT = hello(text("40"))


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured: seconds, connections that are opened, broadcasts."""

    warm_up: float
    seconds: float
    opened: int
    kept: int
    broadcasts: int
    #: Over an interval of heartbeats, 25 s, where they are to be in it.
    idle: float


FULL = Pace(warm_up=1.0, seconds=2.0, opened=1000, kept=5000, broadcasts=200, idle=27)
QUICK = Pace(warm_up=0.3, seconds=0.6, opened=500, kept=600, broadcasts=30, idle=4)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a row: the step that it is read of, and how."""

    step: str
    unit: str
    cost: Callable[[Steps], float]
    #: Where a row has several.
    title: str = ""
    #: Whether what was done in a second, and how long it took, say anything.
    paced: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    title: str
    script: tuple[str, ...]
    figures: tuple[Figure, ...]
    #: What the servers' programs are told.
    setting: str = "plain"
    part: Literal["main", "further", "growth", "workers"] = "main"
    #: Whether it wants a server that has served nobody.
    fresh: bool = False
    #: Whether server and generator share a core: no wake-up of another one is then part of a latency.
    one_core: bool = False

    @property
    def once(self) -> bool:
        """Whether one round has to do: it takes long."""
        return self.part == "growth"


def microseconds(step: str) -> Callable[[Steps], float]:
    return lambda steps: cpu(steps[step])


def cpu(step: Step) -> float:
    return step["cpu"] / step["count"] * 1e6


def kilobytes(steps: Steps) -> float:
    opened, idle = steps["connect"], steps["idle"]
    return (idle["memory_after"] - opened["memory_before"]) / opened["count"] / 1000


def idle_cost(steps: Steps) -> float:
    """Microseconds a connection and second."""
    idle = steps["idle"]
    return idle["cpu"] / idle["seconds"] / steps["connect"]["count"] * 1e6


def milliseconds_a_megabyte(steps: Steps) -> float:
    return cpu(steps["echo"]) / len(ATTACHMENT) * 1e6 / 1e3


def message(step: str = "echo", unit: str = "us a message") -> tuple[Figure]:
    return (Figure(step, unit, microseconds(step)),)


def echoes(data: Any, *, deflated: bool = False, sized: bool = True) -> tuple[str, ...]:
    """Echoes of such events; other servers write what is not ASCII in other ways, at other lengths."""
    beginning, size = '42["echo",', len(packet("echo", data)) if sized else 0
    expected = expects(DEFLATED | TEXT) if deflated else expects(TEXT, beginning, size)
    return *sends(event("echo", data, deflated=deflated)), expected


def typed(size: int) -> dict[str, Any]:
    """An object of so many bytes of JSON, with a value of every type."""
    item = {
        "id": 4_711,
        "price": 19.99,
        "stock": None,
        "sold": True,
        "tags": ["new", "größe"],
        "at": {"x": -1.5, "y": 2},
    }
    found: dict[str, Any] = {"kind": "order", "items": []}
    while len(json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()) < size:
        found["items"].append({**item, "id": 4_711 + len(found["items"])})
    return found


def sentence(size: int) -> dict[str, Any]:
    return {**SMALL, "text": ("The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]}


def main_rows(pace: Pace) -> tuple[Row, ...]:
    flow = f"{pace.warm_up} {pace.seconds}"
    polled = packet("echo", SMALL).encode().hex()
    return (
        Row(
            "A",
            "echo, 50 connections, 16 in flight",
            ("busy", *CONNECT, *echoes(SMALL), "connect 50 50", f"echo 50 16 {flow}"),
            message(),
        ),
        Row(
            "A1",
            "echo, 50 connections, 1 in flight",
            ("busy", *CONNECT, *echoes(SMALL), "connect 50 50", f"echo 50 1 {flow}"),
            message(),
        ),
        Row(
            "B",
            "acknowledged event, 1 connection",
            (
                *CONNECT,
                *sends(event("ack", SMALL, ack="1")),
                expects(TEXT, "431["),
                "connect 1 1",
                f"echo 1 1 {flow}",
            ),
            message(unit="us an event"),
            one_core=True,
        ),
        Row(
            "C",
            "broadcast to 1,000",
            (
                "busy",
                *CONNECT,
                *sends(event("broadcast", NEWS)),
                expects(TEXT, '42["news",', len(packet("news", NEWS))),
                "connect 1000 50",
                f"broadcast {pace.broadcasts // 5} {pace.broadcasts} 1000",
            ),
            message("broadcast", "us a delivery"),
        ),
        Row(
            "D",
            "connect: WebSocket and namespace",
            ("busy", *CONNECT, f"connect {pace.opened} 50", "close", "idle 0.6", f"connect {pace.opened} 50"),
            message("connect", "us a connection"),
        ),
        Row(
            "E",
            "memory of an idle connection",
            (*CONNECT, "connect 20 20", "close", "idle 0.6", f"connect {pace.kept} 20", "idle 1"),
            (Figure("connect", "KB a connection", kilobytes, paced=False),),
            fresh=True,
        ),
        Row(
            "F",
            "echo of 64 KiB of binary",
            (
                "busy",
                *CONNECT,
                *sends(binary_event("echo", ATTACHMENT)),
                expects(BINARY, size=len(ATTACHMENT)),
                "connect 8 8",
                f"echo 8 2 {flow}",
            ),
            (Figure("echo", "ms a MB", milliseconds_a_megabyte),),
        ),
        Row(
            "G",
            "echo by polling, 1 message a POST",
            ("busy", f"poll 20 {polled} 1 {flow}"),
            message("poll"),
        ),
        Row(
            "G16",
            "echo by polling, 16 messages a POST",
            ("busy", f"poll 20 {polled} 16 {flow}"),
            message("poll"),
        ),
    )


def room_row(key: str, title: str, name: str, receivers: int, pace: Pace) -> Row:
    return Row(
        key,
        title,
        (
            "busy",
            *CONNECT,
            *sends(*(event(name, f"r{number}", NEWS) for number in range(1000))),
            expects(TEXT, '42["news",', len(packet("news", NEWS))),
            "connect 10000 50",
            f"broadcast 1000 {pace.broadcasts * 10} {receivers}",
        ),
        message("broadcast", "us a delivery"),
        part="further",
        setting="rooms",
        fresh=True,
    )


def further_rows(pace: Pace) -> tuple[Row, ...]:
    flow = f"{pace.warm_up} {pace.seconds}"
    namespaces = [f"/n{number}" for number in range(10)]
    a = next(row for row in main_rows(pace) if row.key == "A")
    return (
        room_row("R", "a room of 10, in 1,000 rooms of 10,000 sockets", "room", 10, pace),
        room_row("RX", "a room of 10 less another room, 5 are left", "except", 5, pace),
        Row(
            "N",
            "echo, 10 namespaces a connection",
            (
                "busy",
                *hello(*(text(f"40{name},") for name in namespaces), answered=b"40/n"),
                *sends(*(event("echo", SMALL, namespace=name) for name in namespaces)),
                expects(TEXT, "42/n", len(packet("echo", SMALL, namespace="/n0"))),
                "connect 50 50",
                f"echo 50 16 {flow}",
            ),
            message(),
            part="further",
            setting="namespaces",
        ),
        Row(
            "H",
            "heartbeat of 1,000 idle connections, each second",
            (*CONNECT, "connect 1000 50", "idle 2", "idle 6"),
            (Figure("idle", "us a heartbeat", microseconds("idle"), paced=False),),
            part="further",
            setting="heartbeat",
        ),
        *(
            Row(
                f"J{size // 1000}",
                f"echo of {size // 1000} KB of JSON, all its types",
                ("busy", *CONNECT, *echoes(typed(size), sized=False), "connect 50 50", f"echo 50 4 {flow}"),
                message(),
                part="further",
            )
            for size in (1_000, 10_000)
        ),
        Row(
            "T", "TLS: echo, 50 connections, 16 in flight", ("tls", *a.script), message(), part="further", setting="tls"
        ),
        Row(
            "M",
            "msgpack: echo, 50 connections, 16 in flight",
            (
                "busy",
                *hello(msgpack_packet(type=0, nsp="/"), answered=b""),
                *sends(msgpack_packet(type=2, nsp="/", data=["echo", SMALL])),
                expects(BINARY),
                "connect 50 50",
                f"echo 50 16 {flow}",
            ),
            message(),
            part="further",
            setting="msgpack",
        ),
        Row(
            "P",
            "permessage-deflate: echo of 2 KB of text",
            (
                "busy",
                DEFLATE,
                # An answer may come compressed: how it begins says nothing.
                *hello(text("40"), answered=b""),
                *echoes(sentence(2_000), deflated=True),
                "connect 50 50",
                f"echo 50 4 {flow}",
            ),
            message(),
            part="further",
            setting="deflate",
        ),
        Row(
            "S",
            "connect by polling and move to WebSocket",
            ("busy", *echoes(SMALL), f"storm {pace.opened // 2} {pace.opened} 50"),
            message("storm", "us a connection"),
            part="further",
        ),
    )


def growth_row(wanted: int, files: int, pace: Pace) -> Row:
    count = min(wanted, files - SPARE_FILES)
    title = f"growth, {count:,} connections"
    if count < wanted:
        title += f", not {wanted:,} for want of open files"
    broadcasts = max(5, 100_000 // count)
    return Row(
        f"X{wanted}",
        title,
        (
            # 20,000 ports of one address are what can be had on most machines.
            "sources 8",
            *CONNECT,
            f"connect {min(20, count)} 20",
            "close",
            "idle 0.6",
            f"connect {count} 50",
            f"idle {pace.idle}",
            "busy",
            *echoes(SMALL),
            f"echo 50 16 {flow_of(pace)}",
            *sends(event("broadcast", NEWS)),
            expects(TEXT, '42["news",', len(packet("news", NEWS))),
            f"broadcast {max(2, broadcasts // 5)} {broadcasts} {count}",
        ),
        (
            Figure("echo", "us a message", microseconds("echo"), "an echo"),
            Figure("broadcast", "us a delivery", microseconds("broadcast"), "a delivery"),
            # What a hundred take is lost in what the server frees and fetches meanwhile.
            *([Figure("connect", "KB a connection", kilobytes, "memory", paced=False)] if count >= 1000 else []),
            Figure("idle", "us a connection and second", idle_cost, "an idle connection", paced=False),
        ),
        part="growth",
        fresh=True,
    )


def flow_of(pace: Pace) -> str:
    return f"{pace.warm_up} {pace.seconds}"


def workers_rows(pace: Pace) -> tuple[Row, ...]:
    """Several processes on one port. They share a core, as all servers here do: what is measured is what they use."""
    polled = packet("echo", SMALL).encode().hex()
    polling = tuple(
        Row(
            f"W{count}",
            f"echo by polling, workers: {count}",
            ("busy", f"poll 20 {polled} 1 {flow_of(pace)}"),
            message("poll"),
            part="workers",
            setting=f"workers{count}",
            fresh=True,
        )
        for count in (1, 2, 4)
    )
    c = next(row for row in main_rows(pace) if row.key == "C")
    spread = replace(
        c, key="W2C", title="broadcast to 1,000, workers: 2", part="workers", setting="workers2", fresh=True
    )
    return *polling, spread


GROWTH = (100, 1_000, 10_000, 25_000)


def rows(pace: Pace, files: int) -> tuple[Row, ...]:
    """All of them; `files` is how many a process may have open."""
    return (
        *main_rows(pace),
        *further_rows(pace),
        *workers_rows(pace),
        *(growth_row(count, files, pace) for count in GROWTH),
    )
