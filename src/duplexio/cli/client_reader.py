"""Where commands come from: a prompt with prompt_toolkit, one with the standard library's readline, or a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from duplexio.cli.client_output import Output

__all__ = ["Complete", "Reader", "open_reader"]

#: Lines of the history that are kept.
KEPT_LINES = 1000
#: Bytes of a pipe that are read at once.
CHUNK = 65_536
ERASE_LINE = "\r\x1b[K"
#: What a line begins with that Ctrl+C has ended.
INTERRUPTED = "\x03"
#: For GNU readline: Ctrl+C hands the line over at once, as a comment of that beginning, in either mode of vi, too. No
#: other thread, such as that of signals, can clear what readline holds.
INTERRUPT_KEY = (
    f"set comment-begin {INTERRUPTED}",
    r'"\C-c": insert-comment',
    "$if mode=vi",
    "set keymap vi-move",
    r'"\C-c": insert-comment',
    "set keymap vi-insert",
    "$endif",
)


#: What the last word of this beginning of a line may be; each candidate is a whole word.
Complete: TypeAlias = Callable[[str], list[str]]


class Reader(Protocol):
    """`line` waits for the next one, and returns None at the end.

    On a terminal, Ctrl+C clears what has been typed; with nothing typed, `line` raises KeyboardInterrupt.
    """

    interactive: bool

    async def line(self) -> str | None: ...
    def close(self) -> None: ...


def open_reader(prompt: str, complete: Complete, output: Output) -> Reader:
    """The best there is."""
    if sys.stdin is None or not sys.stdin.isatty():
        return Pipe()
    if not sys.stdout.isatty():
        return Pipe(interactive=True)
    if os.environ.get("TERM") != "dumb" and importlib.util.find_spec("prompt_toolkit") is not None:
        return ToolkitPrompt(prompt, complete)
    return PlainPrompt(prompt, complete, output)


class History:
    """Lines that were typed, in a file of the user's own. One that cannot be written is done without."""

    def __init__(self) -> None:
        state = os.environ.get("XDG_STATE_HOME", "")
        # The specification has relative ones ignored.
        folder = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()
        self._file = folder / "duplexio" / "client_history"
        stored: list[str] = []
        with contextlib.suppress(OSError):
            stored = self._file.read_text(encoding="utf-8", errors="replace").splitlines()
        self.lines = stored[-KEPT_LINES:]
        self._stored = len(stored)

    def add(self, line: str) -> None:
        """Keeps it, unless it is empty or the same as the last one."""
        if not line.strip() or self.lines[-1:] == [line]:
            return
        self.lines.append(line)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stored += 1
            if self._stored > 2 * KEPT_LINES:
                del self.lines[:-KEPT_LINES]
                self._stored = len(self.lines)
                self._file.write_text("".join(f"{kept}\n" for kept in self.lines), encoding="utf-8")
                return
            # What was sent may be a secret.
            with open(
                os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8"
            ) as file:
                file.write(f"{line}\n")


class _InThread:
    """Lines that a function reads, one each time it is asked, in a thread that ends with the program.

    A thread, since a file cannot be watched by an event loop, and nothing else can read a line by readline.
    """

    def __init__(self, read: Callable[[], str | None]) -> None:
        self._read = read
        self._asked = threading.Semaphore(0)
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[str | None] = self._loop.create_future()
        threading.Thread(target=self._run, daemon=True, name="duplexio-lines").start()

    async def line(self) -> str | None:
        self._answer = self._loop.create_future()
        self._asked.release()
        return await self._answer

    def _run(self) -> None:
        line: str | None = ""
        while line is not None:
            self._asked.acquire()
            try:
                line = self._read()
            except (OSError, ValueError):
                line = None
            # The loop may have ended in the meantime.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver, line)

    def _deliver(self, line: str | None) -> None:
        if not self._answer.done():
            self._answer.set_result(line)


class Pipe:
    """What is no terminal: a file, or what another program writes. Or one without a prompt in sight."""

    def __init__(self, interactive: bool = False) -> None:
        self.interactive = interactive
        self._rest = b""
        self._ended = False
        self._descriptor = -1 if sys.stdin is None else sys.stdin.fileno()
        self._thread = _InThread(self._read)

    async def line(self) -> str | None:
        return await self._thread.line()

    def _read(self) -> str | None:
        """Not by `sys.stdin`: its lock, held by a thread that waits, would keep the program from ending."""
        while b"\n" not in self._rest and not self._ended:
            chunk = os.read(self._descriptor, CHUNK)
            self._ended = not chunk
            self._rest += chunk
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    def close(self) -> None: ...


