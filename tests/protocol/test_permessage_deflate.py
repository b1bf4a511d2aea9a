"""permessage-deflate: what is agreed on, and what goes through it."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.compression import PerMessageDeflate, per_message_deflate_options
from duplexio.protocol import websocket_frame
from duplexio.protocol.engine_packet import Message, uncompressed
from duplexio.protocol.permessage_deflate import Agreement, CorruptData, Deflate, TooLarge, negotiate

LIMIT = 1_000_000
KEEPS = {"server_no_context_takeover": False, "client_no_context_takeover": False}


def options(**changes: Any) -> PerMessageDeflate:
    """Those of a server that asks for nothing, unless it is said otherwise."""
    chosen = per_message_deflate_options({**KEEPS, **changes})
    assert chosen is not None
    return chosen


def deflate(**changes: Any) -> Deflate:
    chosen = options(**changes)
    agreement = Agreement(
        chosen["server_no_context_takeover"],
        chosen["client_no_context_takeover"],
        chosen["server_max_window_bits"],
        chosen["client_max_window_bits"],
    )
    return Deflate(agreement, chosen)


# Negotiation.


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", ""),
        ("permessage-deflate; server_no_context_takeover", "server_no_context_takeover"),
        ("permessage-deflate; client_no_context_takeover", "client_no_context_takeover"),
        ("permessage-deflate; client_max_window_bits", ""),
        ("permessage-deflate; client_max_window_bits=10", "client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=8", "client_max_window_bits=8"),
        ("permessage-deflate; client_max_window_bits=15", ""),
        ("permessage-deflate; server_max_window_bits=10", "server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=15", "server_max_window_bits=15"),
        ('permessage-deflate; server_max_window_bits="10"', "server_max_window_bits=10"),
        ("permessage-deflate;server_max_window_bits = 9", "server_max_window_bits=9"),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11; client_no_context_takeover;"
            " server_no_context_takeover",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9;"
            " client_max_window_bits=11",
        ),
        # The first that can be kept.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", ""),
        ("x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover", "server_no_context_takeover"),
        ("permessage-deflate; unknown, permessage-deflate; client_no_context_takeover", "client_no_context_takeover"),
        ('other; a="b"; c, ,, permessage-deflate', ""),
        ("permessage-deflate; client_max_window_bits, permessage-deflate; server_max_window_bits=9", ""),
    ],
)
def test_what_is_agreed_on(offer: str, answer: str) -> None:
    found = negotiate(offer, options())
    assert found is not None
    assert found[0].decode() == "; ".join(["permessage-deflate", *([answer] if answer else [])])


@pytest.mark.parametrize(
    "offer",
    [
        "",
        ",",
        "permessage-deflat",
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=1e1",
        # No window of 256 bytes can be had of zlib.
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=\u0661\u0660",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        # Not the grammar of RFC 6455 §9.1: nothing of it is believed.
        "permessage-deflate;",
        "permessage-deflate; =1",
        "permessage-deflate=1",
        "permessage-deflate permessage-deflate",
        'permessage-deflate; server_max_window_bits="10',
        "permessage-deflate, ;",
        "permessage-deflate; a=\x00",
    ],
)
def test_what_is_declined(offer: str) -> None:
    assert negotiate(offer, options()) is None


@pytest.mark.parametrize(
    ("changes", "offer", "answer"),
    [
        ({"server_no_context_takeover": True}, "", "; server_no_context_takeover"),
        ({"client_no_context_takeover": True}, "", "; client_no_context_takeover"),
        ({"server_max_window_bits": 10}, "", "; server_max_window_bits=10"),
        ({"server_max_window_bits": 10}, "; server_max_window_bits=12", "; server_max_window_bits=10"),
        ({"server_max_window_bits": 10}, "; server_max_window_bits=9", "; server_max_window_bits=9"),
        ({"client_max_window_bits": 10}, "; client_max_window_bits", "; client_max_window_bits=10"),
        ({"client_max_window_bits": 10}, "; client_max_window_bits=9", "; client_max_window_bits=9"),
        # A client that cannot keep to it is not compressed with.
        ({"client_max_window_bits": 10}, "", None),
    ],
)
def test_what_the_server_asks_for(changes: dict[str, Any], offer: str, answer: str | None) -> None:
    found = negotiate(f"permessage-deflate{offer}", options(**changes))
    assert (None if found is None else found[0].decode()) == (None if answer is None else f"permessage-deflate{answer}")


BITS = st.sampled_from(["", "=8", "=9", "=12", "=15", "=16", '="10"', "=x"])
PARAMETER = st.one_of(
    st.sampled_from(["server_no_context_takeover", "client_no_context_takeover", "unknown", ""]),
    st.tuples(st.sampled_from(["server_max_window_bits", "client_max_window_bits"]), BITS).map("".join),
)
OFFER = st.lists(PARAMETER, max_size=5).map(lambda parameters: "; ".join(["permessage-deflate", *parameters]))
HEADER = st.one_of(
    st.text(max_size=80),
    st.text(alphabet='permsag-dflt;,="\\ 189_x', max_size=80),
    st.lists(st.one_of(OFFER, st.just("other; a=b")), max_size=4).map(", ".join),
)
SERVER = st.fixed_dictionaries(
    {
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.booleans(),
        "server_max_window_bits": st.integers(9, 15),
        "client_max_window_bits": st.integers(9, 15),
    }
)


def parameters_of(text: str) -> dict[str, str | None]:
    pairs = [part.strip().partition("=") for part in text.split(";")[1:]]
    return {name: value.strip('"') if equals else None for name, equals, value in pairs}


@given(HEADER, SERVER)
def test_an_answer_is_legal_for_an_offer(header: str, server: dict[str, Any]) -> None:
    """RFC 7692 §7.1, read from the client's side: one of its offers allows each parameter of the answer."""
    found = negotiate(header, options(**server))
    if found is None:
        return
    answer, agreement = found
    given = parameters_of(answer.decode())
    assert set(given) <= set(Agreement._fields)
    assert agreement == (
        "server_no_context_takeover" in given,
        "client_no_context_takeover" in given,
        int(given.get("server_max_window_bits") or 15),
        int(given.get("client_max_window_bits") or 15),
    )
    # What the server insists on is in it.
    assert agreement.server_no_context_takeover >= server["server_no_context_takeover"]
    assert agreement.client_no_context_takeover >= server["client_no_context_takeover"]
    assert 9 <= agreement.server_max_window_bits <= server["server_max_window_bits"]
    assert 8 <= agreement.client_max_window_bits <= server["client_max_window_bits"]
    offers = [part for part in header.split(",") if part.strip().startswith("permessage-deflate")]
    assert any(allowed(parameters_of(offer), given) for offer in offers)


