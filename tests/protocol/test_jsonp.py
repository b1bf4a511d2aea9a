"""JSONP: bodies as scripts and forms, and the two as a format of a session's bodies."""

from __future__ import annotations

import json
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import EnginePacketError
from duplexio.protocol import jsonp
from duplexio.protocol.engine_packet import Message
from duplexio.protocol.payload_format import OCTETS, SCRIPT, TEXT, PayloadFormat

from .feeding import outcome, refuses
from .test_engine_payload import kinds

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def form(text: str) -> bytes:
    """As the JavaScript clients fill it in: forms change newlines, so they are written out."""
    escaped = text.replace("\\n", "\\\\n").replace("\n", "\\n")
    return urlencode({"d": escaped}).encode()


@pytest.mark.parametrize(
    ("index", "callback"),
    [("0", b"___eio[0]"), ("12", b"___eio[12]"), ("", b"___eio[]"), ("9" * 30, b"___eio[%b]" % (b"9" * 20))],
)
def test_the_function_is_called_by_its_number(index: str, callback: bytes) -> None:
    assert jsonp.callback_of(index) == callback


@given(st.text(max_size=40))
def test_nothing_but_digits_gets_into_the_script(index: str) -> None:
    callback = jsonp.callback_of(index).decode("ascii")
    assert callback.startswith("___eio[")
    assert callback.endswith("]")
    inside = callback[7:-1]
    assert inside == "" or (inside.isdecimal() and len(inside) <= 20)


def test_a_script() -> None:
    body = '42["a\u2028b\u2029\\"é🎉"]'.encode()
    assert jsonp.wrap(body, b"___eio[3]") == (b'___eio[3]("42[\\"a\\u2028b\\u2029\\\\\\"' + "é🎉".encode() + b'\\"]");')


@given(texts)
def test_a_script_holds_the_body(text: str) -> None:
    script = jsonp.wrap(text.encode(), b"f").decode()
    assert json.loads(script.removeprefix("f(").removesuffix(");")) == text
    assert not {"\u2028", "\u2029", "\n", "\r"} & set(script)


@pytest.mark.parametrize("text", ['42["a\\nb"]', '42["a\\\\n"]', "4a\nb", "4\\", "4 +%&=d", "4é🎉"])
def test_a_form(text: str) -> None:
    assert jsonp.unwrap(form(text)) == text.encode()
    assert jsonp.unwrap(b"other=1&" + form(text)) == text.encode()


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"", "without the field d"), (b"x=1", "without the field d"), (b"d=%ff", "not UTF-8"), (b"d=\xff", "not UTF-8")],
)
def test_what_is_no_form_is_refused(body: bytes, text: str) -> None:
    refuses(jsonp.unwrap, body, EnginePacketError, text)


@given(st.binary(max_size=60))
def test_arbitrary_bytes(body: bytes) -> None:
    for given_body in (body, b"d=" + body):
        outcome(jsonp.unwrap, given_body, EnginePacketError)


# A session's format.

BYTES = Message(b'451-["a"]', (b"\x01",))


@pytest.mark.parametrize(
    ("form_of_bodies", "expected"),
    [
        (PayloadFormat(9), (b'451-["a"]\x1ebAQ==', TEXT)),
        (PayloadFormat(9, protocol=3), (b'\x00\x09\xff451-["a"]\x01\x02\xff\x04\x01', OCTETS)),
        (PayloadFormat(9, protocol=3, base64=True), (b'9:451-["a"]6:b4AQ==', TEXT)),
        (PayloadFormat(9, callback=b"f"), (b'f("451-[\\"a\\"]\\u001ebAQ==");', SCRIPT)),
        (PayloadFormat(9, protocol=3, callback=b"f"), (b'f("9:451-[\\"a\\"]6:b4AQ==");', SCRIPT)),
    ],
)
def test_how_a_session_s_bodies_are_written(form_of_bodies: PayloadFormat, expected: tuple[bytes, bytes]) -> None:
    assert form_of_bodies.encode([BYTES]) == expected


def test_how_a_session_s_bodies_are_read() -> None:
    assert PayloadFormat(9).decode(b"4a\x1e2", False) == [b"4a", b"2"]
    assert PayloadFormat(9, protocol=3).decode(b"2:4a1:2", False) == [b"4a", b"2"]
    assert kinds(PayloadFormat(9, protocol=3).decode(b"\x01\x02\xff\x04a", True)) == [(True, b"a")]
    assert PayloadFormat(9, callback=b"f").decode(b"d=" + quote_plus("4a\x1e2").encode(), False) == [b"4a", b"2"]
    assert PayloadFormat(9, protocol=3, callback=b"f").decode(b"d=2%3A4a", False) == [b"4a"]


def test_who_may_send_bytes() -> None:
    assert not PayloadFormat(9).has_binary
    assert PayloadFormat(9, protocol=3).has_binary
    assert not PayloadFormat(9, protocol=3, callback=b"f").has_binary
