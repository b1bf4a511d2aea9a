"""The folder that workers meet in: whose it is, what is in it, and who finds it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from duplexio import ConfigurationError, Server
from duplexio.workers.identity import Identity
from duplexio.workers.run_directory import ALPHABET, Gone, Unreachable, claim_tag, dial, open_run_directory, sweep


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_a_tag_is_claimed_and_found(place: Path) -> None:
    folder = open_run_directory("one")
    assert folder == place / "duplexio" / "one"
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    tag, listener = claim_tag(folder)
    with listener:
        assert len(tag) == 4
        assert set(tag) <= set(ALPHABET)
        assert os.listdir(folder) == [f"{tag}.sock"]
        with dial(folder, tag):
            listener.accept()[0].close()
    with pytest.raises(Gone):
        dial(folder, tag)
    # It refused, so it was removed.
    assert os.listdir(folder) == []
    with pytest.raises(Gone):
        dial(folder, tag)


def test_a_folder_that_others_could_enter_is_closed_to_them() -> None:
    folder = open_run_directory("one")
    folder.chmod(0o777)
    assert open_run_directory("one").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_goes_between_opening_and_claiming() -> None:
    folder = open_run_directory("one")
    folder.rmdir()
    tag, listener = claim_tag(folder)
    with listener, dial(folder, tag):
        pass


def test_the_dead_are_swept_away_and_the_living_are_not() -> None:
    folder, other = open_run_directory("one"), open_run_directory("other")
    living, listener = claim_tag(folder)
    dead, closed = claim_tag(folder)
    closed.close()
    alone, closed = claim_tag(other)
    closed.close()
    (folder / f"{dead}.bus").touch()
    (folder / f"{living}.bus").touch()
    old, new = folder / ".old", folder / ".new"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    with listener:
        sweep(open_run_directory("third"))
        assert sorted(os.listdir(folder)) == sorted([".new", f"{living}.bus", f"{living}.sock"])
        assert not other.exists()
        assert alone != dead


CROWD = """
import sys
from duplexio.workers.run_directory import claim_tag, open_run_directory, sweep
for _ in range(300):
    folder = open_run_directory(sys.argv[1])
    sweep(folder)
    tag, listener = claim_tag(folder)
    listener.close()
    (folder / f"{tag}.sock").unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        pass
"""


def test_many_that_start_and_end_at_once() -> None:
    """Each removes what seems to be empty, and makes what is not there."""
    processes = [
        subprocess.Popen([sys.executable, "-c", CROWD, f"folder {number % 2}"], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    assert [process.communicate(timeout=60)[1] for process in processes] == [b""] * 4


def test_a_stuck_one_is_not_taken_for_dead() -> None:
    folder = open_run_directory("one")
    tag, listener = claim_tag(folder)
    with listener:
        waiting: list[socket.socket] = []
        stuck = False
        while not stuck:
            try:
                waiting.append(dial(folder, tag))
            except Unreachable:
                stuck = True
        sweep(folder)
        assert os.listdir(folder) == [f"{tag}.sock"]
        for each in waiting:
            each.close()


def test_a_place_that_cannot_be_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = place / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    # A path too long for a socket, a relative one, and one in which a file is in the way.
    for runtime in (str(place / ("x" * 100)), "relative", str(place / "file")):
        (place / "file").touch()
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        assert open_run_directory("one").is_relative_to(tempfile.gettempdir())


def test_which_servers_belong_together() -> None:
    def folder(cluster_id: str | None, module: str, path: str) -> str | None:
        return Identity(cluster_id, module, path).folder()

    # This process has no siblings that it could know of.
    assert folder(None, "app", "/socket.io") is None
    names = [folder("chat", "app", "/socket.io"), folder("chat", "app", "/socket.io"), folder("chat", "app", "/other")]
    names.append(folder("news", "app", "/socket.io"))
    assert len(set(names)) == 4


PROGRAM = """
import sys
from duplexio.workers.identity import Identity
print(Identity(sys.argv[1] or None, "app", "/socket.io").folder())
"""


def test_another_process_finds_the_same() -> None:
    def folder(cluster_id: str, **environment: str) -> str:
        command = [sys.executable, "-c", PROGRAM, cluster_id]
        ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=True)
        return ended.stdout.strip()

    assert folder("chat") == folder("chat") == folder("", DUPLEXIO_CLUSTER_ID="chat") != folder("news")
    assert folder("") == "None"


@pytest.mark.parametrize("cluster_id", ["", 3, b"chat"])
def test_names_that_are_none(cluster_id: object) -> None:
    with pytest.raises(ConfigurationError, match=r"cluster_id=.*expected a name"):
        Server(cluster_id=cluster_id)  # type: ignore[arg-type]


async def test_a_named_cluster_that_has_no_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has asked for it is told, instead of being left alone."""
    monkeypatch.setattr(os, "geteuid", lambda: 123_456)
    io = Server(cluster_id="chat", handle_signals=False)
    with pytest.raises(ConfigurationError, match=r"cluster_id='chat': no folder for the sockets of workers \("):
        await io.listen()


def test_a_loop_that_ends_without_a_word(place: Path) -> None:
    """The next has a tag of its own, and the first one's is nobody's."""
    io = Server(cluster_id="chat", handle_signals=False)

    async def ask() -> None:
        """As any ASGI server would, once."""
        scope = {"type": "http", "method": "GET", "path": "/socket.io/", "headers": []}

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def send(message: object) -> None: ...

        await io(scope, receive, send)

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(ask())
    first.close()
    (folder,) = (place / "duplexio").iterdir()

    def assert_own_sockets() -> None:
        tag = io.health()["tag"]
        assert sorted(path.name for path in folder.iterdir()) == [f"{tag}.bus", f"{tag}.sock"]

    assert_own_sockets()
    second.run_until_complete(ask())
    assert_own_sockets()
    second.run_until_complete(io.close())
    second.close()
    assert list((place / "duplexio").iterdir()) == []


async def test_a_worker_in_this_process_leaves_nothing(place: Path) -> None:
    io = Server(cluster_id="chat", handle_signals=False)
    for _ in range(2):
        async with await io.listen():
            health = io.health()
            assert (health["pid"], len(health["tag"])) == (os.getpid(), 4)
            (folder,) = (place / "duplexio").iterdir()
            assert sorted(path.name for path in folder.iterdir()) == [f"{health['tag']}.bus", f"{health['tag']}.sock"]
        assert list((place / "duplexio").iterdir()) == []