def allowed(offer: dict[str, str | None], answer: dict[str, str | None]) -> bool:
    server, client = offer.get("server_max_window_bits"), offer.get("client_max_window_bits")
    if "server_no_context_takeover" in offer and "server_no_context_takeover" not in answer:
        return False
    if "server_max_window_bits" in offer:
        if server is None or not server.isdigit() or "server_max_window_bits" not in answer:
            return False
        if int(answer["server_max_window_bits"] or 0) > int(server):
            return False
    if "client_max_window_bits" in answer:
        if "client_max_window_bits" not in offer:
            return False
        if client is not None and int(answer["client_max_window_bits"] or 0) > int(client):
            return False
    return set(offer) <= set(Agreement._fields)


# Messages.


class Peer:
    """The other end, by zlib alone."""

    def __init__(self, keeps: bool = True, bits: int = 15) -> None:
        self._keeps = keeps
        self._bits = bits
        self._renew()

    def _renew(self) -> None:
        self._deflater = zlib.compressobj(6, zlib.DEFLATED, -self._bits)
        self._inflater = zlib.decompressobj(-self._bits)

    def compress(self, message: bytes) -> bytes:
        data = self._deflater.compress(message) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if not self._keeps:
            self._renew()
        return data[:-4]

    def payload(self, frame: bytes) -> bytes:
        """What a frame carries."""
        length, start = frame[1], 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, start = int.from_bytes(frame[2 : 2 + size], "big"), 2 + size
        assert len(frame) == start + length
        data = frame[start:]
        if not frame[0] & 0x40:
            return data
        message = self._inflater.decompress(data + b"\x00\x00\xff\xff")
        if not self._keeps:
            self._renew()
        return message


