"""The directory of a bus, and who is at the other end of a Unix socket: nobody but the user's own processes."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path

from duplexio.errors import ConfigurationError

__all__ = ["check_directory", "inode", "is_ours", "remove"]


def check_directory(directory: Path) -> None:
    """Makes it where it is missing. Raises ConfigurationError where others could put something into it, OSError."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"{directory} is not a directory")
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"{directory} belongs to user {found.st_uid}, not to {os.geteuid()}, who runs this")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigurationError(f"{directory} is open to others (mode {mode:o}): chmod 700, or name another one")


def is_ours(sock: socket.socket) -> bool:
    """Whether the other end is a process of the same user."""
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    else:
        # macOS: LOCAL_PEERCRED of SOL_LOCAL gives a struct xucred, whose second field it is.
        _, uid = struct.unpack("2I", sock.getsockopt(0, 1, 76)[:8])
    return bool(uid == os.geteuid())


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
