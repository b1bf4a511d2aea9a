"""Sessions captured from Socket.IO on Node, replayed: the client's bytes go to duplexio, its answers must be Node's.

Equal to the byte, once the ids that a server chooses (session, socket and recovery ids, offsets, ids of the
acknowledgements it asks for) are exchanged. See `captures/README.md`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from duplexio import ConnectRefused, Server, Socket
from duplexio.protocol import msgpack_javascript
from duplexio.protocol.socket_packet import ACK, CONNECT_ERROR, EVENT
from tests.engine.raw import BINARY, CLOSE, TEXT, Exchange, RawWebSocket, Response, Wire, handshake_bytes
from tests.engine.waiting import until

HERE = Path(__file__).parent / "captures"
FILES = (
    "v4-websocket",
    "v4-polling",
    "v4-upgrade",
    "v4-websocket-recovery",
    "v4-msgpack-parser",
    "eio3-websocket",
    "eio3-polling",
    "eio3-upgrade",
    "eio3-binary-and-jsonp",
    "errors",
)
Step = dict[str, Any]

OPCODES = {"text": TEXT, "binary": BINARY, "close": CLOSE}
QUICK_PINGS = {"ping_interval": 0.7, "ping_timeout": 2.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "v4-websocket": QUICK_PINGS,
    "v4-polling": QUICK_PINGS,
    "v4-upgrade": {},
    "v4-websocket-recovery": {"connection_state_recovery": True},
    "v4-msgpack-parser": {"parser": "msgpack"},
    "eio3-websocket": {"allow_eio3": True, **QUICK_PINGS},
    "eio3-polling": {"allow_eio3": True, **QUICK_PINGS},
    "eio3-upgrade": {"allow_eio3": True},
    # The capture was made by a program, which says of no page that it comes from there.
    "eio3-binary-and-jsonp": {"allow_eio3": True, "jsonp": True, "cors_allowed_origins": "*"},
    "errors": {},
}


@dataclass
class Change:
    """An answer of ours that is not Node's, and why."""

    reason: str
    status: int = 200
    content_type: str = "text/plain; charset=UTF-8"
    body: str = ""


#: Polls that are not sent, by the poll before, whose body has their packets already.
IN_ONE_BODY = {"v4-polling": {50: 53, 60: 63, 64: 66, 67: 70, 79: 82}, "eio3-polling": {192: 195}}
#: What stands between two packets in a body.
BETWEEN = {"v4-polling": "\x1e", "eio3-polling": ""}
IN_ONE_BODY_REASON = "Node answers a poll with a packet's text alone; here its attachments are in the same body"

CHANGES: dict[tuple[str, int], Change] = {
    ("v4-polling", 113): Change("Node puts a noop in front of the session's end", body="1"),
}

#: Headers of Node's answers that are not compared.
OTHER_HEADERS = {
    "content-encoding": "the JavaScript client's file is served as it is: compressing it is a proxy's work"
}


# The captured server, as its answers and the scenarios' `api` tell of it.


def captured_server(options: dict[str, Any]) -> Server:
    io = Server(**options)

    @io.on("hello")
    async def hello(socket: Socket, *args: Any) -> None: ...

    @io.on("unicode")
    async def unicode(socket: Socket) -> None:
        socket.emit("uni", "é€😀\u2028", [], {}, None, 1.5, True)

    @io.on("uni")
    async def uni(socket: Socket) -> None:
        socket.emit("uni", "é€😀")

    @io.on("ask")
    async def ask(socket: Socket, value: int) -> tuple[str, int]:
        return "answer", value

    @io.on("ask-me")
    async def ask_me(socket: Socket) -> None:
        socket.emit("q", 1, ack=lambda *args: socket.emit("q-got", *args))

    @io.on("bin2")
    async def bin2(socket: Socket, first: bytes, second: bytes) -> None:
        socket.emit("bin2-back", first, {"nested": second})

    @io.on("binask")
    async def binask(socket: Socket, data: bytes) -> tuple[bytes, dict[str, bytes]]:
        return data, {"ok": b"\xfe"}

    @io.on("ask-me-bin")
    async def ask_me_bin(socket: Socket) -> None:
        socket.emit("qb", b"\x07", ack=lambda *args: socket.emit("qb-got", *args))

    @io.on("kick")
    async def kick(socket: Socket, close: bool) -> None:
        socket.disconnect(close)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        socket.join(room)

    chat = io.of("/chat")

    @chat.on("m")
    async def message(socket: Socket, text: str) -> dict[str, str]:
        return {"nsp": socket.nsp.name, "x": text}

    @chat.on("b")
    async def binary(socket: Socket, data: bytes) -> None:
        socket.emit("b", data)

    @io.of("/denied").use
    async def denied(socket: Socket) -> None:
        raise ConnectRefused("not allowed", {"code": 403, "why": "nope"})

    @io.of("/denied-plain").use
    async def denied_plain(socket: Socket) -> None:
        raise ConnectRefused("nope")

    return io


