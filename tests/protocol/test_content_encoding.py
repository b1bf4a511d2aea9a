"""Content codings: which one an Accept-Encoding asks for, and that a body comes out of each as it went in."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.protocol.content_encoding import CODINGS, PIECE, choose, in_pieces, varying

DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"br": brotli.decompress,
    b"gzip": gzip.decompress,
    # RFC 9110 §8.4.1.2: the zlib format, not the bare stream that some once sent.
    b"deflate": zlib.decompress,
}


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, b""),
        (b"", b""),
        (b"  ", b""),
        (b"gzip", b"gzip"),
        (b"GZip", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"br", b"br"),
        (b"gzip, deflate, br", b"br"),
        (b"gzip, deflate", b"gzip"),
        (b"deflate, gzip", b"gzip"),
        (b"gzip;q=0.5, deflate;q=0.8", b"deflate"),
        (b"gzip; q=0.5 ,\tdeflate ;q=0.501", b"deflate"),
        (b"br;q=0.1, gzip;q=0.2, deflate;q=0.05", b"gzip"),
        (b"gzip;q=0", b""),
        (b"gzip;q=0.000", b""),
        (b"gzip;q=0, deflate", b"deflate"),
        (b"*", b"br"),
        (b"*;q=0", b""),
        (b"*;q=0, gzip", b"gzip"),
        (b"br;q=0, *", b"gzip"),
        (b"br;q=0, gzip;q=0, *;q=0.1", b"deflate"),
        (b"zstd, lzw", b""),
        (b"zstd, gzip;q=0.1", b"gzip"),
        (b"identity", b""),
        (b"identity, gzip", b"gzip"),
        (b"identity, gzip;q=0.5", b""),
        (b"identity;q=0.5, gzip;q=0.5", b"gzip"),
        (b"identity;q=0.5, *;q=0.4", b""),
        (b"identity;q=0", b""),
        (b"identity;q=0, gzip;q=0.001", b"gzip"),
        (b"gzip;q=1.000", b"gzip"),
        (b"gzip;Q=1", b"gzip"),
        # Malformed: not there.
        (b"gzip;q=2", b""),
        (b"gzip;q=", b""),
        (b"gzip;q=nan", b""),
        (b"gzip;q=-1", b""),
        (b"gzip;q=0.1234", b""),
        (b"gzip;level=9", b""),
        (b"gzip;q=1;x", b""),
        (b",,gzip,,", b"gzip"),
        (b";q=1", b""),
        (b"\xff\x00, gzip", b"gzip"),
        (b"gzip;=", b""),
    ],
)
def test_which_is_chosen(accept: bytes | None, coding: bytes) -> None:
    assert choose(accept) == coding


def test_no_more_is_read_than_a_client_has_to_say() -> None:
    unknown = [b"zstd"]
    assert choose(b",".join([*unknown * 49, b"gzip"])) == b"gzip"
    assert choose(b",".join([*unknown * 50, b"gzip"])) == b""


MEMBERS = st.tuples(
    st.sampled_from([b"gzip", b"x-gzip", b"deflate", b"br", b"identity", b"*", b"zstd", b""]),
    st.sampled_from([b"", b";q=0", b";q=0.3", b"; q=0.7", b";q=1", b";q=x", b";", b";;"]),
)


@given(st.one_of(st.binary(max_size=60), st.lists(MEMBERS.map(b"".join), max_size=8).map(b",".join)))
def test_never_one_that_was_not_asked_for(accept: bytes) -> None:
    coding = choose(accept)
    assert coding in {b"", *CODINGS}
    if coding:
        assert coding in accept.lower() or b"*" in accept


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [0, 1, 1024, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 7])
def test_a_body_comes_out_as_it_went_in(coding: bytes, size: int) -> None:
    for body in (b'["answer",1]'[:1] * size, os.urandom(size)):
        assert DECODERS[coding](b"".join(in_pieces(body, coding))) == body


@pytest.mark.parametrize("coding", CODINGS)
def test_no_step_is_a_large_one(coding: bytes) -> None:
    """A loop that goes on after each piece is never held up for the whole."""
    body = os.urandom(20 * PIECE)
    assert len(list(in_pieces(body, coding))) >= 20


def test_a_decoder_for_each() -> None:
    assert set(CODINGS) == set(DECODERS)


def test_without_the_package() -> None:
    """brotli is optional: `br` is not offered then."""
    program = """
import sys
sys.modules["brotli"] = None
from duplexio.protocol.content_encoding import choose
print(choose(b"br").decode(), choose(b"br, gzip;q=0.5").decode(), choose(b"*").decode())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == " gzip gzip\n"


def test_what_an_answer_depends_on() -> None:
    origin, other = (b"access-control-allow-origin", b"http://a"), (b"vary", b"Origin")
    assert varying([]) == [(b"vary", b"Accept-Encoding")]
    assert varying([origin, other]) == [origin, (b"vary", b"Origin, Accept-Encoding")]
    assert varying([other, origin, (b"vary", b"Cookie")]) == [origin, (b"vary", b"Origin, Cookie, Accept-Encoding")]
    assert varying([(b"vary", b"*")]) == [(b"vary", b"*")]
    given = [other]
    varying(given).append(origin)
    assert given == [other], "the list that was given stays as it is"
