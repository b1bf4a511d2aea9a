"""A worker that dies in the moment in which another has dialled it: nothing but that connection ends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from duplexio.engine.neighbour import Answer
from duplexio.protocol.engine_handshake import Refusal
from duplexio.workers.relay_client import Asked, Channel, gone
from tests.engine.descriptors import taken_again
from tests.engine.ends import engine, request
from tests.engine.loops import LOOPS
from tests.engine.waiting import until


class Poll:
    """See `engine.neighbour.Asker`."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None

    def answered(self, answer: Answer) -> None:
        raise AssertionError("nobody is there to answer")

    def unanswered(self, refusal: Refusal) -> None:
        self.refusal = refusal


@pytest.mark.parametrize("loop", LOOPS)
def test_its_connection_is_closed_once(loop: str) -> None:
    async def main() -> None:
        connection, there = socket.socketpair()
        there.close()
        descriptor = connection.fileno()
        ends: list[str] = []
        channel = Channel(engine(), connection, Asked(), lambda: ends.append("lost"))
        del connection
        poll = Poll()
        channel.ask(request("/socket.io/?EIO=4&transport=polling&sid=x"), b"", poll)
        await until(lambda: poll.refusal is not None)
        assert poll.refusal == gone()
        assert ends == ["lost"]
        # What ends a connection goes on for a turn.
        await asyncio.sleep(0.01)
        with taken_again(descriptor):
            del channel

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("turns", range(4))
def test_a_channel_that_is_left_while_it_opens(loop: str, turns: int) -> None:
    async def main() -> None:
        errors: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        connection, there = socket.socketpair()
        descriptor = connection.fileno()
        ends: list[str] = []
        channel = Channel(engine(), connection, Asked(), lambda: ends.append("lost"))
        del connection
        for _ in range(turns):
            await asyncio.sleep(0)
        channel.leave()
        assert ends == ["lost"]
        there.setblocking(False)
        with there:
            assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(there, 1), 10) == b""
        await asyncio.sleep(0.01)
        with taken_again(descriptor):
            del channel
        assert errors == []

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())
