"""Connection state recovery: the log with time as an argument, and clients that come back."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio import ConfigurationError, ConnectRefused, Server, Socket
from duplexio.hub.recovery import Entry, Log, Session
from duplexio.hub.targets import EVERYBODY, Targets
from tests.engine.clock import run

from .ends import Client, counts, joined, serving, until

NOBODY: frozenset[str] = frozenset()


class Kept:
    """A log, and how much it let go."""

    def __init__(self, duration: float = 120, packets: int = 100, size: int = 10_000, sessions: int = 10) -> None:
        self.evicted = 0
        self.log = Log(duration, packets, size, sessions, self._gone)

    def _gone(self, amount: int) -> None:
        self.evicted += amount

    def store(self, packet: bytes = b"42[]", targets: Targets = EVERYBODY, now: float = 0.0) -> str:
        offset = self.log.next_offset()
        self.log.store(packet, targets, now)
        assert self.log.newest_offset() == offset
        return offset


def session(began: int = 0, left_at: float = 0.0, sid: str = "S") -> Session:
    return Session(sid, frozenset(), {}, began, left_at)


async def test_a_break_while_the_middlewares_decide_loses_nothing() -> None:
    gate = asyncio.Event()
    async with serving(connection_state_recovery=True) as io:
        client, socket = joined(io)
        pid = socket._pid
        client.drop()
        io.emit("missed")

        @io.use
        async def middleware(arriving: Socket) -> None:
            await gate.wait()

        hasty = Client(io)
        hasty.send(f'40{{"pid":"{pid}"}}')
        hasty.drop()
        await asyncio.sleep(0.01)
        gate.set()
        patient = Client(io)
        patient.send(f'40{{"pid":"{pid}"}}')
        packets = [str(await patient.packet()) for _ in range(2)]
        assert packets[0].startswith('42["missed"')
        assert f'"sid":"{socket.id}"' in packets[1]


# The log.


def test_what_came_after_an_offset() -> None:
    kept = Kept()
    offsets = [kept.store(b"42[%d]" % number) for number in range(5)]
    kept.log.keep("pid", session())
    restored = kept.log.restore("pid", offsets[1], 0)
    assert restored is not None
    assert (restored.pid, restored.session.sid) == ("pid", "S")
    assert kept.log.missed(restored.after, NOBODY) == [b"42[2]", b"42[3]", b"42[4]"]


def test_without_an_offset_from_where_the_session_began() -> None:
    kept = Kept()
    kept.store(b"before")
    kept.log.keep("pid", session(began=kept.log.number))
    kept.store(b"after")
    restored = kept.log.restore("pid", None, 0)
    assert restored is not None
    assert kept.log.missed(restored.after, NOBODY) == [b"after"]


def test_a_session_to_which_nothing_was_ever_sent() -> None:
    kept = Kept()
    kept.log.keep("pid", session())
    restored = kept.log.restore("pid", None, 0)
    assert restored is not None
    assert kept.log.missed(restored.after, NOBODY) == []


def test_a_session_is_restored_once() -> None:
    kept = Kept()
    offset = kept.store()
    kept.log.keep("pid", session())
    assert kept.log.restore("pid", offset, 0) is not None
    assert kept.log.restore("pid", offset, 0) is None


def test_only_what_was_meant_for_its_rooms() -> None:
    kept = Kept()
    kept.store(b"all")
    kept.store(b"a", Targets(frozenset("a")))
    kept.store(b"b", Targets(frozenset("b")))
    kept.store(b"not a", Targets(except_=frozenset("a")))
    kept.store(b"b but not a", Targets(frozenset("b"), frozenset("a")))
    assert kept.log.missed(0, frozenset("a")) == [b"all", b"a"]
    assert kept.log.missed(0, frozenset("b")) == [b"all", b"b", b"not a", b"b but not a"]
    assert kept.log.missed(0, frozenset("ab")) == [b"all", b"a", b"b"]
    assert kept.log.missed(0, NOBODY) == [b"all", b"not a"]


def test_a_session_expires() -> None:
    kept = Kept(duration=120)
    kept.log.keep("pid", session(left_at=1000))
    assert kept.log.restore("pid", None, 1121) is None
    assert kept.log.restore("pid", None, 1119) is not None


def test_packets_expire() -> None:
    kept = Kept(duration=120)
    first = kept.store(b"1", now=0)
    second = kept.store(b"2", now=100)
    kept.log.keep("a", session(left_at=150))
    kept.log.keep("b", session(left_at=150))
    # The second is there still, and all after the first was asked for.
    assert kept.log.restore("a", first, 150) is not None
    # At its own expiry nothing after it is missing.
    assert kept.log.restore("b", second, 260) is not None
    assert kept.evicted == 0, "an expiry is no eviction"


def test_what_was_confirmed_may_be_forgotten() -> None:
    """To whom little is sent comes back with an offset of long ago."""
    kept = Kept(duration=120)
    offset = kept.store(b"1", now=0)
    kept.store(b"2", Targets(frozenset("b")), now=1000)
    kept.store(b"3", now=2000)
    for pid, confirmed_at in [("early", 1000.0), ("late", 1000.1)]:
        kept.log.keep(pid, Session("S", frozenset(), {}, 0, 1990.0, confirmed_at=confirmed_at))
    assert kept.log.restore("early", offset, 2000) is None
    restored = kept.log.restore("late", offset, 2000)
    assert restored is not None
    assert kept.log.missed(restored.after, NOBODY) == [b"3"]


def test_a_quiet_client_comes_back() -> None:
    """It got its last event longer ago than anything is kept, and has answered every ping since."""

    async def main() -> None:
        async with serving(connection_state_recovery={"max_disconnection_duration": 30}) as io:
            client, socket = joined(io)
            io.emit("long ago")
            (packet,) = client.take()
            offset = json.loads(str(packet)[2:])[-1]
            for _ in range(4):
                await asyncio.sleep(26)
                io.to("others").emit("something")
                assert client.take() == ["2"]
                client.send("3")
            client.drop()
            io.emit("missed")
            again = Client(io)
            again.send("40" + json.dumps({"pid": socket._pid, "offset": offset}))
            packets = [str(packet) for packet in again.take()]
            assert packets[0].startswith('42["missed"')
            assert f'"sid":"{socket.id}"' in packets[1]

    run(main())


def test_what_was_sent_before_it_came_back_is_not_confirmed_by_a_ping_of_before() -> None:
    """It joins a namespace late: the answer to a ping that went out in front of what it had missed says nothing."""

    async def main() -> None:
        async with serving(connection_state_recovery={"max_disconnection_duration": 30}) as io:
            client, socket = joined(io)
            client.drop()
            io.emit("missed")
            again = Client(io)
            await asyncio.sleep(26)
            assert again.take() == ["2"]
            again.send("40" + json.dumps({"pid": socket._pid}))
            assert '["missed"' in str(again.take()[0])
            again.send("3")
            again.drop()
            last = Client(io)
            last.send("40" + json.dumps({"pid": socket._pid}))
            packets = [str(packet) for packet in last.take()]
            assert packets[0].startswith('42["missed"')
            assert f'"sid":"{socket.id}"' in packets[1]

    run(main())


def test_a_gap_is_not_recovered() -> None:
    kept = Kept(packets=2)
    offsets = [kept.store(b"%d" % number) for number in range(4)]
    assert kept.evicted == 2
    for pid in "abc":
        kept.log.keep(pid, session())
    assert kept.log.restore("a", offsets[0], 0) is None
    restored = kept.log.restore("b", offsets[1], 0)
    assert restored is not None
    assert kept.log.missed(restored.after, NOBODY) == [b"2", b"3"]
    assert kept.log.restore("c", None, 0) is None


def test_a_gap_where_all_has_expired() -> None:
    kept = Kept(duration=120)
    first = kept.store(now=0)
    newest = kept.store(now=0)
    for pid in "ab":
        kept.log.keep(pid, session(left_at=200))
    assert kept.log.restore("a", first, 250) is None
    assert kept.log.restore("b", newest, 250) is not None


def test_a_gap_that_was_told_of_stays_one() -> None:
    """What another server has left lacks some; that older ones expire makes it no smaller."""
    log = Kept(duration=10).log.another("epoch", 0, 0)
    for number in 1, 2, 6:
        log.put(Entry(number, float(number), EVERYBODY, b"42[]", None), 1.0)
    log.went_on(6, 5)
    log.keep("pid", session(left_at=6.0))
    assert log.restore("pid", log.offset(3), 11.5) is None


def test_bytes_are_bounded() -> None:
    kept = Kept(size=100)
    for _ in range(10):
        kept.store(b"x" * 30)
    assert kept.evicted == 7
    assert kept.log.missed(0, NOBODY) == [b"x" * 30] * 3
    kept.store(b"x" * 1000)
    assert kept.log.missed(0, NOBODY) == []
    assert kept.evicted == 11
    assert kept.log._bytes == 0


def test_sessions_are_bounded() -> None:
    kept = Kept(sessions=2)
    for number, pid in enumerate("abc"):
        kept.log.keep(pid, session(left_at=number))
    assert kept.evicted == 1
    assert kept.log.restore("a", None, 3) is None
    assert kept.log.restore("b", None, 3) is not None


def test_sessions_that_expired_make_room_without_being_counted() -> None:
    kept = Kept(duration=10, sessions=2)
    kept.log.keep("a", session(left_at=0))
    kept.log.keep("b", session(left_at=1))
    kept.log.keep("c", session(left_at=100))
    assert kept.evicted == 0
    assert kept.log.restore("b", None, 5) is None
    assert len(kept.log.sessions) == 1


OFFSETS: list[Any] = ["", "x", ".", ".0", 5, True, [], {}, "abc.1", "0", "1"]


@pytest.mark.parametrize("offset", OFFSETS)
def test_an_offset_that_was_never_issued(offset: Any) -> None:
    kept = Kept()
    kept.store()
    kept.log.keep("pid", session())
    assert kept.log.restore("pid", offset, 0) is None


@pytest.mark.parametrize("tail", ["", "zz", "1000000000000", "A", "-1", "1 ", "+1", "1_0", "é", "2", "٣"])
def test_an_offset_of_this_log_that_was_never_issued(tail: str) -> None:
    kept = Kept()
    epoch = kept.store().partition(".")[0]
    kept.log.keep("pid", session())
    assert kept.log.restore("pid", f"{epoch}.{tail}", 0) is None
    # And it does not cost the session.
    assert kept.log.restore("pid", f"{epoch}.1", 0) is not None


def test_an_offset_of_another_log() -> None:
    """A server that was started anew issued none of the old one's."""
    old, new = Kept(), Kept()
    offset = old.store()
    new.store()
    new.log.keep("pid", session())
    assert new.log.restore("pid", offset, 0) is None


