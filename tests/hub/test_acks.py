"""Acknowledgements that the server asks for: of one socket, and of many."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from duplexio import AckTimeout, Disconnected, EncodeError, LimitExceeded, ReservedEvent, Server, Socket
from duplexio.engine.wheel import Wheel
from duplexio.errors import DuplexioError
from duplexio.hub.acks import Ack, Collector, PendingAcks
from tests.engine.clock import run

from .ends import Client, counts, joined, serving, until

Log = list[Any]


def number_of(packet: object) -> str:
    """The id that an event asks to be acknowledged with."""
    assert isinstance(packet, str)
    match = re.match(r"4(?:2|5\d+-)(?:/[^,]*,)?(\d+)\[", packet)
    assert match is not None, packet
    return match[1]


async def answer(client: Client, text: str = "[]", namespace: str = "") -> str:
    """Answers the next event; returns it."""
    packet = await client.packet()
    client.send(f"43{namespace}{number_of(packet)}{text}")
    assert isinstance(packet, str)
    return packet


# What one socket owes.


def test_each_is_late_at_its_own_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pending = PendingAcks(Wheel(loop, 0.05), 10)
        began, late = loop.time(), {}

        def expect(number: int, timeout: float | None) -> None:
            def answered(error: DuplexioError | None, arguments: list[Any]) -> None:
                assert isinstance(error, AckTimeout)
                late[number] = loop.time() - began
                if number == 2:
                    pending.forget(3)

            pending.expect(number, "e", answered, timeout)

        for number, timeout in enumerate((10.0, 3.0, 5.0, 5.0, 2.0, None, 4.0)):
            expect(number, timeout)
        pending.forget(4)
        await asyncio.sleep(6)
        # After the timer was set for those that are there.
        expect(7, 1.0)
        expect(8, 30.0)
        await asyncio.sleep(60)
        expect(9, 2.0)
        await asyncio.sleep(60)
        expected = {1: 3.0, 6: 4.0, 2: 5.0, 7: 7.0, 0: 10.0, 8: 36.0, 9: 68.0}
        assert list(late) == list(expected)
        assert all(0 <= late[number] - due <= 0.11 for number, due in expected.items()), late
        assert len(pending) == 1

    run(main())


def test_pending() -> None:
    async def main() -> None:
        wheel = Wheel(asyncio.get_running_loop(), 0.05)
        pending = PendingAcks(wheel, 3)
        log: Log = []

        def answered(error: DuplexioError | None, arguments: list[Any]) -> None:
            log.append((error, arguments))

        pending.expect(1, "a", answered, 10)
        assert pending.resolve(1, ["x"])
        assert log == [(None, ["x"])]
        assert not pending.resolve(1, ["again"])
        assert not pending.resolve(99, ["never asked"])
        pending.expect(2, "b", answered, 5)
        await asyncio.sleep(6)
        assert isinstance(log[1][0], AckTimeout)
        assert (log[1][0].event, log[1][0].timeout) == ("b", 5)
        assert not pending.resolve(2, ["too late"])
        pending.expect(3, "c", answered, None)
        await asyncio.sleep(1000)
        assert len(log) == 2
        pending.forget(3)
        pending.forget(3)
        pending.expect(4, "d", answered, 10)
        pending.forget(4)
        await asyncio.sleep(20)
        assert len(log) == 2
        for number in (5, 6, 7):
            pending.expect(number, "e", answered, None if number == 5 else 10)
        with pytest.raises(LimitExceeded) as caught:
            pending.expect(8, "e", answered, 10)
        assert (caught.value.limit, caught.value.allowed) == ("max_pending_acks", 3)
        pending.close("ping timeout")
        assert [error.reason for error, _ in log[2:]] == ["ping timeout"] * 3
        pending.close("again")
        assert len(log) == 5

    run(main())


# One socket.


@pytest.mark.parametrize(
    ("text", "value"),
    [("[]", None), ("[1]", 1), ("[null]", None), ('[1,"a"]', (1, "a")), ("[[1,2]]", [1, 2]), ('[{"a":1}]', {"a": 1})],
)
async def test_emit_with_ack(text: str, value: Any) -> None:
    async with serving() as io:
        client, socket = joined(io)
        task = asyncio.create_task(socket.emit_with_ack("e", 1, "x"))
        assert (await answer(client, text)).endswith('["e",1,"x"]')
        assert await asyncio.wait_for(task, 5) == value


async def test_a_binary_acknowledgement() -> None:
    async with serving() as io:
        client, socket = joined(io)
        task = asyncio.create_task(socket.emit_with_ack("e", b"\x01"))
        packet = await client.packet()
        assert await client.packet() == b"\x01"
        client.send(f'461-{number_of(packet)}[{{"_placeholder":true,"num":0}}]', b"\x02")
        assert await asyncio.wait_for(task, 5) == b"\x02"


async def test_a_timeout() -> None:
    async with serving() as io:
        _, socket = joined(io)
        for waiting in (socket.emit_with_ack("e", timeout=0.02), socket.timeout(0.02).emit_with_ack("e")):
            with pytest.raises(AckTimeout) as caught:
                await waiting
            assert isinstance(caught.value, TimeoutError)
            assert (caught.value.event, caught.value.timeout, caught.value.responses) == ("e", 0.02, [])
            assert str(caught.value) == "0 of 1 acknowledgements of 'e' came within 0.02 s"


async def test_the_default_timeout() -> None:
    async with serving(ack_timeout=0.02) as io:
        _, socket = joined(io)
        with pytest.raises(AckTimeout):
            await socket.emit_with_ack("e")
        with pytest.raises(AckTimeout):
            await io.emit_with_ack("e")


@pytest.mark.parametrize("leaving", ["drop", "41", "disconnect"])
async def test_a_disconnect_ends_the_wait_at_once(leaving: str) -> None:
    async with serving() as io:
        client, socket = joined(io)
        task = asyncio.create_task(socket.emit_with_ack("e"))
        await client.packet()
        if leaving == "drop":
            client.drop()
        elif leaving == "41":
            client.send("41")
        else:
            socket.disconnect()
        with pytest.raises(Disconnected) as caught:
            await asyncio.wait_for(task, 5)
        assert isinstance(caught.value, ConnectionError)
        assert caught.value.reason in str(caught.value)
        with pytest.raises(Disconnected):
            await socket.emit_with_ack("e")


async def test_cancelling_only_stops_the_waiting() -> None:
    async with serving() as io:
        client, socket = joined(io)
        task = asyncio.create_task(socket.emit_with_ack("e"))
        packet = await client.packet()
        task.cancel()
        await asyncio.wait((task,))
        client.send(f"43{number_of(packet)}[]")
        assert counts(io)["unknown_acks"] == 1
        assert socket.connected


async def test_an_acknowledgement_and_a_cancel_in_one_turn() -> None:
    async with serving() as io:
        client, socket = joined(io)
        task = asyncio.create_task(socket.emit_with_ack("e"))
        packet = await client.packet()
        task.cancel()
        client.send(f"43{number_of(packet)}[1]")
        await asyncio.wait((task,))
        assert task.cancelled() or task.result() == 1


async def test_what_nobody_waits_for_is_passed_over_and_counted() -> None:
    async with serving() as io:
        client, socket = joined(io)
        client.send("437[]", '4399["x"]', '461-8[{"_placeholder":true,"num":0}]', b"x")
        assert socket.connected
        assert counts(io)["unknown_acks"] == 3
        packet = None
        task = asyncio.create_task(socket.emit_with_ack("e"))
        packet = await answer(client)
        await task
        client.send(f"43{number_of(packet)}[]")
        assert counts(io)["unknown_acks"] == 4


async def test_so_many_pending_and_no_more() -> None:
    async with serving(max_pending_acks=2) as io:
        client, socket = joined(io)
        tasks = [asyncio.create_task(socket.emit_with_ack("e")) for _ in range(2)]
        await until(lambda: len(client.packets) == 2)
        with pytest.raises(LimitExceeded, match="max_pending_acks"):
            await socket.emit_with_ack("e")
        with pytest.raises(LimitExceeded):
            socket.emit("e", ack=lambda: None)
        for _ in range(2):
            await answer(client)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        task = asyncio.create_task(socket.emit_with_ack("e"))
        await answer(client)
        await task


@pytest.mark.parametrize(
    ("event", "args", "error"), [("disconnect", [], ReservedEvent), ("e", [{1}], EncodeError), (5, [], TypeError)]
)
async def test_what_cannot_be_sent(event: Any, args: list[Any], error: type[Exception]) -> None:
    async with serving() as io:
        _, socket = joined(io)
        with pytest.raises(error):
            await socket.emit_with_ack(event, *args)
        with pytest.raises(error):
            await io.emit_with_ack(event, *args)
        assert socket._acks is None or not socket._acks._pending


# Callbacks.


async def test_a_callback() -> None:
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.emit("a", ack=lambda *args: log.append(args))
        await answer(client, "[1,2]")
        socket.emit("b", ack=lambda *args: log.append(args))
        await answer(client, "[]")
        assert log == [(1, 2), ()]


async def test_a_callback_with_a_timeout_gets_the_error_first() -> None:
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.timeout(5).emit("a", ack=lambda *args: log.append(args))
        await answer(client, "[1,2]")
        assert log == [(None, 1, 2)]
        socket.timeout(0.01).emit("b", ack=lambda *args: log.append(args))
        await until(lambda: len(log) == 2)
        assert isinstance(log[1][0], AckTimeout)
        assert log[1][1:] == ()


async def test_no_time_at_all_is_a_timeout_once() -> None:
    """Whatever the client answers is too late."""
    log: Log = []
    async with serving() as io:
        client, socket = joined(io)
        socket.timeout(0).emit("a", ack=lambda *args: log.append(args))
        await until(lambda: log)
        await answer(client, "[1]")
        with pytest.raises(AckTimeout):
            await socket.timeout(0).emit_with_ack("b")
        with pytest.raises(AckTimeout) as caught:
            await io.timeout(0).emit_with_ack("c")
        assert caught.value.responses == []
        ((error,),) = log
        assert isinstance(error, AckTimeout)
        assert counts(io)["unknown_acks"] == 1


async def test_a_callback_without_a_timeout_is_not_called_for_an_error() -> None:
    log: Log = []
    async with serving(ack_timeout=0.01) as io:
        client, socket = joined(io)
        socket.emit("a", ack=lambda *args: log.append(args))
        await asyncio.sleep(0.05)
        client.drop()
        assert log == []


async def test_a_coroutine_function_as_callback() -> None:
    log: Log = []

    async def callback(value: Any) -> None:
        await asyncio.sleep(0)
        log.append(value)

    async with serving() as io:
        client, socket = joined(io)
        socket.emit("a", ack=callback)
        await answer(client, "[1]")
        await until(lambda: log)
    assert log == [1]


async def test_a_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def failing(*args: Any) -> None:
        raise ValueError("callback")

    async with serving() as io:
        client, socket = joined(io)
        with caplog.at_level(logging.ERROR, "duplexio"):
            socket.emit("a", ack=failing)
            await answer(client)
        assert socket.connected
    assert "the acknowledgement callback of 'a' raised" in caplog.text


# A broadcast.


async def collected(io: Server, count: int) -> tuple[list[Client], list[Socket]]:
    pairs = [joined(io) for _ in range(count)]
    return [client for client, _ in pairs], [socket for _, socket in pairs]


async def test_a_broadcast_collects_first_arguments_in_order_of_arrival() -> None:
    async with serving() as io:
        clients, _ = await collected(io, 3)
        task = asyncio.create_task(io.emit_with_ack("e", 1))
        for index, text in ((2, '["c",0]'), (0, "[]"), (1, '["b"]')):
            assert (await answer(clients[index], text)).endswith('["e",1]')
        assert await asyncio.wait_for(task, 5) == ["c", None, "b"]


async def test_a_broadcast_to_nobody_is_answered_by_nobody() -> None:
    async with serving() as io:
        assert await asyncio.wait_for(io.emit_with_ack("e"), 5) == []
        assert await asyncio.wait_for(io.to("nowhere").emit_with_ack("e"), 5) == []


@pytest.mark.parametrize("how", ["modifier", "argument"])
async def test_a_broadcast_that_not_all_answer(how: str) -> None:
    async with serving() as io:
        clients, _ = await collected(io, 3)
        waiting = (
            io.timeout(0.1).emit_with_ack("e") if how == "modifier" else io.of("/").emit_with_ack("e", timeout=0.1)
        )
        task = asyncio.create_task(waiting)
        await answer(clients[1], "[1]")
        with pytest.raises(AckTimeout) as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.responses == [1]
        assert (caught.value.expected, caught.value.timeout) == (3, 0.1)
        assert "1 of 3" in str(caught.value)


async def test_a_broadcast_does_not_wait_for_who_has_gone() -> None:
    async with serving() as io:
        clients, _ = await collected(io, 2)
        task = asyncio.create_task(io.emit_with_ack("e"))
        await answer(clients[0], "[1]")
        clients[1].drop()
        with pytest.raises(AckTimeout) as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.responses == [1]


async def test_a_broadcast_reaches_whom_it_names() -> None:
    async with serving() as io:
        clients, sockets = await collected(io, 3)
        sockets[0].join("r")
        sockets[1].join("r")
        task = asyncio.create_task(io.to("r").except_(sockets[1].id).emit_with_ack("e"))
        await answer(clients[0], "[1]")
        assert await asyncio.wait_for(task, 5) == [1]
        task = asyncio.create_task(sockets[0].broadcast.emit_with_ack("e"))
        for client in clients[1:]:
            await answer(client, "[2]")
        assert await asyncio.wait_for(task, 5) == [2, 2]
        assert clients[0].take() == []


async def test_a_broadcast_whose_first_receiver_ends_while_it_is_asked() -> None:
    async with serving(max_outbox_packets=3) as io:
        clients, sockets = await collected(io, 2)
        clients[0].line.writable = False
        for _ in range(3):
            sockets[0].emit("e")
        task = asyncio.create_task(io.timeout(5).emit_with_ack("e"))
        await asyncio.sleep(0)
        assert clients[0].closed
        assert not task.done()
        await answer(clients[1], "[2]")
        with pytest.raises(AckTimeout) as caught:
            await asyncio.wait_for(task, 5)
        assert (caught.value.responses, caught.value.expected) == ([2], 2)


async def test_a_broadcast_where_a_receiver_owes_too_much() -> None:
    """What one client owes keeps no other from answering."""
    async with serving(max_pending_acks=1) as io:
        clients, sockets = await collected(io, 2)
        first = asyncio.create_task(sockets[0].emit_with_ack("own"))
        await clients[0].packet()
        task = asyncio.create_task(io.timeout(5).emit_with_ack("e"))
        await answer(clients[1], "[2]")
        with pytest.raises(AckTimeout) as caught:
            await asyncio.wait_for(task, 5)
        assert (caught.value.responses, caught.value.expected) == ([2], 2)
        first.cancel()
        await asyncio.wait((first,))


async def test_cancelling_a_broadcast() -> None:
    async with serving() as io:
        clients, _ = await collected(io, 2)
        task = asyncio.create_task(io.emit_with_ack("e"))
        await answer(clients[0])
        task.cancel()
        await asyncio.wait((task,))
        await answer(clients[1])
        clients[0].send("4399[]")


async def test_a_collector_alone() -> None:
    collector = Collector(asyncio.get_running_loop(), "e", 1.0)
    assert await collector.result() == []
    collector = Collector(asyncio.get_running_loop(), "e", 1.0)
    first, second = collector.one_more(), collector.one_more()
    waiting = asyncio.create_task(collector.result())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    first(None, [1])
    second(None, [])


async def test_an_ack_that_cannot_be_encoded_may_be_given_again() -> None:
    sent: Log = []

    def send(number: int, arguments: list[Any]) -> None:
        if arguments == ["bad"]:
            raise EncodeError("no")
        sent.append((number, arguments))

    ack = Ack(send, 5)
    with pytest.raises(EncodeError):
        ack("bad")
    assert not ack.answered
    ack("good")
    assert sent == [(5, ["good"])]


async def test_no_future_is_left_with_an_error_that_nobody_read(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled broadcast whose time runs out later."""
    import gc

    async with serving() as io:
        clients, _ = await collected(io, 1)
        task = asyncio.create_task(io.timeout(0.02).emit_with_ack("e"))
        await clients[0].packet()
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.sleep(0.1)
        gc.collect()
    assert "never retrieved" not in caplog.text
