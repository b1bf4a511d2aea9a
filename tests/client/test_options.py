"""The client's options: three spellings of one list, and what cannot be."""

from __future__ import annotations

import inspect
import math
import re
import ssl
import typing
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import duplexio
from duplexio import ConfigurationError, Manager
from duplexio.client_options import CLIENT_OPTIONS, SOCKET_OPTIONS, ClientOptions, ClientSettings

GIVEN = typing.get_type_hints(ClientOptions, localns={"Parser": Any})
IN_FORCE = typing.get_type_hints(ClientSettings, localns={"Parser": Any})
NAMES = [option.name for option in CLIENT_OPTIONS]

#: Options that are kept in another shape than the one they are given in.
NORMALISED = {"transports", "protocols", "local_address"}
#: Numbers that may be None, which is another thing than a least value.
OPTIONAL_NUMBERS = {"request_timeout", "retries"}
URL = "http://127.0.0.1:3000"


def test_the_table_and_both_lists_have_the_same_names() -> None:
    assert sorted(ClientOptions.__annotations__) == sorted(NAMES)
    assert list(ClientSettings.__annotations__) == list(ClientOptions.__annotations__)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NORMALISED])
def test_both_lists_have_the_same_types(name: str) -> None:
    assert GIVEN[name] == IN_FORCE[name]


def test_the_normalised_ones_are_all() -> None:
    assert {name for name in GIVEN if GIVEN[name] != IN_FORCE[name]} == NORMALISED


@pytest.mark.parametrize("option", CLIENT_OPTIONS, ids=lambda option: option.name)
def test_a_row_says_what_it_is_for(option: Any) -> None:
    assert option.effect
    if option.minimum is not None:
        assert option.default >= option.minimum
        assert isinstance(option.default, int | float)
    if option.name.startswith("max_"):
        assert option.minimum is not None, "a limit has a least value"
    assert (option.minimum is not None) is (GIVEN[option.name] in (int, float))


def test_javascript_names_are_those_in_camel_case() -> None:
    for option in CLIENT_OPTIONS:
        if option.javascript:
            snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", option.javascript).lower()
            assert option.name == snake


def test_the_defaults_are_in_force() -> None:
    settings = ClientSettings({})
    for option in CLIENT_OPTIONS:
        assert getattr(settings, option.name) == option.default, option.name


def test_each_option_can_be_given() -> None:
    given: dict[str, Any] = {option.name: option.default for option in CLIENT_OPTIONS}
    in_force = vars(ClientSettings(given))
    assert in_force.pop("given") == given
    assert in_force == {name: value for name, value in vars(ClientSettings({})).items() if name != "given"}


