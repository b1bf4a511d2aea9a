"""What the library says of its keyword arguments, in the words of the command: its options."""

from __future__ import annotations

import re

__all__ = ["in_options"]

#: What the library's errors name, and the option of the command that does the same; the first that fits.
OPTIONS = (
    (r"path=\.\.\.", "--path"),
    (r"eio=(\d)", r"--eio \1"),
    (r"\w*\(parser='(\w+)'\)", r"--parser \1"),
    (r"parser='(\w+)'", r"--parser \1"),
    (r"parser=\.\.\.", "--parser"),
    (r"extra_headers=\{'Authorization': \.\.\.\}", "--header 'Authorization: ...'"),
    (r"transports=\['(\w+)'\]", r"--transport \1"),
    (r"transports=\.\.\. names", "--transport names"),
    (r"proxy='([^']*)'", r"--proxy \1"),
    (
        r"ssl=\.\.\. takes an ssl\.SSLContext that trusts its authority",
        "--ca FILE names its authority, --insecure trusts any",
    ),
    (r"ssl=\.\.\. takes an ssl\.SSLContext that has one", "duplexio.connect takes one, this command does not"),
)


def in_options(text: str) -> str:
    """The text with the command's options where it has the library's."""
    for pattern, option in OPTIONS:
        text = re.sub(pattern, option, text)
    return text
