"""The options: three spellings of one list, and what cannot be."""

from __future__ import annotations

import inspect
import re
import typing
from typing import Any

import pytest

from duplexio import ConfigurationError, Server
from duplexio.options import OPTIONS, Options, Recovery, ServerOptions, recovery_options

GIVEN = typing.get_type_hints(ServerOptions, localns={"Request": Any, "Parser": Any})
IN_FORCE = typing.get_type_hints(Options, localns={"Request": Any, "Parser": Any})

#: Options that are kept in another shape than the one they are given in.
NORMALISED = {"transports", "cookie", "trusted_proxies", "connection_state_recovery"} | {
    "http_compression",
    "per_message_deflate",
}


def test_the_table_and_both_lists_have_the_same_names_in_the_same_order() -> None:
    table = [option.name for option in OPTIONS]
    assert list(ServerOptions.__annotations__) == table
    assert list(Options.__annotations__) == table
    assert len(set(table)) == len(table)


@pytest.mark.parametrize("name", [option.name for option in OPTIONS if option.name not in NORMALISED])
def test_both_lists_have_the_same_types(name: str) -> None:
    assert GIVEN[name] == IN_FORCE[name]


def test_the_normalised_ones_are_all() -> None:
    assert {name for name in GIVEN if GIVEN[name] != IN_FORCE[name]} == NORMALISED


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_row_says_what_it_is_for(option: Any) -> None:
    assert option.effect
    if option.minimum is not None:
        assert option.default >= option.minimum
        assert isinstance(option.default, int | float)
    if option.name.startswith("max_"):
        assert option.minimum is not None, "a limit has a least value"
    hint = GIVEN[option.name]
    numeric = hint in (int, float)
    assert (option.minimum is not None) is numeric


def test_the_defaults_are_in_force() -> None:
    options = Options({})
    for option in OPTIONS:
        value = getattr(options, option.name)
        if option.name == "trusted_proxies":
            assert value == frozenset()
        elif option.name == "http_compression":
            assert value == {"threshold": 1024}
        elif option.name == "per_message_deflate":
            assert value is None
        else:
            assert value == option.default, option.name


def test_each_option_can_be_given() -> None:
    values: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    assert vars(Options(values)) == vars(Options({}))


def test_the_servers_keywords_are_the_list() -> None:
    (options,) = (
        parameter for parameter in inspect.signature(Server.__init__).parameters.values() if parameter.name == "options"
    )
    assert options.kind is inspect.Parameter.VAR_KEYWORD
    assert "ServerOptions" in str(options.annotation)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("pingInterval", "did you mean ping_interval?"),
        ("cors", "did you mean cors_allowed_origins or cors_credentials?"),
        ("cors_allowed_origin", "did you mean cors_allowed_origins?"),
        ("zzz", "it has: path, transports,"),
    ],
)
def test_an_option_by_the_name_it_has_elsewhere(given: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no option {given}") as raised:
        Options({given: 1})
    assert meant in str(raised.value)


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(ConfigurationError, match="no option ping_intervall") as caught:
        Server(ping_intervall=5)  # type: ignore[call-arg]
    assert "ping_interval" in str(caught.value)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.minimum is not None], ids=lambda o: o.name)
def test_numbers_have_a_least_value(option: Any) -> None:
    least = Options({option.name: option.minimum})
    assert getattr(least, option.name) == option.minimum
    for wrong in (option.minimum - 1, -1, None, "5", True, float("nan"), [1]):
        with pytest.raises(ConfigurationError, match=option.name):
            Options({option.name: wrong})


WRONG: list[dict[str, Any]] = [
    {"path": "/"},
    {"path": ""},
    {"path": "/a?b"},
    {"transports": []},
    {"transports": ["polling", "carrier-pigeon"]},
    {"transports": "webtransport"},
    {"outbox_policy": "drop"},
    {"outbox_policy": "conflate"},
    {"conflate_key": lambda event, args: 1},
    {"connection_state_recovery": {"unknown": 1}},
    {"cookie": {"httpOnly": False}},
    {"cookie": {"name": "io", "same_site": "Strict"}},
    {"cors_allowed_origins": ["http://localhost:5173/"]},
    {"cors_allowed_origins": "localhost:5173"},
    {"cors_allowed_origins": ["https://*.example.com"]},
    {"cors_allowed_origins": ["https://"]},
    {"cors_allowed_origins": [""]},
]


@pytest.mark.parametrize("given", WRONG)
def test_values_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Options(given)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("path", "socket.io", "/socket.io"),
        ("path", "/a/b/", "/a/b"),
        ("transports", "websocket", ("websocket",)),
        ("transports", ["websocket", "polling"], ("websocket", "polling")),
        ("cors_allowed_origins", "*", "*"),
        ("cors_allowed_origins", ["http://a", "*"], "*"),
        ("cors_allowed_origins", ["http://[::1]:80", "null"], ("http://[::1]:80", "null")),
        ("cors_allowed_origins", ["capacitor://localhost", "file://"], ("capacitor://localhost", "file://")),
        ("cors_allowed_origins", "https://example.com", ("https://example.com",)),
        ("cookie", None, None),
        ("cookie", False, None),
        ("cookie", True, {"name": "io", "path": "/", "httponly": True, "samesite": "Lax"}),
        ("cookie", "sid", {"name": "sid", "path": "/", "httponly": True, "samesite": "Lax"}),
        ("cookie", {"secure": True}, {"name": "io", "path": "/", "httponly": True, "samesite": "Lax", "secure": True}),
        ("trusted_proxies", ["a", "b"], frozenset({"a", "b"})),
        ("cors_allowed_origins", iter(["http://a"]), ("http://a",)),
        ("connection_state_recovery", False, None),
        ("connection_state_recovery", True, {"max_disconnection_duration": 120.0, "skip_middlewares": False}),
        (
            "connection_state_recovery",
            {"max_disconnection_duration": 5},
            {"max_disconnection_duration": 5, "skip_middlewares": False},
        ),
    ],
)
def test_values_in_their_shape(name: str, given: Any, expected: Any) -> None:
    assert getattr(Options({name: given}), name) == expected


