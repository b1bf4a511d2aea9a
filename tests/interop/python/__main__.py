"""Runs every check and prints a line of JSON for each: ``{"name", "ok", "error"}``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial

from engineio.payload import Payload

from .clients import AsyncioClient, Client, ThreadedClient
from .scenario import CHECKS, Scenario

CHECK_SECONDS = 10.0

# A client on polling gives its session up where more than 16 packets come in one body, unless it is told otherwise.
Payload.max_decode_packets = 1000


async def main(kind: str, transport: str, url: str) -> None:
    dial = partial(make, kind, transport, url)
    scenario = Scenario(dial, transport)
    for check in CHECKS:
        error = None
        try:
            await asyncio.wait_for(check(scenario), CHECK_SECONDS)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        print(json.dumps({"name": check.__name__, "ok": error is None, "error": error}), flush=True)
    os._exit(0)  # what is still connected is gone at once, as a killed process is


def make(kind: str, transport: str, url: str) -> Client:
    transports = None if transport == "upgrade" else [transport]
    return {"asyncio": AsyncioClient, "threads": ThreadedClient}[kind](url, transports)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
