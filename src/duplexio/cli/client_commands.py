"""The commands of the client's prompt."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from duplexio.cli.client_arguments import Exit
from duplexio.cli.client_session import Session
from duplexio.cli.client_shown import clean, compact
from duplexio.cli.client_words import Words, WrongWords, read_line
from duplexio.errors import AckTimeout, ConnectError, ConnectRefused, Disconnected, DuplexioError

__all__ = ["COMMANDS", "CommandFailed", "complete", "run_line", "send", "send_with_ack"]

#: Characters of a wrong line that are shown before the place, and behind it.
BEFORE, BEHIND = 40, 20


class CommandFailed(Exception):
    """`text` says why; `exit` is what a script ends with. Without a text it has been told."""

    def __init__(self, text: str, exit: Exit) -> None:
        super().__init__(text)
        self.text = text
        self.exit = exit


class Command(NamedTuple):
    """`run` gets the line, and where in it the command's own words begin."""

    takes: str
    does: str
    run: Callable[[Session, str, int], Awaitable[None]]


async def run_line(session: Session, line: str) -> None:
    """Does what a line says; an empty one and one with `#` say nothing. Raises CommandFailed."""
    words = line.split(maxsplit=1)
    if not words or words[0].startswith("#"):
        return
    command = COMMANDS.get(words[0])
    if command is None:
        raise CommandFailed(f"there is no command {words[0]!r}: `help` lists them", Exit.USAGE)
    start = line.index(words[0]) + len(words[0])
    if not command.takes and len(words) > 1:
        raise CommandFailed(f"{words[0]} takes nothing more: {words[1]!r}", Exit.USAGE)
    await command.run(session, line, start)


def complete(session: Session, before: str) -> list[str]:
    """What the last word of this beginning of a line may be: a command, or the name of an event behind one."""
    *first, last = before.split(" ")
    if not first:
        words = list(COMMANDS)
    elif len(first) == 1 and first[0] in COMMANDS and COMMANDS[first[0]].takes:
        words = sorted(name for name in session.names if name.isprintable() and not set(' "') & set(name))
    else:
        words = []
    return [word for word in words if word.startswith(last)]


def _read(session: Session, line: str, start: int) -> Words:
    try:
        words = read_line(line, start)
    except WrongWords as wrong:
        column = len(line) if wrong.column is None else wrong.column
        begin = max(0, column - BEFORE)
        before, behind = clean(line[begin:column]), clean(line[column : column + BEHIND])
        text = f"{wrong}, at character {column + 1}\n  {before}{behind}\n  {' ' * len(before)}^"
        raise CommandFailed(text, Exit.USAGE) from None
    return words


def tell_texts(session: Session, words: Words) -> None:
    """Which words were taken as texts: a mistyped number or name is seen by it."""
    for text in words.texts:
        session.output.note("text", f"{text} is no JSON: sent as the text {compact(text)}")


def send(session: Session, words: Words) -> None:
    """Emits an event. Raises CommandFailed for one that cannot be."""
    tell_texts(session, words)
    try:
        session.socket.emit(words.event, *words.args)
    except (DuplexioError, TypeError, ValueError) as error:
        raise CommandFailed(f"{words.event} cannot be sent: {error}", Exit.USAGE) from None


async def send_with_ack(session: Session, words: Words) -> object:
    """Emits an event and returns its acknowledgement. Raises CommandFailed."""
    tell_texts(session, words)
    try:
        return await session.socket.emit_with_ack(words.event, *words.args, timeout=session.timeout)
    except AckTimeout:
        text = f"no acknowledgement of {words.event} within {session.timeout:g} s"
        raise CommandFailed(text, Exit.TIMEOUT) from None
    except Disconnected as error:
        text = f"no acknowledgement of {words.event}: the connection was lost ({error.reason})"
        raise CommandFailed(text, Exit.LOST) from None
    except (DuplexioError, TypeError, ValueError) as error:
        raise CommandFailed(f"{words.event} cannot be sent: {error}", Exit.USAGE) from None


