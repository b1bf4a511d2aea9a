"""The bus between the workers of one host: a Unix socket for each, in a directory that is theirs alone.

Each worker listens on `<directory>/<tag>.bus`, and opens a connection to every other one that it finds there; who is
found opens one back. A worker that dies is known at once, by its connections, and its socket's file is removed by
whoever finds that nobody listens. The first frame of each connection says who opened it, and is answered in kind.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from pathlib import Path

from duplexio.adapters.bus import BusHealth, BusLimits, Receiver
from duplexio.adapters.unix_files import check_directory, inode, listens, remove
from duplexio.adapters.unix_frames import READ_BYTES, frame
from duplexio.adapters.unix_links import TAG, In, Out
from duplexio.errors import ConfigurationError
from duplexio.observe import Reporter
from duplexio.unforked import unforked
from duplexio.unix_owner import is_ours

__all__ = ["UnixBus"]

#: How often the directory is looked through: for a worker that was not found, or whose connection broke.
SCAN_SECONDS = 1.0
#: How long somebody who has connected may keep silent about who it is.
GREETING_SECONDS = 5.0
#: How many of these there may be: more than workers of a host that start in the same moment.
MAX_UNGREETED = 128
#: Connections that wait to be accepted: as many.
BACKLOG = 128
#: How long `health` tells of a message that was dropped.
DEGRADED_SECONDS = 60.0
#: How long `close` waits for what is still to be sent.
CLOSE_SECONDS = 1.0
#: The shortest that a system allows for a socket's path: macOS's, with its zero.
MAX_PATH = 103


class UnixBus:
    """See `adapters.bus.Bus`. Linux and macOS.

    Attributes:
        directory: where the sockets are.
        tag: the name of this worker's own.
    """

    def __init__(self, directory: str | os.PathLike[str], tag: str = "") -> None:
        """`directory` is made where it is missing; it has to be the user's own, and closed to all others (0700).

        `tag`: up to 32 characters of letters, digits, `_` and `-` that no other worker has; made up where it is empty.
        Raises ConfigurationError.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("this system has no Unix sockets: workers need Linux or macOS")
        if tag and not TAG.fullmatch(tag):
            raise ConfigurationError(f"tag={tag!r}: expected up to 32 letters, digits, _ and -")
        self.directory = Path(directory)
        self.tag = tag
        self._given = tag
        self._node = ""
        self._receiver: Receiver
        self._limits: BusLimits
        self._reporter: Reporter
        self._loop: asyncio.AbstractEventLoop
        self._listener: socket.socket | None = None
        self._inode = 0
        self._unheard = ""
        self._scan_timer: asyncio.TimerHandle | None = None
        #: Connections this worker has opened, by the tag they lead to; those that were answered, by node.
        self._opened: dict[str, Out] = {}
        self._peers: dict[str, Out] = {}
        #: Connections that others have opened: those that have said nothing yet, and the rest by node.
        self._ungreeted: dict[In, float] = {}
        self._incoming: dict[str, In] = {}
        self._unflushed: list[Out] = []
        self._dropped = 0
        self._dropped_at = 0.0
        self._dropped_for = ""
        self._closing = False
        self._buffer = bytearray(READ_BYTES)

    @property
    def node(self) -> str:
        """The name of this node: its tag, and what tells it from whoever had the tag before."""
        return self._node

    @property
    def alone(self) -> bool:
        """Whether no other worker is connected."""
        return not self._peers

    def start(self, receiver: Receiver, limits: BusLimits, reporter: Reporter) -> None:
        """See `Bus.start`.

        Raises ConfigurationError for a directory that is not safe, or whose name is too long, and for a tag that
        another worker has.
        """
        if self._node and not self._loop.is_closed():
            raise ConfigurationError("one bus is one server's: this one was started already")
        self.abandon()
        self._receiver, self._limits, self._reporter = receiver, limits, reporter
        self._loop = asyncio.get_running_loop()
        # Here and not before: who is forked from another shall not have its name.
        self.tag = self._given or secrets.token_urlsafe(6)
        check_directory(self.directory)
        if len(os.fsencode(self._path(self.tag, ".new"))) > MAX_PATH:
            raise ConfigurationError(
                f"the path {self._path(self.tag)} is too long for a socket: {MAX_PATH} bytes at most"
            )
        if listens(self._path(self.tag)):
            raise ConfigurationError(
                f"tag={self.tag!r}: another process in {self.directory} has this tag; without tag=, each has its own"
            )
        self._dropped = 0
        self._closing = False
        self._listen()
        self._node = f"{self.tag}.{secrets.token_urlsafe(6)}"
        self._scan()

    def _path(self, tag: str, suffix: str = ".bus") -> str:
        return str(self.directory / (tag + suffix))

    # Finding each other.

    async def meet(self) -> None:
        """See `Bus.meet`."""
        while any(not out.node for out in self._opened.values()):  # noqa: ASYNC110 - they answer in a turn of their loops
            await asyncio.sleep(0.002)

    def _listen(self) -> None:
        """Listens before its file has its name: a file that nobody listens behind is then always a dead worker's."""
        listener = unforked(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            listener.setblocking(False)
            passing = self._path(self.tag, ".new")
            remove(passing)
            listener.bind(passing)
            os.chmod(passing, 0o600)
            listener.listen(BACKLOG)
            self._inode = os.stat(passing).st_ino
            os.rename(passing, self._path(self.tag))
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._loop.add_reader(listener, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _scan(self) -> None:
        self._scan_timer = self._loop.call_later(SCAN_SECONDS, self._scan)
        try:
            names = os.listdir(self.directory)
            own = os.stat(self._path(self.tag)).st_ino == self._inode if f"{self.tag}.bus" in names else False
            if not own:
                # Something tidied up: newcomers would not find this worker.
                self._unlisten()
                self._listen()
            elif self._listener is not None:
                # It may have been left, for want of descriptors.
                self._loop.add_reader(self._listener, self._accept)
            self._unheard = ""
        except OSError as error:
            self._unheard = f"the directory of the sockets cannot be used: {error}"
            self._reporter.fault("bus_failed", str(self.directory), self._unheard)
            return
        for name in sorted(names):
            tag = name.removesuffix(".bus")
            if tag != name and tag != self.tag and tag not in self._opened:
                self._open(tag)
        late = self._loop.time() - GREETING_SECONDS
        for silent in [link for link, since in self._ungreeted.items() if since < late]:
            text = f"who connected did not say within {GREETING_SECONDS:g} s who it is"
            self._reporter.fault("bus_garbage", "unix", text)
            silent.close()

    def _open(self, tag: str) -> None:
        """Opens the connection to another worker. Connecting by a path takes no time."""
        path = self._path(tag)
        try:
            sock = unforked(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        except OSError as error:
            # Of descriptors, as a rule; tried again soon.
            self._reporter.fault("bus_failed", tag, f"a connection could not be opened: {error}")
            return
        sock.setblocking(False)
        before = inode(path)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            sock.close()
            if inode(path) == before:
                remove(path)
            return
        except OSError:
            # Gone meanwhile; or not accepting now, and tried again soon.
            sock.close()
            return
        if not is_ours(sock):
            self._reporter.fault("bus_stranger", tag, "the socket is another user's; not connected")
            sock.close()
            return
        out = self._opened[tag] = Out(self, tag, sock)
        # Afterwards: this may be its end already.
        out.greet()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # Asked again at the next scan, and not at once, for ever.
            self._loop.remove_reader(self._listener)
            self._reporter.fault("bus_failed", "accept", f"a connection could not be accepted: {error}")
            return
        unforked(sock).setblocking(False)
        if not is_ours(sock):
            self._reporter.fault("bus_stranger", "unix", "another user has connected; refused")
            sock.close()
        elif len(self._ungreeted) >= MAX_UNGREETED:
            self._reporter.fault("bus_garbage", "unix", f"{MAX_UNGREETED} have connected without saying who they are")
            sock.close()
        else:
            self._ungreeted[In(self, sock)] = self._loop.time()

    # What connections tell.

    def _answered(self, out: Out, node: str) -> None:
        """The other end of a connection has said who it is: it is there."""
        if self._closing:
            return
        out.node = node
        self._peers[node] = out
        try:
            self._receiver.bus_node_seen(node)
        except Exception as error:
            self._reporter.failure("a node of the bus could not be added", error)
        waiting = self._incoming.get(node)
        if waiting is not None:
            waiting.resume()

    def _greeted(self, link: In, node: str, tag: str) -> None:
        """Who opened a connection has said who it is."""
        self._ungreeted.pop(link, None)
        before = self._incoming.get(node)
        self._incoming[node] = link
        if before is not None:
            before.close()
        if tag in self._opened and self._opened[tag].node not in ("", node):
            # Whoever had the tag is gone, and this worker has not noticed it yet.
            self._opened[tag].writer.fail("another one has its tag")
        if tag not in self._opened:
            self._open(tag)

    def _unanswered(self, tag: str) -> None:
        """A connection has ended before it was answered: so does the other, of which nothing was received yet."""
        for node in [node for node in self._incoming if node.startswith(tag + ".") and node not in self._peers]:
            self._incoming.pop(node).close()

    def _lost(self, node: str, reason: str) -> None:
        """One of the two connections has ended: so does the other, when what came by it was read."""
        link = self._incoming.pop(node, None)
        if link is not None:
            link.read_last()
            link.close()
        out = self._peers.pop(node, None)
        if out is not None:
            out.close()
            if not self._closing:
                try:
                    self._receiver.bus_node_lost(node, reason)
                except Exception as error:
                    self._reporter.failure("a node of the bus could not be removed", error)

    def _received(self, node: str, channel: str, message: bytes) -> None:
        try:
            self._receiver.bus_received(node, channel, message)
        except Exception as error:
            self._reporter.failure("a message of the bus could not be handled", error)

    # Sending.

    def publish(self, channel: str, message: bytes, to: str = "") -> bool:
        """See `Bus.publish`."""
        if not self._node or self._closing or (to and to not in self._peers):
            return False
        peers = [self._peers[to]] if to else list(self._peers.values())
        if len(message) > self._limits.max_message:
            text = f"a message of {len(message)} bytes was not sent: {self._limits.max_message} are allowed"
            self._reporter.fault("bus_oversized", "unix", text)
            self._count_dropped("unix", text)
            return False
        if not peers:
            return True
        buffers = frame(channel, message)
        size = sum(map(len, buffers))
        taken = True
        for peer in peers:
            writer = peer.writer
            if writer.queued + size > self._limits.max_queue:
                text = f"it does not read: {writer.queued} bytes wait for it; a message to it was dropped"
                self._reporter.fault("bus_overflow", peer.tag, text)
                self._count_dropped(peer.tag, text)
                taken = False
                continue
            if not writer.queued:
                if not self._unflushed:
                    self._loop.call_soon(self._flush)
                self._unflushed.append(peer)
            writer.put(buffers, size)
        return taken

    def _count_dropped(self, where: str, text: str) -> None:
        self._dropped += 1
        self._dropped_at = self._loop.time()
        self._dropped_for = f"{where}: {text}"

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for peer in unflushed:
            peer.writer.write()

    @property
    def _queued(self) -> int:
        return sum(peer.writer.queued for peer in self._peers.values())

    async def drain(self, to: str = "") -> None:
        """See `Bus.drain`."""
        # Not at the end of the turn: whoever waits wants it to be there.
        self._flush()
        waiting = [peer.writer.drained() for node, peer in self._peers.items() if not to or node == to]
        try:
            for future in waiting:
                await future
        finally:
            for future in waiting:
                future.cancel()

    # Ending.

    async def close(self) -> None:
        """See `Bus.close`."""
        if not self._node or self._closing:
            return
        self._closing = True
        if self._scan_timer is not None:
            self._scan_timer.cancel()
        for link in self._links():
            link.pause()
        self._unlisten()
        if inode(self._path(self.tag)) == self._inode:
            remove(self._path(self.tag))
        try:
            await asyncio.wait_for(self.drain(), CLOSE_SECONDS)
        except TimeoutError:
            pass
        finally:
            # First those that were written to: what is in them is read before the end is seen.
            for out in list(self._opened.values()):
                out.close()
            for link in self._links():
                link.close()
            self._peers.clear()
            self._incoming.clear()
            self._ungreeted.clear()
            self._node = ""

    def abandon(self) -> None:
        """Lets go of everything where the loop has ended without a `close`: nobody is to take this worker for alive."""
        if not self._node:
            return
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if inode(self._path(self.tag)) == self._inode:
            remove(self._path(self.tag))
        for sock in (*(out.writer.sock for out in self._opened.values()), *(link.sock for link in self._links())):
            sock.close()
        for table in (self._opened, self._peers, self._incoming, self._ungreeted):
            table.clear()
        self._unflushed = []
        self._node = ""

    def _links(self) -> list[In]:
        return [*self._incoming.values(), *self._ungreeted]

    def health(self) -> BusHealth:
        """See `Bus.health`."""
        if not self._node or self._closing:
            return BusHealth("down", problem="it is not open")
        now = self._loop.time()
        problem = self._unheard
        mute = [tag for tag, out in self._opened.items() if not out.node and out.since < now - GREETING_SECONDS]
        if mute:
            problem = f"who listens on {', '.join(mute)} does not say who it is"
        if self._dropped and now - self._dropped_at < DEGRADED_SECONDS:
            problem = f"{self._dropped} messages were dropped, the last one for {self._dropped_for}"
        return BusHealth("degraded" if problem else "ok", self._queued, self._dropped, problem)