@given(st.integers(0, 10**12))
def test_offsets_are_read_as_they_were_written(number: int) -> None:
    kept = Kept()
    kept.log._number = number
    text = kept.log.newest_offset()
    assert kept.log._number_of(text) == number
    assert kept.log.next_offset() != text


@given(st.text(max_size=20))
def test_no_text_raises(offset: str) -> None:
    kept = Kept()
    kept.log.keep("pid", session())
    assert kept.log.restore("pid", offset, 0) is None


def test_offsets_look_like_nobodys_text() -> None:
    kept = Kept()
    assert re.fullmatch(r"[\w-]{8}\.[0-9a-z]+", kept.store())


# Clients.


def offset_of(packet: object) -> str:
    assert isinstance(packet, str)
    offset = json.loads(packet[packet.index("[") :])[-1]
    assert isinstance(offset, str)
    return offset


def back(client_io: Any, pid: str, offset: object = None, namespace: str = "/") -> tuple[Client, list[Any]]:
    """A client that comes back; what it got."""
    client = Client(client_io)
    auth = {"pid": pid} if offset is None else {"pid": pid, "offset": offset}
    head = "40" if namespace == "/" else f"40{namespace},"
    client.send(head + json.dumps(auth))
    return client, client.take()


def reply_of(packet: object) -> dict[str, Any]:
    assert isinstance(packet, str)
    assert packet.startswith("40")
    reply: dict[str, Any] = json.loads(packet[packet.index("{") :])
    return reply


