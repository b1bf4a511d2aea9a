"""Who should not be there, files that should not, and bytes that are none: on the sockets of the workers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from duplexio import ConfigurationError
from duplexio.adapters import unix_links
from duplexio.adapters.unix import UnixBus
from duplexio.adapters.unix_frames import FRAME_OVERHEAD, FrameReader, frame
from duplexio.testing.check_bus import LIMITS, SMALL, End, ends, seen, until


def connected(bus: UnixBus) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.settimeout(20)
    raw.connect(str(bus.directory / f"{bus.tag}.bus"))
    return raw


async def ended(raw: socket.socket) -> None:
    """The other end closes."""
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while True:
            try:
                if not await loop.sock_recv(raw, 4096):
                    return
            except ConnectionError:
                return


def greeting(node: str, tag: str) -> bytes:
    return b"".join(frame(unix_links.GREETING, f"{node}\n{tag}".encode()))


GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0" * 100,
    b"\xff" * 100_000,
    struct.pack(">I", 5) + b"\xff\xffabc",
    b"".join(frame("cluster", b"before any greeting")),
    greeting("", ""),
    greeting("x.node", "other"),
    greeting("../../etc.node", "../../etc"),
    greeting("x." + "n" * 100, "x"),
]


@pytest.mark.parametrize("sent", GARBAGE, ids=range(len(GARBAGE)))
async def test_who_says_no_greeting_is_sent_away(sent: bytes, tmp_path: Path) -> None:
    async with ends(lambda: UnixBus(tmp_path / "run"), 2) as (first, second):
        assert isinstance(first.bus, UnixBus)
        with connected(first.bus) as raw:
            raw.sendall(sent)
            await ended(raw)
        assert first.counts["fault.bus_garbage"] == 1
        first.bus.publish("c", b"fine")
        await until(lambda: second.messages, "the others go on")


async def test_who_goes_in_the_middle_of_a_greeting(tmp_path: Path) -> None:
    async with ends(lambda: UnixBus(tmp_path / "run"), 2) as (first, second):
        assert isinstance(first.bus, UnixBus)
        whole = greeting("x.y", "x")
        for cut in 0, 1, 3, 4, 5, len(whole) - 1:
            with connected(first.bus) as raw:
                raw.sendall(whole[:cut])
        await until(lambda: not first.bus._ungreeted, "nothing is kept of it")  # type: ignore[attr-defined]
        assert first.nodes == {second.bus.node}


async def test_a_peer_that_sends_what_is_none(tmp_path: Path) -> None:
    """It has greeted, and is listened for: what it sends badly is passed over, and counted."""
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 1, SMALL) as (end,):
        assert isinstance(end.bus, UnixBus)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "peer.bus"))
        listener.listen()
        loop = asyncio.get_running_loop()
        with listener, connected(end.bus) as raw:
            raw.sendall(greeting("peer.1", "peer"))
            listener.setblocking(False)
            back, _ = await loop.sock_accept(listener)
            with back:
                await loop.sock_sendall(back, greeting("peer.1", "peer"))
                await until(lambda: end.nodes == {"peer.1"}, "who answers is seen")
                raw.sendall(struct.pack(">IH", 2, 500))
                raw.sendall(struct.pack(">I", 1) + b"x")
                raw.sendall(struct.pack(">IH", 4, 2) + b"\xff\xfe")
                too_large = SMALL.max_message + FRAME_OVERHEAD + 1
                raw.setblocking(False)
                await loop.sock_sendall(raw, struct.pack(">I", too_large) + b"x" * too_large)
                await loop.sock_sendall(raw, b"".join(frame("c", b"good")))
                await until(lambda: end.messages == [("peer.1", "c", b"good")], "what is good arrives behind it")
                assert end.counts["fault.bus_garbage"] == 3
                assert end.counts["fault.bus_oversized"] == 1
                await loop.sock_sendall(raw, b"".join(frame("c", b"cut short"))[:-3])
        await until(lambda: end.lost == ["peer.1"], "who closes is lost")
        assert end.counts["fault.bus_garbage"] == 4
        assert end.messages == [("peer.1", "c", b"good")]
        # Nobody listens behind it any more.
        await until(lambda: not (directory / "peer.bus").exists(), "a dead one's file is removed")


async def test_nothing_is_received_of_who_is_not_seen(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 1, SMALL) as (end,):
        assert isinstance(end.bus, UnixBus)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "peer.bus"))
        listener.listen()
        listener.setblocking(False)
        with listener, connected(end.bus) as raw:
            raw.sendall(greeting("peer.1", "peer") + b"".join(frame("c", b"early")) * 3)
            loop = asyncio.get_running_loop()
            back, _ = await loop.sock_accept(listener)
            with back:
                await asyncio.sleep(0.1)
                assert end.messages == []
                await loop.sock_sendall(back, greeting("peer.1", "peer"))
                await until(lambda: len(end.messages) == 3, "it is when it is seen")
                assert end.unseen == []


async def test_who_ends_before_the_answer_is_not_kept(tmp_path: Path) -> None:
    """What it has said already is waiting to be read: nobody would see by that that it has ended."""
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 1) as (end,):
        assert isinstance(end.bus, UnixBus)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "peer.bus"))
        listener.listen()
        listener.setblocking(False)
        with listener, connected(end.bus) as raw:
            raw.sendall(greeting("peer.1", "peer") + b"".join(frame("c", b"early")))
            back, _ = await asyncio.get_running_loop().sock_accept(listener)
            await asyncio.sleep(0.05)
            back.close()
            (directory / "peer.bus").unlink()
            await ended(raw)
        assert not end.bus._incoming
        assert end.messages == []


async def test_who_ends_when_it_was_just_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write fails. Whoever has the tag next is found all the same."""
    monkeypatch.setattr("duplexio.adapters.unix.SCAN_SECONDS", 0.05)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "worker.bus"))
    listener.listen()
    user = os.geteuid()
    asked = 0

    def dies_when_it_is_found() -> int:
        # The second time is between connecting and writing; the first is for the directory.
        nonlocal asked
        asked += 1
        if asked > 1:
            listener.close()
        return user

    monkeypatch.setattr(os, "geteuid", dies_when_it_is_found)
    first = End(UnixBus(directory, "first"))
    first.start()
    assert asked > 1
    async with ends(lambda: UnixBus(directory, "worker"), 1) as (second,):
        await until(lambda: second.bus.node in first.nodes, "the next one of this name is found")
    await first.bus.close()


