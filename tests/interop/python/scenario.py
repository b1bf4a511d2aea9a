"""What is checked, in order. A check raises where something is not as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import socketio

from .clients import IS_OLD, Client

PROTOCOL = 3 if IS_OLD else 4
#: Of one byte, two, three and four in UTF-8, and of two units in UTF-16.
TEXT = 'plain "quoted" \\ ä € 😀 \u2028 \x00 end'
ALL_BYTES = bytes(range(256))


class Scenario:
    """The clients of one run: one that most checks share, and a second that sees how the others end."""

    def __init__(self, dial: Callable[[], Client], transport: str) -> None:
        self.dial = dial
        self.transport = transport
        self.main = dial()
        self.witness = dial()

    async def connected(self, *namespaces: str, token: str | None = None) -> Client:
        client = self.dial()
        await client.connect(list(namespaces), token)
        for namespace in namespaces:
            await client.received("connect", namespace)
        return client

    async def connected_at_last(self, namespace: str) -> Client:
        """The server may still be on its way back; the check's own limit ends the attempts."""
        while True:
            try:
                return await self.connected(namespace)
            except socketio.exceptions.ConnectionError:
                await asyncio.sleep(0.2)


def expect(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{str(wanted)[:300]} was expected, {str(found)[:300]} came")


async def connect(run: Scenario) -> None:
    await run.main.connect(["/"])
    await run.main.received("connect")
    await run.witness.connect(["/"])
    await run.witness.received("connect")


async def greeting(run: Scenario) -> None:
    expect(await run.main.received("welcome"), ("héllo", [1, 2.5, None, True]))


async def transport(run: Scenario) -> None:
    if run.transport == "upgrade":
        expect(await run.main.call("upgraded"), "websocket")
    name, protocol = await run.main.call("transport")
    expect(name, "websocket" if run.transport == "upgrade" else run.transport)
    expect(protocol, PROTOCOL)


async def ack(run: Scenario) -> None:
    expect(await run.main.call("add", 2, 3), 5)


async def ack_of_several(run: Scenario) -> None:
    expect(await run.main.call("echo", 1, "two", [3], {"four": None}), (1, "two", [3], {"four": None}))


async def asked(run: Scenario) -> None:
    expect(await run.main.call("ask me", "question", "text", 7), {"heard": ["text", 7]})


async def asked_for_several(run: Scenario) -> None:
    expect(await run.main.call("ask me", "question for several"), [1, "two", [3]])


async def text(run: Scenario) -> None:
    expect(await run.main.call("echo", TEXT), TEXT)
    await run.main.emit("send me", "text", TEXT, "and more")
    expect(await run.main.received("text"), (TEXT, "and more"))


async def bytes_up(run: Scenario) -> None:
    expect(await run.main.call("describe", ALL_BYTES), [f"hex:{ALL_BYTES.hex()}"])


async def bytes_down(run: Scenario) -> None:
    await run.main.emit("bytes please", "bytes", 256)
    expect(await run.main.received("bytes"), (ALL_BYTES,))


async def bytes_empty(run: Scenario) -> None:
    expect(await run.main.call("echo", b"", 1), (b"", 1))


async def nested_up(run: Scenario) -> None:
    found = await run.main.call("describe", {"a": b"\x01", "list": [b"\x02\x03", {"deep": b"\xff"}]}, "text", b"\x04")
    expect(found, [{"a": "hex:01", "list": ["hex:0203", {"deep": "hex:ff"}]}, "text", "hex:04"])


async def nested_down(run: Scenario) -> None:
    await run.main.emit("nested please")
    wanted = ({"a": b"\x00\xff", "list": [b"", {"deep": b"\x01\x02\x03"}], "text": "ä"}, b"last")
    expect(await run.main.received("nested"), wanted)


async def ack_with_bytes(run: Scenario) -> None:
    expect(await run.main.call("echo", {"x": [b"\x09", b"\x08"]}, b"\x07"), ({"x": [b"\x09", b"\x08"]}, b"\x07"))


async def asked_for_bytes(run: Scenario) -> None:
    found = await run.main.call("ask me with bytes", "question in bytes")
    expect(found, {"first": "hex:1000", "list": ["hex:20", "text"]})


async def large_text(run: Scenario) -> None:
    text = "äbc€😀" * 30_000
    size, back = await run.main.call("large", text)
    expect(size, 150_000)
    expect(back == text, True)


async def large_bytes(run: Scenario) -> None:
    data = ALL_BYTES * 600
    size, back = await run.main.call("large", data)
    expect(size, len(data))
    expect(back == data, True)


async def many_up(run: Scenario) -> None:
    for index in range(100):
        await run.main.emit("item", index, bytes([index]) if index % 3 == 1 else str(index))
    wanted = [[index, f"hex:{index:02x}" if index % 3 == 1 else str(index)] for index in range(100)]
    expect(await run.main.call("items"), wanted)


async def many_down(run: Scenario) -> None:
    """All of them; the order in which its threads hear them is the client's affair."""
    await run.main.emit("burst please", 100, True)
    found = [await run.main.received("item") for _ in range(100)]
    wanted = [(index, bytes([index]) if index % 3 == 1 else str(index)) for index in range(100)]
    expect(sorted(found), wanted)


async def broadcast(run: Scenario) -> None:
    expect(await run.main.call("enter", "room"), True)
    expect(await run.witness.call("enter", "room"), True)
    await run.witness.emit("tell", "room", "news", {"bytes": b"\x00\x01"}, TEXT)
    for client in (run.main, run.witness):
        expect(await client.received("told"), ("news", {"bytes": b"\x00\x01"}, TEXT))


async def namespace(run: Scenario) -> None:
    client = await run.connected("/members", token="s3cret")
    expect(await client.call("whoami", "müller", namespace="/members"), "anna müller")
    await client.disconnect()


async def two_namespaces(run: Scenario) -> None:
    client = await run.connected("/", "/members", token="s3cret")
    expect(await client.call("add", 4, 5), 9)
    expect(await client.call("whoami", "x", namespace="/members"), "anna x")
    await client.disconnect()


async def refused(run: Scenario) -> None:
    data = {"code": 7, "retry": False}
    await _refused(run, "/members", data if IS_OLD else {"message": "Who are you?", "data": data})


async def refused_plainly(run: Scenario) -> None:
    await _refused(run, "/closed", "Closed today" if IS_OLD else {"message": "Closed today"})


async def _refused(run: Scenario, namespace: str, wanted: Any) -> None:
    client = run.dial()
    try:
        await client.connect([namespace], token="wrong")
    except Exception as error:
        expect(namespace in str(error), True)
    expect(await client.received("connect_error", namespace), (wanted,))
    expect(client.has("connect", namespace), False)
    await client.disconnect()


async def kicked(run: Scenario) -> None:
    """The server takes it out of the namespace."""
    client = await run.connected("/members", token="s3cret")
    await client.emit("label", "kicked", namespace="/members")
    await client.emit("kick", False, namespace="/members")
    await client.received("disconnect", "/members")
    expect(await run.witness.call("reason", "kicked"), "server namespace disconnect")
    await client.disconnect()


async def hung_up_on(run: Scenario) -> None:
    """The server ends the connection."""
    client = await run.connected("/")
    await client.emit("label", "hung_up_on")
    await client.emit("kick", True)
    await client.received("disconnect")
    expect(await run.witness.call("reason", "hung_up_on"), "server namespace disconnect")
    await client.disconnect()


async def leaves(run: Scenario) -> None:
    """The client disconnects itself."""
    client = await run.connected("/members", token="s3cret")
    await client.emit("label", "leaves", namespace="/members")
    expect(await client.call("whoami", "x", namespace="/members"), "anna x")
    await client.disconnect()
    expect(await run.witness.call("reason", "leaves"), "client namespace disconnect")


async def heartbeat(run: Scenario) -> None:
    expect(await run.main.call("linger"), True)


async def returns(run: Scenario) -> None:
    """It comes back by itself to a server that was started anew."""
    client = await run.connected("/")
    await client.emit("restart")
    await client.received("disconnect")
    await client.received("connect")
    expect(await client.call("add", 6, 7), 13)


async def gone(run: Scenario) -> None:
    """A process that ends without a word; why its socket ended, the server tells at its end."""
    client = await run.connected_at_last("/")
    await client.emit("label", "gone")
    expect(await client.call("add", 1, 1), 2)


CHECKS: tuple[Callable[[Scenario], Awaitable[None]], ...] = (
    connect,
    greeting,
    transport,
    ack,
    ack_of_several,
    asked,
    asked_for_several,
    text,
    bytes_up,
    bytes_down,
    bytes_empty,
    nested_up,
    nested_down,
    ack_with_bytes,
    asked_for_bytes,
    large_text,
    large_bytes,
    many_up,
    many_down,
    broadcast,
    namespace,
    two_namespaces,
    refused,
    refused_plainly,
    kicked,
    hung_up_on,
    leaves,
    heartbeat,
    returns,
    gone,
)