async def test_a_client_that_comes_back_gets_what_it_missed() -> None:
    recovered: list[Any] = []
    async with serving(connection_state_recovery=True) as io:

        @io.on("connection")
        async def connected(socket: Socket) -> None:
            recovered.append(socket.recovered)
            if not socket.recovered:
                socket.join("r")
                socket.data["name"] = "anna"

        client = Client(io)
        reply = client.join()
        io.emit("seen", 1)
        io.of("/").emit("seen", b"\x01")
        packets = client.take()
        assert [packet for packet in packets if isinstance(packet, bytes)] == [b"\x01"]
        last = offset_of(packets[-2])
        client.drop()
        io.to("r").emit("missed", 1)
        io.to("elsewhere").emit("not for it")
        io.except_("r").emit("not for it")
        io.to(reply["sid"]).emit("missed", b"\x02")
        _, got = back(io, reply["pid"], last)
        assert got[0].startswith('42["missed",1,"')
        assert got[1].startswith('451-["missed",{"_placeholder":true,"num":0},"')
        assert got[2] == b"\x02"
        assert reply_of(got[3]) == {"sid": reply["sid"], "pid": reply["pid"]}
        assert len(got) == 4
        socket = io.sockets.sockets[reply["sid"]]
        assert socket.data == {"name": "anna"}
        assert {"r", socket.id} == socket.rooms
    assert recovered == [False, True]


