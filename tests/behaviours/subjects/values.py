"""Values of JSON: what arrives in Python, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from duplexio import Socket

from .stage import Stage


@dataclass
class Point:
    x: int
    y: float
    label: str


def prepare(stage: Stage) -> None:
    values = stage.of("/values")

    @values.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @values.on("repr")
    async def show(socket: Socket, *args: Any) -> str:
        return repr(list(args))

    @values.on("request")
    async def request(socket: Socket, data: Any) -> None:
        socket.emit("response", {"data": "Receive Respond", "to": data})

    @values.on("from python")
    async def from_python(socket: Socket) -> tuple[Any, ...]:
        return (
            None,
            True,
            0,
            -1,
            2**53,
            0.1,
            1e100,
            "",
            "naïve ☃ 🎉",
            [],
            {},
            (1, (2, 3)),
            {"b": 1, "a": [None, {"c": "d"}]},
        )

    @values.on("not finite")
    async def not_finite(socket: Socket) -> list[float]:
        return [float("nan"), float("inf"), float("-inf"), 1.0]

    @values.on("keys in order")
    async def keys_in_order(socket: Socket, given: dict[str, Any]) -> tuple[str, dict[str, int]]:
        return ",".join(given), {"zeta": 1, "alpha": 2, "mid": 3, "beta": 4}

    @values.on("large")
    async def large(socket: Socket, text: str) -> tuple[int, str]:
        return len(text), text[::-1]

    @values.on("dataclass")
    async def dataclass_(socket: Socket) -> Point:
        socket.emit("points", [Point(1, 2.5, "a"), Point(3, 4.0, "b")])
        return Point(5, 6.5, "c")

    @values.on("moment")
    async def moment(socket: Socket) -> datetime:
        return datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC)

    @values.on("message")
    async def message(socket: Socket, *args: Any) -> None:
        socket.send("you said", *args)

    def odd_names() -> Iterator[str]:
        yield from ("chat message ☃", "toString", "constructor", "__proto__", "", " ", "a,b", '"quoted"', "/slash", "0")

    for name in odd_names():

        @values.on(name)
        async def named(socket: Socket, *args: Any, name: str = name) -> tuple[Any, ...]:
            return name, *args
