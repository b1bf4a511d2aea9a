"""The packet that opens a session, as a client reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol.engine_open import MAX_SID, Opened, decode_open

GOOD: dict[str, Any] = {"sid": "abc", "upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def packet(value: Any) -> bytes:
    return b"0" + json.dumps(value).encode()


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
    st.lists(st.sampled_from(["websocket", "webtransport"])),
    st.integers(1, 2**40),
    st.integers(1, 2**40),
    st.none() | st.integers(0, 2**40),
)
def test_round_trip(sid: str, upgrades: list[str], interval: int, timeout: int, payload: int | None) -> None:
    value = {"sid": sid, "upgrades": upgrades, "pingInterval": interval, "pingTimeout": timeout, "more": [1]}
    if payload is not None:
        value["maxPayload"] = payload
    opened = decode_open(packet(value))
    assert opened == Opened(sid, tuple(upgrades), interval / 1000, timeout / 1000, payload or 0)


def test_what_may_be_missing() -> None:
    value = {name: GOOD[name] for name in ("sid", "pingInterval", "pingTimeout")}
    assert decode_open(packet(value)) == Opened("abc", (), 25.0, 20.0, 0)
    assert decode_open(packet({**value, "upgrades": "websocket"})).upgrades == ()
    assert decode_open(packet({**value, "pingInterval": 0.5})).ping_interval == 0.0005


@pytest.mark.parametrize(
    "change",
    [
        {"sid": None},
        {"sid": ""},
        {"sid": 5},
        {"sid": "x" * (MAX_SID + 1)},
        {"pingInterval": None},
        {"pingInterval": 0},
        {"pingInterval": -1},
        {"pingInterval": "25000"},
        {"pingTimeout": True},
        {"pingTimeout": 2**53},
        {"maxPayload": -1},
        {"maxPayload": None},
        {"maxPayload": [1]},
    ],
    ids=str,
)
def test_what_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(EnginePacketError):
        decode_open(packet({**GOOD, **change}))


@pytest.mark.parametrize(
    "data", [b"", b"0", b"1", b"2probe", b"4hello", b'{"sid":"a"}', b"0{", b"0[]", b"0\xff", b"0null"]
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(EnginePacketError):
        decode_open(data)


@given(
    st.binary(max_size=60)
    | JSON.map(packet)
    | st.dictionaries(st.sampled_from([*GOOD, "maxPayload"]), JSON).map(packet)
)
def test_whatever_comes(data: bytes) -> None:
    """It is a session, or an EnginePacketError; nothing else is raised."""
    try:
        opened = decode_open(data)
    except EnginePacketError:
        return
    assert 0 < len(opened.sid) <= MAX_SID
    assert opened.ping_interval > 0
    assert opened.ping_timeout > 0
    assert opened.max_payload >= 0


def test_the_id_of_the_session_is_in_no_error() -> None:
    for change in {"pingInterval": 0}, {"maxPayload": "x"}:
        with pytest.raises(EnginePacketError) as caught:
            decode_open(packet({**GOOD, "sid": "a-credential", **change}))
        assert "a-credential" not in str(caught.value)
