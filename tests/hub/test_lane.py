"""The order in which the handlers of a socket start, and what holds them up."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from duplexio import Server, Socket
from tests.engine.raw import POLLING, Exchange, http
from tests.engine.raw import joined as dialled

from .ends import counts, joined, serving, until

Log = list[Any]


class Gates:
    """Handlers that note when they start, and end when the test says so."""

    def __init__(self) -> None:
        self.log: Log = []
        self._ends: dict[Any, asyncio.Event] = {}

    def open(self, name: Any) -> None:
        self._ends.setdefault(name, asyncio.Event()).set()

    async def waiting(self, socket: Socket, name: Any) -> Any:
        self.log.append(f"start {name}")
        await asyncio.wait_for(self._ends.setdefault(name, asyncio.Event()).wait(), 10)
        self.log.append(f"end {name}")
        return name

    async def quick(self, socket: Socket, name: Any) -> Any:
        self.log.append(f"quick {name}")
        return name


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# Coroutines.


async def test_a_handler_that_waits_lets_the_next_one_start() -> None:
    gates = Gates()
    async with serving() as io:
        io.on("w", gates.waiting)
        client, _ = joined(io)
        for name in (1, 2, 3):
            client.emit("w", name, ack=name)
        assert gates.log == ["start 1", "start 2", "start 3"]
        for name in (3, 1, 2):
            gates.open(name)
            await until(lambda: f"end {name}" in gates.log)  # noqa: B023
        await settle()
        assert client.take() == ["433[3]", "431[1]", "432[2]"]


@pytest.mark.parametrize("where", ["on", "of", "server"])
async def test_ordered_handlers_start_when_the_one_before_has_ended(where: str) -> None:
    gates = Gates()
    async with serving(ordered=where == "server") as io:
        namespace = io.of("/n", ordered=where == "of" or None)
        namespace.on("w", gates.waiting, **({"ordered": True} if where == "on" else {}))  # type: ignore[call-overload]
        client, _ = joined(io, "/n")
        for name in (1, 2, 3):
            client.emit("w", name, namespace="/n", ack=name)
        await settle()
        assert gates.log == ["start 1"]
        for name in (3, 2, 1):
            gates.open(name)
        await until(lambda: len(gates.log) == 6)
        assert gates.log == ["start 1", "end 1", "start 2", "end 2", "start 3", "end 3"]
        await settle()
        assert client.take() == ["43/n,1[1]", "43/n,2[2]", "43/n,3[3]"]


async def test_an_ordered_handler_waits_for_those_that_are_not() -> None:
    gates = Gates()
    async with serving() as io:
        io.on("w", gates.waiting)
        io.on("o", gates.quick, ordered=True)
        client, _ = joined(io)
        client.emit("w", 1)
        client.emit("o", 2)
        client.emit("w", 3)
        await settle()
        # What comes behind the one that waits does not overtake it.
        assert gates.log == ["start 1"]
        gates.open(1)
        gates.open(3)
        await until(lambda: len(gates.log) == 5)
        assert gates.log[:4] == ["start 1", "end 1", "quick 2", "start 3"]


async def test_ordered_off_for_one_handler() -> None:
    gates = Gates()
    async with serving(ordered=True) as io:
        io.on("w", gates.waiting, ordered=False)
        client, _ = joined(io)
        client.emit("w", 1)
        client.emit("w", 2)
        assert gates.log == ["start 1", "start 2"]
        gates.open(1)
        gates.open(2)
        await until(lambda: len(gates.log) == 4)


async def test_ordered_counts_for_connection_too() -> None:
    gates = Gates()
    async with serving(ordered=True) as io:

        @io.on("connection")
        async def connected(socket: Socket) -> None:
            await gates.waiting(socket, "connection")

        io.on("e", gates.quick)
        client, _ = joined(io)
        client.emit("e", 1)
        await settle()
        assert gates.log == ["start connection"]
        gates.open("connection")
        await until(lambda: len(gates.log) == 3)
        assert gates.log == ["start connection", "end connection", "quick 1"]


async def test_two_sockets_do_not_wait_for_each_other() -> None:
    gates = Gates()
    async with serving(ordered=True) as io:
        io.on("w", gates.waiting)
        first, _ = joined(io)
        second, _ = joined(io)
        first.emit("w", 1)
        second.emit("w", 2)
        assert gates.log == ["start 1", "start 2"]
        gates.open(1)
        gates.open(2)
        await until(lambda: len(gates.log) == 4)


async def test_disconnect_waits_for_nothing() -> None:
    gates = Gates()
    async with serving(ordered=True) as io:
        io.on("w", gates.waiting)

        @io.on("disconnect")
        async def gone(socket: Socket, reason: str) -> None:
            gates.log.append(reason)

        client, _ = joined(io)
        client.emit("w", 1)
        client.send("41")
        assert gates.log == ["start 1", "client namespace disconnect"]
        gates.open(1)
        await until(lambda: "end 1" in gates.log)


async def test_a_handler_that_ends_at_once_within_the_lane() -> None:
    gates = Gates()
    async with serving(ordered=True) as io:

        @io.on("e")
        async def emitting(socket: Socket, name: int) -> int:
            gates.log.append(name)
            return name

        client, _ = joined(io)
        for name in range(50):
            client.emit("e", name, ack=name)
        assert gates.log == list(range(50))


async def test_an_ordered_handler_that_fails_lets_the_next_one_start() -> None:
    log: Log = []
    async with serving(ordered=True) as io:

        @io.on("e")
        async def failing(socket: Socket, name: int) -> None:
            log.append(name)
            await asyncio.sleep(0)
            raise ValueError(name)

        client, _ = joined(io)
        for name in range(3):
            client.emit("e", name)
        await until(lambda: counts(io).get("handler_errors") == 3)
    assert log == [0, 1, 2]


# Threads.


class Blocking:
    """A plain handler that holds its thread until the test lets it go."""

    def __init__(self) -> None:
        self.log: Log = []
        self.free = threading.Semaphore(0)

    def __call__(self, socket: Socket, name: Any) -> Any:
        self.log.append(f"start {name}")
        assert self.free.acquire(timeout=10)
        self.log.append(f"end {name}")
        return name


async def test_plain_handlers_of_a_socket_run_one_at_a_time_and_in_order() -> None:
    blocking = Blocking()
    async with serving() as io:
        io.on("t", blocking)
        client, _ = joined(io)
        for name in (1, 2, 3):
            client.emit("t", name, ack=name)
        await until(lambda: blocking.log)
        await asyncio.sleep(0.02)
        assert blocking.log == ["start 1"]
        blocking.free.release(3)
        await until(lambda: len(client.packets) == 3)
        assert blocking.log == ["start 1", "end 1", "start 2", "end 2", "start 3", "end 3"]
        assert client.take() == ["431[1]", "432[2]", "433[3]"]


async def test_a_coroutine_waits_for_the_plain_handler_before_it_to_start_only() -> None:
    blocking, gates = Blocking(), Gates()
    async with serving() as io:
        io.on("t", blocking)
        io.on("q", gates.quick)
        client, _ = joined(io)
        client.emit("t", 1)
        client.emit("q", 2)
        assert gates.log == ["quick 2"]
        client.emit("t", 3)
        client.emit("q", 4)
        await settle()
        # The second plain one waits for its thread, and the coroutine behind it for that.
        assert gates.log == ["quick 2"]
        blocking.free.release(2)
        await until(lambda: len(gates.log) == 2 and len(blocking.log) == 4)


async def test_plain_handlers_of_two_sockets_run_side_by_side() -> None:
    blocking = Blocking()
    async with serving() as io:
        io.on("t", blocking)
        clients = [joined(io)[0] for _ in range(3)]
        for number, client in enumerate(clients):
            client.emit("t", number)
        await until(lambda: len(blocking.log) == 3)
        blocking.free.release(3)
        await until(lambda: len(blocking.log) == 6)


async def test_so_many_threads_and_no_more() -> None:
    blocking = Blocking()
    async with serving(max_threads=2) as io:
        io.on("t", blocking)
        clients = [joined(io)[0] for _ in range(5)]
        for number, client in enumerate(clients):
            client.emit("t", number, ack=1)
            client.emit("t", number + 10, ack=2)
        await until(lambda: len(blocking.log) == 2)
        await asyncio.sleep(0.02)
        assert len(blocking.log) == 2
        blocking.free.release(10)
        await until(lambda: len(blocking.log) == 20)
        await until(lambda: all(len(client.packets) == 2 for client in clients))
        for number, client in enumerate(clients):
            assert client.take() == [f"431[{number}]", f"432[{number + 10}]"]


async def test_a_plain_handler_runs_in_a_thread_with_a_copy_of_the_context() -> None:
    threads: Log = []
    async with serving() as io:

        @io.on("t")
        def handler(socket: Socket) -> None:
            threads.append(threading.current_thread().name)

        @io.on("i", inline=True)
        def inline(socket: Socket) -> None:
            threads.append(threading.current_thread().name)

        client, _ = joined(io)
        client.emit("i")
        client.emit("t")
        await until(lambda: len(threads) == 2)
        assert threads[0] == threading.current_thread().name
        assert threads[1].startswith("duplexio")


# How much a client may have running.


async def test_who_waits_for_the_client_s_own_answer_does_not_stop_its_reading() -> None:
    answers: Log = []
    async with serving(max_handlers_in_flight=2) as io:

        @io.on("ask")
        async def ask(socket: Socket, name: int) -> None:
            answers.append(await socket.emit_with_ack("question", name, timeout=5))

        client, socket = joined(io)
        for name in range(6):
            client.emit("ask", name)
        assert client.line.reading
        questions = client.take()
        assert len(questions) == 6
        # What does not wait for the client counts still.
        gates = Gates()
        io.on("w", gates.waiting)
        client.emit("w", "a")
        assert client.line.reading
        client.emit("w", "b")
        assert not client.line.reading
        for name, question in enumerate(questions):
            number = str(question).removeprefix("42").partition("[")[0]
            client.send(f"43{number}[{name}]")
        await until(lambda: len(answers) == 6)
        assert sorted(answers) == list(range(6))
        assert not client.line.reading
        gates.open("a")
        await until(lambda: client.line.reading)
        gates.open("b")
        assert socket._awaited == 0


async def test_reading_stops_at_the_limit_of_handlers_in_flight() -> None:
    gates = Gates()
    async with serving(max_handlers_in_flight=3) as io:
        io.on("w", gates.waiting)
        client, socket = joined(io)
        for name in range(2):
            client.emit("w", name)
        assert client.line.reading
        client.emit("w", 2)
        assert not client.line.reading
        # What was read already waits.
        client.emit("w", 3)
        client.emit("w", 4)
        assert len(gates.log) == 3
        gates.open(0)
        await until(lambda: "start 3" in gates.log)
        assert not client.line.reading
        for name in range(1, 5):
            gates.open(name)
        await until(lambda: len(gates.log) == 10)
        await settle()
        assert client.line.reading
        assert counts(io)["reading_paused"] >= 1
        assert socket.connected


async def test_reading_stops_at_the_limit_of_the_ordered_queue() -> None:
    gates = Gates()
    async with serving(ordered=True, max_ordered_queue=3) as io:
        io.on("w", gates.waiting)
        client, _ = joined(io)
        for name in range(3):
            client.emit("w", name)
        assert client.line.reading
        client.emit("w", 3)
        assert not client.line.reading
        gates.open(0)
        await until(lambda: "start 1" in gates.log)
        assert client.line.reading
        for name in range(1, 4):
            gates.open(name)
        await until(lambda: len(gates.log) == 8)


async def test_reading_stops_where_too_many_wait_for_a_thread() -> None:
    blocking = Blocking()
    async with serving(max_threads=1, max_thread_queue=2) as io:
        io.on("t", blocking)
        clients = [joined(io)[0] for _ in range(5)]
        for number, client in enumerate(clients):
            client.emit("t", number)
        assert [client.line.reading for client in clients] == [True, True, False, False, False]
        blocking.free.release(5)
        await until(lambda: len(blocking.log) == 10)
        await until(lambda: all(client.line.reading for client in clients))


async def test_a_polling_client_hears_no_ok_meanwhile() -> None:
    """Through real HTTP: the POST that brought one event too many is not answered."""
    gates = Gates()
    io = Server(max_handlers_in_flight=2, handle_signals=False)
    io.on("w", gates.waiting)
    async with await io.listen() as listening:
        opened = await http(listening.port, "GET", POLLING)
        sid = json.loads(opened.body[1:])["sid"]
        target = f"{POLLING}&sid={sid}"
        assert (await http(listening.port, "POST", target, b"40")).body == b"ok"
        held = await Exchange.begin(listening.port, "POST", target, b'42["w",1]\x1e42["w",2]\x1e42["w",3]')
        answer = asyncio.create_task(held.response())
        await until(lambda: len(gates.log) == 2)
        await asyncio.sleep(0.05)
        assert not answer.done()
        for name in (1, 2, 3):
            gates.open(name)
        assert (await answer).body == b"ok"
        await until(lambda: len(gates.log) == 6)
        assert (await http(listening.port, "POST", target, b"1")).body == b"ok"


async def test_a_client_that_does_not_stop_sending_is_not_read() -> None:
    """Through a real WebSocket: what a client sends beyond the limit stays with its own socket."""
    gates = Gates()
    io = Server(max_handlers_in_flight=5, handle_signals=False)
    io.on("w", gates.waiting)
    async with await io.listen() as listening, await dialled(listening.port) as websocket:
        for name in range(300):
            websocket.text(f'42["w",{name},"{"x" * 1000}"]')
        await until(lambda: len(gates.log) == 5)
        (connection,) = io.engine.connections.values()
        await until(lambda: connection._pauses == 1)
        for name in range(300):
            gates.open(name)
        await until(lambda: len(gates.log) == 600)
        starts = [entry for entry in gates.log if entry.startswith("start")]
        assert starts == [f"start {name}" for name in range(300)]
        assert connection._pauses == 0


# Ending.


async def test_handlers_end_by_themselves_after_a_disconnect() -> None:
    gates = Gates()
    async with serving() as io:
        io.on("w", gates.waiting)
        client, socket = joined(io)
        client.emit("w", 1, ack=1)
        client.drop()
        assert not socket.connected
        gates.open(1)
        await until(lambda: "end 1" in gates.log)
        await settle()
        assert client.take() == []


@pytest.mark.parametrize("ordered", [False, True])
async def test_cancel_on_disconnect(ordered: bool) -> None:
    log: Log = []
    async with serving(cancel_on_disconnect=True, ordered=ordered) as io:

        @io.on("w")
        async def waiting(socket: Socket) -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        @io.on("q")
        async def quick(socket: Socket) -> None:
            await asyncio.sleep(0)

        client, _ = joined(io)
        client.emit("q")
        await settle()
        client.emit("w")
        client.send("41")
        await until(lambda: log)
    assert log == ["cancelled"]


def test_no_thread_is_left_behind() -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("duplexio")}

    async def main() -> None:
        async with serving() as io:
            done: Log = []
            io.on("t", lambda socket: done.append(1))
            client, _ = joined(io)
            client.emit("t")
            await until(lambda: done)

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name.startswith("duplexio"):
            thread.join(5)
    assert not names()
