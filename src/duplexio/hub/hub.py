"""What all namespaces of a server share: their context, and the table of the namespaces themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

from duplexio.engine.connection import Connection
from duplexio.engine.identifiers import Identifiers
from duplexio.engine.server import EngineServer
from duplexio.errors import ConfigurationError, LimitExceeded
from duplexio.hub.context import Context
from duplexio.hub.fanout import Adapter, ChildrenAdapter, LocalAdapter
from duplexio.hub.functions import is_async, require_plain
from duplexio.hub.namespace import Namespace, ParentNamespace, TooManyNamespaces
from duplexio.hub.peer import Peer
from duplexio.observe import Reporter
from duplexio.options import Options, Recovery
from duplexio.types import Auth

__all__ = ["Hub"]


#: How a dynamic namespace decides: whether this name, with this `auth`, may exist.
NamespaceTest = Callable[[str, Auth], bool | Awaitable[bool]]

#: What makes a namespace's adapter, around that of this process.
MakeAdapter = Callable[[Namespace | ParentNamespace, LocalAdapter | ChildrenAdapter], Adapter]

#: What the names of parents begin with, and no namespace's: a comma ends it in a packet, but not in every parser's.
PARENTS = "/,"


class Hub(Context):
    """The context of every namespace, socket and peer of one server."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        super().__init__(options, reporter)
        self.options: Options = options
        self.namespaces: dict[str, Namespace] = {}
        #: In the order in which they are asked.
        self.parents: dict[str, ParentNamespace] = {}
        self._patterns: list[tuple[re.Pattern[str], ParentNamespace]] = []
        #: Children that were first asked for by name, and not by a client.
        self._by_name: dict[str, Namespace] = {}
        self.namespace_listeners: list[Callable[..., Any]] = []
        self.server_listeners: dict[str, list[Callable[..., Any]]] = {}
        self.identifiers = Identifiers()
        self._dynamic = 0
        #: What reaches the sockets of a namespace: those of this process, and maybe others.
        self.make_adapter: MakeAdapter | None = None

    def start(self, engine: EngineServer) -> None:
        """Binds to the running loop."""
        self.bind(engine.loop, engine.wheel)

    def adapt(self, make_adapter: MakeAdapter) -> None:
        """Gives each namespace an adapter around its local one: those that are there, and those that will be."""
        self.make_adapter = make_adapter
        everything: list[Namespace | ParentNamespace] = [*self.namespaces.values(), *self.parents.values()]
        for namespace in everything:
            namespace.adapter = make_adapter(namespace, namespace.local_adapter)

    def owner(self, connection: Connection) -> Peer:
        """What gets the packets of a new connection."""
        return Peer(connection, self)

    # Namespaces.

    def of(self, name: Any, recovery: Recovery | None, ordered: bool) -> Namespace | ParentNamespace:
        """The namespace of that name, made where it is new; a parent for a pattern or a function.

        A new one whose name a parent's pattern finds is that parent's child: what guards it is not to be forgotten for
        the moments in which no client is there. A function cannot be asked without a client.
        """
        if isinstance(name, str):
            name = name if name.startswith("/") else "/" + name
            namespace = self.namespaces.get(name)
            if namespace is None:
                self._check_name(name)
                namespace = self._made_by_name(name) or self._add(Namespace(name, self, recovery, ordered))
            return namespace
        test: NamespaceTest
        if isinstance(name, re.Pattern):
            pattern, what = name, name.pattern
            test = lambda asked, auth: pattern.search(asked) is not None  # noqa: E731
        elif callable(name):
            test, what = name, _called(name)
        else:
            raise ConfigurationError(
                f"of({name!r}): expected a name, a compiled pattern or a function of name and auth"
            )
        parent = ParentNamespace(self._parent_name(what), self, test, recovery, ordered)
        self.parents[parent.name] = parent
        if isinstance(name, re.Pattern):
            self._patterns.append((name, parent))
        return parent

    def _parent_name(self, what: str) -> str:
        """A name that is no namespace's, and is the same in each server that makes the same parents."""
        number = 1
        while (name := f"{PARENTS}{number} {what}") in self.parents:
            number += 1
        return name

    def _made_by_name(self, name: str) -> Namespace | None:
        parent = next((parent for pattern, parent in self._patterns if pattern.search(name) is not None), None)
        if parent is None:
            return None
        try:
            child = self._child(parent, name)
        except TooManyNamespaces:
            raise LimitExceeded("max_dynamic_namespaces", self.options.max_dynamic_namespaces) from None
        self._by_name[name] = child
        return child

    def _check_name(self, name: str) -> None:
        if "," in name or len(name.encode()) > self.options.max_name_length:
            raise ConfigurationError(
                f"the namespace {name!r} cannot be: no comma, and at most {self.options.max_name_length} bytes"
            )

    def _add(self, namespace: Namespace) -> Namespace:
        self.namespaces[namespace.name] = namespace
        if namespace.name != "/":
            for listener in self.namespace_listeners:
                try:
                    listener(namespace)
                except Exception as error:
                    self.reporter.failure("a new_namespace listener raised", error)
        return namespace

    async def resolve(self, name: str, auth: Auth) -> Namespace | None:
        """The namespace a client asks for; static ones win, then parents in order of registration.

        Raises TooManyNamespaces.
        """
        if name.startswith(PARENTS):
            # What other servers send to the parent would go there instead.
            return None
        for parent in list(self.parents.values()):
            answer = parent.test(name, auth)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                # While a function was awaited, another client may have made it.
                existing = self.namespaces.get(name)
                return existing if existing is not None else self._child(parent, name)
        return None

    def _child(self, parent: ParentNamespace, name: str) -> Namespace:
        if self._dynamic >= self.options.max_dynamic_namespaces and not self._drop_an_empty_one():
            raise TooManyNamespaces
        self._dynamic += 1
        child = Namespace(name, self, parent.recovery, parent.ordered, parent)
        parent.children[name] = child
        return self._add(child)

    def _drop_an_empty_one(self) -> bool:
        """Of those that a program has asked for by name, and nobody is in; whether there was one."""
        before = self._dynamic
        for namespace in list(self._by_name.values()):
            namespace._check_empty()
            if self._dynamic < before:
                return True
        return False

    def emptied(self, namespace: Namespace) -> None:
        """Nobody is in the namespace, or on the way into it."""
        parent = namespace.parent
        if parent is None or not self.options.cleanup_empty_child_namespaces:
            return
        # One whose sockets may be recovered has to stay: their sessions are in it; and one that a program has made and
        # given handlers of its own.
        if namespace.log is not None or (namespace.name in self._by_name and namespace._has_registrations):
            return
        self._dynamic -= parent.children.pop(namespace.name, None) is not None
        self.namespaces.pop(namespace.name, None)
        self._by_name.pop(namespace.name, None)

    def add_namespace_listener(self, listener: Callable[..., Any]) -> None:
        require_plain(listener, "a new_namespace listener")
        self.namespace_listeners.append(listener)

    def add_server_listener(self, event: str, listener: Callable[..., Any]) -> None:
        if is_async(listener):
            raise TypeError("an on_server listener must be a plain def; what it returns is its answer")
        self.server_listeners.setdefault(event, []).append(listener)


def _called(test: Callable[..., object]) -> str:
    """A name that is the same in every process: of an object that is called, its type's, and not where it is."""
    named = test if hasattr(test, "__qualname__") else type(test)
    return f"{named.__module__}.{named.__qualname__}"
