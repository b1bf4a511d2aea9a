"""The URL that a client is given."""

from __future__ import annotations

import base64
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexio.errors import ConfigurationError
from duplexio.protocol.server_url import parse_server_url, with_query

PATH = "/socket.io"
#: Texts that a URL can carry when they are quoted.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="/,\x00"), min_size=1, max_size=12)
HOSTS = st.sampled_from(["localhost", "127.0.0.1", "[::1]", "example.com", "xn--bcher-kva.example"])


@given(
    st.sampled_from(["http", "https", "ws", "wss"]),
    HOSTS,
    st.none() | st.integers(1, 65535),
    st.lists(WORDS, max_size=3),
    st.dictionaries(WORDS, WORDS, max_size=3),
)
def test_parts(scheme: str, host: str, port: int | None, segments: list[str], query: dict[str, str]) -> None:
    authority = host if port is None else f"{host}:{port}"
    path = "".join(f"/{quote(segment, safe='')}" for segment in segments)
    found = parse_server_url(f"{scheme}://{authority}{path}{'?' if query else ''}{urlencode(query)}", PATH)
    assert found.secure == (scheme in ("https", "wss"))
    assert found.authority == authority
    assert found.namespace == ("/" + "/".join(segments)).rstrip("/") or found.namespace == "/"
    assert found.query == query
    assert found.credentials == ""
    assert found.origin == f"{'https' if found.secure else 'http'}://{authority}"
    assert found.endpoint(PATH, True) == f"{found.origin}/socket.io/"
    assert found.endpoint(PATH, False) == f"{found.origin}/socket.io"


@given(WORDS, WORDS)
def test_credentials(user: str, password: str) -> None:
    found = parse_server_url(f"http://{quote(user, safe='')}:{quote(password, safe='')}@localhost/a", PATH)
    assert found.credentials == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    assert (found.authority, found.namespace) == ("localhost", "/a")


@pytest.mark.parametrize(
    ("url", "origin", "namespace"),
    [
        ("localhost:3000", "http://localhost:3000", "/"),
        ("//localhost:3000/a", "http://localhost:3000", "/a"),
        ("http://localhost/", "http://localhost", "/"),
        ("http://localhost/a/b/", "http://localhost", "/a/b"),
        ("http://LOCALHOST/A", "http://localhost", "/A"),
        ("https://localhost:443/%C3%A4", "https://localhost:443", "/ä"),
    ],
)
def test_short_forms(url: str, origin: str, namespace: str) -> None:
    found = parse_server_url(url, PATH)
    assert (found.origin, found.namespace) == (origin, namespace)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://localhost",
        "http://localhost:port",
        "http://localhost:99999",
        "http://localhost/socket.io",
        "http://localhost/socket.io/a",
        "http://localhost/a,b",
        "http://[::1",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_server_url(url, PATH)


def test_what_is_no_text() -> None:
    with pytest.raises(TypeError):
        parse_server_url(b"http://localhost", PATH)  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_whatever_comes(url: str) -> None:
    try:
        found = parse_server_url(url, PATH)
    except ConfigurationError:
        return
    assert found.authority
    assert found.namespace.startswith("/")


@given(st.dictionaries(WORDS, WORDS, min_size=1, max_size=4))
def test_more_parameters(query: dict[str, str]) -> None:
    url = with_query("http://localhost/socket.io/", query)
    assert parse_server_url(url.replace("/socket.io/", "/"), PATH).query == query
    assert with_query("http://localhost/?a=b", {"c": "d"}) == "http://localhost/?a=b&c=d"
