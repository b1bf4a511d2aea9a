"""Whose it is: a folder, or the process at the other end of a Unix socket, as the kernel says."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Folder", "is_ours", "make_folder"]

#: struct ucred of Linux: process, user, group.
_UCRED = struct.Struct("3i")
#: Where macOS has the same: SOL_LOCAL, LOCAL_PEERCRED; its struct xucred begins with a version and the user.
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1
_XUCRED = struct.Struct("2I")
#: How often a folder is made again that others remove while it is empty. Each of them does so once.
MAKING_ATTEMPTS = 1000


def is_ours(connection: socket.socket) -> bool:
    """Whether the peer runs as the user that this process runs as. The folder of the sockets keeps others out; this is
    the second lock, for a folder that somebody has opened."""
    try:
        if sys.platform == "linux":
            _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        else:
            _, uid = _XUCRED.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    except (OSError, struct.error):
        return False
    return bool(uid == os.geteuid())


class Folder(NamedTuple):
    """What is there under a folder's name. Anybody may have put it there, in a place where all may write.

    Attributes:
        is_folder: False for anything else; also for a link to a folder.
        user: whose it is.
        mode: who may do what, as `chmod` takes it.
    """

    is_folder: bool
    user: int
    mode: int


def make_folder(path: Path) -> Folder:
    """Makes it for this user alone where there is nothing, and tells what is there now. Raises OSError."""
    for _ in range(MAKING_ATTEMPTS):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        # Between the two, somebody who starts or ends may have removed it, since it was empty.
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            return Folder(stat.S_ISDIR(found.st_mode), found.st_uid, stat.S_IMODE(found.st_mode))
    raise FileNotFoundError(errno.ENOENT, "it goes as often as it is made")
