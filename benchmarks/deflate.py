"""What permessage-deflate costs: `python benchmarks/deflate.py`. Only what one run prints is worth comparing.

CPU of one message of 300 B, of 2 KB and of 20 KB, there and back; memory of a connection that has used it; a broadcast
to 1,000 receivers, compressed once for all and once for each.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from duplexio.compression import PerMessageDeflate, per_message_deflate_options
from duplexio.protocol.engine_packet import Message
from duplexio.protocol.permessage_deflate import Agreement, Deflate

CONNECTIONS = 500
RECEIVERS = 1000
WORDS = [
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
]


def text(size: int) -> bytes:
    """An event with an object of so many bytes."""
    dice = random.Random(size)
    body = b'42["news",{"id":%d,"text":"' % dice.getrandbits(40)
    while len(body) < size - 3:
        body += b"%s " % dice.choice(WORDS).encode()
    return body[: size - 3] + b'"}]'


def deflate(keeps: bool, level: int = 1, bits: int = 15, mem_level: int = 8) -> Deflate:
    options: PerMessageDeflate | None = per_message_deflate_options(
        {"threshold": 0, "level": level, "mem_level": mem_level}
    )
    assert options is not None
    return Deflate(Agreement(not keeps, not keeps, bits, bits), options)


def least(act: Callable[[], object], times: int) -> float:
    """Microseconds of CPU that it takes, undisturbed."""
    found = []
    for _ in range(15):
        begun = time.process_time()
        for _ in range(times):
            act()
        found.append((time.process_time() - begun) / times * 1e6)
    return min(found)


def resident() -> int:
    """KiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def payload(frame: bytes) -> bytes:
    return frame[2 if frame[1] < 126 else 4 if frame[1] == 126 else 10 :]


def messages() -> None:
    print("\nthe same message again and again, which flatters who keeps it")
    print("one message         bytes    out, us    in, us    to this many bytes")
    for size in (300, 2000, 20_000):
        for name, keeps, level in (("keeping", True, 1), ("forgetting", False, 1), ("forgetting", False, 6)):
            ours, message = deflate(keeps, level), text(size)
            out = least(lambda d=ours, m=message: d.text(m), max(20_000 // size, 10))  # type: ignore[misc]
            # A context that is kept would not take the same frame again: what comes in is measured without.
            inflating = deflate(False)
            data = payload(deflate(False, level).text(message))
            back = least(lambda d=inflating, x=data: d.decompress(x, 10**6), max(20_000 // size, 10))  # type: ignore[misc]
            print(f"{name} level {level:<2} {size:>9} {out:>10.1f} {back:>9.1f} {len(payload(ours.text(message))):>12}")


def memory() -> None:
    print("\none connection that has sent and received         KiB")
    # None goes before the next row: what it leaves would be used again.
    kept: list[list[Deflate]] = []
    for name, keeps, bits, mem_level in (
        ("keeping, 15 bits", True, 15, 8),
        ("keeping, 12 bits, mem_level 5", True, 12, 5),
        ("keeping, 9 bits, mem_level 1", True, 9, 1),
        ("forgetting", False, 15, 8),
    ):
        message = text(2000)
        data = payload(deflate(False, bits=bits).text(message))
        before = resident()
        connections = [deflate(keeps, bits=bits, mem_level=mem_level) for _ in range(CONNECTIONS)]
        kept.append(connections)
        for connection in connections:
            connection.text(message)
            connection.decompress(data, 10**6)
        print(f"{name:<45} {(resident() - before) / CONNECTIONS:>8.1f}")


def broadcast() -> None:
    print(f"\na broadcast to {RECEIVERS}, us of CPU for each receiver")
    for size in (300, 2000, 20_000):
        data = text(size)
        for name, keeps in (("once for all", False), ("once for each", True)):
            receivers = [deflate(keeps) for _ in range(RECEIVERS)]

            def send(receivers: list[Deflate] = receivers, data: bytes = data) -> None:
                message = Message(data)
                for receiver in receivers:
                    message.deflated(receiver)

            print(f"{name:<15} {size:>9} bytes {least(send, 1) / RECEIVERS:>10.2f}")


if __name__ == "__main__":
    memory()
    messages()
    broadcast()