async def _emit(session: Session, line: str, start: int) -> None:
    words = _read(session, line, start)
    _check_active(session)
    send(session, words)
    if not session.socket.connected:
        session.output.note("text", f"not connected: {words.event} is sent when it is")


async def _ack(session: Session, line: str, start: int) -> None:
    words = _read(session, line, start)
    _check_active(session)
    began = time.perf_counter()
    value = await send_with_ack(session, words)
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    shown = " ".join(map(compact, value)) if isinstance(value, tuple) else compact(value)
    text = f"ack {words.event}: {shown} ({milliseconds:g} ms)"
    session.output.answer("ack", text, event=words.event, value=value, milliseconds=milliseconds)


def _check_active(session: Session) -> None:
    if not session.socket.active:
        raise CommandFailed("not connected: `connect` does", Exit.LOST)


async def _connect(session: Session, line: str, start: int) -> None:
    if session.socket.connected:
        session.output.note("text", f"already connected as {session.socket.id}")
        return
    session.left = False
    try:
        await session.socket.connect()
    except (ConnectError, ConnectRefused, Disconnected) as error:
        if not session.left:
            session.tell_error(error)
            raise CommandFailed("", Exit.NOT_CONNECTED) from None


async def _disconnect(session: Session, line: str, start: int) -> None:
    if not session.socket.active:
        session.output.note("text", "not connected")
        return
    session.left = True
    told = session.socket.connected
    # With nothing left of it, `connect` begins anew.
    await session.socket.io.close()
    if not told:
        session.output.note("text", "not connecting any more")


async def _status(session: Session, line: str, start: int) -> None:
    state = session.state
    shown = {True: "yes", False: "no", None: "-"}
    rows = [
        f"{name:<10} {shown.get(value, value) if value in (True, False, None) else value}"
        for name, value in state.items()
    ]
    session.output.answer("status", "\n".join(rows), **state)


async def _events(session: Session, line: str, start: int) -> None:
    rows = [
        f"{name}  {counts['received']} received, {counts['sent']} sent"
        for name, counts in sorted(session.names.items())
    ]
    session.output.answer("events", "\n".join(rows) or "none yet", events=session.names)


async def _help(session: Session, line: str, start: int) -> None:
    width = shutil.get_terminal_size().columns
    usages = [f"{name} {command.takes}".rstrip() for name, command in COMMANDS.items()]
    indent = max(map(len, usages)) + 2
    rows = []
    for usage, command in zip(usages, COMMANDS.values(), strict=True):
        if width < 2 * indent:
            rows += [
                usage,
                *textwrap.wrap(command.does, max(width - 3, 20), initial_indent="  ", subsequent_indent="  "),
            ]
        else:
            rows += textwrap.wrap(f"{usage:<{indent}}{command.does}", width - 1, subsequent_indent=" " * indent)
    rows += ["", *textwrap.wrap(ARGUMENTS, max(width - 1, 20))]
    session.output.answer("help", "\n".join(rows), commands=usages)


async def _quit(session: Session, line: str, start: int) -> None:
    raise EOFError


ARGUMENTS = (
    'JSON: values with spaces between them, such as 1 "two" {"three": [3]}; a bare word is a text, @photo.jpg the bytes'
    " of a file. Tab completes commands and the names of events."
)
COMMANDS = {
    "emit": Command("EVENT JSON...", "send an event", _emit),
    "ack": Command("EVENT JSON...", "send an event, and wait for the acknowledgement", _ack),
    "connect": Command("", "connect again", _connect),
    "disconnect": Command("", "leave the namespace", _disconnect),
    "status": Command("", "id, transport, namespace, and whether the session was recovered", _status),
    "events": Command("", "names of events that came or were sent", _events),
    "help": Command("", "this", _help),
    "quit": Command("", "disconnect and leave, as Ctrl+D does", _quit),
}