class PlainPrompt:
    """`input`, with readline where Python has it; lines that are printed meanwhile go above what is being typed."""

    interactive = True

    def __init__(self, prompt: str, complete: Complete, output: Output) -> None:
        self._prompt = prompt
        self._output = output
        self._history = History()
        self._candidates = complete
        self._readline: Any = None
        self._reading = False
        self._restore = _terminal_as_it_is()
        with contextlib.suppress(ImportError):
            import readline

            self._readline = readline
            for line in self._history.lines:
                readline.add_history(line)
            readline.set_auto_history(False)
            readline.set_completer_delims(" \t")
            readline.set_completer(self._complete)
            if hasattr(readline, "set_pre_input_hook"):
                readline.set_pre_input_hook(self._prompted)
            if "libedit" in (readline.__doc__ or ""):
                # Ctrl+C stays a signal there, and ends the command.
                readline.parse_and_bind("bind ^I rl_complete")
            else:
                _terminal_without_interrupt()
                for setting in ("tab: complete", *INTERRUPT_KEY):
                    readline.parse_and_bind(setting)
        self._erase = "\n" if os.environ.get("TERM") == "dumb" else ERASE_LINE
        #: Whether a line was printed where the prompt was not there yet, or was about to be.
        self._disturbed = False
        output.before = lambda: self._erase if self._reading or self._erase == ERASE_LINE else ""
        output.after = self._below
        self._thread = _InThread(self._read)

    def _below(self) -> str:
        """What goes below a line: the prompt again, with what was typed behind it."""
        self._disturbed = not self._reading
        return self._prompt + self._typed() if self._reading else ""

    def _typed(self) -> str:
        text: str = self._readline.get_line_buffer() if self._readline is not None else ""
        return text

    def _prompted(self) -> None:
        """The prompt is there: from now on lines go above it."""
        self._reading = True
        if self._disturbed:
            print(self._erase + self._prompt, end="", flush=True)

    async def line(self) -> str | None:
        while (line := await self._thread.line()) is not None and line.startswith(INTERRUPTED):
            if line == INTERRUPTED:
                raise KeyboardInterrupt
        if line is not None and line.strip():
            self._history.add(line)
            if self._readline is not None:
                self._readline.add_history(line)
        return line

    def _read(self) -> str | None:
        self._disturbed = False
        # Without the hook, a line that comes just now finds the prompt below it twice.
        self._reading = not hasattr(self._readline, "set_pre_input_hook")
        try:
            line = input(self._prompt)
        except EOFError:
            return None
        self._reading = False
        return line

    def _complete(self, text: str, state: int) -> str | None:
        before = self._readline.get_line_buffer()[: self._readline.get_endidx()]
        found = [f"{word} " for word in self._candidates(before)]
        return found[state] if state < len(found) else None

    def close(self) -> None:
        """The thread may still wait, with the terminal as readline wants it."""
        self._output.before = self._output.after = str
        if self._reading:
            # The prompt's line has no end yet.
            print(flush=True)
        self._restore()


def _terminal_as_it_is() -> Callable[[], None]:
    try:
        import termios
    except ImportError:
        return lambda: None
    descriptor = sys.stdin.fileno()
    try:
        now = termios.tcgetattr(descriptor)
    except termios.error:
        return lambda: None

    def restore() -> None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, now)

    return restore


def _terminal_without_interrupt() -> None:
    """Ctrl+C becomes a key like any other."""
    import termios

    descriptor = sys.stdin.fileno()
    with contextlib.suppress(termios.error):
        settings = termios.tcgetattr(descriptor)
        settings[6][termios.VINTR] = bytes([os.fpathconf(descriptor, "PC_VDISABLE")])
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)


class ToolkitPrompt:
    """prompt_toolkit's: it keeps the line that is being typed below what is printed."""

    interactive = True

    def __init__(self, prompt: str, complete: Complete) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import DynamicCompleter, WordCompleter
        from prompt_toolkit.history import InMemoryHistory
        from prompt_toolkit.patch_stdout import patch_stdout
        from prompt_toolkit.shortcuts import CompleteStyle

        def completer() -> WordCompleter:
            line = self._session.default_buffer.document.text_before_cursor
            begun = line.rpartition(" ")[0]
            words = {f"{begun} {word} ".lstrip(): word for word in complete(line)}
            # `sentence`: the candidates are whole lines.
            return WordCompleter(list(words), sentence=True, display_dict=words)

        self._history = History()
        self._session: PromptSession[str] = PromptSession(
            prompt,
            history=InMemoryHistory(self._history.lines),
            completer=DynamicCompleter(completer),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
        )
        self._patched = patch_stdout(raw=True)
        self._patched.__enter__()

    async def line(self) -> str | None:
        while True:
            try:
                line: str = await self._session.prompt_async()
            except EOFError:
                return None
            except KeyboardInterrupt:
                # The next prompt begins with nothing typed.
                if not self._session.default_buffer.text:
                    raise
            else:
                self._history.add(line)
                return line

    def close(self) -> None:
        """What is printed from now on goes to the terminal itself."""
        self._patched.__exit__(None, None, None)
