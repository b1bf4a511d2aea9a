"""Requests to the endpoint: what they ask for, whether they are let in, and what the answer carries."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.options import Options
from duplexio.protocol.engine_handshake import (
    BAD_HANDSHAKE_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    MESSAGES,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_PROTOCOL_VERSION,
    Refusal,
    Request,
    check_handshake,
    check_origin,
    check_transport,
    cookie_header,
    cors_headers,
    origin_allowed,
    preflight_headers,
)

GOOD = "EIO=4&transport=polling"


def request(query: str = GOOD, method: str = "GET", websocket: bool = False, /, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request(method, "/socket.io/", query.encode("latin-1"), raw, "192.0.2.1", False, websocket)


def options(**given: Any) -> Options:
    return Options(given)


# The query.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}),
        ("a=b%20c&d=e+f", {"a": "b c", "d": "e f"}),
        ("a%20b=c", {"a b": "c"}),
        ("a=1&a=2", {"a": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", {}),
        ("&&a=1&&", {"a": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=%C3%A9", {"a": "é"}),
        ("a=%zz", {"a": "%zz"}),
        ("a=%FF", {"a": "\N{REPLACEMENT CHARACTER}"}),
    ],
)
def test_query(query: str, expected: dict[str, str]) -> None:
    assert request(query).query == expected


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), max_size=8))
def test_a_query_is_read_as_it_was_written(given: dict[str, str]) -> None:
    written = urlencode(given, errors="replace")
    assert request(written).query == dict(parse_qsl(written, keep_blank_values=True))


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_some_query(query: bytes) -> None:
    asked = Request("GET", "/", query, [], "", False)
    assert all(name for name in asked.query)
    assert asked.query is asked.query


def test_parameters_beyond_a_hundred_are_not_read() -> None:
    query = request("&".join(f"p{number}={number}" for number in range(150))).query
    assert len(query) == 100
    assert query["p99"] == "99"


# Headers.


def test_headers_of_a_request() -> None:
    asked = Request("GET", "/x", b"", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"\xe9")], "", False)
    assert asked.headers == {"a": "1, 3", "b": "2", "c": "é"}
    assert asked.headers is asked.headers
    assert asked.header(b"a") == b"3"
    assert asked.header(b"missing") is None


@pytest.mark.parametrize("raw", [[], [(b"host", b"a"), (b"x", b""), (b"x", b"2: 3")], [(b"bad", b"a\nb")]])
def test_a_request_gives_everything_again_after_it_has_forgotten_it(raw: list[tuple[bytes, bytes]]) -> None:
    asked = Request("GET", "/x", b"a=1&b=2", list(raw), "", False)
    asked._scope = lambda request: {"headers": request.raw_headers}
    before = (asked.query, asked.headers, asked.header(b"x"), asked.url)
    for _ in range(2):
        asked.forget()
        assert asked.raw_headers == raw
        assert (asked.query, asked.headers, asked.header(b"x"), asked.url) == before
        asked.forget()
        assert asked.scope["headers"] == raw


def test_the_url_is_as_it_was_sent() -> None:
    assert request("a=b%20c").url == "/socket.io/?a=b%20c"
    assert request("").url == "/socket.io/"


# Refusing.


def test_codes_and_texts_are_the_protocols() -> None:
    assert MESSAGES == {
        0: "Transport unknown",
        1: "Session ID unknown",
        2: "Bad handshake method",
        3: "Bad request",
        4: "Forbidden",
        5: "Unsupported protocol version",
    }


@pytest.mark.parametrize(
    ("code", "status", "body"),
    [
        (UNKNOWN_TRANSPORT, 400, b'{"code":0,"message":"Transport unknown"}'),
        (UNKNOWN_SID, 400, b'{"code":1,"message":"Session ID unknown"}'),
        (BAD_HANDSHAKE_METHOD, 400, b'{"code":2,"message":"Bad handshake method"}'),
        (BAD_REQUEST, 400, b'{"code":3,"message":"Bad request"}'),
        (FORBIDDEN, 403, b'{"code":4,"message":"Forbidden"}'),
        (UNSUPPORTED_PROTOCOL_VERSION, 400, b'{"code":5,"message":"Unsupported protocol version"}'),
    ],
)
def test_a_refusal_to_the_byte(code: int, status: int, body: bytes) -> None:
    refusal = Refusal(code, "cause", "hint")
    assert (refusal.http_status, refusal.body) == (status, body)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_refusal_with_a_text_of_ones_own_is_json(text: str) -> None:
    refusal = Refusal(FORBIDDEN, "cause", "hint", text)
    body = json.loads(refusal.body)
    expected = "".join(" " if ord(character) < 32 else character for character in text)
    assert body == {"code": 4, "message": expected}
    assert refusal.text == text


def test_a_refusal_with_a_status_of_its_own() -> None:
    assert Refusal(BAD_REQUEST, "cause", "hint", "Server closing", 503).http_status == 503


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("transport=polling", False),
        ("transport=websocket", False),
        ("transport=webtransport", True),
        ("transport=", True),
        ("transport=Polling", True),
        ("", True),
        ("transport=polling&transport=x", True),
    ],
)
def test_transports(query: str, refused: bool) -> None:
    refusal = check_transport(request(query), options())
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.code == UNKNOWN_TRANSPORT
        assert "polling, websocket" in refusal.hint


def test_a_websocket_handshake_that_asks_for_polling() -> None:
    refusal = check_transport(request("EIO=4&transport=polling", "GET", True), options())
    assert refusal is not None
    assert refusal.code == BAD_REQUEST
    assert check_transport(request("EIO=4&transport=websocket", "GET", True), options()) is None


def test_jsonp_is_not_offered() -> None:
    refusal = check_transport(request(GOOD + "&j=0"), options())
    assert refusal is not None
    assert (refusal.code, refusal.cause) == (BAD_REQUEST, "jsonp")


def test_a_transport_that_is_not_offered() -> None:
    refusal = check_transport(request("transport=polling"), options(transports=["websocket"]))
    assert refusal is not None
    assert "Server(transports=...)" in refusal.hint


@pytest.mark.parametrize(
    ("query", "method", "websocket", "code"),
    [
        (GOOD, "GET", False, None),
        ("EIO=4&transport=websocket", "GET", True, None),
        (GOOD, "POST", False, BAD_HANDSHAKE_METHOD),
        (GOOD, "PUT", False, BAD_HANDSHAKE_METHOD),
        (GOOD, "OPTIONS", False, BAD_HANDSHAKE_METHOD),
        ("EIO=4&transport=websocket", "GET", False, BAD_REQUEST),
        ("EIO=3&transport=polling", "GET", False, UNSUPPORTED_PROTOCOL_VERSION),
        ("EIO=5&transport=polling", "GET", False, UNSUPPORTED_PROTOCOL_VERSION),
        ("transport=polling", "GET", False, UNSUPPORTED_PROTOCOL_VERSION),
        ("EIO=&transport=polling", "GET", False, UNSUPPORTED_PROTOCOL_VERSION),
    ],
)
def test_handshakes(query: str, method: str, websocket: bool, code: int | None) -> None:
    refusal = check_handshake(request(query, method, websocket), Options({}))
    assert (None if refusal is None else refusal.code) == code


def test_the_hint_for_a_client_of_version_2_says_so() -> None:
    refusal = check_handshake(request("EIO=3&transport=polling"), Options({}))
    assert refusal is not None
    assert "Socket.IO 2 client" in refusal.hint


# Origins.

A = "http://a.example"
B = "https://b.example:8443"

# Options, headers, and whether the request is let in.
ORIGINS: list[tuple[dict[str, Any], dict[str, str], bool]] = [
    ({}, {}, True),
    ({}, {"sec_fetch_site": "cross-site"}, False),
    ({}, {"sec_fetch_site": "same-origin"}, True),
    ({}, {"sec_fetch_site": "none"}, True),
    ({"cors_allowed_origins": "*"}, {"sec_fetch_site": "cross-site"}, True),
    ({"cors_allowed_origins": [A]}, {"sec_fetch_site": "cross-site"}, False),
    ({}, {"origin": A, "host": "a.example"}, True),
    ({}, {"origin": "HTTPS://A.example", "host": "a.EXAMPLE"}, True),
    ({}, {"origin": A, "host": "b.example"}, False),
    ({}, {"origin": A, "host": "a.example:8000"}, False),
    ({}, {"origin": B, "host": "b.example:8443"}, True),
    ({}, {"origin": A}, False),
    ({}, {"origin": "", "host": ""}, False),
    ({}, {"origin": "null", "host": "null"}, False),
    ({}, {"origin": "null"}, False),
    ({}, {"origin": "file://"}, False),
    ({"cors_allowed_origins": "*"}, {"origin": "null"}, True),
    ({"cors_allowed_origins": A}, {"origin": A, "host": "x"}, True),
    ({"cors_allowed_origins": A}, {"origin": B, "host": "x"}, False),
    ({"cors_allowed_origins": [A, B]}, {"origin": B, "host": "x"}, True),
    ({"cors_allowed_origins": []}, {"origin": A, "host": "x"}, False),
    ({"cors_allowed_origins": [B]}, {"origin": A, "host": "a.example"}, True),
    ({"cors_allowed_origins": lambda origin: origin.endswith(".example")}, {"origin": A, "host": "x"}, True),
    ({"cors_allowed_origins": lambda origin: False}, {"origin": A, "host": "x"}, False),
    ({}, {"origin": A, "host": "x", "x_forwarded_host": "a.example"}, False),
    ({"trusted_proxies": ["192.0.2.1"]}, {"origin": A, "host": "x", "x_forwarded_host": "a.example"}, True),
    ({"trusted_proxies": ["192.0.2.1"]}, {"origin": A, "host": "x", "x_forwarded_host": "a.example, b"}, True),
    ({"trusted_proxies": ["192.0.2.1"]}, {"origin": A, "host": "a.example"}, True),
    ({"trusted_proxies": ["192.0.2.9"]}, {"origin": A, "host": "x", "x_forwarded_host": "a.example"}, False),
    # Not a URL at all: no page of anybody's.
    ({}, {"origin": "http://[", "host": "["}, False),
    ({"cors_allowed_origins": [A]}, {"origin": "http://[::1", "host": "x"}, False),
]


@pytest.mark.parametrize(("given", "headers", "allowed"), ORIGINS)
def test_origins(given: dict[str, Any], headers: dict[str, str], allowed: bool) -> None:
    refusal = check_origin(request(**headers), options(**given))
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.code == FORBIDDEN


@given(st.text(st.characters(codec="latin-1"), max_size=30))
def test_no_origin_whatsoever_raises(origin: str) -> None:
    refusal = check_origin(request(origin=origin, host="a.example"), options())
    assert refusal is None or refusal.code == FORBIDDEN


def test_the_hint_names_the_option_that_lets_the_page_in() -> None:
    refusal = check_origin(request(origin=A, host="b.example"), options())
    assert refusal is not None
    assert f"cors_allowed_origins=['{A}']" in refusal.hint


def test_origins_of_a_middleware_around_count_where_none_were_given() -> None:
    asked = request(origin=A, host="x")
    asked.surrounding_origins = (A,)
    assert origin_allowed(A, asked, options())
    assert not origin_allowed(A, asked, options(cors_allowed_origins=[B]))


# CORS.

PLAIN = {"access-control-allow-origin": "*"}
ECHOED = {"access-control-allow-origin": A, "vary": "Origin"}
WITH_CREDENTIALS = {**ECHOED, "access-control-allow-credentials": "true"}

CORS: list[tuple[dict[str, Any], dict[str, str], dict[str, str]]] = [
    ({}, {"origin": A}, {}),
    ({"cors_allowed_origins": "*"}, {}, {}),
    ({"cors_allowed_origins": "*"}, {"origin": A}, PLAIN),
    ({"cors_allowed_origins": "*", "cors_credentials": True}, {"origin": A}, WITH_CREDENTIALS),
    ({"cors_allowed_origins": [A]}, {"origin": A}, ECHOED),
    ({"cors_allowed_origins": [A], "cors_credentials": True}, {"origin": A}, WITH_CREDENTIALS),
    ({"cors_allowed_origins": [A]}, {"origin": B}, {"vary": "Origin"}),
    ({"cors_allowed_origins": [A], "cors_headers": False}, {"origin": A}, {}),
    ({"cors_allowed_origins": [A]}, {"origin": "http://["}, {"vary": "Origin"}),
]


def as_dict(headers: list[tuple[bytes, bytes]] | None) -> dict[str, str] | None:
    return None if headers is None else {name.decode(): value.decode() for name, value in headers}


@pytest.mark.parametrize(("given", "headers", "expected"), CORS)
def test_cors_headers(given: dict[str, Any], headers: dict[str, str], expected: dict[str, str]) -> None:
    assert as_dict(cors_headers(request(**headers), options(**given))) == expected


def test_preflight() -> None:
    asked = request(GOOD, "OPTIONS", origin=A, access_control_request_headers="x-a, x-b")
    assert as_dict(preflight_headers(asked, options(cors_allowed_origins=[A]))) == {
        **ECHOED,
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "x-a, x-b",
        "access-control-max-age": "7200",
    }
    without = as_dict(preflight_headers(request(origin=A), options(cors_allowed_origins=[A])))
    assert without is not None
    assert "access-control-allow-headers" not in without


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({}, {"origin": A}),
        ({"cors_allowed_origins": "*"}, {}),
        ({"cors_allowed_origins": "*", "cors_headers": False}, {"origin": A}),
    ],
)
def test_no_preflight_where_cors_is_not_ours(given: dict[str, Any], headers: dict[str, str]) -> None:
    assert preflight_headers(request(**headers), options(**given)) is None


# Cookies.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, "io=SID; Path=/; SameSite=Lax; HttpOnly"),
        ("session", "session=SID; Path=/; SameSite=Lax; HttpOnly"),
        (
            {"name": "s", "path": None, "domain": "a.example", "max_age": 0, "samesite": "None", "secure": True},
            "s=SID; Domain=a.example; Max-Age=0; SameSite=None; HttpOnly; Secure",
        ),
        ({"httponly": False, "samesite": None}, "io=SID; Path=/"),
        ({"path": False, "domain": False, "samesite": False}, "io=SID; HttpOnly"),
        (
            {"path": "/custom", "samesite": "Strict", "httponly": "yes"},
            "io=SID; Path=/custom; SameSite=Strict; HttpOnly",
        ),
    ],
)
def test_cookie(given: Any, expected: str) -> None:
    cookie = options(cookie=given).cookie
    assert cookie is not None
    assert cookie_header(cookie, "SID").decode() == expected
