"""The directory of a bus, which nobody but the user may get into, and the sockets in it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from duplexio.errors import ConfigurationError
from duplexio.unix_owner import make_folder

__all__ = ["check_directory", "inode", "listens", "remove"]


def check_directory(directory: Path) -> None:
    """Makes it where it is missing. Raises ConfigurationError where others could put something into it, OSError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    found = make_folder(directory)
    if not found.is_folder:
        raise ConfigurationError(f"{directory} is not a directory")
    if found.user != os.geteuid():
        raise ConfigurationError(f"{directory} belongs to user {found.user}, not to {os.geteuid()}, who runs this")
    if found.mode & 0o077:
        # The user has named it, and may have opened it for a reason: it is not for us to close it.
        text = f"{directory} is open to others (mode {found.mode:o}): chmod 700, or name another one"
        raise ConfigurationError(text)


def listens(path: str) -> bool:
    """Whether somebody listens there. Connecting by a path takes no time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
        except BlockingIOError:
            # One that has more to accept than it can just now.
            return True
        except OSError:
            return False
    return True


def inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
