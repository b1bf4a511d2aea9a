"""The folder in which the workers of one application find each other: a socket for each, named by its tag."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from duplexio.unforked import unforked
from duplexio.unix_owner import is_ours, make_folder

__all__ = [
    "ALPHABET",
    "TAG_LENGTH",
    "Gone",
    "Unreachable",
    "claim_tag",
    "dial",
    "listen",
    "open_run_directory",
    "sweep",
]

#: A tag's characters are a session id's: three packages of Node's test for these.
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
TAG_LENGTH = 4
#: A path of a Unix socket has so many bytes on macOS, its end included; Linux has four more.
MAX_PATH = 104
#: Connections that wait to be accepted: all workers of a large machine may dial at once.
BACKLOG = 256
#: Folders that are looked at when a worker starts; more are another start's work.
SWEPT = 200
#: Seconds after which a name that was never made public is somebody's who died in between.
ABANDONED = 60.0
#: Whether a refused connection says for certain that nobody listens. Elsewhere a full backlog refuses, too.
REFUSED_IS_GONE = sys.platform == "linux"


class Gone(Exception):
    """Nobody claims the tag, or who did is dead."""


class Unreachable(Exception):
    """No connection can be made just now to whoever claims the tag."""


def open_run_directory(name: str) -> Path:
    """The folder of that name in this user's own place, made where it is missing.

    Raises OSError where there is no place that belongs to this user alone, or none with a short enough path.
    """
    wrong = []
    for place in _places():
        folder = place / name
        if len(os.fsencode(folder / ("t" * TAG_LENGTH + ".sock"))) >= MAX_PATH:
            wrong.append(f"{place}: too long for the path of a Unix socket")
            continue
        try:
            _make_private(place)
            _make_private(folder)
        except OSError as error:
            wrong.append(f"{place}: {error.strerror or error}")
        else:
            return folder
    raise OSError(f"no folder for the sockets of workers ({'; '.join(wrong)}); XDG_RUNTIME_DIR names one")


def _places() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        yield Path(runtime) / "duplexio"
    for temporary in dict.fromkeys((tempfile.gettempdir(), "/tmp")):
        yield Path(temporary) / f"duplexio-{os.geteuid()}"


def _make_private(folder: Path) -> None:
    """Raises OSError where it cannot be had for this user alone."""
    found = make_folder(folder)
    if not found.is_folder or found.user != os.geteuid():
        raise PermissionError(1, "it is another user's")
    if found.mode != 0o700:
        folder.chmod(0o700)


def claim_tag(folder: Path) -> tuple[str, socket.socket]:
    """A tag that nobody has, and the socket that listens under its name. Raises OSError."""
    while True:
        tag = "".join(secrets.choice(ALPHABET) for _ in range(TAG_LENGTH))
        try:
            return tag, listen(folder, tag)
        except FileExistsError:
            continue
        except FileNotFoundError:
            # Somebody who starts has removed the folder while it was empty.
            _make_private(folder)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


def listen(folder: Path, tag: str) -> socket.socket:
    """A socket that listens under that name. Raises FileExistsError where somebody has it, or OSError."""
    unnamed = folder / f".{tag}"
    listener = unforked(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        listener.setblocking(False)
        # Whoever starts removes sockets that refuse: it gets its name when it listens, and not before.
        listener.bind(os.fspath(unnamed))
        listener.listen(BACKLOG)
        try:
            os.link(unnamed, folder / f"{tag}.sock")
        finally:
            unnamed.unlink(missing_ok=True)
    except OSError:
        listener.close()
        raise
    return listener


def dial(folder: Path, tag: str, greeting: bytes = b"") -> socket.socket:
    """A connection to the worker of that tag, at once, and what is said on it first. Raises Gone, or Unreachable.

    The greeting is sent here, before the loop has made anything of the connection: one that says nothing is taken for a
    stranger's, and a worker that is busy may have many that are not its loop's yet.
    """
    path = folder / f"{tag}.sock"
    try:
        connection = unforked(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    except OSError as error:
        # This process has no descriptor left, which says nothing of the other.
        raise Unreachable(str(error)) from None
    connection.setblocking(False)
    try:
        connection.connect(os.fspath(path))
    except FileNotFoundError:
        connection.close()
        raise Gone from None
    except ConnectionRefusedError:
        connection.close()
        if REFUSED_IS_GONE:
            _remove(path)
        raise Gone from None
    except OSError as error:
        connection.close()
        raise Unreachable(str(error)) from None
    if not is_ours(connection):
        connection.close()
        raise Gone
    try:
        # A few bytes on a new connection do not have to wait.
        connection.send(greeting)
    except OSError:
        connection.close()
        raise Gone from None
    return connection


def sweep(folder: Path) -> None:
    """Removes what dead workers have left in the folder, and the folders beside it that nobody is in any more."""
    try:
        beside = [entry.path for entry in os.scandir(folder.parent) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in [os.fspath(folder), *beside[:SWEPT]]:
        with contextlib.suppress(OSError):
            _sweep_one(Path(path))
            # One with somebody in it cannot be removed.
            os.rmdir(path)


def _sweep_one(folder: Path) -> None:
    for name in os.listdir(folder):
        path = folder / name
        if name.startswith("."):
            if time.time() - path.lstat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)
        elif name.endswith(".sock") and REFUSED_IS_GONE:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                try:
                    probe.connect(os.fspath(path))
                except ConnectionRefusedError:
                    _remove(path)
                except OSError:
                    continue


def _remove(path: Path) -> None:
    """A dead worker's sockets: this one, and others by its tag."""
    with contextlib.suppress(OSError):
        path.with_suffix(".bus").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
