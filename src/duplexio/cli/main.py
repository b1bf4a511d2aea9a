"""`duplexio run module:attribute` serves an application by uvicorn with duplexio's own protocol classes.

`duplexio client URL` is in files of its own, which are loaded where it is asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.supervisors import ChangeReload

from duplexio.cli.client_arguments import add_client_options
from duplexio.cli.served import APPLICATION, FACTORY, HEALTH_PATH
from duplexio.errors import ConfigurationError
from duplexio.integrations.hosting import UvicornServer, bound_socket, configuration, log_config
from duplexio.workers.identity import CLUSTER_ID
from duplexio.workers.supervised import supervised
from duplexio.workers.supervisor import WORKER_TIMEOUT, Supervisor, check_workers

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Of the command, and of those below it."""

    def error(self, message: str) -> NoReturn:
        """The usage, and what was wrong with it."""
        if message.endswith("are required: URL"):
            # It may well be there: as the last word of --emit.
            message += "; it goes first, since --emit takes all the words behind it"
        super().error(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="duplexio", description="Socket.IO for Python.")
    parser.add_argument("--version", action="version", version=f"duplexio {metadata.version('duplexio')}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve an application", description="Serves an ASGI application or a Server.")
    run.add_argument("application", metavar="MODULE:ATTRIBUTE", help="such as app:io, or app:app")
    run.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    run.add_argument("--port", type=_port, default=3000, help="0 finds a free one (default: %(default)s)")
    run.add_argument("--app-dir", default=".", help="folder the module is in (default: the current one)")
    run.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="processes that serve (default: %(default)s)"
    )
    run.add_argument(
        "--worker-timeout",
        type=float,
        default=WORKER_TIMEOUT,
        metavar="SECONDS",
        help="a worker whose loop stands still for so long is replaced (default: %(default)g)",
    )
    run.add_argument("--reload", action="store_true", help="start anew when a file changes")
    run.add_argument("--reload-dir", action="append", metavar="DIR", help="watch this folder; may be repeated")
    run.add_argument("--factory", action="store_true", help="the attribute is a function that makes the application")
    run.add_argument("--root-path", default="", help="the path a proxy in front has cut off")
    run.add_argument("--ssl-certfile", metavar="FILE", help="serve TLS with this certificate chain")
    run.add_argument("--ssl-keyfile", metavar="FILE", help="its private key, where it is in a file of its own")
    run.add_argument("--ssl-keyfile-password", metavar="TEXT")
    run.add_argument("--forwarded-allow-ips", metavar="LIST", help="proxies whose X-Forwarded-For and -Proto count")
    run.add_argument("--log-level", default="info", choices=["critical", "error", "warning", "info", "debug", "trace"])
    run.add_argument(
        "--health-path",
        default="/healthz",
        metavar="PATH",
        help="where the state is told; '' for nowhere (default: %(default)s)",
    )
    run.add_argument("--access-log", action="store_true", help="a line for each request of the surrounding application")
    run.add_argument(
        "--timeout-graceful-shutdown",
        type=int,
        default=10,
        metavar="SECONDS",
        help="for requests that still run when all sessions have ended (default: %(default)s)",
    )
    run.add_argument(
        "--cluster-id",
        metavar="NAME",
        help="share sessions with the processes of this host that were given the same name",
    )
    add_client_options(commands.add_parser("client", help="connect to a Socket.IO server"))
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 or more")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's entry point; returns its exit code."""
    given = _parser().parse_args(arguments)
    if given.command == "client":
        from duplexio.cli import client

        return client.run(given)
    options = vars(given)
    del options["command"]
    command = [sys.executable, *(sys.orig_argv[1:] if arguments is None else ("-m", "duplexio", *arguments))]
    return _run(options.pop("application"), options.pop("app_dir"), options, command)


def _where(error: BaseException, folder: str) -> str:
    """The last line of the application that the error passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    return f"{os.path.relpath(frames[-1].filename, folder)} line {frames[-1].lineno}: " if frames else ""


def _run(application: str, folder: str, options: dict[str, Any], command: list[str]) -> int:
    """Serves; or, with several workers, has `command` serve, which is this one again."""
    given = supervised()
    if application.partition(":")[0].endswith(".py"):
        print(f"duplexio: {application!r}: expected a module, so without .py", file=sys.stderr)
        return 2
    if ":" not in application:
        print(f"duplexio: {application!r}: expected MODULE:ATTRIBUTE, such as {application}:io", file=sys.stderr)
        return 2
    for option in ("ssl_certfile", "ssl_keyfile"):
        if options[option] is not None and not os.path.isfile(options[option]):
            print(f"duplexio: --{option.replace('_', '-')}: no file {options[option]!r}", file=sys.stderr)
            return 2
    # Its servers read it when they are made.
    cluster_id = options.pop("cluster_id")
    if cluster_id:
        os.environ[CLUSTER_ID] = cluster_id
    # For this process, and for the one that --reload starts.
    folder = os.path.abspath(folder)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    workers, worker_timeout = options.pop("workers"), options.pop("worker_timeout")
    try:
        check_workers(workers, worker_timeout)
        if workers > 1 and options["reload"]:
            raise ConfigurationError("--reload serves with one process: without --workers")
    except ConfigurationError as error:
        print(f"duplexio: {error}", file=sys.stderr)
        return 2
    supervising = workers > 1 and given is None
    reload_options = {"reload": options.pop("reload"), "reload_dirs": options.pop("reload_dir") or [folder]}
    if not reload_options["reload"]:
        try:
            # A supervisor serves nothing: it would only keep the program's memory.
            if not supervising:
                import_from_string(application)
        except ImportFromStringError as error:
            print(f"duplexio: {error} Looked in {folder} (--app-dir)", file=sys.stderr)
            return 2
        except ConfigurationError as error:
            print(f"duplexio: {_where(error, folder)}{error}", file=sys.stderr)
            return 2
        reload_options = {}
    os.environ[APPLICATION] = application
    os.environ[HEALTH_PATH] = options.pop("health_path")
    if options.pop("factory"):
        os.environ[FACTORY] = "1"
    settings = {name: value for name, value in options.items() if value is not None}
    settings["log_config"] = log_config()
    config = configuration("duplexio.cli.served:application", factory=True, **reload_options, **settings)
    if supervising:
        return Supervisor(command, [bound_socket(config)], workers, worker_timeout).run()
    server = UvicornServer(config) if given is None else UvicornServer(config, began=given.begin, listen=given.listen)
    try:
        if given is not None:
            server.run(given.sockets)
        elif config.should_reload:
            ChangeReload(config, target=server.run, sockets=[bound_socket(config)]).run()
        else:
            server.run()
    except KeyboardInterrupt:
        pass
    return 0 if server.started or config.should_reload else 3
