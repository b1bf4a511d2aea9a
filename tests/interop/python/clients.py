"""The two clients of python-socketio behind one face, so that the checks are written once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import engineio
import socketio

#: Socket.IO protocol 4, before python-socketio 5: no `auth`; what a client has to say is in the query.
IS_OLD = version("python-socketio").startswith("4.")
EVENTS = ("welcome", "told", "item", "bytes", "nested", "text", "connect_error", "disconnect", "connect")
OPTIONS = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.5}


class Client(ABC):
    """A client and what has come to it: a queue for each event."""

    def __init__(self, url: str, transports: list[str] | None) -> None:
        self.url = url
        self.transports = transports
        self.inbox: defaultdict[str, asyncio.Queue[tuple[Any, ...]]] = defaultdict(asyncio.Queue)

    async def received(self, event: str, namespace: str = "/") -> tuple[Any, ...]:
        """The arguments of the next event of this name."""
        return await self.inbox[f"{namespace} {event}"].get()

    def has(self, event: str, namespace: str = "/") -> bool:
        return not self.inbox[f"{namespace} {event}"].empty()

    def arguments(self, namespaces: list[str], token: str | None) -> tuple[str, dict[str, Any]]:
        """The URL and the keywords of `connect`."""
        keywords: dict[str, Any] = {"transports": self.transports, "namespaces": namespaces}
        if IS_OLD:
            return self.url + (f"?token={token}" if token else ""), keywords
        return self.url, {**keywords, "auth": {"token": token} if token else None, "wait_timeout": 10}

    @abstractmethod
    async def connect(self, namespaces: list[str], token: str | None = None) -> None: ...

    @abstractmethod
    async def emit(self, event: str, *args: Any, namespace: str = "/") -> None: ...

    @abstractmethod
    async def call(self, event: str, *args: Any, namespace: str = "/") -> Any: ...

    @abstractmethod
    async def disconnect(self) -> None: ...


def answer(question: str, args: tuple[Any, ...]) -> Any:
    """What a client answers to the server."""
    match question:
        case "question":
            return {"heard": list(args)}
        case "question for several":
            return 1, "two", [3]
        case _:
            data, nested = args
            return {"first": data[::-1], "list": [nested["b"], "text"]}


QUESTIONS = ("question", "question for several", "question in bytes")


class AsyncioClient(Client):
    def __init__(self, url: str, transports: list[str] | None) -> None:
        super().__init__(url, transports)
        self.client = socketio.AsyncClient(**OPTIONS)

    async def connect(self, namespaces: list[str], token: str | None = None) -> None:
        for namespace in namespaces:
            for event in EVENTS:
                self._listen(event, namespace)
            for question in QUESTIONS:
                self._answer(question, namespace)
        url, keywords = self.arguments(namespaces, token)
        await self.client.connect(url, **keywords)

    def _listen(self, event: str, namespace: str) -> None:
        async def heard(*args: Any) -> None:
            self.inbox[f"{namespace} {event}"].put_nowait(args)

        self.client.on(event, heard, namespace=namespace)

    def _answer(self, question: str, namespace: str) -> None:
        async def asked(*args: Any) -> Any:
            return answer(question, args)

        self.client.on(question, asked, namespace=namespace)

    async def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        await self.client.emit(event, args, namespace=namespace)

    async def call(self, event: str, *args: Any, namespace: str = "/") -> Any:
        return await self.client.call(event, args, namespace=namespace, timeout=9)

    async def disconnect(self) -> None:
        await self.client.disconnect()


class InOrder(engineio.Client):  # type: ignore[misc]
    """Hands each message on when the one before has been taken.

    As it is made, it starts a thread for each: an attachment overtakes its event now and then, and both are lost.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages = ThreadPoolExecutor(1)

    def _trigger_event(self, event: str, *args: Any, **options: Any) -> Any:
        if event == "message":
            options["run_async"] = False
            return self._messages.submit(super()._trigger_event, event, *args, **options)
        return super()._trigger_event(event, *args, **options)


class InOrderClient(socketio.Client):  # type: ignore[misc]
    def _engineio_client_class(self) -> type[InOrder]:
        return InOrder


class ThreadedClient(Client):
    """The blocking client: its calls in threads, what comes to its threads brought to the loop."""

    def __init__(self, url: str, transports: list[str] | None) -> None:
        super().__init__(url, transports)
        self.loop = asyncio.get_running_loop()
        self.client = InOrderClient(**OPTIONS)

    async def connect(self, namespaces: list[str], token: str | None = None) -> None:
        for namespace in namespaces:
            for event in EVENTS:
                self._listen(event, namespace)
            for question in QUESTIONS:
                self._answer(question, namespace)
        url, keywords = self.arguments(namespaces, token)
        await asyncio.to_thread(self.client.connect, url, **keywords)

    def _listen(self, event: str, namespace: str) -> None:
        def heard(*args: Any) -> None:
            self.loop.call_soon_threadsafe(self.inbox[f"{namespace} {event}"].put_nowait, args)

        self.client.on(event, heard, namespace=namespace)

    def _answer(self, question: str, namespace: str) -> None:
        self.client.on(question, lambda *args: answer(question, args), namespace=namespace)

    async def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        await asyncio.to_thread(self.client.emit, event, args, namespace=namespace)

    async def call(self, event: str, *args: Any, namespace: str = "/") -> Any:
        return await asyncio.to_thread(self.client.call, event, args, namespace=namespace, timeout=9)

    async def disconnect(self) -> None:
        await asyncio.to_thread(self.client.disconnect)
