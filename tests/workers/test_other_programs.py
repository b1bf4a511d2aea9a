"""Servers without a port, in programs that emit to the clients of an application: again and again, and one by one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

import duplexio
from duplexio import Server
from tests.hosting.processes import duplexio_run, free_port, running

from .pairs import HERE

SECONDS = 20.0


@pytest.fixture
def name() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def port(name: str) -> Iterator[int]:
    with running(*duplexio_run("applications:io", free_port(), "--cluster-id", name), folder=HERE) as process:
        yield process.wait_listening()


@contextlib.asynccontextmanager
async def entered(io: Server) -> AsyncIterator[Server]:
    async with io.lifespan(None):
        yield io


async def assert_heard(io: Server, port: int, text: str) -> None:
    async with duplexio.connect(f"http://127.0.0.1:{port}") as client:
        assert (io.health()["status"], io.health()["bus"]["servers"]) == ("ok", 1)
        io.emit("told", text)
        assert await client.receive("told", timeout=SECONDS) == text
        assert len(await io.fetch_sockets()) == 1


async def test_one_that_is_entered_again_and_again(name: str, port: int) -> None:
    io = Server(cluster_id=name, handle_signals=False)
    for text in "one", "two", "three":
        async with entered(io):
            await assert_heard(io, port, text)
        assert io.health()["status"] == "closing"


async def test_one_that_is_entered_while_it_is_still_being_closed(name: str, port: int) -> None:
    io = Server(cluster_id=name, handle_signals=False)
    async with entered(io):
        closing = asyncio.create_task(io.close())
        await asyncio.sleep(0)
        assert io.health()["status"] == "closing"
        async with entered(io):
            assert closing.done()
            await assert_heard(io, port, "again")
    assert io.health()["status"] == "closing"


async def test_one_that_was_told_to_end_stays_closed(name: str) -> None:
    io = Server(cluster_id=name, handle_signals=False)
    async with entered(io):
        io._told_to_end()
    async with entered(io):
        assert io.health()["status"] == "closing"


@pytest.mark.parametrize("how", ["option", "variable"])
async def test_the_next_one_takes_the_place_of_one_that_was_closed(
    name: str, port: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "variable":
        monkeypatch.setenv("DUPLEXIO_CLUSTER_ID", name)
    for text in "one", "two":
        io = Server(handle_signals=False) if how == "variable" else Server(cluster_id=name, handle_signals=False)
        async with entered(io):
            await assert_heard(io, port, text)


async def test_two_at_a_time_are_two_servers_and_the_second_says_so(
    name: str, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (Server(cluster_id=name, handle_signals=False) for _ in range(2))
    async with entered(first):
        assert not caplog.records
        async with entered(second):
            (record,) = caplog.records
            assert record.levelno == logging.WARNING
            assert f"cluster_id='{name}': this process has other servers" in record.getMessage()
            assert "number 2" in record.getMessage()
            assert second.health()["bus"]["servers"] == 0
        await assert_heard(first, port, "first")
    # It was made as the second, and stays that.
    async with entered(second):
        assert second.health()["bus"]["servers"] == 0
    third = Server(cluster_id=name, handle_signals=False)
    async with entered(third):
        await assert_heard(third, port, "third")
