"""Serving an application from a script, until it is told to end: by this process, or by several that it starts."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from duplexio.errors import ConfigurationError
from duplexio.integrations import hosting
from duplexio.workers.supervised import supervised
from duplexio.workers.supervisor import WORKER_TIMEOUT, Supervisor, check_workers

__all__ = ["run"]

logger = logging.getLogger("duplexio")


def run(
    app: Any, host: str, port: int, workers: int = 1, worker_timeout: float = WORKER_TIMEOUT, **uvicorn_options: Any
) -> None:
    """Serves an application by uvicorn with our classes, until it is told to end."""
    check_workers(workers, worker_timeout)
    given = supervised()
    defaults: dict[str, Any] = {"access_log": False}
    if not logger.hasHandlers():
        # Nobody has set up logging: what this server says looks like what uvicorn says then.
        defaults["log_config"] = hosting.log_config()
    config = hosting.configuration(app, host=host, port=port, **{**defaults, **uvicorn_options})
    try:
        if given is not None:
            hosting.UvicornServer(config, began=given.begin, listen=given.listen).run(given.sockets)
        elif workers > 1:
            code = Supervisor(_this_script(), [hosting.bound_socket(config)], workers, worker_timeout).run()
            if code:
                sys.exit(code)
        else:
            hosting.UvicornServer(config).run()
    except KeyboardInterrupt:
        pass


def _this_script() -> list[str]:
    """What starts this program once more. Raises ConfigurationError."""
    file = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    if not Path(file).is_file() and "-c" not in sys.orig_argv:
        raise ConfigurationError(
            "run(workers=...) starts the program once more for each worker, and there is none here: put it into a file"
        )
    return [sys.executable, *sys.orig_argv[1:]]