@pytest.mark.parametrize("function", [duplexio.connect, Manager.__init__])
def test_the_keywords_are_the_list(function: Callable[..., Any]) -> None:
    (options,) = (
        parameter for parameter in inspect.signature(function).parameters.values() if parameter.name == "options"
    )
    assert options.kind is inspect.Parameter.VAR_KEYWORD
    assert "ClientOptions" in str(options.annotation)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *[(option.javascript, option.name) for option in CLIENT_OPTIONS if option.javascript not in ("", option.name)],
        ("reconection_delay", "reconnection_delay"),
        ("transport", "transports"),
        ("extra_header", "extra_headers"),
        ("ack_time_out", "ack_timeout"),
        ("dedup_keys", "dedup_key"),
    ],
)
def test_an_option_by_the_name_it_has_elsewhere(given: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no option {given}: did you mean .*{meant}"):
        duplexio.connect(URL, **{given: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("autoConnect", "connect() of a socket dials"),
        ("auto_connect", "connect() of a socket dials"),
        ("headers", "extra_headers= here"),
        ("namespaces", "the path of its URL, or manager.socket(name)"),
        ("json", "dumps= and loads="),
        ("serializer", "parser='msgpack'"),
        ("logger", "logging.getLogger"),
        ("engineio_logger", "logging.getLogger"),
        ("ssl_verify", "an ssl.SSLContext"),
        ("http_session", "with_credentials="),
        ("wait_timeout", "timeout= here"),
        ("rejectUnauthorized", "an ssl.SSLContext"),
        ("ca", "an ssl.SSLContext"),
        ("cert", "an ssl.SSLContext"),
        ("agent", "proxy= is the URL"),
        ("perMessageDeflate", "uncompressed"),
        ("forceBase64", "there is none"),
        ("timestampRequests", "there is none"),
        ("timestampParam", "there is none"),
    ],
)
def test_options_of_other_clients_are_known(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        Manager(URL, **{name: True})  # type: ignore[arg-type]


def test_an_option_like_none() -> None:
    with pytest.raises(ConfigurationError, match="a client has no option zzz; it has: path, "):
        ClientSettings({"zzz": 1})


def test_each_unknown_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no option ackTimeout.*no option forceNew"):
        ClientSettings({"forceNew": True, "ackTimeout": 1})


@pytest.mark.parametrize(
    "option", [option for option in CLIENT_OPTIONS if option.minimum is not None], ids=lambda option: option.name
)
def test_numbers_have_a_least_value(option: Any) -> None:
    assert getattr(ClientSettings({option.name: option.minimum}), option.name) == option.minimum
    for wrong in (option.minimum - 1, -1, None, "5", True, math.nan, [1]):
        with pytest.raises(ConfigurationError, match=option.name):
            ClientSettings({option.name: wrong})


@pytest.mark.parametrize("name", [option.name for option in CLIENT_OPTIONS if isinstance(option.default, bool)])
@pytest.mark.parametrize("value", ["0", "false", 1, None, []])
def test_a_switch_is_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.*expected True or False"):
        ClientSettings({name: value})


async def _waits() -> bytes:
    return b""


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"path": "/"}, "expected a path such as '/socket.io'"),
    ({"path": "/a?b"}, "expected a path"),
    ({"transports": []}, "expected 'polling', 'websocket' or both"),
    ({"transports": ["polling", "carrier-pigeon"]}, "expected 'polling', 'websocket' or both"),
    ({"transports": "webtransport"}, "expected 'polling', 'websocket' or both"),
    ({"eio": 2}, "eio=2: expected 4, or 3 for a server of Socket.IO 2"),
    ({"eio": "4"}, "expected 4, or 3"),
    ({"path": 5}, "path is of type int: expected a path such as '/socket.io'"),
    ({"transports": None}, "expected 'polling', 'websocket' or both"),
    ({"transports": [["polling"]]}, "expected 'polling', 'websocket' or both"),
    ({"protocols": 1}, "expected a WebSocket subprotocol, or several"),
    ({"protocols": b"ab"}, "expected a WebSocket subprotocol, or several"),
    ({"local_address": 4000}, "expected '192.0.2.1', or ('192.0.2.1', 4000)"),
    ({"local_address": ("127.0.0.1",)}, "expected '192.0.2.1', or ('192.0.2.1', 4000)"),
    ({"dumps": "json"}, "dumps is of type str: expected a function"),
    ({"loads": 1}, "loads is of type int: expected a function"),
    ({"query": "a=b"}, "query is of type str: expected texts by name"),
    ({"query": {"a": 1}}, "query['a'] is of type int: expected a text"),
    ({"query": {1: "a"}}, "query has a name of type int: expected a text"),
    ({"extra_headers": {"a": b"1"}}, "extra_headers['a'] is of type bytes: expected a text"),
    ({"extra_headers": [("a", "b")]}, "expected texts by name"),
    ({"auth": "token"}, "expected a mapping, or a function that gives one"),
    ({"transport_options": {"carrier-pigeon": {}}}, "expected {'polling'"),
    ({"transport_options": {"polling": {"timeout": 1}}}, "expected {'polling'"),
    (
        {"transport_options": {"polling": {"extra_headers": {"a": 1}}}},
        "['polling']['extra_headers']['a'] is of type int",
    ),
    ({"transport_options": {"polling": None}}, "expected {'polling'"),
    ({"ssl": True}, "expected an ssl.SSLContext"),
    ({"ssl": "cert.pem"}, "expected an ssl.SSLContext"),
    ({"proxy": "localhost:3128"}, "expected a URL that begins with http://, https://, socks5://, socks4://"),
    ({"proxy": "ftp://localhost"}, "expected a URL that begins with"),
    ({"retries": -1}, "expected a whole number from 0, or None"),
    ({"retries": True}, "expected a whole number from 0, or None"),
    ({"retries": "3"}, "expected a whole number from 0, or None"),
    ({"retries": 1.5}, "expected a whole number from 0, or None"),
    ({"retries": []}, "expected a whole number from 0, or None"),
    ({"dedup_key": True}, "dedup_key=True belongs to retries="),
    ({"request_timeout": 0}, "expected seconds, or None"),
    ({"request_timeout": "1"}, "expected seconds, or None"),
    ({"request_timeout": True}, "expected seconds, or None"),
    ({"request_timeout": math.nan}, "expected seconds, or None"),
    ({"randomization_factor": 1.5}, "expected 0 to 1"),
    ({"send_buffer_policy": "disconnect"}, "expected drop_oldest or drop_newest"),
    ({"outbox_policy": "drop"}, "expected disconnect, drop_oldest, drop_newest or conflate"),
    ({"outbox_policy": "conflate"}, "belong together"),
    ({"conflate_key": lambda event, args: event}, "belong together"),
    ({"parser": "msgpack", "dumps": str.encode}, "are for parser='json'"),
    ({"parser": "msgpack", "loads": bytes.decode}, "are for parser='json'"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_values_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        duplexio.connect(URL, **given)
    assert said in str(raised.value)


def test_durations_in_milliseconds_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    duplexio.Manager(URL, timeout=20_000, reconnection_delay=0.5, request_timeout=None)
    assert [record.getMessage() for record in caplog.records] == [
        "timeout=20000 is in seconds: 5.6 hours; milliseconds are JavaScript's"
    ]


@pytest.mark.parametrize("given", [{"dumps": _waits}, {"loads": _waits}])
def test_what_cannot_wait(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a plain def"):
        ClientSettings(given)


CONTEXT = ssl.create_default_context()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("path", "socket.io", "/socket.io"),
        ("path", "/a/b/", "/a/b"),
        ("transports", "websocket", ("websocket",)),
        ("transports", ["websocket", "polling"], ("websocket", "polling")),
        ("protocols", "chat", ("chat",)),
        ("protocols", ["a", "b"], ("a", "b")),
        ("local_address", "127.0.0.1", ("127.0.0.1", 0)),
        ("local_address", ("127.0.0.1", 4000), ("127.0.0.1", 4000)),
        ("eio", 3, 3),
        ("retries", 0, 0),
        ("randomization_factor", 1, 1),
        ("randomization_factor", 0, 0),
        ("reconnection_attempts", 3, 3),
        ("ssl", CONTEXT, CONTEXT),
        ("proxy", "socks5://user:password@127.0.0.1:1080", "socks5://user:password@127.0.0.1:1080"),
        ("request_timeout", 0.5, 0.5),
    ],
)
def test_values_in_their_shape(name: str, given: Any, expected: Any) -> None:
    assert getattr(ClientSettings({name: given}), name) == expected


def test_what_sockets_of_a_manager_take() -> None:
    manager = Manager(URL, retries=1)
    assert {"auth", "retries", "dedup_key", "ack_timeout"} == SOCKET_OPTIONS
    assert manager.socket("/a", auth={"token": "a"}).auth == {"token": "a"}
    with pytest.raises(ConfigurationError, match="path, timeout belong to the Manager"):
        manager.socket("/b", timeout=1, path="/a", auth=None)
    with pytest.raises(ConfigurationError, match="auth is a str: expected a mapping"):
        manager.socket("/b", auth="token")  # type: ignore[arg-type]


def test_a_function_is_not_called_before_it_is_needed() -> None:
    def texts() -> Mapping[str, str]:
        raise AssertionError

    assert ClientSettings({"query": texts, "extra_headers": texts, "auth": texts}).auth is texts
