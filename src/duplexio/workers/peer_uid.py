"""Who is at the other end of a Unix socket, as the kernel says."""

from __future__ import annotations

import os
import socket
import struct
import sys

__all__ = ["is_ours"]

#: struct ucred of Linux: process, user, group.
_UCRED = struct.Struct("3i")
#: Where macOS has the same: SOL_LOCAL, LOCAL_PEERCRED; its struct xucred begins with a version and the user.
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1
_XUCRED = struct.Struct("2I")


def is_ours(connection: socket.socket) -> bool:
    """Whether the peer runs as the user that this process runs as. The directory keeps others out; this is the second
    lock, for a directory that somebody has opened."""
    try:
        if sys.platform == "linux":
            _, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        else:
            _, uid = _XUCRED.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    except (OSError, struct.error):
        return False
    return bool(uid == os.geteuid())
