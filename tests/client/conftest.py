"""What the tests of the client share: servers, one of each kind for all tests, and certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.hosting.clients import TRANSPORTS, Transport

from .certificates import Certificates
from .leftovers import nothing_left_behind
from .peers import DUPLEXIO, NODE4, PEERS, Peer, PeerPool, PeerProcess
from .stage import Stage, left_behind
from .wire import Wire

_POOL = pytest.StashKey[PeerPool]()


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[PeerPool]:
    """`pool.get(peer, *options)`: a server that other tests use as well. `running` gives one of a test's own."""
    pool = request.config.stash[_POOL] = PeerPool()
    yield pool
    pool.close()


@pytest.fixture(params=PEERS, ids=str)
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each kind of server."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def server(pool: PeerPool, peer: Peer) -> PeerProcess:
    """Each kind of server with the default options, running."""
    return pool.get(peer)


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """No task and no timer is there behind the test."""
    yield
    # What was cancelled as the test's last act needs a turn or two to end.
    for _ in range(3):
        await asyncio.sleep(0)
    assert left_behind() == []


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def stage(nothing_left: None, server: PeerProcess, transport: Transport) -> Stage:
    """Each kind of server by each transport."""
    return Stage(server, transport)


@pytest.fixture
def over_websocket(nothing_left: None, server: PeerProcess) -> Stage:
    """Each kind of server by WebSocket, for what no transport changes."""
    return Stage(server)


@pytest.fixture
def ours(nothing_left: None, pool: PeerPool) -> Stage:
    """Our own server by WebSocket, for what happens in the client alone."""
    return Stage(pool.get(DUPLEXIO))


@pytest.fixture(params=[NODE4, DUPLEXIO], ids=str)
def recovering(nothing_left: None, pool: PeerPool, transport: Transport, request: pytest.FixtureRequest) -> Stage:
    """Each server that has connection state recovery, with it, by each transport."""
    return Stage(pool.get(request.param, "--recovery"), transport)


@pytest.fixture
async def wire(server: PeerProcess) -> AsyncIterator[Wire]:
    """A wire to `server`."""
    async with Wire(server.port) as wire:
        yield wire


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def tidy() -> AsyncIterator[None]:
    """Nothing of what the test did is left behind."""
    async with nothing_left_behind():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the servers wrote."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    pool = item.config.stash.get(_POOL, None)
    if report.failed and pool is not None and (logs := pool.logs()):
        report.sections.append(("servers", logs[-10_000:]))
    return report  # type: ignore[return-value]
