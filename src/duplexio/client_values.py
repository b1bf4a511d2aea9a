"""What the values of a client's options may be, where a type or a number does not say it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from duplexio.errors import ConfigurationError
from duplexio.observe import without_secrets
from duplexio.option_table import is_unicode

__all__ = [
    "check_auth",
    "check_proxy",
    "check_texts",
    "check_transport_options",
    "local_address",
    "websocket_protocols",
]

_PROXIES = ("http://", "https://", "socks5://", "socks4://")


def check_auth(value: Any) -> None:
    """Raises ConfigurationError for what is neither a mapping, nor a function that gives one, nor None."""
    if value is not None and not callable(value) and not isinstance(value, Mapping):
        raise ConfigurationError(f"auth is a {type(value).__name__}: expected a mapping, or a function that gives one")


def check_texts(name: str, value: Any) -> None:
    """Raises ConfigurationError for what is no mapping of texts to texts; the message says no value, which may be a
    password."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}: expected texts by name")
    for key, text in value.items():
        if not isinstance(key, str):
            raise ConfigurationError(f"{name} has a name of type {type(key).__name__}: expected a text")
        if not isinstance(text, str):
            raise ConfigurationError(f"{name}[{key!r}] is of type {type(text).__name__}: expected a text")
        if not is_unicode(key) or not is_unicode(text):
            raise ConfigurationError(f"{name}[{key!r}] has a lone surrogate, which cannot be sent")


def check_transport_options(value: Any) -> None:
    expected = "expected {'polling': {'extra_headers': {...}}} or the same of 'websocket'"
    for name, options in _named("transport_options", value, ("polling", "websocket"), expected).items():
        where = f"transport_options[{name!r}]"
        headers = _named(where, options, ("extra_headers",), expected).get("extra_headers", {})
        check_texts(f"{where}['extra_headers']", headers)


def _named(where: str, value: Any, names: Collection[str], expected: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} is of type {type(value).__name__}: {expected}")
    for name in value:
        if name not in names:
            raise ConfigurationError(f"{where} has no {name!r}: {expected}")
    return value


def check_proxy(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(f"proxy is of type {type(value).__name__}: expected a URL")
    if not value.startswith(_PROXIES):
        shown = without_secrets(value)
        raise ConfigurationError(f"proxy={shown!r}: expected a URL that begins with {', '.join(_PROXIES)}")
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"proxy={without_secrets(value)!r}: expected host and port, as in 'http://proxy:3128'")


def websocket_protocols(value: Any) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, Collection) or not all(isinstance(name, str) for name in listed):
        raise ConfigurationError(f"protocols={value!r}: expected a WebSocket subprotocol, or several")
    return tuple(listed)


def local_address(value: Any) -> tuple[str, int] | None:
    if isinstance(value, str):
        return value, 0
    if value is None:
        return None
    if isinstance(value, tuple | list) and [type(part) for part in value] == [str, int]:
        return value[0], value[1]
    raise ConfigurationError(f"local_address={value!r}: expected '192.0.2.1', or ('192.0.2.1', 4000) with a port")