MESSAGES = [b"4" * 2000, b"", b"4hello", b'42["a",' + b"1," * 5000 + b"1]", os.urandom(70_000), b"4" * 2000]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_messages_go_out_and_come_in(keeps: bool, bits: int, level: int) -> None:
    ours = deflate(
        server_no_context_takeover=not keeps,
        client_no_context_takeover=not keeps,
        server_max_window_bits=bits,
        client_max_window_bits=bits,
        level=level,
        threshold=0,
    )
    peer = Peer(keeps, bits)
    for message in MESSAGES:
        assert peer.payload(ours.text(message)) == message
        assert peer.payload(ours.binary(message)) == message
        assert ours.decompress(peer.compress(message), LIMIT) == message


def test_the_first_byte_says_what_it_is() -> None:
    ours = deflate()
    assert [ours.text(b"4" * 2000)[0], ours.binary(b"4" * 2000)[0]] == [0xC1, 0xC2]
    assert [ours.text(b"4")[0], ours.binary(b"4")[0]] == [0x81, 0x82]


def test_nothing_is_compressed_below_the_threshold() -> None:
    ours = deflate(threshold=100)
    assert ours.text(b"x" * 99) == websocket_frame.text(b"x" * 99)
    assert len(ours.text(b"x" * 100)) < 50
    assert ours.binary(b"x" * 99) == websocket_frame.binary(b"x" * 99)


def test_what_does_not_become_smaller_goes_out_as_it_is() -> None:
    noise = os.urandom(5000)
    assert deflate(server_no_context_takeover=True).binary(noise) == websocket_frame.binary(noise)


def test_what_a_kept_context_has_seen_goes_out_whatever_it_weighs() -> None:
    """Else the next message would refer to what the peer never got."""
    ours, peer, noise = deflate(), Peer(), os.urandom(5000)
    assert ours.binary(noise)[0] & 0x40
    peer.payload(deflate().binary(noise))
    second = ours.binary(noise)
    assert len(second) < 200


def test_a_context_is_worth_something() -> None:
    text = os.urandom(2000).hex().encode()
    keeping, forgetting = deflate(), deflate(server_no_context_takeover=True)
    first, second = keeping.text(text), keeping.text(text)
    assert len(second) * 20 < len(first)
    assert forgetting.text(text) == forgetting.text(text)


def test_a_context_that_is_not_kept_is_not_there() -> None:
    """A client that agreed to keep none, and refers to what it sent before, is not understood."""
    ours, peer = deflate(client_no_context_takeover=True), Peer()
    text = os.urandom(2000).hex().encode()
    assert ours.decompress(peer.compress(text), LIMIT) == text
    with pytest.raises(CorruptData):
        ours.decompress(peer.compress(text), LIMIT)


def test_no_zlib_object_before_it_is_needed() -> None:
    tracemalloc.start()
    try:
        idle = [deflate() for _ in range(100)]
        for ours in idle:
            ours.text(b"4small")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 2000


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_the_limit_is_of_what_is_inflated(size: int) -> None:
    data = Peer().compress(bytes(size))
    assert len(data) < 2000
    if size > LIMIT:
        with pytest.raises(TooLarge):
            deflate().decompress(data, LIMIT)
    else:
        assert deflate().decompress(data, LIMIT) == bytes(size)


