"""What the package shows: names that are there, typed, and explained."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import duplexio
from duplexio import errors

MODULES = ["duplexio", *(found.name for found in pkgutil.walk_packages(duplexio.__path__, "duplexio."))]


@pytest.mark.parametrize("name", duplexio.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(duplexio, name) is not None


def test_public_names_are_in_order_and_once() -> None:
    assert duplexio.__all__ == sorted(set(duplexio.__all__), key=lambda name: (name.islower(), name))


def test_a_star_import_brings_these_names_and_no_others() -> None:
    names: dict[str, Any] = {}
    exec("from duplexio import *", names)
    names.pop("__builtins__")
    assert set(names) == set(duplexio.__all__)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "duplexio.__main__"])
def test_every_module_says_what_it_is_and_what_it_offers(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert inspect.cleandoc(module.__doc__)
    for exported in getattr(module, "__all__", ()):
        assert hasattr(module, exported), f"{name}.__all__ names {exported}, which is not there"


def test_the_types_are_shipped() -> None:
    assert (Path(duplexio.__file__).parent / "py.typed").is_file()


def test_the_version_is_the_distributions() -> None:
    assert importlib.metadata.version("duplexio")


def public(owner: type) -> Iterator[tuple[str, Any]]:
    """What a user sees of a class: methods and properties without an underscore, inherited ones of ours too."""
    for name, member in inspect.getmembers(owner):
        if name.startswith("_"):
            continue
        home = next((base for base in owner.__mro__ if name in vars(base)), owner)
        if not home.__module__.startswith("duplexio"):
            continue
        if inspect.isfunction(member) or isinstance(inspect.getattr_static(owner, name), property | classmethod):
            yield name, member


CALLABLES = [
    (f"{name}.{member_name}", member)
    for name in duplexio.__all__
    if inspect.isclass(getattr(duplexio, name))
    for member_name, member in public(getattr(duplexio, name))
]


@pytest.mark.parametrize("name", [name for name in duplexio.__all__ if callable(getattr(duplexio, name))])
def test_every_public_class_and_function_has_a_docstring(name: str) -> None:
    # Its own: `inspect.getdoc` would find a base class's.
    assert getattr(duplexio, name).__doc__


@pytest.mark.parametrize(("name", "member"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_every_public_method_has_a_docstring(name: str, member: Any) -> None:
    assert getattr(member, "__doc__", None), f"{name} has no docstring"


@pytest.mark.parametrize(("name", "member"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_every_public_method_is_annotated(name: str, member: Any) -> None:
    function = member.fget if isinstance(member, property) else member
    if inspect.isfunction(function):
        assert "return" in function.__annotations__, f"{name} says nothing of what it returns"


EXCEPTIONS = [
    errors.DuplexioError("text"),
    errors.ConfigurationError("text"),
    errors.ConnectRefused("no", {"why": 1}),
    errors.EventError(1, "two"),
    errors.AckTimeout("event", 5.0, [1], 3),
    errors.Disconnected("transport close"),
    errors.ReservedEvent("connect"),
    errors.EncodeError("text"),
    errors.LimitExceeded("max_rooms_per_socket", 5),
    errors.MessageTooLarge(2_000, 1_024),
    errors.EnginePacketError("text"),
    errors.SocketPacketError("text"),
    errors.ClusterMessageError("text"),
]


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_errors_survive_a_border_between_processes(error: errors.DuplexioError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert isinstance(error, errors.DuplexioError)


def test_the_tree_of_exceptions_is_the_one_that_is_printed() -> None:
    assert errors.__doc__ is not None
    classes = [member for _, member in inspect.getmembers(errors, inspect.isclass) if issubclass(member, Exception)]
    ours = {member.__name__ for member in classes if member.__module__ == errors.__name__}
    printed = {word for line in errors.__doc__.splitlines() for word in line.replace("─", " ").split() if word in ours}
    assert printed == ours == set(errors.__all__)
