"""This worker among those of its application on one host: its tag, and the way to each of the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from duplexio.engine.neighbour import Asker, Bridge, Neighbour
from duplexio.engine.server import EngineServer
from duplexio.protocol.engine_handshake import BAD_REQUEST, Refusal, Request
from duplexio.workers.bridge import WebSocketBridge, unanswered
from duplexio.workers.bridged_websocket import BridgedWebSocket
from duplexio.workers.descriptor import Adoption, pass_on
from duplexio.workers.frame_stream import open_stream
from duplexio.workers.relay_client import Asked, Channel, busy, gone, too_large
from duplexio.workers.relay_listener import RelayListener
from duplexio.workers.relay_message import Hello, hello, pack_request
from duplexio.workers.relay_server import AskedStream
from duplexio.workers.run_directory import (
    ALPHABET,
    TAG_LENGTH,
    Gone,
    Unreachable,
    claim_tag,
    dial,
    listen,
    open_run_directory,
    sweep,
)

__all__ = ["Neighbourhood"]

Headers = list[tuple[bytes, bytes]]
Stream = AskedStream | BridgedWebSocket | Adoption

#: A session id's length; what has another is nobody's.
SID_LENGTH = 20
_CHARACTERS = frozenset(ALPHABET)
#: WebSockets that this worker holds for others; each has two connections here, and its session's own limit there.
MAX_BRIDGES = 10_000
#: Seconds for others to answer the polls that are given back when this worker ends, which they do at once; for the
#: clients of connections that were given to this one to read the end; and for others to read the last answers.
RELEASE_TIMEOUT = 2.0
#: Seconds between looks whether others can still find this worker.
LOOK_INTERVAL = 1.0
#: Seconds that a stream stays open without a request, where this worker has given up its tag.
LEFT_OPEN = 1.0


class Neighbourhood:
    """See the module.

    Attributes:
        folder: where the sockets of all are; others of theirs may be beside them, under the same tags.
        tag: what the ids of this worker's sessions begin with.
    """

    def __init__(self, engine: EngineServer, folder_name: str, moved: Callable[[Path], None]) -> None:
        """Claims a tag, and listens. Raises OSError where there is no place for that.

        `moved` is called when all have another folder, since theirs is gone.
        """
        self._engine = engine
        self._name = folder_name
        self._moved = moved
        self.folder: Path = open_run_directory(folder_name)
        sweep(self.folder)
        self.tag, listener = claim_tag(self.folder)
        self._asked = Asked()
        self._channels: dict[str, Channel] = {}
        self._left = False
        self._streams: set[Stream] = set()
        self._bridges: set[WebSocketBridge] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = RelayListener(
            engine,
            listener,
            {
                Hello.ASKING: self._take_asking,
                Hello.BRIDGE: self._take_bridge,
                Hello.DESCRIPTOR: self._take_descriptor,
            },
        )
        engine.tag = self.tag
        engine.locate = self.locate
        self._look_timer = engine.loop.call_later(LOOK_INTERVAL, self._look)

    # Being found.

    def _look(self) -> None:
        """Others find this worker by a file, which who tidies up removes: in temporary folders what is old, the folder
        below XDG_RUNTIME_DIR when its user logs out. Each looks for the first place there is, so all meet again."""
        self._look_timer = self._engine.loop.call_later(LOOK_INTERVAL, self._look)
        try:
            folder = open_run_directory(self._name)
            if folder == self.folder and self._socket.exists():
                return
            listener = listen(folder, self.tag)
        except OSError as error:
            # Or it is just being removed by one who starts, since it was empty.
            self._engine.reporter.fault("relay_failed", "unix", f"other workers do not find this one: {error}")
            return
        self._listener.replace(listener)
        before, self.folder = self.folder, folder
        if folder != before:
            _remove(before, self.tag)
            self._moved(folder)
        self._engine.reporter.warning(f"the socket of this worker was removed; it is at {self._socket} now")

    @property
    def _socket(self) -> Path:
        return self.folder / f"{self.tag}.sock"

    # Others' sessions.

    def locate(self, sid: str) -> Neighbour | None:
        """The worker that has the session, as its id says; None where nobody claims that."""
        tag = sid[:TAG_LENGTH]
        if len(sid) != SID_LENGTH or tag == self.tag or not _CHARACTERS.issuperset(tag):
            return None
        try:
            self._channel(tag)
        except Gone:
            return None
        except Unreachable as error:
            return _Unreachable(str(error))
        return _Worker(self, tag)

    def _channel(self, tag: str) -> Channel:
        """The stream to that worker. Raises Gone, or Unreachable."""
        channel = self._channels.get(tag)
        if channel is None:
            connection = dial(self.folder, tag, hello(Hello.ASKING))
            channel = Channel(self._engine, connection, self._asked, lambda: self._forget(tag))
            self._channels[tag] = channel
            if self._left:
                self._engine.loop.call_later(LEFT_OPEN, channel.leave)
        return channel

    def ask(self, tag: str, request: Request, body: bytes, asker: Asker) -> Callable[[], None]:
        """See `engine.neighbour.Neighbour.ask`."""
        try:
            return self._channel(tag).ask(request, body, asker)
        except Gone:
            asker.unanswered(gone())
        except Unreachable as error:
            return _Unreachable(str(error)).ask(request, body, asker)
        return _nothing

    def pass_on(self, tag: str, request: Request, descriptor: int, leftover: bytes, headers: Headers | None) -> bool:
        """See `engine.neighbour.Neighbour.pass_on`."""
        passed = pass_on(self.folder, tag, request, descriptor, leftover, headers)
        if passed:
            self._engine.reporter.count("passed_websockets")
        return passed

    async def open_bridge(self, tag: str, request: Request) -> Bridge | Refusal:
        """See `engine.neighbour.Neighbour.bridge`."""
        if self._engine.closing:
            return Refusal(BAD_REQUEST, "closing", "the worker closes", "Server closing", status=503)
        if len(self._bridges) >= MAX_BRIDGES:
            return busy(f"{MAX_BRIDGES} WebSockets of other workers' sessions are open")
        payload = pack_request(request)
        refusal = too_large(len(payload))
        if refusal is not None:
            return refusal
        self._engine.reporter.count("relayed_websockets")
        try:
            connection = dial(self.folder, tag, hello(Hello.BRIDGE))
        except Gone:
            return gone()
        except Unreachable as error:
            return _Unreachable(str(error)).refusal()
        bridge = WebSocketBridge(self._engine, self._bridges.discard)
        self._bridges.add(bridge)
        patience = self._engine.options.upgrade_timeout
        refusal = gone()
        try:
            async with asyncio.timeout(patience):
                await open_stream(connection, bridge)
                bridge.begin(payload)
                refusal = await asyncio.shield(bridge.verdict)
        except TimeoutError:
            refusal = unanswered(patience)
        except OSError:
            # It is gone, as is the answer already.
            pass
        finally:
            if refusal is not None:
                self._bridges.discard(bridge)
                bridge.finish()
        return bridge if refusal is None else refusal

    def _forget(self, tag: str) -> None:
        self._channels.pop(tag, None)

    def release_polls(self) -> None:
        """Gives others' polls back: this worker closes, and their clients are to ask another."""
        for channel in self._channels.values():
            channel.release_polls()

    # Its own sessions.

    def _take_asking(self, connection: socket.socket, data: bytes, passed: socket.socket | None) -> None:
        self._take(connection, AskedStream(self._engine, data, self._streams.discard))

    def _take_bridge(self, connection: socket.socket, data: bytes, passed: socket.socket | None) -> None:
        self._take(connection, BridgedWebSocket(self._engine, data, self._streams.discard))

    def _take_descriptor(self, connection: socket.socket, data: bytes, passed: socket.socket | None) -> None:
        assert passed is not None
        self._take(connection, Adoption(self._engine, data, passed, self._streams.discard))

    def _take(self, connection: socket.socket, stream: Stream) -> None:
        task = self._engine.loop.create_task(self._serve(connection, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, stream: Stream) -> None:
        self._streams.add(stream)
        try:
            await open_stream(connection, stream)
        except OSError:
            stream.ended()
        except asyncio.CancelledError:
            # uvloop does not tell it.
            stream.ended()
            raise

    # The end.

    def abandon(self) -> None:
        """The loop has ended: nobody answers under this tag any more."""
        self._listener.abandon()
        self._socket.unlink(missing_ok=True)

    async def leave(self) -> None:
        """Gives up the tag, when the sessions have ended. Idempotent.

        Requests for others still come, on connections that were accepted before: `locate` goes on, and nothing is kept
        for it.
        """
        self._left = True
        self._look_timer.cancel()
        self._listener.close()
        self._socket.unlink(missing_ok=True)
        self.release_polls()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                for bridge in list(self._bridges):
                    bridge.shut_down()
                while self._engine.adopted or self._asked.waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        for channel in list(self._channels.values()):
            channel.leave()
        for task in list(self._tasks):
            task.cancel()
        for stream in list(self._streams):
            stream.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                while asked := [stream for stream in self._streams if isinstance(stream, AskedStream)]:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
        for stream in asked:
            if stream.raw is not None:
                stream.raw.abort()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def _remove(folder: Path, tag: str) -> None:
    """What is left there of this worker, and the folder with the last one."""
    with contextlib.suppress(OSError):
        for suffix in ".sock", ".bus":
            (folder / (tag + suffix)).unlink(missing_ok=True)
        folder.rmdir()


class _Worker:
    """See `engine.neighbour.Neighbour`."""

    __slots__ = ("_neighbourhood", "_tag")

    def __init__(self, neighbourhood: Neighbourhood, tag: str) -> None:
        self._neighbourhood = neighbourhood
        self._tag = tag

    def ask(self, request: Request, body: bytes, asker: Asker) -> Callable[[], None]:
        return self._neighbourhood.ask(self._tag, request, body, asker)

    async def bridge(self, request: Request) -> Bridge | Refusal:
        return await self._neighbourhood.open_bridge(self._tag, request)

    def pass_on(self, request: Request, descriptor: int, leftover: bytes, headers: Headers | None = None) -> bool:
        return self._neighbourhood.pass_on(self._tag, request, descriptor, leftover, headers)


class _Unreachable:
    """A neighbour that is stuck: so many wait to speak to it that the kernel takes no more. Or one that is only out of
    reach, since this process has no descriptor left."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def ask(self, request: Request, body: bytes, asker: Asker) -> Callable[[], None]:
        asker.unanswered(self.refusal())
        return _nothing

    async def bridge(self, request: Request) -> Bridge | Refusal:
        return self.refusal()

    def pass_on(self, request: Request, descriptor: int, leftover: bytes, headers: Headers | None = None) -> bool:
        return False

    def refusal(self) -> Refusal:
        return busy(f"no connection to the session's worker can be made: {self._text}")


def _nothing() -> None: ...
