"""What workers say to each other: there and back, in any pieces, and whatever comes."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from duplexio.engine.neighbour import Answer
from duplexio.protocol.engine_handshake import MESSAGES, Refusal, Request
from duplexio.workers.relay_message import (
    PIECE,
    Frames,
    Hello,
    Kind,
    RelayError,
    hello,
    kind_of_hello,
    pack,
    pack_answer,
    pack_refusal,
    pack_request,
    unpack,
    unpack_answer,
    unpack_refusal,
    unpack_request,
    write_frames,
)
from tests.protocol.feeding import outcome, prefixes, refuses

LIMIT = 1_000_000

headers = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=8)
requests = st.builds(
    lambda method, path, query, given, address, secure, websocket, peer: Request(
        method, path, query, given, address, secure, websocket, peer=peer
    ),
    st.sampled_from(["GET", "POST", "PUT"]),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
    headers,
    st.text(st.characters(codec="utf-8")),
    st.booleans(),
    st.booleans(),
    st.text(st.characters(codec="utf-8")),
)
messages = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 0xFFFF_FFFF), st.binary(max_size=300) | st.just(b"x" * 200_000)),
    max_size=6,
)


def fed(data: bytes, size: int) -> list[tuple[Kind, int, bytes]]:
    """What comes of it in pieces of that size."""
    frames = Frames(LIMIT)
    return [message for begin in range(0, len(data), size) for message in frames.feed(data[begin : begin + size])]


@given(requests, st.lists(st.binary(), max_size=3))
def test_requests(request: Request, more: list[bytes]) -> None:
    found, words = unpack_request(pack_request(request, *more), len(more))
    assert words == more
    assert found == request


@given(st.integers(100, 599), headers, st.binary(), st.binary(), st.booleans())
def test_answers(status: int, given: list[tuple[bytes, bytes]], kind: bytes, body: bytes, compressible: bool) -> None:
    answer = Answer(status, given, kind, body, compressible)
    assert unpack_answer(pack_answer(answer)) == answer


@given(st.sampled_from(sorted(MESSAGES)), st.text(), st.text(), st.text(), st.integers(0, 599))
def test_refusals(code: int, cause: str, hint: str, message: str, status: int) -> None:
    if not any("\ud800" <= character <= "\udfff" for character in cause + hint + message):
        refusal = Refusal(code, cause, hint, message, status)
        assert unpack_refusal(pack_refusal(refusal)) == refusal


@given(messages, st.integers(1, 300_000))
def test_messages_in_pieces(sent: list[tuple[Kind, int, bytes]], size: int) -> None:
    data = b"".join(frame for message in sent for frame in write_frames(*message))
    # Byte by byte takes its time with long ones.
    assert fed(data, size if len(data) < 2000 else max(size, 1000)) == sent


def test_others_come_between_the_pieces_of_a_long_one() -> None:
    long = list(write_frames(Kind.ANSWER, 1, b"l" * (2 * PIECE + 1)))
    (short,) = write_frames(Kind.ANSWER, 2, b"s")
    assert len(long) == 3
    found = fed(b"".join([long[0], short, long[1], short, long[2]]), 10_000)
    assert [(number, len(payload)) for _, number, payload in found] == [(2, 1), (2, 1), (1, 2 * PIECE + 1)]


def test_what_is_over_the_limit() -> None:
    frames = Frames(100_000)
    first, last = write_frames(Kind.ASK, 1, b"x" * 100_001)
    assert list(frames.feed(first)) == []
    refuses(lambda data: list(frames.feed(data)), last, RelayError, "over 100000 bytes")


DECODERS: list[Callable[[bytes], object]] = [
    unpack,
    lambda data: unpack_request(data, 0),
    lambda data: unpack_request(data, 1),
    unpack_answer,
    unpack_refusal,
    kind_of_hello,
    lambda data: fed(data, 7),
]


@given(st.binary(max_size=200), st.sampled_from(DECODERS))
def test_whatever_comes(data: bytes, decode: Callable[[bytes], object]) -> None:
    """Only the documented exception leaves."""
    outcome(decode, data, RelayError)


@given(st.lists(st.binary(max_size=20), max_size=12), st.sampled_from(DECODERS))
def test_whatever_words_come(words: list[bytes], decode: Callable[[bytes], object]) -> None:
    outcome(decode, pack(words), RelayError)


def test_what_is_cut_short() -> None:
    # Without headers: one that lost some whole ones would be another request.
    request = Request("GET", "/socket.io/", b"sid=x", [], "127.0.0.1", False)
    for decode, data in (
        (lambda data: unpack_request(data, 1), pack_request(request, b"body")),
        (unpack_answer, pack_answer(Answer(200, [], b"text/html", b"ok", False))),
        (unpack_refusal, pack_refusal(Refusal(1, "cause", "hint"))),
        (kind_of_hello, hello(Hello.ASKING)),
    ):
        decode(data)
        for part in prefixes(data):
            refuses(decode, part, RelayError)