def test_a_bomb_takes_no_more_than_the_limit() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Behind a full flush a block depends on nothing before it, and can stand there any number of times.
    block = compressor.compress(bytes(1 << 22)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 240
    assert len(bomb) < LIMIT, "it would not come through"
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            deflate().decompress(bomb[:-4], LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * LIMIT


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06", b"hello", b"\x00" * 300])
def test_what_is_no_deflate_stream(data: bytes) -> None:
    with pytest.raises(CorruptData):
        deflate().decompress(data, LIMIT)


def last_block(message: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(message) + compressor.flush()


def test_the_examples_of_the_rfc() -> None:
    """§7.2.3."""
    ours = deflate()
    assert ours.decompress(bytes.fromhex("f248cdc9c90700"), LIMIT) == b"Hello"
    # Sharing the window with the one before.
    assert ours.decompress(bytes.fromhex("f200110000"), LIMIT) == b"Hello"
    # A stored block; one with BFINAL; two blocks.
    assert deflate().decompress(bytes.fromhex("000500faff48656c6c6f00"), LIMIT) == b"Hello"
    assert deflate().decompress(bytes.fromhex("f348cdc9c9070000"), LIMIT) == b"Hello"
    assert deflate().decompress(bytes.fromhex("f24805000000ffffcac9c90700"), LIMIT) == b"Hello"
    assert deflate().decompress(b"\x00", LIMIT) == b""


def test_messages_go_on_behind_a_last_block() -> None:
    ours = deflate()
    for rest in (b"\x00", b""):
        assert ours.decompress(last_block(b"first") + rest, LIMIT) == b"first"
        assert ours.decompress(Peer().compress(b"second"), LIMIT) == b"second"
        ours = deflate()


def test_nothing_is_read_behind_a_last_block() -> None:
    with pytest.raises(CorruptData, match="behind the last block"):
        deflate().decompress(last_block(b"first") + last_block(b"second"), LIMIT)


# Shared by the receivers of a broadcast.


def test_a_broadcast_is_compressed_once() -> None:
    message = Message(b"42" + b"x" * 5000, (b"y" * 5000, b"small"))
    receivers = [deflate(server_no_context_takeover=True) for _ in range(3)]
    frames = [message.deflated(receiver) for receiver in receivers]
    assert frames[0] is frames[1] is frames[2]
    narrow = message.deflated(deflate(server_no_context_takeover=True, server_max_window_bits=9))
    assert narrow is not frames[0]
    keeping = message.deflated(deflate())
    assert keeping is not frames[0]
    assert message.deflated(receivers[0]) is frames[0]
    for found in (frames[0], narrow, keeping):
        assert found[0] == 0xC1
        assert len(found) < 300
        assert found.endswith(websocket_frame.binary(b"small"))


def test_each_context_gets_its_own() -> None:
    """A receiver whose context is kept is sent what refers to what it got before."""
    one, other = (deflate(), Peer()), (deflate(), Peer())
    first, second = (Message(b"42" + os.urandom(1000).hex().encode()) for _ in range(2))
    for ours, peer in (one, other):
        assert peer.payload(first.deflated(ours)) == first.text
    assert one[1].payload(one[0].text(second.text)) == second.text
    for ours, peer in (one, other):
        assert peer.payload(second.deflated(ours)) == second.text


def test_what_was_asked_not_to_be_compressed() -> None:
    message = uncompressed(b"42" + b"x" * 5000)
    assert message.deflated(deflate()) == websocket_frame.text(message.text)
    with_bytes = Message(b"42" + b"x" * 5000, (b"y" * 5000,))
    assert uncompressed(with_bytes) is with_bytes
    assert with_bytes.deflated(deflate()) is with_bytes.frames()


def test_a_small_one_is_the_same_for_all() -> None:
    message = Message(b"42small")
    assert message.deflated(deflate()) is message.frames()
