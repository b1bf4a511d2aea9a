"""Getting in: namespaces, several over one connection, refusals, and what middlewares are given."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

import duplexio
from duplexio.errors import ConfigurationError, ConnectError, ConnectRefused, Disconnected

from .peers import DUPLEXIO_EIO3, NODE4_EIO3, Peer, PeerPool
from .stage import SECONDS, Stage, dropped, until


async def test_in_and_out(stage: Stage) -> None:
    socket = stage.socket()
    assert (socket.nsp, socket.id, socket.connected, socket.active, socket.recovered) == (
        "/",
        None,
        False,
        False,
        False,
    )
    async with socket as entered:
        assert entered is socket
        assert (socket.connected, socket.active, socket.recovered) == (True, True, False)
        await stage.settled(socket)
        who = await socket.emit_with_ack("whoami")
        assert (who["id"], who["nsp"], who["protocol"]) == (socket.id, "/", stage.peer.eio)
        assert await socket.connect() is socket
        assert socket.io.engine is not None
    assert (socket.id, socket.connected, socket.active) == (None, False, False)
    assert socket.io.engine is None
    assert await socket.wait_disconnected() == "io client disconnect"


async def test_in_again(over_websocket: Stage) -> None:
    """The same socket, as often as one likes; each time it is another to the server."""
    socket, ids = over_websocket.socket(), set()
    for _ in range(3):
        async with socket:
            ids.add(socket.id)
            assert await socket.emit_with_ack("echo", 1) == 1
    assert len(ids) == 3


async def test_the_server_hears_of_the_end(stage: Stage) -> None:
    async with stage.connected(force_new=True) as watching:
        async with stage.connected(force_new=True) as socket:
            await socket.emit_with_ack("label", f"end {socket.id}")
            label = f"end {socket.id}"
        assert await watching.emit_with_ack("ended", label) == "client namespace disconnect"


async def test_its_own_events(over_websocket: Stage) -> None:
    told: list[Any] = []
    socket = over_websocket.socket()

    @socket.on("connect", inline=True)
    def connected() -> None:
        told.append(("connect", socket.connected, socket.id))

    @socket.on("disconnect")
    async def disconnected(reason: str, details: str) -> None:
        told.append(("disconnect", reason, socket.connected, socket.id))

    async with socket:
        id = socket.id
    assert told == [("connect", True, id), ("disconnect", "io client disconnect", False, None)]
    socket.off("connect", connected)
    assert socket.listeners("connect") == []
    assert socket.listeners("disconnect") == [disconnected]


async def test_open_does_not_wait(over_websocket: Stage) -> None:
    socket = over_websocket.socket()
    socket.open()
    assert (socket.active, socket.connected) == (True, False)
    await socket.wait_connected(SECONDS)
    socket.disconnect()
    await socket.io.close()


async def test_taken_out_by_the_server(stage: Stage) -> None:
    """It does not come back by itself; the others of its connection stay."""
    async with stage.connected() as socket, stage.connected("/other") as other:
        assert socket.io is other.io
        other.emit("kick")
        assert await other.wait_disconnected() == "io server disconnect"
        assert (other.active, other.connected) == (False, False)
        with pytest.raises(Disconnected, match="io server disconnect"):
            await other.wait_connected()
        assert await socket.emit_with_ack("echo", 1) == 1
        # Until it is told to.
        await other.connect()
        assert await other.emit_with_ack("echo", 2) == 2
        await asyncio.sleep(2 * 0.05)
        assert socket.connected


async def test_the_server_ends_the_connection(stage: Stage) -> None:
    async with stage.connected() as socket:
        socket.emit("kick_all")
        assert await socket.wait_disconnected() == "io server disconnect"
    assert socket.io.engine is None


async def test_out_while_the_transport_changes(pool: PeerPool, peer: Peer, nothing_left: None) -> None:
    """At any moment of the upgrade; each waiting for a deadline would be too long for all."""
    stage = Stage(pool.get(peer), "upgrade")
    async with stage.connected() as watching, asyncio.timeout(SECONDS):
        for step in range(12):
            async with stage.socket(force_new=True) as socket:
                await asyncio.sleep(step * 0.001)
                label = f"changing {socket.id}"
                await socket.emit_with_ack("label", label)
            assert await watching.emit_with_ack("ended", label) in ("client namespace disconnect", "transport close")


async def test_several_namespaces_over_one_connection(stage: Stage) -> None:
    async with stage.connected(force_new=True) as socket:
        before = (await socket.emit_with_ack("counts"))["clients"]
        async with socket.io.socket("/other") as other, socket.io.socket("/dyn-7") as dynamic:
            assert (other.nsp, dynamic.nsp) == ("/other", "/dyn-7")
            assert socket.io.sockets == {"/": socket, "/other": other, "/dyn-7": dynamic}
            assert (await socket.emit_with_ack("counts"))["clients"] == before
            for each in socket, other, dynamic:
                who = await each.emit_with_ack("whoami")
                assert (who["nsp"], who["id"]) == (each.nsp, each.id)
            answers = await asyncio.gather(*(each.emit_with_ack("echo", each.nsp) for each in (socket, other, dynamic)))
            assert answers == ["/", "/other", "/dyn-7"]
            # An event of one is nothing to the others.
            other.emit("request", "for other")
            assert await other.receive("response") == "for other"
            with pytest.raises(TimeoutError):
                await socket.receive("response", 0.02)
        assert (other.connected, socket.connected) == (False, True)
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_one_without_the_main_namespace(stage: Stage) -> None:
    async with stage.connected("/other", force_new=True) as socket:
        assert await socket.emit_with_ack("echo", "x") == "x"
        assert list(socket.io.sockets) == ["/other"]


async def test_all_come_back(stage: Stage) -> None:
    async with stage.connected() as socket, socket.io.socket("/other") as other:
        await dropped(socket)
        await other.wait_connected(SECONDS)
        assert await other.emit_with_ack("echo", 1) == 1


async def test_what_shares_a_connection(over_websocket: Stage) -> None:
    first = over_websocket.socket(query={"of": "this test"})
    same = over_websocket.socket("/other", query={"of": "this test"}, auth={"token": "x"}, retries=None)
    assert same.io is first.io
    assert first.io.socket("other") is same
    assert first.io.socket("/") is first
    others = [
        over_websocket.socket("/other", query={"of": "this test"}),
        over_websocket.socket("/recover", query={"of": "this test"}, force_new=True),
        over_websocket.socket("/recover", query={"of": "this test"}, multiplex=False),
        over_websocket.socket("/recover", query={"of": "another"}),
        over_websocket.socket("/recover?a=b", query={"of": "this test"}),
    ]
    assert first.io not in [each.io for each in others]


async def test_a_connection_that_is_there_is_shared(over_websocket: Stage) -> None:
    """Rather than one of a socket that nobody uses any more."""
    async with over_websocket.connected() as socket:
        async with over_websocket.connected() as second:
            assert second.io is not socket.io
        third = over_websocket.socket("/other")
        assert third.io is socket.io


async def test_what_is_of_a_socket_is_of_no_other(over_websocket: Stage) -> None:
    """Its token above all: the connection is shared, and nothing else."""
    # Not with those that other tests have left: a namespace that is taken is a reason for another connection.
    query = {"of": "a token"}
    own = over_websocket.socket("/auth", query=query, auth={"token": "secret"}, retries=3, ack_timeout=5.0)
    other = over_websocket.socket("/other", query=query)
    assert other.io is own.io
    assert other.io.socket("/dyn-7").auth is None
    async with own, other:
        who = await other.emit_with_ack("whoami")
        assert "secret" not in str(who)
        assert (own.auth, other.auth) == ({"token": "secret"}, None)
        with pytest.raises(ConnectRefused):
            await over_websocket.socket("/auth").connect()


async def test_the_same_namespace_twice(stage: Stage) -> None:
    async with stage.connected() as one, stage.connected() as two:
        assert one.io is not two.io
        assert one.id != two.id
        waiting = asyncio.gather(one.receive("response"), two.receive("response"))
        await asyncio.sleep(0)
        one.emit("request", 1)
        two.emit("request", 2)
        assert [*await waiting] == [1, 2]


async def test_options_of_a_socket_alone(ours: Stage) -> None:
    manager = ours.manager(ack_timeout=0.03)
    hasty, patient = manager.socket("/"), manager.socket("/other", ack_timeout=SECONDS)
    async with manager, hasty, patient:
        with pytest.raises(duplexio.AckTimeout) as caught:
            await hasty.emit_with_ack("later", 0.3)
        assert (caught.value.event, caught.value.timeout) == ("later", 0.03)
        assert await patient.emit_with_ack("later", 0.05, 1) == 1
    with pytest.raises(ConfigurationError, match="query"):
        manager.socket("/third", query={"a": "b"})


async def test_a_manager_alone(stage: Stage) -> None:
    """It connects without a namespace; sockets come later."""
    async with asyncio.timeout(SECONDS), stage.manager() as manager:
        await manager.connect()
        assert manager.engine is not None
        await manager.connect()
        async with manager.socket("/other") as socket:
            assert await socket.emit_with_ack("echo", 1) == 1
        await manager.close()
        assert manager.engine is None


async def test_refused(stage: Stage) -> None:
    async with stage.connected() as socket:
        refused = stage.socket("/refused")
        told: list[Exception] = []
        refused.on("connect_error", told.append, inline=True)
        with pytest.raises(ConnectRefused) as caught:
            await refused.connect()
        error = caught.value
        data = {"code": "closed", "retry": False}
        # Protocol 4 has one value for both.
        assert (error.message, error.data) == (
            ("nobody comes in here", data)
            if stage.peer.eio == 4
            else ("the server does not let this client into /refused", data)
        )
        assert told == [error]
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.message, copy.data) == (error.message, error.data)
        assert (refused.active, refused.connected) == (False, False)
        with pytest.raises(ConnectRefused):
            await refused.wait_connected()
        with pytest.raises(ConnectRefused):
            async with refused:
                raise AssertionError("it was let in")
        assert await socket.emit_with_ack("echo", 1) == 1


async def test_a_namespace_that_is_none(stage: Stage) -> None:
    async with stage.connected() as socket:
        nowhere = socket.io.socket("/nowhere")
        with pytest.raises(ConnectRefused, match="Invalid namespace"):
            await nowhere.connect()
    # Nothing is left open where it was the only one: `nothing_left` sees to it.
    with pytest.raises(ConnectRefused, match="Invalid namespace"):
        await stage.socket("/nowhere", force_new=True).connect()


@pytest.mark.parametrize("peer", [NODE4_EIO3, DUPLEXIO_EIO3], ids=str)
async def test_a_new_server_that_takes_old_clients(pool: PeerPool, peer: Peer, nothing_left: None) -> None:
    stage = Stage(pool.get(peer), "upgrade")
    async with stage.connected() as socket, socket.io.socket("/auth", auth={"token": "secret"}) as other:
        assert (await other.emit_with_ack("whoami"))["protocol"] == 3
        assert await socket.emit_with_ack("echo", {"b": b"\x00"}) == {"b": b"\x00"}
        with pytest.raises(ConnectRefused):
            await socket.io.socket("/refused").connect()


# What middlewares are given.


def given(how: str, tokens: list[str], asked: list[str]) -> Any:
    """A source of tokens: each asking takes the next one."""

    def ask() -> dict[str, str]:
        asked.append(tokens.pop(0) if len(tokens) > 1 else tokens[0])
        return {"token": asked[-1]}

    async def ask_later() -> dict[str, str]:
        await asyncio.sleep(0.001)
        return ask()

    return {"dict": {"token": tokens[0]}, "function": ask, "async": ask_later}[how]


@pytest.mark.parametrize("how", ["dict", "function", "async"])
async def test_auth(stage: Stage, how: str) -> None:
    asked: list[str] = []
    async with stage.connected("/auth", auth=given(how, ["secret"], asked)) as socket:
        who = await socket.emit_with_ack("whoami")
        if stage.peer.eio == 4:
            assert who["auth"] == {"token": "secret"}
        assert (who["id"], who["nsp"]) == (socket.id, "/auth")
    assert len(asked) == (how != "dict")


async def test_auth_that_does_not_do(stage: Stage) -> None:
    for auth in None, {"token": "wrong"}:
        socket = stage.socket("/auth", auth=auth)
        with pytest.raises(ConnectRefused) as caught:
            await socket.connect()
        assert caught.value.data == {"code": "token", "given": (auth or {}).get("token")}
        # Another try with another one, on the same socket.
        socket.auth = {"token": "secret"}
        async with socket:
            assert socket.connected


@pytest.mark.parametrize("how", ["function", "async"])
async def test_a_token_is_asked_for_at_each_connection(stage: Stage, how: str) -> None:
    """One that has expired is another one then."""
    asked: list[str] = []
    token = "secret"

    def fresh() -> dict[str, str]:
        asked.append(token)
        return {"token": token}

    async def fresh_later() -> dict[str, str]:
        await asyncio.sleep(0)
        return fresh()

    async with stage.connected("/auth", auth=fresh if how == "function" else fresh_later) as socket:
        await dropped(socket)
        assert asked == ["secret", "secret"]
        # What the server does not take ends it, until it is told to try again.
        token = "expired"
        refused: list[Any] = []
        socket.on("connect_error", refused.append, inline=True)
        socket.emit("drop")
        await until(lambda: refused)
        assert refused[0].data == {"code": "token", "given": "expired"}
        assert not socket.active
        token = "secret"
        await socket.connect()
        assert await socket.emit_with_ack("echo", 1) == 1
        assert asked == ["secret", "secret", "expired", "secret"]


async def test_an_auth_function_that_fails(ours: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, str]:
        raise RuntimeError("no token today")

    for source, text in (fail, "no token today"), (lambda: 5, "a mapping was expected"):
        with pytest.raises(ConnectError, match=text):
            await ours.socket("/auth", auth=source).connect()
    assert "no token today" in caplog.text


async def test_auth_that_cannot_be_sent(ours: Stage) -> None:
    with pytest.raises(ConnectError, match="auth cannot be sent"):
        await ours.socket("/auth", auth={"token": object()}).connect()
