"""Who tidies up temporary folders removes sockets of workers that live; and a runtime folder goes with its login."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .pairs import Pair, pair
from .raw import Session
from .test_supervisor import health, wait_until


def relays(workers: Pair, session: Session, port: int) -> bool:
    """Whether the worker at the port knows whose session it is."""
    return session.ask(port, "POST", b"3").status == 200


def remove_sockets(place: Path) -> None:
    for path in place.glob("*/*.sock"):
        path.unlink()


@pytest.mark.parametrize("remove", [remove_sockets, shutil.rmtree, lambda place: shutil.rmtree(place.parent)])
def test_workers_are_found_again(monkeypatch: pytest.MonkeyPatch, remove: Callable[[Path], None]) -> None:
    # A socket's path is short, and those of pytest's folders are not.
    with (
        tempfile.TemporaryDirectory() as base,
        monkeypatch.context() as patch,
    ):
        runtime, temporary = Path(base, "run"), Path(base, "tmp")
        runtime.mkdir()
        temporary.mkdir()
        patch.setenv("TMPDIR", str(temporary))
        removed_and_found(runtime, temporary, remove)


def removed_and_found(runtime: Path, temporary: Path, remove: Callable[[Path], None]) -> None:
    with pair("io", place=runtime) as workers:
        theirs = [Session(port).open() for port in (workers.owner_port, workers.other_port)]
        ours = theirs[::-1]
        remove(runtime / "duplexio")

        def both_are_found() -> bool:
            ports = (workers.owner_port, workers.other_port)
            return all(relays(workers, session, port) for session, port in zip(ours, ports, strict=True))

        wait_until(both_are_found)
        session = theirs[0]
        with session.upgrade(workers.other_port) as websocket:
            websocket.send('420["echo",1]')
            assert websocket.recv() == "430[[1]]"
        if not runtime.exists():
            # The next place, until the first is there again.
            assert len(list(temporary.glob("*/*/*.sock"))) == 2
            runtime.mkdir(mode=0o700)
        wait_until(lambda: len(list(runtime.glob("duplexio/*/*.sock"))) == 2)
        wait_until(lambda: len(list(runtime.glob("duplexio/*/*.bus"))) == 2)
        wait_until(lambda: list(temporary.glob("*/*/*")) == [])
        wait_until(lambda: health(workers.owner_port)["bus"]["servers"] == 1)
        assert relays(workers, theirs[1], workers.owner_port)
    assert list(temporary.glob("*/*/*.sock")) == []
