"""What the two options of compression mean: their shape, their defaults, and what they cannot be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypedDict

from duplexio.errors import ConfigurationError

__all__ = ["HttpCompression", "PerMessageDeflate", "http_compression_options", "per_message_deflate_options"]

#: Below it, what is saved is less than a packet on the wire, and is paid for all the same. Node's.
THRESHOLD = 1024


class HttpCompression(TypedDict, total=False):
    """Compression of the bodies of polls."""

    threshold: int


class PerMessageDeflate(TypedDict, total=False):
    """Compression of WebSocket messages."""

    threshold: int
    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int
    level: int
    mem_level: int


#: Least and greatest. A window of 8 bits is the RFC's least, and zlib has none for raw deflate.
_RANGES = {
    "threshold": (0, 2**31),
    "server_max_window_bits": (9, 15),
    "client_max_window_bits": (9, 15),
    "level": (1, 9),
    "mem_level": (1, 9),
}

_DEFLATE = PerMessageDeflate(
    threshold=THRESHOLD,
    # Without a context nothing is kept for a connection between its messages, and a broadcast is compressed once.
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=15,
    client_max_window_bits=15,
    # Messages are compressed on the event loop: a megabyte of JSON takes 10 ms at 1 and 30 at 6, for a quarter less.
    level=1,
    # zlib's own.
    mem_level=8,
)


def http_compression_options(given: Any) -> HttpCompression | None:
    """What `http_compression=` means: nothing, the defaults, or some of them changed. Raises ConfigurationError."""
    return _chosen("http_compression", given, HttpCompression(threshold=THRESHOLD))  # type: ignore[return-value]


def per_message_deflate_options(given: Any) -> PerMessageDeflate | None:
    """What `per_message_deflate=` means, in the same way."""
    return _chosen("per_message_deflate", given, _DEFLATE)  # type: ignore[return-value]


def _chosen(option: str, given: Any, defaults: Any) -> Mapping[str, Any] | None:
    if given is None or given is False:
        return None
    if given is True:
        return {**defaults}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{option}={given!r}: expected True, False or a mapping of {', '.join(defaults)}")
    for name, value in given.items():
        _check(option, name, value, defaults)
    return {**defaults, **given}


def _check(option: str, name: Any, value: Any, defaults: Mapping[str, Any]) -> None:
    if name not in defaults:
        snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
        meant = difflib.get_close_matches(snake, list(defaults), n=1)
        hint = f"did you mean {meant[0]}?" if meant else f"it has {', '.join(defaults)}"
        raise ConfigurationError(f"{option} has no {name}: {hint}")
    if isinstance(defaults[name], bool):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{option}: {name}={value!r}: expected True or False")
        return
    least, greatest = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= greatest:
        expected = (
            f"an integer of at least {least}" if name == "threshold" else f"an integer from {least} to {greatest}"
        )
        raise ConfigurationError(f"{option}: {name}={value!r}: expected {expected}")