async def test_a_client_that_had_got_nothing_comes_back_without_an_offset() -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        io.emit("before it")
        reply = client.join()
        client.drop()
        io.emit("missed")
        _, got = back(io, reply["pid"])
        assert len(got) == 2
        assert got[0].startswith('42["missed","')


async def test_coming_back_twice() -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        reply = client.join()
        for number in range(3):
            client.drop()
            io.emit("missed", number)
            client, got = back(io, reply["pid"])
            assert reply_of(got[-1])["sid"] == reply["sid"]
            assert f'42["missed",{number},' in got[-2]
        assert len(io.sockets.sockets) == 1


@pytest.mark.parametrize("end", ["41", "disconnect", "1"])
async def test_whoever_left_on_purpose_is_not_restored(end: str) -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        reply = client.join()
        if end == "disconnect":
            io.sockets.sockets[reply["sid"]].disconnect()
        else:
            client.send(end)
        _, got = back(io, reply["pid"])
        restored = reply_of(got[-1])["sid"] == reply["sid"]
        # A session that ended without a word to its namespace is a lost one.
        assert restored is (end == "1")


@pytest.mark.parametrize("auth", [{"pid": "nobody"}, {"pid": 5}, {"pid": None}, {"offset": "x"}, {}])
async def test_an_unknown_pid_is_a_new_session(auth: dict[str, Any]) -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        reply = client.join(auth=auth)
        assert reply.keys() == {"sid", "pid"}
        assert not io.sockets.sockets[reply["sid"]].recovered
        assert reply["pid"] != auth.get("pid")


def test_a_client_that_comes_back_too_late() -> None:
    async def main() -> None:
        async with serving(connection_state_recovery={"max_disconnection_duration": 10}) as io:
            client = Client(io)
            reply = client.join()
            client.drop()
            await asyncio.sleep(11)
            _, got = back(io, reply["pid"])
            assert reply_of(got[-1])["sid"] != reply["sid"]

    run(main())


async def test_a_client_that_comes_back_before_its_loss_was_noticed() -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        reply = client.join()
        reasons: list[str] = []
        io.on("disconnect", lambda socket, reason: reasons.append(reason), inline=True)
        second, got = back(io, reply["pid"])
        assert client.closed
        assert not second.closed
        assert reasons == ["transport close"]
        assert reply_of(got[-1])["sid"] == reply["sid"]
        assert list(io.sockets.sockets) == [reply["sid"]]


