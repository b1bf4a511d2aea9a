"""What the client's command prints: lines for a person, or one object of JSON a line."""

from __future__ import annotations

import datetime
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from duplexio.cli.client_hints import in_options
from duplexio.cli.client_shown import as_json, clean, compact_all

__all__ = ["Output"]

#: ANSI's colours, for terminals.
COLOURS = {"time": "2", "event": "1;36", "answer": "32", "note": "2", "error": "31"}


class Output:
    """Events and answers go to stdout; what happens to the connection goes to stderr, with JSON to stdout, too.

    Where `values` is on, stdout is for `value` alone. `before` and `after` are what a prompt wants to be written around
    a line on a terminal. `gone` is called when nobody reads stdout any more.
    """

    def __init__(self, json_lines: bool, values: bool) -> None:
        self.json_lines = json_lines
        self._values = values
        self.before: Callable[[], str] = str
        self.after: Callable[[], str] = str
        self.gone: Callable[[], None] = lambda: None
        self._closed = False
        #: The streams as they are without a prompt.
        self._own: dict[str, TextIO] = {"out": sys.stdout or _nowhere(), "err": sys.stderr or _nowhere()}
        for stream in self._own.values():
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def event(self, name: str, args: Sequence[Any]) -> None:
        """One that came."""
        if self.json_lines:
            self._object("event", {"event": name, "args": list(args)})
        else:
            stream = "err" if self._values else "out"
            shown = name if name.isprintable() and name and " " not in name else as_json(name)
            text = compact_all(args)
            line = f"{self._time(stream)} {self._coloured('event', clean(shown), stream)}"
            self._write(f"{line} {text}" if text else line, stream)

    def answer(self, kind: str, text: str, **fields: Any) -> None:
        """What a command asked for. The text is printed without the time; `fields` are what the object has."""
        if self.json_lines:
            self._object(kind, fields)
        else:
            stream = "err" if self._values else "out"
            for line in text.split("\n"):
                self._write(self._coloured("answer", clean(line), stream) if kind == "ack" else clean(line), stream)

    def note(self, kind: str, text: str, **fields: Any) -> None:
        """What happened to the connection."""
        self._said(kind, text, "note", fields)

    def error(self, kind: str, text: str, **fields: Any) -> None:
        """What went wrong."""
        self._said(kind, text, "error", fields)

    def value(self, value: Any) -> None:
        """The one thing that was asked for, as JSON on stdout."""
        self._write(self._dump(value, "out"), "out")

    def _said(self, kind: str, text: str, colour: str, fields: dict[str, Any]) -> None:
        if self.json_lines:
            self._object(kind, {**fields, "text": text})
        else:
            # A second line is the place in the first: it stands below it, whatever the time is.
            for line in text.split("\n"):
                self._write(self._coloured(colour, f"{self._now():%H:%M:%S} {clean(line)}", "err"), "err")

    def _object(self, kind: str, fields: dict[str, Any]) -> None:
        stream = "err" if self._values else "out"
        now = self._now().isoformat(timespec="milliseconds")
        self._write(self._dump({"type": kind, "time": now, **fields}, stream), stream)

    def _dump(self, value: Any, stream: str) -> str:
        return as_json(value, ascii_only=(self._own[stream].encoding or "").lower().replace("-", "") != "utf8")

    @staticmethod
    def _now() -> datetime.datetime:
        return datetime.datetime.now().astimezone()

    def _time(self, stream: str) -> str:
        now = self._now()
        return self._coloured("time", f"{now:%H:%M:%S}.{now.microsecond // 1000:03}", stream)

    def _coloured(self, what: str, text: str, stream: str) -> str:
        own = self._own[stream]
        if NO_COLOUR or not own.isatty():
            return text
        return f"\x1b[{COLOURS[what]}m{text}\x1b[0m"

    def _write(self, line: str, stream: str) -> None:
        if self._closed:
            return
        own = self._own[stream]
        target: TextIO = own
        if own.isatty():
            # A prompt may have put a stream of its own in front of the terminal.
            target = sys.stdout if stream == "out" else sys.stderr
            line = f"{self.before()}{line}\n{self.after()}"
        else:
            line += "\n"
        try:
            target.write(line)
            target.flush()
        except (OSError, ValueError):
            # Nobody reads any more, or the disk is full.
            self._closed = True
            self._silence(own)
            self.gone()

    @staticmethod
    def _silence(stream: TextIO) -> None:
        """Python flushes it once more when it ends, and would complain."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _nowhere() -> TextIO:
    """Where a stream was closed before the program began."""
    return open(os.devnull, "w", encoding="utf-8")


#: See no-color.org; a dumb terminal knows none either.
NO_COLOUR = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


#: How lines of the log begin that the command has words of its own for.
TOLD_ANYWAY = ("connected to ", "the connection to ", "cannot connect to ")


class LogLines(logging.Handler):
    """What the library logs, among the other lines; but for connections, of which the command tells by itself."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Of one record, its text."""
        text = in_options(record.getMessage())
        if text.startswith(TOLD_ANYWAY):
            return
        told = self._output.error if record.levelno >= logging.ERROR else self._output.note
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        told("log", text)
