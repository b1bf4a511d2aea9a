"""A client for asyncio: sends one request, prints the response, and is done. Run it with `python client.py`."""

import asyncio
import sys

import duplexio

socket = duplexio.connect(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:20111")
socket.on("connect", lambda: print("Connect to server by Socket.io", socket.id), inline=True)
socket.on("disconnect", lambda reason: print("Disconnect from server:", reason), inline=True)
socket.on("connect_error", lambda error: print("Connect error:", error, file=sys.stderr), inline=True)


async def main() -> None:
    async with socket:
        print('Send event "request":', {"data": "Send Request"})
        socket.emit("request", {"data": "Send Request"})
        print('Receive event "response":', await socket.receive("response"))


try:
    asyncio.run(main())
except (duplexio.ConnectError, duplexio.ConnectRefused):
    sys.exit(1)