async def test_volatile_is_not_kept_and_looks_like_no_offset() -> None:
    async with serving(connection_state_recovery=True) as io:
        client = Client(io)
        client.join()
        io.volatile.emit("number", 1)
        io.volatile.emit("none")
        assert client.take() == ['42["number",1]', '42["none"]']
        io.volatile.emit("text", "looks like one")
        assert offset_of(client.take()[0]).endswith(".0")
        io.emit("kept")
        offset = offset_of(client.take()[0])
        io.volatile.emit("text", "looks like one")
        (packet,) = client.take()
        assert packet == f'42["text","looks like one","{offset}"]'
        (socket,) = io.sockets.sockets.values()
        socket.volatile.emit("own", "text")
        assert offset_of(await client.packet()) == offset


async def test_with_ack_is_not_kept() -> None:
    async with serving(connection_state_recovery=True) as io:
        client, socket = joined(io)
        socket.emit("e", ack=lambda: None)
        assert re.fullmatch(r'42\d+\["e"\]', str(await client.packet()))


async def test_a_socket_of_a_namespace_without_recovery() -> None:
    async with serving(connection_state_recovery=True) as io:
        io.of("/plain", connection_state_recovery=False)
        client = Client(io)
        assert client.join("/plain").keys() == {"sid"}
        io.of("/plain").emit("e")
        assert client.take() == ['42/plain,["e"]']
        # Whatever a client says of a session that it had.
        other = Client(io)
        reply = other.join("/plain", {"pid": "A" * 20, "offset": "0-0"})
        assert reply.keys() == {"sid"}
        assert not io.of("/plain").sockets[reply["sid"]].recovered


async def test_a_namespace_with_recovery_of_its_own() -> None:
    async with serving() as io:
        io.of("/kept", connection_state_recovery={"max_disconnection_duration": 5})
        client = Client(io)
        assert client.join().keys() == {"sid"}
        reply = client.join("/kept")
        client.drop()
        io.of("/kept").emit("missed")
        _, got = back(io, reply["pid"], namespace="/kept")
        assert got[0].startswith('42/kept,["missed","')
        assert reply_of(got[1])["sid"] == reply["sid"]


@pytest.mark.parametrize("skip", [True, False])
async def test_middlewares_of_one_who_comes_back(skip: bool) -> None:
    asked: list[bool] = []
    async with serving(connection_state_recovery={"skip_middlewares": skip}) as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            asked.append(socket.recovered)
            if socket.recovered:
                raise ConnectRefused("not any more")

        client = Client(io)
        reply = client.join()
        client.drop()
        _, got = back(io, reply["pid"])
        if skip:
            assert reply_of(got[-1])["sid"] == reply["sid"]
        else:
            assert got == ['44{"message":"not any more"}']
    assert asked == ([False] if skip else [False, True])


async def test_what_is_emitted_while_a_middleware_decides_comes_behind_what_was_missed() -> None:
    gate = asyncio.Event()
    async with serving(connection_state_recovery=True) as io:

        @io.use
        async def middleware(socket: Socket) -> None:
            if socket.recovered:
                socket.emit("from the middleware")
                await gate.wait()

        client = Client(io)
        reply = client.join()
        client.drop()
        io.emit("missed")
        client, got = back(io, reply["pid"])
        assert got == []
        io.emit("meanwhile")
        gate.set()
        await until(lambda: len(client.packets) >= 4)
        names = [re.sub(r'^42\["([^"]*)".*', r"\1", str(packet)) for packet in client.take()]
        assert names[0] == "missed"
        assert [name for name in names if not name.startswith("40")] == ["missed", "from the middleware", "meanwhile"]


async def test_evictions_are_counted() -> None:
    async with serving(connection_state_recovery=True, max_recovery_packets=2) as io:
        joined(io)
        for number in range(5):
            io.emit("e", number)
        assert counts(io)["recovery_evicted"] == 3


async def test_unknown_options_of_recovery() -> None:
    with pytest.raises(ConfigurationError, match="has no duration"):
        Server(connection_state_recovery={"duration": 5})  # type: ignore[arg-type]