async def first_broadcast(io: Server) -> None:
    io.to("rr").emit("m", 1)


async def broadcasts_to_one_who_is_away(io: Server) -> None:
    await until(lambda: not io.sockets.sockets)
    io.to("rr").emit("m", 2)
    io.to("rr").emit("m", 3, b"\x01")


#: What the recording script made the server do, by the step before which it did it.
CUES: dict[str, tuple[Callable[[Step], bool], Callable[[Server], Awaitable[None]]]] = {
    "first": (lambda step: step.get("text") == '42["m",1,"Q8686KY"]', first_broadcast),
    "away": (lambda step: step.get("ws") == 139 and "url" in step, broadcasts_to_one_who_is_away),
}


# The replay.

#: Bodies may hold bytes that are no text; they go through one unchanged.
AS_IS = "surrogateescape"


def text_of(step: Step) -> str:
    body: str = step["body"] if "body" in step else base64.b64decode(step["base64"]).decode(errors=AS_IS)
    return body


def repacked(packet: Any) -> bytes:
    data: bytes = msgpack.packb(packet)
    return data


def steps_of(name: str) -> list[Step]:
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def scenarios_of(name: str) -> Iterator[tuple[str, list[Step]]]:
    steps: list[Step] = []
    for step in steps_of(name):
        if "scenario" in step:
            steps = []
            yield step["scenario"], steps
        else:
            steps.append(step)


SERVER_ID = re.compile(r'\\?"(?:sid|pid)\\?":\\?"([\w-]{20})\\?"|"(Q868\w{3}(?:\.\d+)?)"')
ASKING = re.compile(r"(42|45\d-)(\d+)(\[.*)", re.DOTALL)
ANSWERING = re.compile(r"(43|46\d-)(\d+)(\[.*)", re.DOTALL)


class Ids:
    """The captured server's ids, and ours in their places. Each has its shape, and none is used twice."""

    def __init__(self, steps: list[Step]) -> None:
        answers = [text_of(step) for step in steps if "http" in step and "status" in step]
        answers += [step.get("text", "") for step in steps if "receive" in step]
        found = {sid or offset for text in answers for sid, offset in SERVER_ID.findall(text)}
        # The longest first: an offset may begin with another one.
        self._known = re.compile("(" + "|".join(sorted(found, key=len, reverse=True) or ["(?!)"]) + ")")
        self.ours: dict[str, str] = {}

    def put(self, sent: str) -> str:
        """What the client sent, with our ids."""
        asked = ANSWERING.fullmatch(sent)
        if asked is not None and f"ack {asked[2]}" in self.ours:
            sent = asked[1] + self.ours[f"ack {asked[2]}"] + asked[3]
        return self._known.sub(lambda match: self.ours.get(match[0], match[0]), sent)

    def check(self, expected: str, answer: str) -> None:
        """Whether what came is what Node answered. Ids that are new become known."""
        new: list[str] = []

        def place(name: str, shape: str) -> str:
            if name in self.ours:
                return re.escape(self.ours[name])
            new.append(name)
            return f"({shape})"

        pattern = ""
        asking = ASKING.fullmatch(expected)
        if asking is not None:
            pattern, expected = re.escape(asking[1]) + place(f"ack {asking[2]}", r"\d+"), asking[3]
        for index, part in enumerate(self._known.split(expected)):
            shape = r"[\w-]{20}" if len(part) == 20 else r"[\w-]+\.[\w-]+"
            pattern += place(part, shape) if index % 2 else re.escape(part)
        match = re.fullmatch(pattern, answer, re.DOTALL)
        assert match is not None, f"expected {expected!r}, got {answer!r}"
        for name, own in zip(new, match.groups(), strict=True):
            assert own not in self.ours.values(), f"{own!r} stands for two ids"
            self.ours[name] = own

    def put_in_msgpack(self, sent: bytes) -> bytes:
        packet = msgpack_javascript.decode(sent)
        known = f"ack {packet.get('id')}"
        if packet["type"] != ACK or known not in self.ours:
            return sent
        return repacked({**packet, "id": int(self.ours[known])})

    def check_msgpack(self, expected: bytes, answer: bytes) -> None:
        """The same bytes, but for fields of `undefined`, which are left out: a client reads them as undefined, too.

        An unknown namespace's refusal has its fields in another order in Node.
        """
        packet, ours = (msgpack_javascript.decode(data) for data in (expected, answer))
        if isinstance(packet.get("data"), dict):
            packet["data"] = {name: value for name, value in packet["data"].items() if value is not None}
            if "sid" in packet["data"]:
                assert re.fullmatch(r"[\w-]{20}", ours["data"]["sid"])
                packet["data"]["sid"] = ours["data"]["sid"]
        if packet["type"] == EVENT and "id" in packet:
            self.ours[f"ack {packet['id']}"] = str(ours["id"])
            packet["id"] = ours["id"]
        if packet["type"] == CONNECT_ERROR:
            packet = {name: packet[name] for name in ("type", "data", "nsp")}
        assert repacked(packet) == answer


