"""Sockets that the child of a fork does not keep.

What a program starts by `multiprocessing`, a pool among it, is a fork that has all that was open. It may outlive its
worker, and as long as it held one of these, nobody could see that the worker is dead.
"""

from __future__ import annotations

import os
import socket
import weakref

__all__ = ["unforked"]

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def unforked(made: socket.socket) -> socket.socket:
    """The same socket, which is this process' alone from now on."""
    _sockets.add(made)
    return made


def _give_up() -> None:
    descriptors = [found for found in (made.fileno() for made in list(_sockets)) if found >= 0]
    if not descriptors:
        return
    # Not closed: the parent's objects are in the child, and one that ends would close whoever has got its number.
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up)
