"""JSONP: polling for browsers that let no page read what another origin answers. A body is a call of a function there.

What a `POST` brings is a field of a form, its newlines written out, since forms change them.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_plus

from duplexio.errors import EnginePacketError

__all__ = ["callback_of", "unwrap", "wrap"]

_NEWLINE = re.compile(r"(\\)?\\n")
#: Line ends to JavaScript up to ES2018, and not to JSON.
_LINE_ENDS = {0x2028: r"\u2028", 0x2029: r"\u2029"}


def callback_of(index: str) -> bytes:
    """What the client calls its function; only the digits of the number it gave get there."""
    return b"___eio[%b]" % "".join(filter("0123456789".__contains__, index))[:20].encode()


def wrap(body: bytes, callback: bytes) -> bytes:
    """The script that gives this body, which is text, to the function."""
    text = json.dumps(body.decode(), ensure_ascii=False).translate(_LINE_ENDS)
    return b"%b(%b);" % (callback, text.encode())


def unwrap(form: bytes) -> bytes:
    """The body in a form. Raises EnginePacketError where it has no field `d`, or one that is not UTF-8."""
    for field in form.split(b"&"):
        name, _, value = field.partition(b"=")
        if name == b"d":
            try:
                text = unquote_plus(value.decode(), errors="strict")
            except UnicodeDecodeError as error:
                raise EnginePacketError(f"the form's field d is not UTF-8: {error.reason}") from error
            text = _NEWLINE.sub(lambda match: match[0] if match[1] else "\n", text)
            return text.replace(r"\\n", r"\n").encode()
    raise EnginePacketError("a form without the field d")