async def test_who_answers_in_anothers_name(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 2) as (first, second):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "other.bus"))
            listener.listen()
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            back, _ = await loop.sock_accept(listener)
            with back:
                await loop.sock_sendall(back, greeting(second.bus.node, "other"))
                await ended(back)
            first.bus.publish("c", b"for the second", second.bus.node)
            await until(lambda: second.of(first.bus.node) == [b"for the second"], "who has the name gets it")


async def test_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be connected to: what was received is not lost for it, and it is tried again."""
    monkeypatch.setattr("duplexio.adapters.unix.SCAN_SECONDS", 0.05)
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 1) as (end,):
        assert isinstance(end.bus, UnixBus)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "passing"))
        listener.listen()
        listener.setblocking(False)
        with listener, connected(end.bus) as raw:
            await until(lambda: end.bus._ungreeted, "it is accepted")  # type: ignore[attr-defined]
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            # The lowest that is free.
            os.close(free := os.dup(0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                raw.sendall(greeting("peer.1", "peer") + b"".join(frame("c", b"early")))
                await until(lambda: end.counts["fault.bus_failed"], "it is told")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            (directory / "passing").rename(directory / "peer.bus")
            loop = asyncio.get_running_loop()
            back, _ = await asyncio.wait_for(loop.sock_accept(listener), 20)
            with back:
                await loop.sock_sendall(back, greeting("peer.1", "peer"))
                await until(lambda: end.messages == [("peer.1", "c", b"early")], "it arrives when that is over")


async def test_who_does_not_answer_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.unix.GREETING_SECONDS", 0.1)
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "mute.bus"))
        listener.listen()
        async with ends(lambda: UnixBus(directory), 2) as (first, second):
            await until(lambda: first.bus.health().status == "degraded", "health tells")
            assert "mute" in first.bus.health().problem
            first.bus.publish("c", b"to the others")
            await until(lambda: second.messages, "the others go on")
            assert first.bus.health().queued == 0


async def test_silence_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.unix.GREETING_SECONDS", 0.1)
    monkeypatch.setattr("duplexio.adapters.unix.SCAN_SECONDS", 0.1)
    monkeypatch.setattr("duplexio.adapters.unix.MAX_UNGREETED", 3)
    async with ends(lambda: UnixBus(tmp_path / "run"), 1) as (end,):
        assert isinstance(end.bus, UnixBus)
        silent = [connected(end.bus) for _ in range(6)]
        for raw in silent:
            await ended(raw)
            raw.close()
        assert end.counts["fault.bus_garbage"] == 6


CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
raw = socket.socket(socket.AF_UNIX)
try:
    raw.connect(sys.argv[1])
except OSError as error:
    sys.exit(type(error).__name__)
raw.settimeout(20)
print(raw.recv(1))
"""