def test_recovery_has_no_more_than_it_says() -> None:
    found = recovery_options(True)
    assert found is not None
    assert set(found) == set(Recovery.__annotations__)
    assert recovery_options({}) is None


def test_a_policy_with_its_key() -> None:
    options = Options({"outbox_policy": "conflate", "conflate_key": lambda event, args: event})
    assert options.outbox_policy == "conflate"


DEFLATE = {
    "threshold": 1024,
    "server_no_context_takeover": True,
    "client_no_context_takeover": True,
    "server_max_window_bits": 15,
    "client_max_window_bits": 15,
    "level": 1,
    "mem_level": 8,
}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("http_compression", False, None),
        ("http_compression", None, None),
        ("http_compression", {}, {"threshold": 1024}),
        ("http_compression", {"threshold": 0}, {"threshold": 0}),
        ("per_message_deflate", None, None),
        ("per_message_deflate", False, None),
        ("per_message_deflate", True, DEFLATE),
        ("per_message_deflate", {}, DEFLATE),
        ("per_message_deflate", {"level": 9, "mem_level": 1}, {**DEFLATE, "level": 9, "mem_level": 1}),
        ("per_message_deflate", {"server_max_window_bits": 9}, {**DEFLATE, "server_max_window_bits": 9}),
        (
            "per_message_deflate",
            {"server_no_context_takeover": False, "client_no_context_takeover": False},
            {**DEFLATE, "server_no_context_takeover": False, "client_no_context_takeover": False},
        ),
    ],
)
def test_what_compression_comes_to(name: str, given: Any, expected: Any) -> None:
    assert getattr(Options({name: given}), name) == expected


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("http_compression", 1024, "http_compression=1024: expected True, False or a mapping of threshold"),
        ("http_compression", "gzip", "expected True, False or a mapping"),
        ("http_compression", {"threshold": -1}, "threshold=-1: expected an integer of at least 0"),
        ("http_compression", {"threshold": 1.5}, "threshold=1.5"),
        ("http_compression", {"threshold": True}, "threshold=True"),
        ("http_compression", {"level": 1}, "http_compression has no level: it has threshold"),
        ("per_message_deflate", {"serverNoContextTakeover": True}, "did you mean server_no_context_takeover?"),
        ("per_message_deflate", {"server_no_context_takeover": 1}, "=1: expected True or False"),
        ("per_message_deflate", {"client_no_context_takeover": None}, "=None: expected True or False"),
        ("per_message_deflate", {"server_max_window_bits": 8}, "=8: expected an integer from 9 to 15"),
        ("per_message_deflate", {"client_max_window_bits": 16}, "=16: expected an integer from 9 to 15"),
        ("per_message_deflate", {"level": 0}, "level=0: expected an integer from 1 to 9"),
        ("per_message_deflate", {"mem_level": 10}, "mem_level=10: expected an integer from 1 to 9"),
        ("per_message_deflate", {"threshold": "1"}, "threshold='1': expected an integer of at least 0"),
        ("per_message_deflate", {1: 1}, "per_message_deflate has no 1"),
        ("per_message_deflate", [], "expected True, False or a mapping of threshold, server_no_context_takeover"),
    ],
)
def test_what_compression_cannot_be(name: str, given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Options({name: given})
    assert said in str(raised.value)


SWITCHES = [option.name for option in OPTIONS if isinstance(option.default, bool)]


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", ["0", "false", 1, None, []])
def test_a_switch_is_true_or_false(name: str, value: Any) -> None:
    """A text from the environment is true, whatever it says."""
    if name in ("http_compression", "per_message_deflate") and value is None:
        return
    with pytest.raises(ConfigurationError, match=f"{name}=.*expected True"):
        Options({name: value})


@pytest.mark.parametrize("given", ["yes", 5, ["max_disconnection_duration"]])
def test_recovery_is_a_switch_or_a_mapping(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected True, False or a mapping"):
        Options({"connection_state_recovery": given})


def test_recovery_says_what_it_has() -> None:
    with pytest.raises(ConfigurationError, match="it has max_disconnection_duration, skip_middlewares"):
        Options({"connection_state_recovery": {"maxDisconnectionDuration": 1}})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("async_mode", "a Server is an ASGI application"),
        ("serializer", "parser='msgpack'"),
        ("json", "dumps= and loads="),
        ("logger", "logging.getLogger"),
    ],
)
def test_options_of_other_servers_are_known(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(text)):
        Options({name: True})


def test_milliseconds_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    Server(ping_interval=25_000, ping_timeout=20)
    assert "ping_interval=25000 is in seconds: 6.9 hours; milliseconds are JavaScript's" in caplog.text
    assert "ping_timeout" not in caplog.text
