"""Whose a folder is, or the process at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from duplexio.unix_owner import Folder, is_ours, make_folder


def test_a_peer_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert is_ours(one)
        other.close()
        assert is_ours(one), "the kernel knows of one that has gone, too"
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert not is_ours(one)


def test_a_socket_of_which_nobody_can_tell() -> None:
    with socket.socket(socket.AF_UNIX) as closed:
        closed.close()
        assert not is_ours(closed)


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "new") == Folder(True, os.geteuid(), 0o700)
    assert (tmp_path / "new").is_dir()


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert make_folder(tmp_path / "open") == Folder(True, os.geteuid(), 0o755)
    assert not make_folder(tmp_path / "file").is_folder
    assert not make_folder(tmp_path / "link").is_folder


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_another_users_folder(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, -1)
    assert make_folder(tmp_path / "theirs").user == 65534


def test_a_folder_that_others_remove_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts removes folders that are empty: here, thrice between making it and looking at it."""
    look, left = Path.lstat, [3]

    def removed_before(path: Path) -> os.stat_result:
        if left[0]:
            left[0] -= 1
            path.rmdir()
        return look(path)

    monkeypatch.setattr(Path, "lstat", removed_before)
    assert make_folder(tmp_path / "new").is_folder
    left[0] = -1
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "new")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "missing" / "new")
