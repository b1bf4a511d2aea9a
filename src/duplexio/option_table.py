"""Rows of a table of options, and what is checked of each: for a server's table and a client's."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duplexio.errors import ConfigurationError
from duplexio.types import TransportName

__all__ = [
    "Option",
    "check_callable",
    "check_outbox_and_codec",
    "check_plain",
    "check_value",
    "is_unicode",
    "known_transports",
    "no_option",
    "normal_path",
    "probably_milliseconds",
    "row",
]


#: Seconds from which a duration is more likely meant in JavaScript's milliseconds.
_PROBABLY_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Option:
    """A row of the table."""

    name: str
    javascript: str
    default: Any
    unit: str
    #: What happens there, for a limit; what it decides, for a switch.
    effect: str
    #: The counter that tells, or nothing.
    counter: str
    reason: str
    minimum: float | None = None


def row(
    name: str,
    default: Any,
    effect: str,
    reason: str = "",
    *,
    js: str = "",
    unit: str = "",
    counter: str = "",
    minimum: float | None = None,
) -> Option:
    return Option(name, js, default, unit, effect, counter, reason, minimum)


def check_value(option: Option, value: object, switch: bool = True) -> None:
    """Raises ConfigurationError for a number below its minimum, and for what is neither True nor False where the
    option is a `switch`."""
    if option.minimum is not None:
        _check_number(option, value)
    elif isinstance(option.default, bool) and switch:
        _check_switch(option, value)


def no_option(owner: str, name: str, table: Sequence[Option], elsewhere: Mapping[str, str]) -> str:
    """What a name that is none was probably meant to be: the JavaScript API's, or a slip."""
    if name in elsewhere:
        return f"{owner} has no option {name}: {elsewhere[name]}."
    names = [option.name for option in table]
    meant = [option.name for option in table if name in (option.javascript, option.javascript.partition(".")[0])]
    if not meant:
        snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
        meant = difflib.get_close_matches(snake, names, n=3, cutoff=0.7)
    if meant:
        return f"{owner} has no option {name}: did you mean {' or '.join(meant)}?"
    return f"{owner} has no option {name}; it has: {', '.join(names)}."


def _check_number(option: Option, value: object) -> None:
    assert option.minimum is not None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= option.minimum:
        unit = f" {option.unit}" if option.unit else ""
        raise ConfigurationError(f"{option.name}={value!r}: expected a number of at least {option.minimum}{unit}")


def _check_switch(option: Option, value: object) -> None:
    # A text from the environment is true, whatever it says.
    if not isinstance(value, bool):
        raise ConfigurationError(f"{option.name}={value!r}: expected True or False")


def probably_milliseconds(table: Sequence[Option], options: object) -> Iterable[str]:
    """What to say of durations that look as if they were JavaScript's."""
    for option in table:
        if option.unit != "s" or not option.javascript:
            continue
        seconds = getattr(options, option.name)
        if seconds is not None and seconds >= _PROBABLY_MILLISECONDS:
            yield f"{option.name}={seconds:g} is in seconds: {seconds / 3600:.1f} hours; milliseconds are JavaScript's"


def is_unicode(text: str) -> bool:
    """Whether it can be sent: texts of a command line may have bytes in them that are none, as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def normal_path(path: str) -> str:
    """With a slash in front and none behind. Raises ConfigurationError."""
    if not isinstance(path, str):
        raise ConfigurationError(f"path is of type {type(path).__name__}: expected a path such as '/socket.io'")
    normal = "/" + path.strip("/")
    if normal == "/" or "?" in normal or not is_unicode(path):
        raise ConfigurationError(f"path={path!r}: expected a path such as '/socket.io'")
    return normal


def known_transports(names: Iterable[TransportName]) -> tuple[TransportName, ...]:
    """As a tuple. Raises ConfigurationError for another name, or none."""
    listed = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    given: tuple[TransportName, ...] = tuple(listed)  # type: ignore[arg-type]
    if not given or any(name not in ("polling", "websocket") for name in given):
        raise ConfigurationError(f"transports={given!r}: expected 'polling', 'websocket' or both")
    return given


def check_callable(options: Any, names: Iterable[str]) -> None:
    """Raises ConfigurationError for what is neither a function nor None among these."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not callable(value):
            raise ConfigurationError(f"{name} is of type {type(value).__name__}: expected a function")


def check_plain(options: Any, names: Iterable[str]) -> None:
    """Raises TypeError for an `async def` among these."""
    for name in names:
        if inspect.iscoroutinefunction(getattr(options, name)):
            raise TypeError(f"{name} must be a plain def: it is called on the event loop and cannot wait")


def check_outbox_and_codec(options: Any) -> None:
    """Raises ConfigurationError for what does not go together, of either end's options."""
    if options.outbox_policy not in ("disconnect", "drop_oldest", "drop_newest", "conflate"):
        raise ConfigurationError(
            f"outbox_policy={options.outbox_policy!r}: expected disconnect, drop_oldest, drop_newest or conflate"
        )
    if options.parser != "json" and (options.dumps is not None or options.loads is not None):
        raise ConfigurationError("dumps and loads are for parser='json'; another parser encodes by itself")
    if (options.outbox_policy == "conflate") != (options.conflate_key is not None):
        raise ConfigurationError("outbox_policy='conflate' and conflate_key belong together")
