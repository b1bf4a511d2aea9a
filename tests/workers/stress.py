"""Many clients that keep asking, each of which meets any worker with each request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("stress.mjs")
#: Milliseconds between two questions of a client. Without a pause both cores would be busy, and other tests late.
PACE = 60


class Clients:
    def __init__(self, port: int, count: int, pace: int = PACE) -> None:
        """So many that poll, and so many that move to WebSocket, all of which are connected then.

        `pace`: milliseconds between two questions.
        """
        options = {"url": f"http://127.0.0.1:{port}", "polling": count, "upgrade": count, "pace": pace}
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

        assert self._process.stdout is not None
        try:
            # Nothing more comes before it is asked for.
            assert self._process.stdout.readline() == "connected\n"
        except BaseException:
            self.__exit__()
            raise

    def stop(self) -> list[dict[str, Any]]:
        """What became of each."""
        output, _ = self._process.communicate("stop\n", timeout=60)
        return json.loads(output)  # type: ignore[no-any-return]

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
