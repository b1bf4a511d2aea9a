"""How many calls stand between a WebSocket frame and the user's first line: each costs a tenth of a microsecond."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import uvloop
from websockets.asyncio.client import connect

from duplexio import Server, Socket

ALLOWED = 8


def test_an_event_enters_at_most_eight_python_frames_of_ours_before_its_handler() -> None:
    entered: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            entered.append(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")

    async def main() -> None:
        io = Server(handle_signals=False)

        @io.on("echo")
        async def echo(socket: Socket, data: Any) -> None:
            sys.setprofile(None)
            socket.emit("echo", data)

        async with await io.listen() as listening:
            address = f"ws://127.0.0.1:{listening.port}/socket.io/?EIO=4&transport=websocket"
            async with connect(address) as client:
                await client.recv()
                await client.send("40")
                await client.recv()
                for armed in (False, True):
                    await client.send('42["echo",{"some":"data"}]')
                    sys.setprofile(profile if armed else None)
                    await client.recv()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    ours = [name for name in entered if name.startswith("duplexio.")]
    first = ours.index("duplexio.engine.websocket.WebSocketTransport.on_ws_frame")
    assert 0 < len(ours[first:]) <= ALLOWED, ours[first:]