class Replay:
    def __init__(self, name: str, io: Server, port: int, ids: Ids) -> None:
        self.name = name
        self.in_one_body = IN_ONE_BODY.get(name, {})
        self.io = io
        self.port = port
        self.ids = ids
        self.requests: dict[int, tuple[Step, asyncio.Task[Response]]] = {}
        self.wires: dict[int, Wire] = {}
        self.sockets: dict[int, RawWebSocket] = {}
        self.done = 0

    async def run(self, steps: list[Step]) -> None:
        try:
            for index, step in enumerate(steps):
                for applies, act in CUES.values():
                    if self.name == "v4-websocket-recovery" and applies(step):
                        await act(self.io)
                await self.step(step, steps[index + 1 :])
                self.done += 1
            assert not self.requests, "requests without an answer"
        finally:
            for _, task in self.requests.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self.requests.values()), return_exceptions=True)
            for wire in self.wires.values():
                await wire.close()

    async def step(self, step: Step, later: list[Step]) -> None:
        if "http" in step:
            if step["http"] in self.in_one_body.values():
                return
            if "method" in step:
                await self.request(step)
            else:
                await self.answer(step, later)
        elif "url" in step:
            wire = self.wires[step["ws"]] = await Wire.dial(self.port)
            wire.write(handshake_bytes(self.ids.put(step["url"]), step["headers"].items()))
        elif "status" in step:
            await self.upgraded(step)
        elif "send" in step:
            self.send(step)
        elif "receive" in step:
            await self.receive(step)

    # HTTP.

    async def request(self, step: Step) -> None:
        target, body = self.ids.put(step["url"]), self.ids.put(text_of(step))
        headers = step.get("headers", {}).items()
        exchange = await Exchange.begin(self.port, step["method"], target, body.encode(errors=AS_IS), headers)
        task = asyncio.create_task(exchange.response())
        self.requests[step["http"]] = (step, task)
        # The next request is not to overtake a poll: it is sent when the poll is there.
        sid = re.search(r"sid=([\w-]+)", target)
        if step["method"] == "GET" and sid is not None:
            await until(lambda: task.done() or self.waiting(sid[1]))

    def waiting(self, sid: str) -> bool:
        connection = self.io.engine.connections.get(sid)
        return connection is not None and connection.transport.writable

    async def answer(self, step: Step, later: list[Step]) -> None:
        number = step["http"]
        request, task = self.requests[number]
        response = await task
        if response.body == b"2" and step.get("body") != "2":
            await self.pong(request)
            await self.request(request)
            await self.answer(step, later)
            return
        del self.requests[number]
        expected = text_of(step)
        if number in self.in_one_body:
            rest = self.in_one_body[number]
            merged = next(other for other in later if other.get("http") == rest and "status" in other)
            expected += BETWEEN[self.name] + text_of(merged)
        headers = {name: value for name, value in step["headers"].items() if name not in OTHER_HEADERS}
        if expected.startswith("___eio["):
            # A script is said to be one, since with nosniff a browser runs nothing else.
            headers["content-type"] = "text/javascript; charset=UTF-8"
        change = CHANGES.get((self.name, number))
        status = step["status"]
        if change is not None:
            expected, status, headers = change.body, change.status, {"content-type": change.content_type}
        assert response.status == status
        assert {name: response.headers.get(name) for name in headers} == headers
        assert ("content-type" in response.headers) == ("content-type" in headers)
        self.ids.check(expected, response.body.decode(errors=AS_IS))

    async def pong(self, request: Step) -> None:
        """A ping that the capture has not, since time goes otherwise here: answered as a client does."""
        target = self.ids.put(request["url"])
        response = await (await Exchange.begin(self.port, "POST", target, b"3")).response()
        assert response.body == b"ok"

    # WebSocket.

    async def upgraded(self, step: Step) -> None:
        wire = self.wires[step["ws"]]
        head = await wire.head()
        assert head.status == step["status"]
        named = ("upgrade", "connection", "content-type", "content-length", "sec-websocket-extensions")
        found = {name: head.headers[name].lower() for name in named if name in head.headers}
        assert found == {name: value.lower() for name, value in step["headers"].items()}
        if head.status == 101:
            self.sockets[step["ws"]] = RawWebSocket(wire, head)
        else:
            assert (await wire.exactly(int(head.headers["content-length"]))).decode() == step["body"]
            assert await wire.at_end() == b""

    def send(self, step: Step) -> None:
        payload = self.ids.put(step["text"]).encode() if "text" in step else base64.b64decode(step["base64"])
        if self.name == "v4-msgpack-parser" and step["send"] == "binary":
            payload = self.ids.put_in_msgpack(payload)
        self.sockets[step["ws"]].send(OPCODES[step["send"]], payload)

    async def receive(self, step: Step) -> None:
        websocket = self.sockets[step["ws"]]
        frame = await websocket.receive()
        while frame.payload == b"2" and step.get("text") != "2":
            websocket.text("3")
            frame = await websocket.receive()
        assert (frame.opcode, frame.fin, frame.rsv) == (OPCODES[step["receive"]], True, 0), frame
        if "text" in step:
            self.ids.check(step["text"], frame.payload.decode())
        elif self.name == "v4-msgpack-parser" and step["receive"] == "binary":
            self.ids.check_msgpack(base64.b64decode(step["base64"]), frame.payload)
        else:
            assert frame.payload == base64.b64decode(step["base64"])
        if step["receive"] == "close":
            # The server ends the connection, and says nothing more.
            assert await websocket.wire.at_end() == b""


