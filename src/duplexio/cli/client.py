"""`duplexio client URL`: a prompt to a Socket.IO server, and one-shot commands for scripts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import ssl
import sys
from functools import partial
from typing import Any

from duplexio.cli.client_arguments import Exit
from duplexio.cli.client_commands import CommandFailed, complete, run_line, send, send_with_ack
from duplexio.cli.client_hints import in_options
from duplexio.cli.client_output import LogLines, Output
from duplexio.cli.client_reader import Reader, open_reader
from duplexio.cli.client_session import Session
from duplexio.cli.client_words import Words, WrongWords, read_words
from duplexio.client import ClientSocket, Manager
from duplexio.client_options import ClientOptions
from duplexio.errors import ConfigurationError, ConnectError, ConnectRefused, Disconnected
from duplexio.protocol.server_url import parse_server_url

__all__ = ["run"]

#: How long a server may take to end a connection that this side has left.
LEAVING_SECONDS = 5.0


def run(options: argparse.Namespace) -> int:
    """The command, to its end; returns its exit code."""
    try:
        events = _usage(options)
        options.tls = _tls(options)
    except (ConfigurationError, WrongWords) as error:
        print(f"duplexio: {in_options(str(error))}", file=sys.stderr)
        return Exit.USAGE
    output = Output(options.json, values=options.wait_ack or options.wait_event is not None)
    logger = logging.getLogger("duplexio")
    logger.addHandler(LogLines(output))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        return asyncio.run(_Client(options, events, output).run())
    except ConfigurationError as error:
        print(f"duplexio: {in_options(str(error))}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _usage(options: argparse.Namespace) -> list[Words]:
    """What is to be emitted. Raises ConfigurationError for options that do not go together."""
    options.listen = options.listen or options.count is not None or options.seconds is not None
    if options.wait_ack and not options.emit:
        raise ConfigurationError("--wait-ack belongs to --emit EVENT: without one there is no acknowledgement")
    if options.listen and options.wait_event is not None:
        raise ConfigurationError("--listen prints all events, --wait-event one: only one of the two")
    named = parse_server_url(options.url, options.path).namespace
    if options.namespace is not None and named != "/" and named.strip("/") != options.namespace.strip("/"):
        raise ConfigurationError(
            f"the URL's path says that the namespace is {named}, and --namespace that it is {options.namespace};"
            " where the server's endpoint has a path, --path says it"
        )
    if "," in (options.namespace or ""):
        raise ConfigurationError(f"--namespace {options.namespace}: no namespace has a comma in its name")
    options.namespace = named if options.namespace is None else options.namespace
    return [read_words(words) for words in options.emit]


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.ca is None and not options.insecure:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"--ca {options.ca}: no certificate in PEM format ({error})") from None
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _socket(options: argparse.Namespace) -> ClientSocket:
    auth: dict[str, Any] = {}
    for more in options.auth:
        auth |= more
    settings: ClientOptions = {
        "path": options.path,
        "query": dict(options.query),
        "extra_headers": dict(options.header),
        "eio": options.eio,
        "parser": options.parser,
        "reconnection": not options.no_reconnect,
        "timeout": options.timeout,
        "ssl": options.tls,
        "proxy": options.proxy,
        "auth": auth or None,
    }
    if options.transport:
        settings["transports"] = list(dict.fromkeys(options.transport))
    return Manager(options.url, **settings).socket(options.namespace)


class _Client:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, events: list[Words], output: Output) -> None:
        self._options = options
        self._events = events
        self._output = output

    async def run(self) -> Exit:
        """Connects, does what it was told, and leaves."""
        socket = _socket(self._options)
        session = Session(socket, self._output, self._options.timeout)
        working = asyncio.ensure_future(self._work(session))
        unread = False

        def gone() -> None:
            # Such as `head`, which has all it wants.
            nonlocal unread
            unread = True
            working.cancel()

        self._output.gone = gone
        try:
            return await working
        except asyncio.CancelledError:
            if not unread:
                raise
            return Exit.OK
        finally:
            session.leaving = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVING_SECONDS):
                    await socket.drain()
                    await socket.io.close()

    async def _work(self, session: Session) -> Exit:
        options = self._options
        expected = None if options.wait_event is None else session.expect(options.wait_event)
        counted = None if options.count is None else session.expect_many(options.count)
        try:
            await session.socket.connect()
        except (ConnectError, ConnectRefused, Disconnected) as error:
            session.tell_error(error)
            return Exit.NOT_CONNECTED
        ended = asyncio.ensure_future(session.socket.wait_disconnected())
        try:
            for words in self._events:
                await self._emit(session, words)
            if expected is not None:
                return await self._wait_for_event(expected, ended)
            if options.listen:
                return await self._listen(counted, ended)
            return Exit.OK if self._events else await self._follow(session)
        except CommandFailed as failed:
            self._output.error("error", failed.text)
            return failed.exit
        finally:
            ended.cancel()

    async def _emit(self, session: Session, words: Words) -> None:
        if self._options.wait_ack:
            self._output.value(await send_with_ack(session, words))
        else:
            send(session, words)

    async def _wait_for_event(self, expected: asyncio.Future[list[Any]], ended: asyncio.Future[Any]) -> Exit:
        name, seconds = self._options.wait_event, self._options.timeout
        await asyncio.wait((expected, ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if expected.done():
            args = expected.result()
            self._output.value(None if not args else args[0] if len(args) == 1 else args)
            return Exit.OK
        if ended.done():
            raise CommandFailed(f"no event {name}: the connection has ended", Exit.LOST)
        raise CommandFailed(f"no event {name} within {seconds:g} s", Exit.TIMEOUT)

    async def _listen(self, counted: asyncio.Future[None] | None, ended: asyncio.Future[Any]) -> Exit:
        waited = [ended] if counted is None else [ended, counted]
        await asyncio.wait(waited, timeout=self._options.seconds, return_when=asyncio.FIRST_COMPLETED)
        if counted is not None and counted.done():
            return Exit.OK
        if ended.done():
            return Exit.LOST
        if counted is not None:
            text = f"fewer than {self._options.count} events within {self._options.seconds:g} s"
            raise CommandFailed(text, Exit.TIMEOUT)
        return Exit.OK

    # Commands.

    async def _follow(self, session: Session) -> Exit:
        """Lines of a prompt, or of what is no terminal."""
        reader = open_reader(f"{session.socket.nsp}> ", partial(complete, session), self._output)
        try:
            return await (self._prompt(session, reader) if reader.interactive else self._script(session, reader))
        except KeyboardInterrupt:
            return Exit.INTERRUPTED
        finally:
            reader.close()

    async def _prompt(self, session: Session, reader: Reader) -> Exit:
        """Each command runs beside the prompt: one that waits keeps nobody from typing the next."""
        running: set[asyncio.Task[bool]] = set()
        leaving = False

        def finished(task: asyncio.Task[bool]) -> None:
            running.discard(task)

        try:
            while not leaving and (line := await reader.line()) is not None:
                task = asyncio.create_task(self._run_typed(session, line))
                running.add(task)
                task.add_done_callback(finished)
                # What can be done at once is seen before the next prompt.
                await asyncio.sleep(0)
                leaving = task.done() and task.result()
        finally:
            for task in running:
                task.cancel()
        return Exit.OK

    async def _run_typed(self, session: Session, line: str) -> bool:
        """Whether it was `quit`."""
        try:
            await run_line(session, line)
        except EOFError:
            return True
        except CommandFailed as failed:
            if failed.text:
                self._output.error("error", failed.text)
        return False

    async def _script(self, session: Session, reader: Reader) -> Exit:
        """One after the other; the first that fails is the last."""
        number = 0
        while (line := await reader.line()) is not None:
            number += 1
            try:
                await run_line(session, line)
            except EOFError:
                return Exit.OK
            except CommandFailed as failed:
                if failed.text:
                    self._output.error("error", f"line {number}: {failed.text}", line=number)
                return failed.exit
        return Exit.OK if session.left or session.socket.connected else Exit.LOST
