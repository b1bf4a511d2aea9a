"""How the polling bodies of one session look: by protocol, by what its client can take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from duplexio.protocol import engine_packet, engine_payload, engine_payload3, jsonp
from duplexio.protocol.engine_packet import Binary, Outgoing

__all__ = ["PayloadFormat"]

TEXT = b"text/plain; charset=UTF-8"
OCTETS = b"application/octet-stream"
#: Node says text/plain, which browsers do not run where the answer has `X-Content-Type-Options: nosniff`.
SCRIPT = b"text/javascript; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """`base64`: the client takes no binary bodies; only protocol 3 has any. `callback`: of JSONP, else b""."""

    max_packets: int
    protocol: int = engine_packet.PROTOCOL
    base64: bool = False
    callback: bytes = b""

    @property
    def has_binary(self) -> bool:
        """Whether a body may be of `application/octet-stream`."""
        return self.protocol != engine_packet.PROTOCOL and not self.callback

    def decode(self, body: bytes, binary: bool) -> list[bytes | Binary]:
        """The packets of a body. Raises EnginePacketError."""
        if self.callback:
            body = jsonp.unwrap(body)
        if self.protocol == engine_packet.PROTOCOL:
            return engine_payload.decode(body, self.max_packets)
        decode = engine_payload3.decode_as_binary if binary else engine_payload3.decode
        return decode(body, self.max_packets)

    def encode(self, packets: Sequence[Outgoing]) -> tuple[bytes, bytes]:
        """A body, and its content type."""
        if self.protocol == engine_packet.PROTOCOL:
            body = engine_payload.encode(packets)
        else:
            binary = any(not isinstance(packet, bytes) and packet.attachments for packet in packets)
            if binary and not self.base64 and not self.callback:
                return engine_payload3.encode_as_binary(packets), OCTETS
            body = engine_payload3.encode(packets)
        return (jsonp.wrap(body, self.callback), SCRIPT) if self.callback else (body, TEXT)