def client_package(folder: Path) -> Path:
    """What the captured server served as `socket.io.js`: its version is in the answer's ETag."""
    (folder / "dist").mkdir()
    (folder / "dist" / "socket.io.js").write_text("// the client", encoding="utf-8")
    (folder / "package.json").write_text('{"version": "4.8.4"}', encoding="utf-8")
    return folder


async def replay(name: str, scenarios: list[tuple[str, list[Step]]], tmp_path: Path) -> int:
    """Replays scenarios one after the other on one server; how many steps there were."""
    options = OPTIONS[name]
    if name == "errors":
        options = {**options, "client_directory": client_package(tmp_path)}
    io = captured_server(options)
    ids = Ids(steps_of(name))
    done = 0
    async with await io.listen() as listening:
        for _, steps in scenarios:
            player = Replay(name, io, listening.port, ids)
            await player.run(steps)
            done += player.done
    return done


@pytest.mark.parametrize("name", FILES)
async def test_a_whole_file(name: str, tmp_path: Path) -> None:
    scenarios = list(scenarios_of(name))
    assert await replay(name, scenarios, tmp_path) == sum(len(steps) for _, steps in scenarios)


@pytest.mark.parametrize(
    ("name", "scenario"), [(name, scenario) for name in FILES for scenario, _ in scenarios_of(name)]
)
async def test_a_scenario_alone(name: str, scenario: str, tmp_path: Path) -> None:
    found = [(known, steps) for known, steps in scenarios_of(name) if known == scenario]
    assert await replay(name, found, tmp_path) > 0


def test_nearly_everything_is_compared() -> None:
    compared = [step for name in FILES for step in steps_of(name) if "status" in step or "receive" in step]
    assert len(compared) > 240
    assert len(CHANGES) + len(IN_ONE_BODY) <= 6
    assert all(change.reason for change in CHANGES.values())
    assert IN_ONE_BODY_REASON
    assert set(OTHER_HEADERS) == {"content-encoding"}


def test_the_differences_are_those_of_steps_that_there_are() -> None:
    for name, merged in IN_ONE_BODY.items():
        numbers = {step["http"] for step in steps_of(name) if "http" in step}
        changed = {number for changed, number in CHANGES if changed == name}
        assert {*merged, *merged.values(), *changed} <= numbers
    for applies, _ in CUES.values():
        assert sum(applies(step) for step in steps_of("v4-websocket-recovery")) == 1


def test_each_captured_file_is_replayed() -> None:
    assert {path.stem for path in HERE.glob("*.jsonl")} == set(FILES)