async def test_another_user_is_kept_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not below pytest's own folder, which nobody else gets into.
    with tempfile.TemporaryDirectory() as folder:
        async with ends(lambda: UnixBus(f"{folder}/run"), 1) as (end,):
            assert isinstance(end.bus, UnixBus)
            path = f"{folder}/run/{end.bus.tag}.bus"
            if os.geteuid() == 0:
                command = [sys.executable, "-c", CONNECT, path]
                os.chmod(folder, 0o711)
                shut = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
                assert "PermissionError" in shut.stderr
                # Even where the files let it through.
                os.chmod(f"{folder}/run", 0o711)
                os.chmod(path, 0o777)
                let = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
                assert let.stdout == "b''\n" or "ConnectionResetError" in let.stderr, let
            else:
                monkeypatch.setattr(os, "geteuid", lambda: -1)
                with connected(end.bus) as raw:
                    await ended(raw)
            assert end.counts["fault.bus_stranger"] == 1


def test_directories_that_are_not_safe(tmp_path: Path) -> None:
    async def start(directory: Path, tag: str = "") -> None:
        End(UnixBus(directory, tag)).start()

    wide = tmp_path / "wide"
    wide.mkdir(mode=0o755)
    with pytest.raises(ConfigurationError, match=r"open to others \(mode 755\)"):
        asyncio.run(start(wide))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="not a directory"):
        asyncio.run(start(tmp_path / "file"))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="not a directory"):
        asyncio.run(start(tmp_path / "link"))
    with pytest.raises(ConfigurationError, match="too long"):
        asyncio.run(start(tmp_path / ("x" * 120)))
    with pytest.raises(ConfigurationError, match="tag='a/b'"):
        UnixBus(tmp_path, "a/b")


async def test_another_users_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12_345_678)
    with pytest.raises(ConfigurationError, match="12345678"):
        End(UnixBus(tmp_path / "run")).start()


async def test_a_file_that_was_tidied_away_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.unix.SCAN_SECONDS", 0.05)
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 2) as made:
        for file in directory.iterdir():
            file.unlink()
        late = End(UnixBus(directory))
        late.start()
        await seen([*made, late])
        await late.bus.close()


async def test_a_directory_that_is_gone_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duplexio.adapters.unix.SCAN_SECONDS", 0.05)
    directory = tmp_path / "run"
    async with ends(lambda: UnixBus(directory), 2) as (first, second):
        moved = tmp_path / "moved"
        directory.rename(moved)
        await until(lambda: first.bus.health().status == "degraded", "health tells")
        assert "cannot be used" in first.bus.health().problem
        first.bus.publish("c", b"still")
        await until(lambda: second.messages, "connections that are open stay")
        moved.rename(directory)
        await until(lambda: first.bus.health().status == "ok", "and are found again")


async def test_files_that_are_no_sockets_are_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    (directory / "a.sock").write_text("another's")
    (directory / "notes.txt").write_text("")
    async with ends(lambda: UnixBus(directory), 2):
        pass
    assert sorted(os.listdir(directory)) == ["a.sock", "notes.txt"]


async def test_a_tag_that_another_one_has(tmp_path: Path) -> None:
    """They would take the name from each other, for ever."""
    directory = tmp_path / "run"
    first, second = End(UnixBus(directory, "one")), End(UnixBus(directory, "one"))
    first.start()
    with pytest.raises(ConfigurationError, match=r"another process .* has this tag; without tag="):
        second.start()
    await asyncio.sleep(0.05)
    assert not first.counts.snapshot()
    await first.bus.close()
    second.start()
    await second.bus.close()


async def test_a_tag_of_ones_own(tmp_path: Path) -> None:
    async with ends(lambda: UnixBus(tmp_path / "run", "abcd"), 1) as (end,):
        assert end.bus.node.startswith("abcd.")
        assert (tmp_path / "run" / "abcd.bus").is_socket()
        with pytest.raises(ConfigurationError, match="started already"):
            end.start(LIMITS)


def frames_of(pieces: list[bytes], max_message: int = 100) -> tuple[list[tuple[str, bytes]], list[str]]:
    received: list[tuple[str, bytes]] = []
    refused: list[str] = []
    reader = FrameReader(max_message, lambda *got: received.append(got), lambda cause, _: refused.append(cause))
    for piece in pieces:
        reader.feed(memoryview(piece))
    return received, refused


def test_frames_however_they_are_cut() -> None:
    oversized = struct.pack(">I", FRAME_OVERHEAD + 101) + b"x" * (FRAME_OVERHEAD + 101)
    stream = b"".join(
        [
            *frame("", b""),
            *frame("c", b"one"),
            struct.pack(">I", 0),
            oversized,
            *frame("é", b"x" * 100),
            *frame("c", b"last"),
        ]
    )
    expected = [("", b""), ("c", b"one"), ("é", b"x" * 100), ("c", b"last")], ["bus_garbage", "bus_oversized"]
    assert frames_of([stream]) == expected
    edges = [*range(60), *range(len(stream) - 200, len(stream))]
    for cut in edges:
        assert frames_of([stream[:cut], stream[cut:]]) == expected
    assert frames_of([stream[n : n + 7] for n in range(0, len(stream), 7)]) == expected
    assert frames_of([stream[:40][n : n + 1] for n in range(40)] + [stream[40:]]) == expected
