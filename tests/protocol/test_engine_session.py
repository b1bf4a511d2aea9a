"""The tables of a session: each packet, in a session and during an upgrade."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.protocol.engine_packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE
from duplexio.protocol.engine_session import Action, State, during_upgrade, on_packet

SERVER = [
    (OPEN, Action.IGNORE),
    (CLOSE, Action.PEER_CLOSED),
    (PING, Action.WRONG_DIRECTION),
    (PONG, Action.HEARTBEAT),
    (MESSAGE, Action.DELIVER),
    (UPGRADE, Action.IGNORE),
    (NOOP, Action.IGNORE),
]


@pytest.mark.parametrize(("packet_type", "action"), SERVER)
def test_what_a_server_does_with_a_packet(packet_type: int, action: Action) -> None:
    assert on_packet(packet_type, 4) is action


@pytest.mark.parametrize(
    ("packet", "action"),
    [
        (b"2probe", Action.ANSWER_PROBE),
        (b"5", Action.COMPLETE),
        (b"2", Action.ABANDON),
        (b"2probes", Action.ABANDON),
        (b"2prob", Action.ABANDON),
        (b"5x", Action.ABANDON),
        (b"3probe", Action.ABANDON),
        (b"4hello", Action.ABANDON),
        (b"", Action.ABANDON),
    ],
)
def test_what_the_candidate_of_an_upgrade_does_with_a_packet(packet: bytes, action: Action) -> None:
    assert during_upgrade(packet) is action


@given(st.binary(max_size=20))
def test_an_upgrade_knows_two_packets_and_no_more(packet: bytes) -> None:
    assert (during_upgrade(packet) is Action.ABANDON) == (packet not in (b"2probe", b"5"))


def test_a_session_is_open_then_closing_then_closed() -> None:
    assert [state.name for state in State] == ["OPEN", "CLOSING", "CLOSED"]
