"""Engine.IO packets, protocol 4: a type digit, then data.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md

A text packet stays one `bytes` object from the socket to the codec, its digit included, so that the hot case, a
message, is never copied. A binary packet is always a message and has no digit: its transport says that it is binary.
"""

from __future__ import annotations

from collections.abc import Hashable

from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol import websocket_frame

__all__ = [
    "CLOSE",
    "MESSAGE",
    "NOOP",
    "OPEN",
    "PING",
    "PONG",
    "PROTOCOL",
    "UPGRADE",
    "Message",
    "Outgoing",
    "check_type",
]

#: The version this module speaks, as clients write it in the query: `EIO=4`.
PROTOCOL = 4

# The type digits, as the first byte of a packet.
OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = b"0123456"

_NAMES = {
    OPEN: "open",
    CLOSE: "close",
    PING: "ping",
    PONG: "pong",
    MESSAGE: "message",
    UPGRADE: "upgrade",
    NOOP: "noop",
}


def check_type(packet: bytes) -> int:
    """The type digit of a text packet. Raises EnginePacketError where it has none."""
    if not packet or packet[0] not in _NAMES:
        raise EnginePacketError(f"an Engine.IO packet begins with a digit from 0 to 6, this one is {shown(packet)}")
    return packet[0]


class Message:
    """A message that is more than one small text: it has attachments, or many receivers.

    `text` has its digit, or is empty where a bare binary message is meant. The WebSocket bytes are made once, at the
    first receiver that needs them, and every other receiver is handed the same object.
    """

    __slots__ = ("_frames", "attachments", "key", "size", "text")

    def __init__(self, text: bytes, attachments: tuple[bytes, ...] = (), key: Hashable = None) -> None:
        self.text = text
        self.attachments = attachments
        self.size = len(text) + sum(map(len, attachments))
        #: Under which a newer message replaces this one while it waits; None: never.
        self.key = key
        self._frames: bytes | None = None

    def __len__(self) -> int:
        return self.size

    def frames(self) -> bytes:
        """All of it as unmasked WebSocket frames, ready to be written."""
        frames = self._frames
        if frames is None:
            text = [websocket_frame.text(self.text)] if self.text else []
            frames = self._frames = b"".join([*text, *map(websocket_frame.binary, self.attachments)])
        return frames

    def __repr__(self) -> str:
        return f"<Message {shown(self.text)} with {len(self.attachments)} attachments>"


#: What waits in an outbox: a text packet with its digit, or a message.
Outgoing = bytes | Message
