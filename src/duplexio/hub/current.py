"""Which loop a thread's handler belongs to."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

__all__ = ["loop"]

#: Set in the context of each function that runs in a thread.
loop: ContextVar[asyncio.AbstractEventLoop] = ContextVar("duplexio_loop")
