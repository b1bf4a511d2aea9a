"""A receiver that does not read: what of its outbox is dropped, and what never is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.engine import outbox
from duplexio.engine.outbox import POLICIES, droppable, replace_waiting
from duplexio.protocol.engine_packet import Message, Outgoing
from duplexio.protocol.engine_session import State

from .ends import Line, counts, engine, session, turns

BINARY = Message(b'451-["b",{"_placeholder":true,"num":0}]', (b"x" * 20,))


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b'42["a"]', True),
        (b'42/chat,["a"]', True),
        (BINARY, True),
        (Message(b'42["a"]'), True),
        (b'40{"sid":"x"}', False),
        (b"41", False),
        (b"43[]", False),
        (Message(b'461-0[{"_placeholder":true,"num":0}]', (b"x",)), False),
        (b'44{"message":"x"}', False),
        (b"0{}", False),
        (b"1", False),
        (b"2", False),
        (b"3", False),
        (b"6", False),
        (b"4", False),
        (Message(b"", (b"x",)), False),
    ],
)
def test_only_events_are_dropped(packet: Outgoing, expected: bool) -> None:
    assert droppable(packet) is expected


def numbered(kind: str, number: int) -> bytes:
    return f'4{kind}["{number}"]'.encode()


packets = st.lists(st.sampled_from("20314"), min_size=1, max_size=12).map(
    lambda kinds: [numbered(kind, number) for number, kind in enumerate(kinds)]
)


@given(packets)
def test_drop_oldest_takes_the_first_event(waiting: list[Outgoing]) -> None:
    events = [packet for packet in waiting if droppable(packet)]
    left = list(waiting)
    assert POLICIES["drop_oldest"](left) == (events[0] if events else None)
    assert left == [packet for packet in waiting if not events or packet is not events[0]]


@given(packets)
def test_drop_newest_takes_the_last_event(waiting: list[Outgoing]) -> None:
    """Not the last packet: an acknowledgement or a ping that comes to a full outbox would end the session."""
    events = [packet for packet in waiting if droppable(packet)]
    left = list(waiting)
    assert POLICIES["drop_newest"](left) == (events[-1] if events else None)
    assert left == [packet for packet in waiting if not events or packet is not events[-1]]


@pytest.mark.parametrize("policy", ["disconnect", "conflate"])
def test_the_others_drop_nothing(policy: Any) -> None:
    waiting: list[Outgoing] = [numbered("2", 1)]
    assert POLICIES[policy](waiting) is None
    assert waiting == [numbered("2", 1)]


def test_a_newer_message_replaces_the_one_with_its_key() -> None:
    old, other, new = Message(b"42[1]", key="a"), Message(b"42[2]", key="b"), Message(b"42[3]", key="a")
    waiting: list[Outgoing] = [b"2", old, other, Message(b"42[4]")]
    assert replace_waiting(waiting, new) is old
    assert waiting[1] is new
    assert replace_waiting(waiting, Message(b"42[5]", key="c")) is None
    assert replace_waiting(waiting, Message(b"42[6]")) is None
    assert replace_waiting(waiting, b"42[7]") is None
    assert len(waiting) == 4


def test_sizes() -> None:
    assert len(BINARY) == len(BINARY.text) + 20
    assert set(outbox.__all__) >= {"POLICIES", "droppable", "replace_waiting"}


# In a session.


def stalled(**options: Any) -> tuple[Any, Line, Any, Any]:
    """A session whose transport takes nothing, with its outbox empty."""
    server = engine(**options)
    connection, line, keeper = session(server)
    line.sent.clear()
    line.writable = False
    return connection, line, keeper, server


async def test_disconnect_ends_the_session_of_a_slow_receiver() -> None:
    connection, line, keeper, server = stalled(max_outbox_packets=3)
    for number in range(3):
        connection.send(numbered("2", number))
    assert keeper.closings == []
    connection.send(numbered("2", 3))
    assert connection.state is State.CLOSED
    assert line.endings[0] == "1008 slow reader"
    assert [reason for reason, _ in keeper.closings] == ["transport error"]
    assert "max_outbox_packets=3" in keeper.closings[0][1]
    assert counts(server)["fault.outbox_overflow"] == counts(server)["outbox_overflows"] == 1
    assert server.clients_count == 0


async def test_bytes_count_as_packets_do() -> None:
    connection, _, keeper, _ = stalled(max_outbox_bytes=100)
    connection.send(b"42" + b"x" * 60)
    assert keeper.closings == []
    connection.send(b"42" + b"x" * 60)
    assert connection.state is State.CLOSED


async def test_one_packet_is_always_admitted_to_an_empty_outbox() -> None:
    connection, line, _, _ = stalled(max_outbox_bytes=100)
    connection.send(b"42" + b"x" * 10_000)
    assert connection.state is State.OPEN
    line.writable = True
    connection.transport_ready()
    assert line.packets == [b"42" + b"x" * 10_000]


async def test_drop_oldest_keeps_the_newest_events() -> None:
    connection, line, keeper, server = stalled(max_outbox_packets=3, outbox_policy="drop_oldest")
    for number in range(10):
        connection.send(numbered("2", number))
    line.writable = True
    connection.transport_ready()
    assert line.packets == [numbered("2", number) for number in (7, 8, 9)]
    assert counts(server)["packets_dropped"] == 7
    assert keeper.closings == []


async def test_drop_newest_keeps_the_oldest_events() -> None:
    connection, line, _, server = stalled(max_outbox_packets=3, outbox_policy="drop_newest")
    for number in range(10):
        connection.send(numbered("2", number))
    line.writable = True
    connection.transport_ready()
    assert line.packets == [numbered("2", number) for number in (0, 1, 2)]
    assert counts(server)["packets_dropped"] == 7


async def test_whole_packets_go_with_their_attachments() -> None:
    connection, line, _, server = stalled(max_outbox_bytes=2 * len(BINARY), outbox_policy="drop_oldest")
    sent = [Message(BINARY.text, BINARY.attachments) for _ in range(4)]
    for message in sent:
        connection.send(message)
    line.writable = True
    connection.transport_ready()
    assert line.packets == sent[2:]
    assert counts(server)["packets_dropped"] == 2


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_what_must_not_be_dropped_never_is(policy: str) -> None:
    """An outbox full of acknowledgements ends the session, whatever the policy: leaving one out would be a lie."""
    connection, _, keeper, server = stalled(max_outbox_packets=3, outbox_policy=policy)
    for number in range(4):
        connection.send(numbered("3", number))
    assert [reason for reason, _ in keeper.closings] == ["transport error"]
    assert "packets_dropped" not in counts(server)


async def test_an_acknowledgement_pushes_an_event_out() -> None:
    connection, line, _, _ = stalled(max_outbox_packets=3, outbox_policy="drop_oldest")
    for packet in (b"41/a,", numbered("2", 0), b"430[]", b"431[]", numbered("2", 1)):
        connection.send(packet)
    assert connection.state is State.OPEN
    line.writable = True
    connection.transport_ready()
    assert line.packets == [b"41/a,", b"430[]", b"431[]"]


@pytest.mark.parametrize("packet", [b"430[]", b"41", b"2"])
async def test_drop_newest_makes_room_for_what_must_not_be_dropped(packet: bytes) -> None:
    """A full outbox of events: the acknowledgement, or the ping, stays; an event goes."""
    connection, line, keeper, _ = stalled(max_outbox_packets=3, outbox_policy="drop_newest")
    for waiting in (numbered("2", 0), numbered("2", 1), numbered("2", 2), packet):
        connection.send(waiting)
    assert keeper.closings == []
    line.writable = True
    connection.transport_ready()
    assert line.packets == [numbered("2", 0), numbered("2", 1), packet]


async def test_conflate_replaces_and_counts() -> None:
    connection, line, _, server = stalled(
        max_outbox_packets=3, outbox_policy="conflate", conflate_key=lambda event, args: event
    )
    for number in range(20):
        connection.send(Message(f"42[{number}]".encode() + b" " * number, key="position"))
        connection.send(Message(f"42[{number},0]".encode(), key="speed"))
    assert counts(server)["packets_conflated"] == 38
    line.writable = True
    connection.transport_ready()
    assert [packet.text.strip() for packet in line.packets if isinstance(packet, Message)] == [b"42[19]", b"42[19,0]"]


async def test_conflated_packets_are_counted_by_their_present_size() -> None:
    connection, _, _, _ = stalled(
        max_outbox_bytes=200, outbox_policy="conflate", conflate_key=lambda event, args: event
    )
    connection.send(Message(b"42" + b"x" * 150, key="a"))
    connection.send(Message(b"42" + b"x" * 10, key="a"))
    connection.send(Message(b"42" + b"x" * 150, key="b"))
    assert connection.state is State.OPEN


async def test_what_goes_out_no_longer_counts() -> None:
    connection, line, keeper, _ = stalled(max_outbox_packets=3)
    line.writable = True
    for number in range(20):
        connection.send(numbered("2", number))
        await asyncio.sleep(0)
    assert keeper.closings == []
    assert line.packets == [numbered("2", number) for number in range(20)]


async def test_a_burst_within_a_turn_goes_out_in_one_write() -> None:
    server = engine()
    connection, line, _ = session(server)
    line.sent.clear()
    for number in range(5):
        connection.send(numbered("2", number))
    assert line.sent == []
    await turns()
    assert line.sent == [[numbered("2", number) for number in range(5)]]


async def test_a_great_deal_is_handed_over_before_the_turn_ends() -> None:
    server = engine()
    connection, line, _ = session(server)
    line.sent.clear()
    packet = b"42" + b"x" * 30_000
    for _ in range(3):
        connection.send(packet)
    assert line.sent == [[packet] * 3]
    await turns()
    assert line.sent == [[packet] * 3]
