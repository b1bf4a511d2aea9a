"""Engine.IO packets, protocol 4: a type digit, then data.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md

A text packet stays one `bytes` object from the socket to the codec, its digit included, so that the hot case, a
message, is never copied. A binary packet is always a message and has no digit: its transport says that it is binary.
"""

from __future__ import annotations

import binascii
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from duplexio.errors import EnginePacketError
from duplexio.observe import shown
from duplexio.protocol import websocket_frame

if TYPE_CHECKING:
    from duplexio.protocol.permessage_deflate import Deflate

__all__ = [
    "CLOSE",
    "MESSAGE",
    "NOOP",
    "OPEN",
    "PING",
    "PONG",
    "PROTOCOL",
    "UPGRADE",
    "Binary",
    "Message",
    "Outgoing",
    "check_type",
    "from_base64",
    "uncompressed",
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


def from_base64(text: bytes) -> bytes:
    """The bytes of a binary packet that came as text. Raises EnginePacketError for what is no base64."""
    # Node's decoder takes it in lines, as the Java client sends it, and without padding, as others do.
    joined = text.translate(None, b"\r\n") if b"\n" in text else text
    try:
        return binascii.a2b_base64(joined + b"=" * (-len(joined) % 4), strict_mode=True)
    except binascii.Error as error:
        raise EnginePacketError(f"a binary packet must be base64, this one is {shown(text)}: {error}") from error


class Binary(bytes):
    """A binary message that came, told from a text packet by its type."""

    __slots__ = ()


class Message:
    """A message that is more than one small text: it has attachments, or many receivers.

    `text` has its digit, or is empty where a bare binary message is meant. The WebSocket bytes are made once, at the
    first receiver that needs them, and every other receiver is handed the same object.
    """

    __slots__ = ("_frames", "attachments", "compress", "event", "key", "made", "size", "text")

    def __init__(
        self, text: bytes, attachments: tuple[bytes, ...] = (), key: Hashable = None, event: bool | None = None
    ) -> None:
        self.text = text
        self.attachments = attachments
        self.size = len(text)
        for attachment in attachments:
            self.size += len(attachment)
        #: Under which a newer message replaces this one while it waits; None: never.
        self.key = key
        #: Whether it may be dropped for a slow receiver, as only events may; None: its text tells.
        self.event = event
        #: The same in other forms, for receivers that need one: made once, by whoever knows the form.
        self.made: dict[Any, Any] | None = None
        #: False keeps it out of compression.
        self.compress = True
        self._frames: bytes | None = None

    def copy(self) -> Message:
        """The same message, of which nothing was made yet."""
        message = Message(self.text, self.attachments, self.key, self.event)
        message.compress = self.compress
        return message

    def __len__(self) -> int:
        return self.size

    def frames(self) -> bytes:
        """All of it as unmasked WebSocket frames, ready to be written."""
        frames = self._frames
        if frames is None:
            text = [websocket_frame.text(self.text)] if self.text else []
            frames = self._frames = b"".join([*text, *map(websocket_frame.binary, self.attachments)])
        return frames

    def deflated(self, deflate: Deflate) -> bytes:
        """The same for a receiver that takes compressed ones: made once for all whose compression keeps no context."""
        if not self.compress or self.size < deflate.threshold:
            return self.frames()
        if deflate.shared is None:
            return self._deflate(deflate)
        if self.made is None:
            self.made = {}
        frames: bytes | None = self.made.get(deflate.shared)
        if frames is None:
            frames = self.made[deflate.shared] = self._deflate(deflate)
        return frames

    def _deflate(self, deflate: Deflate) -> bytes:
        text = [deflate.text(self.text)] if self.text else []
        return b"".join([*text, *map(deflate.binary, self.attachments)])

    def __repr__(self) -> str:
        return f"<Message {shown(self.text)} with {len(self.attachments)} attachments>"


#: What waits in an outbox: a text packet with its digit, or a message.
Outgoing = bytes | Message


def uncompressed(packet: Outgoing) -> Message:
    """The packet, kept out of compression."""
    message = Message(packet) if isinstance(packet, bytes) else packet
    message.compress = False
    return message
