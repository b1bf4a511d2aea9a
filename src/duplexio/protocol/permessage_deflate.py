"""permessage-deflate: what an offer comes to, and the bytes of a message. RFC 7692.

A message carries in its first frame's RSV1 whether it is compressed. Its data are a raw deflate stream without the
last four bytes of an empty block, which is how each message ends.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

from duplexio.compression import PerMessageDeflate
from duplexio.protocol import websocket_frame

__all__ = ["Agreement", "CorruptData", "Deflate", "TooLarge", "negotiate"]

#: §7.2.1: taken off behind each message, and put back in front of the decoder. §7.2.2.
TAIL = b"\x00\x00\xff\xff"
#: The least window that zlib has for raw deflate; what it makes of 8 is 9, and so it is with clients.
LEAST_BITS = 9
MOST_BITS = 15

_TEXT, _BINARY = 1, 2

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: A name with its value, and what comes behind it. RFC 6455 §9.1.
_ELEMENT = re.compile(rf'[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?[ \t]*([;,]|$)')
_EMPTY = re.compile(r"[ \t,]*")
_BITS = re.compile(r"[89]|1[0-5]")

Offer = dict[str, str | None]


class Agreement(NamedTuple):
    """The parameters that both sides keep to. §7.1."""

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int


def negotiate(header: str, options: PerMessageDeflate) -> tuple[bytes, Agreement] | None:
    """The answer to a client's Sec-WebSocket-Extensions, and what it means; None: no compression.

    The first offer that can be kept is accepted. Never raises: what is malformed is declined.
    """
    for name, parameters in _offers(header):
        agreement = _agreement(parameters, options) if name == "permessage-deflate" else None
        if agreement is not None:
            return _answer(agreement, parameters), agreement
    return None


def _offers(header: str) -> Iterable[tuple[str, Offer]]:
    """The extensions that are offered, in the client's order of preference; none where one is malformed."""
    offers: list[tuple[str, Offer]] = []
    position = _end_of(_EMPTY, header, 0)
    while position < len(header):
        name, parameters, twice = "", Offer(), False
        while True:
            element = _ELEMENT.match(header, position)
            if element is None:
                return ()
            key, token, quoted, behind = element.groups()
            value = token if quoted is None else quoted
            if not name and value is None:
                name = key
            elif not name:
                return ()
            else:
                twice = twice or key in parameters
                parameters[key] = value
            position = element.end()
            if behind != ";":
                break
        if not twice:
            offers.append((name, parameters))
        position = _end_of(_EMPTY, header, position)
    return offers


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return position if found is None else found.end()


def _agreement(offer: Offer, options: PerMessageDeflate) -> Agreement | None:
    """What an offer comes to with these options; None where it is declined."""
    if not offer.keys() <= set(Agreement._fields):
        return None
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if offer.get(name) is not None:
            return None
    if "server_max_window_bits" in offer and not _is_bits(offer["server_max_window_bits"]):
        return None
    wanted = offer.get("client_max_window_bits")
    if wanted is not None and not _is_bits(wanted):
        return None
    server_bits = min(options["server_max_window_bits"], int(offer.get("server_max_window_bits") or MOST_BITS))
    client_bits = MOST_BITS
    if "client_max_window_bits" in offer:
        client_bits = min(options["client_max_window_bits"], int(wanted or MOST_BITS))
    elif options["client_max_window_bits"] < MOST_BITS:
        # §7.1.2.2: a client that does not offer it cannot be asked for it.
        return None
    if server_bits < LEAST_BITS:
        return None
    return Agreement(
        options["server_no_context_takeover"] or "server_no_context_takeover" in offer,
        options["client_no_context_takeover"] or "client_no_context_takeover" in offer,
        server_bits,
        client_bits,
    )


def _is_bits(value: str | None) -> bool:
    return value is not None and _BITS.fullmatch(value) is not None


def _answer(agreement: Agreement, offer: Offer) -> bytes:
    parts = ["permessage-deflate"]
    if agreement.server_no_context_takeover:
        parts.append("server_no_context_takeover")
    if agreement.client_no_context_takeover:
        parts.append("client_no_context_takeover")
    if agreement.server_max_window_bits < MOST_BITS or "server_max_window_bits" in offer:
        parts.append(f"server_max_window_bits={agreement.server_max_window_bits}")
    if agreement.client_max_window_bits < MOST_BITS:
        parts.append(f"client_max_window_bits={agreement.client_max_window_bits}")
    return "; ".join(parts).encode("ascii")


class CorruptData(Exception):
    """What came is no deflate stream."""


class TooLarge(Exception):
    """A message is over the limit when it is inflated."""


class Deflate:
    """The two ends of one connection's compression. Nothing is made before the first message that needs it."""

    __slots__ = (
        "_compressor",
        "_decompressor",
        "_inflate_bits",
        "_keeps",
        "_make",
        "_peer_keeps",
        "shared",
        "threshold",
    )

    def __init__(self, agreement: Agreement, options: PerMessageDeflate) -> None:
        #: Messages below are not compressed.
        self.threshold = max(options["threshold"], 1)
        self._make = options["level"], zlib.DEFLATED, -agreement.server_max_window_bits, options["mem_level"]
        self._keeps = not agreement.server_no_context_takeover
        self._peer_keeps = not agreement.client_no_context_takeover
        self._inflate_bits = -max(agreement.client_max_window_bits, LEAST_BITS)
        self._compressor: Any = None
        self._decompressor: Any = None
        #: Connections for which this is the same get the same bytes; None: this one's depend on what it got before.
        self.shared: Hashable = None if self._keeps else (self._make, self.threshold)

    def text(self, payload: bytes) -> bytes:
        """One text frame, compressed where that is worth it."""
        if len(payload) >= self.threshold:
            data = self._compress(payload)
            if data is not None:
                return websocket_frame.compressed(_TEXT, data)
        return websocket_frame.text(payload)

    def binary(self, payload: bytes) -> bytes:
        """One binary frame, in the same way."""
        if len(payload) >= self.threshold:
            data = self._compress(payload)
            if data is not None:
                return websocket_frame.compressed(_BINARY, data)
        return websocket_frame.binary(payload)

    def _compress(self, payload: bytes) -> bytes | None:
        """None: it would not become smaller. A context that is kept has seen it, so it has to be sent all the same."""
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(*self._make)
            if self._keeps:
                self._compressor = compressor
        data: bytes = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]
        return data if self._keeps or len(data) < len(payload) else None

    def decompress(self, data: bytes, limit: int) -> bytes:
        """A message of the peer's, of at most `limit` bytes; not more than that is ever inflated.

        Raises TooLarge and CorruptData; the connection cannot go on then.
        """
        decompressor = self._decompressor
        if decompressor is None:
            decompressor = zlib.decompressobj(self._inflate_bits)
        try:
            message: bytes = decompressor.decompress(data + TAIL, limit + 1)
        except zlib.error as error:
            raise CorruptData(str(error)) from None
        if len(message) > limit:
            raise TooLarge
        self._decompressor = decompressor if self._peer_keeps else None
        if decompressor.eof:
            # §7.2.3.4: a last block ends the stream; behind it comes the empty block, or what is left of that, alone.
            if decompressor.unused_data not in (b"\x00" + TAIL, TAIL):
                raise CorruptData("data behind the last block")
            self._decompressor = None
        return message
