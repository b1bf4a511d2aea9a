"""The prompt on a terminal, by readline and by prompt_toolkit: what a person sees and types."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from .command import ENVIRONMENT, SECONDS, serving

#: The terminal becomes the process's own, so that Ctrl+C reaches it. For readline, the optional library is as if it
#: were not there.
PROGRAM = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if os.environ["PROMPT"] == "readline":
    sys.modules["prompt_toolkit"] = None
from duplexio.cli.main import main
sys.exit(main())
"""


#: What a test is given for each.
both = pytest.mark.parametrize("prompt", ["readline", "prompt_toolkit"])


class Terminal:
    """What was written to it, and keys."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process, as_it_was: list[Any]) -> None:
        self.text = ""
        self.process = process
        self.as_it_was = as_it_was
        self._descriptor = descriptor
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65_536)
        except OSError:
            # The other end is closed.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.text += data.decode(errors="replace")
        self._changed.set()

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    async def see(self, pattern: str) -> str:
        """Until this is there; what came up to it is not looked at again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while (match := re.search(pattern, self.text)) is None:
                    self._changed.clear()
                    await self._changed.wait()
                self.text = self.text[match.end() :]
                return match[0]
        raise AssertionError(f"no {pattern!r} in {self.text!r}")

    async def settle(self) -> None:
        """Until it is connected, the prompt is there, and no more comes by itself."""
        await self.see("moved to websocket")
        await self.see("/>")

    @property
    def settings(self) -> list[Any]:
        """How the terminal treats keys and lines."""
        return termios.tcgetattr(self._descriptor)

    async def end(self) -> int:
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def terminal(
    *arguments: str, state: Path, prompt: str = "readline", columns: int = 80, **variables: str
) -> AsyncIterator[Terminal]:
    # Nobody here answers where the cursor is.
    variables |= {"PROMPT": prompt, "PROMPT_TOOLKIT_NO_CPR": "1"}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    as_it_was = termios.tcgetattr(theirs)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM, "client", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**ENVIRONMENT, "TERM": "xterm", "XDG_STATE_HOME": str(state), **variables},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process, as_it_was)
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


@both
async def test_a_conversation(tmp_path: Path, prompt: str) -> None:
    async with serving() as url, terminal(url, state=tmp_path, prompt=prompt) as person:
        await person.see("connected to http")
        await person.see(r"\x1b\[1;36mwelcome\x1b\[0m {\"name\":\"Zoë\"} <bytes 12: ")
        await person.see("/>")
        person.type("ack add 1 2\r")
        await person.see(r"ack add: 3 \([\d.]+ ms\)")
        await person.see("/>")
        person.type("emit echo [1\r")
        await person.see("argument 1 is no JSON: expecting ',' delimiter, at character 13")
        await person.see(r"\^")
        person.type("walk\r")
        await person.see("there is no command 'walk': `help` lists them")
        await person.see("/>")
        person.type("disconnect\r")
        await person.see("io client disconnect, as you wanted")
        person.type("emit echo\r")
        await person.see("not connected: `connect` does")
        person.type("connect\r")
        await person.see("connected to http")
        person.type("quit\r")
        assert await person.end() == 0


@both
async def test_a_line_that_is_being_typed_stays_below_what_comes(tmp_path: Path, prompt: str) -> None:
    async with serving() as url, terminal(url, "--timeout", "1", state=tmp_path, prompt=prompt) as person:
        await person.see("/>")
        person.type("ack never\r")
        await person.see("ack never")
        # It may be late, on a busy machine: what is shown behind the message is what counts.
        person.type("half a li")
        await person.see(r"(?s)no acknowledgement of never within 1 s.*?/>.*?half a li")
        # The rest of the line is still typed where it stood.
        person.type("ne\r")
        await person.see("there is no command 'half'")
        await person.see("/>")
        person.type("\x04")
        assert await person.end() == 0


@both
async def test_completion_and_history(tmp_path: Path, prompt: str) -> None:
    async with serving() as url:
        async with terminal(url, state=tmp_path, prompt=prompt) as person:
            await person.see("/>")
            person.type("em\techo one\r")
            await person.see("echoed")
            await person.see("/>")
            person.type("ack wel\t")
            await person.see("ack welcome")
            person.type("\x15")
            person.type("\x04")
            assert await person.end() == 0
        history = tmp_path / "duplexio" / "client_history"
        assert history.read_text() == "emit echo one\n"
        assert history.stat().st_mode & 0o777 == 0o600
        async with terminal(url, state=tmp_path, prompt=prompt) as person:
            await person.see("/>")
            person.type("\x1b[A")
            await person.see("emit echo one")
            person.type("\x15")
            person.type("\x04")
            assert await person.end() == 0


@pytest.mark.parametrize(("prompt", "mode"), [("readline", "emacs"), ("readline", "vi"), ("prompt_toolkit", "emacs")])
async def test_ctrl_c_clears_the_line_and_ends_on_an_empty_one(tmp_path: Path, prompt: str, mode: str) -> None:
    settings = tmp_path / "inputrc"
    settings.write_text(f"set editing-mode {mode}\n")
    async with serving() as url, terminal(url, state=tmp_path, prompt=prompt, INPUTRC=str(settings)) as person:
        await person.settle()
        person.type("half a li")
        await person.see("half a li")
        person.type("\x03")
        await person.see(r"\r\n[^/]*/>")
        person.type("ack add 1 2\r")
        await person.see("ack add: 3")
        await person.see("/>")
        # What is cleared is no line of the history; and within the line, it is cleared as a whole.
        person.type("\x1b[A")
        await person.see("add 1 2")
        person.type("\x1b[D\x1b[D\x03")
        await person.see(r"\r\n[^/]*/>")
        person.type("\x03")
        assert await person.end() == 130
    assert (tmp_path / "duplexio" / "client_history").read_text() == "ack add 1 2\n"


async def test_ctrl_c_as_a_signal_ends_it(tmp_path: Path) -> None:
    """Whatever has been typed: as of `kill -INT`."""
    async with serving() as url, terminal(url, state=tmp_path) as person:
        await person.see("/>")
        person.process.send_signal(signal.SIGINT)
        assert await person.end() == 130


@both
async def test_the_terminal_is_left_as_it_was(tmp_path: Path, prompt: str) -> None:
    async with serving() as url, terminal(url, state=tmp_path, prompt=prompt) as person:
        await person.settle()
        assert person.settings != person.as_it_was
        person.type("quit\r")
        assert await person.end() == 0
        assert person.settings == person.as_it_was


@both
async def test_a_server_that_goes_leaves_the_prompt(tmp_path: Path, prompt: str) -> None:
    async with serving() as url, terminal(url, state=tmp_path, prompt=prompt) as person:
        await person.see("/>")
        person.type("emit kick\r")
        await person.see("io server disconnect")
        person.type("status\r")
        await person.see("state +not connected")
        await person.see("/>")
        person.type("\x04")
        assert await person.end() == 0


async def test_a_plain_and_narrow_terminal(tmp_path: Path) -> None:
    """NO_COLOR: no colour at all; and no line of the help is longer than the terminal is wide."""
    async with serving() as url, terminal(url, state=tmp_path, columns=40, NO_COLOR="1") as person:
        await person.see("welcome {")
        person.type("help\r")
        shown = await person.see(r"(?s)help\r\n.*names of events\.")
        assert not re.search(r"\x1b\[[\d;]*m", shown)
        assert max(len(line) for line in shown.replace("\x1b[K", "").splitlines()) < 40
        await person.see("/> ")
        person.type("\x04")
        assert await person.end() == 0
