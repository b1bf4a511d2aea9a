"""The options of `duplexio client`: no more than argparse, so that the other commands do not pay for them."""

from __future__ import annotations

import argparse
import json
import math
import os
from enum import IntEnum
from typing import Any

__all__ = ["EXITS", "Exit", "add_client_options"]


class Exit(IntEnum):
    """What the command ends with."""

    OK = 0
    NOT_CONNECTED = 1
    USAGE = 2
    TIMEOUT = 3
    LOST = 4
    INTERRUPTED = 130


EXITS = {
    Exit.OK: "all went well",
    Exit.NOT_CONNECTED: "refused, or could not connect",
    Exit.USAGE: "wrong usage: an option, or a command that was read from a file",
    Exit.TIMEOUT: "no acknowledgement, or not the events that were waited for, in time",
    Exit.LOST: "the connection was lost, or ended by the server",
    Exit.INTERRUPTED: "ended by Ctrl+C",
}
DESCRIPTION = """\
Connects to a Socket.IO server. On a terminal it prints the events that come, and
has a prompt to send some: `help` lists its commands. Where stdin is no terminal,
commands are read from it line by line.
"""


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Adds them all."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = "exit codes:\n" + "\n".join(f"  {number:<4d} {text}" for number, text in EXITS.items())
    parser.add_argument(
        "url", metavar="URL", help="such as localhost:3000 or https://example.com; its path: a namespace"
    )
    parser.add_argument("-n", "--namespace", metavar="NAME", help="the namespace, where the URL does not say it")

    does = parser.add_argument_group("instead of the prompt")
    does.add_argument("--listen", action="store_true", help="print events until Ctrl+C")
    does.add_argument("--count", type=_count, metavar="N", help="the same, until N events have come")
    does.add_argument("--for", dest="seconds", type=_seconds, metavar="SECONDS", help="the same, for this long")
    does.add_argument(
        "--emit",
        action="append",
        nargs="+",
        default=[],
        metavar=("EVENT", "JSON"),
        help="emit an event; a word that is no JSON is a text, @FILE bytes; may be repeated",
    )
    does.add_argument("--wait-ack", action="store_true", help="print the acknowledgement of each on stdout, as JSON")
    does.add_argument(
        "--wait-event", metavar="NAME", help="print the arguments of the next such event on stdout, as JSON"
    )
    does.add_argument(
        "--timeout",
        type=_seconds,
        default=20.0,
        metavar="SECONDS",
        help="for each wait: connecting, --wait-ack, --wait-event (default: 20)",
    )
    parser.add_argument("--json", action="store_true", help="print an object of JSON a line: for jq")

    says = parser.add_argument_group("what the server is told")
    says.add_argument(
        "--auth",
        action="append",
        type=_auth,
        default=[],
        metavar="JSON",
        help="for its middlewares: an object of JSON, @FILE with one, or KEY=VALUE; may be repeated",
    )
    says.add_argument(
        "--header",
        action="append",
        type=_header,
        default=[],
        metavar="'NAME: VALUE'",
        help="of every request; may be repeated",
    )
    says.add_argument(
        "--query",
        action="append",
        type=_pair,
        default=[],
        metavar="KEY=VALUE",
        help="in the URL of every request; may be repeated",
    )

    how = parser.add_argument_group("how it connects")
    how.add_argument(
        "--transport",
        action="append",
        choices=["polling", "websocket"],
        help="may be repeated; the first one opens the connection (default: polling, then websocket)",
    )
    how.add_argument("--path", default="/socket.io", help="where the server's endpoint is (default: %(default)s)")
    how.add_argument(
        "--eio", type=int, choices=[3, 4], default=4, help="3: a server of Socket.IO 2 (default: %(default)s)"
    )
    how.add_argument(
        "--parser", choices=["json", "msgpack"], default="json", help="the server's (default: %(default)s)"
    )
    how.add_argument("--no-reconnect", action="store_true", help="do not connect again when the connection is lost")
    how.add_argument("--proxy", metavar="URL", help="http://, https://, socks5:// or socks4://, with user and password")
    tls = how.add_mutually_exclusive_group()
    tls.add_argument("--ca", type=_file, metavar="FILE", help="the certificate authority to trust, as PEM")
    tls.add_argument(
        "--insecure", action="store_true", help="trust any certificate: whoever is in between can read along"
    )


#: Thirty years: more than a timer of the operating system takes is no time to wait.
LONGEST = 1e9


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r}: seconds are expected, such as 5 or 0.5")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 is expected")
    return int(text)


def _file(text: str) -> str:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"no file {text!r}")
    return text


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r}: KEY=VALUE is expected")
    return key, value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not (name + value).isprintable():
        raise argparse.ArgumentTypeError(f"{text!r}: 'Name: value' is expected")
    return name.strip(), value.strip()


def _auth(text: str) -> dict[str, Any]:
    what = "the value"
    if text.startswith("@"):
        what = f"the file {text[1:]!r}"
        try:
            with open(text[1:], encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{what} cannot be read: {error}") from None
    elif text.lstrip()[:1] not in ("{", "[", '"') and "=" in text:
        return dict([_pair(text)])
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(
            f'{what} is no JSON: {error}; an object such as \'{{"token": "abc"}}\' is expected, or token=abc'
        ) from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{what} is no object of JSON, such as \'{{"token": "abc"}}\'')
    return value
