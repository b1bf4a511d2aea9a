"""The same client for a program without an event loop. Run it with `python client_blocking.py`."""

import sys

from duplexio import ConnectError, ConnectRefused, sync

socket = sync.connect(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:20111")
# Inline: each prints before the program goes on, not in a thread beside it.
socket.on("connect", lambda: print("Connect to server by Socket.io", socket.id), inline=True)
socket.on("disconnect", lambda reason: print("Disconnect from server:", reason), inline=True)
socket.on("connect_error", lambda error: print("Connect error:", error, file=sys.stderr), inline=True)

try:
    with socket:
        print('Send event "request":', {"data": "Send Request"})
        socket.emit("request", {"data": "Send Request"})
        print('Receive event "response":', socket.receive("response"))
except (ConnectError, ConnectRefused):
    sys.exit(1)
