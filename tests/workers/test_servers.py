"""The workers of other servers find each other without being told."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosting.crowd import crowd
from tests.hosting.processes import ServerProcess, free_port, granian, plain_uvicorn, running

from .pairs import HERE
from .raw import Session

Command = Callable[[str, int], list[str]]


def uvicorn(application: str, port: int) -> list[str]:
    return plain_uvicorn(application, port, "--workers", "4")


def gunicorn(application: str, port: int) -> list[str]:
    worker = "uvicorn.workers.UvicornWorker"
    return ["-m", "gunicorn", application, "--workers", "4", "--worker-class", worker, "--bind", f"127.0.0.1:{port}"]


def gunicorn_preloading(application: str, port: int) -> list[str]:
    """The application is made once, and forked."""
    return [*gunicorn(application, port), "--preload"]


def hypercorn(application: str, port: int) -> list[str]:
    return ["-m", "hypercorn", application, "--workers", "4", "--bind", f"127.0.0.1:{port}"]


def four_granians(application: str, port: int) -> list[str]:
    return granian(application, port, "--workers", "4")


SERVERS: dict[str, Command] = {
    "uvicorn": uvicorn,
    "gunicorn": gunicorn,
    "gunicorn --preload": gunicorn_preloading,
    "hypercorn": hypercorn,
    "granian": four_granians,
}


def wait_serving(process: ServerProcess) -> int:
    port = process.wait_listening()
    process.wait_for(r"(?s)(?:(?:Application startup complete|Running on|Started worker-).*){4}")
    return port


def pids(port: int, sessions: int = 40) -> set[int]:
    """Of those who have answered."""
    return {Session(port).open().call(port, "pid") for _ in range(sessions)}


@pytest.mark.parametrize("name", SERVERS)
def test_clients_that_meet_any_of_them(name: str) -> None:
    with running(*SERVERS[name]("applications:io", free_port()), folder=HERE) as process:
        port = wait_serving(process)
        with crowd(f"http://127.0.0.1:{port}", polling=12, upgrade=12, websocket=2) as clients:
            report = clients.wait_connected()
            assert report.reasons == {}
            for _ in range(3):
                clients.echo()
            clients.echo(length=100_000)
            clients.hear(1000, 20)
            assert clients.report().reasons == {}
            # Behind this, one that leaves may have a request on its way.
            assert "Session ID unknown" not in process.log
        # It was no single one that served them all.
        assert len(pids(port)) > 1
        process.signal(signal.SIGTERM)
        process.wait(20)


def test_two_applications_do_not_see_each_other() -> None:
    with (
        running(*uvicorn("applications:io", free_port()), folder=HERE) as first,
        running(*uvicorn("applications:io", free_port()), folder=HERE) as second,
    ):
        ports = wait_serving(first), wait_serving(second)
        session = Session(ports[0]).open()
        for _ in range(8):
            response = session.ask(ports[1])
            assert response.text == '{"code":1,"message":"Session ID unknown"}'
        assert session.call(ports[0], "echo", 1) == [1]


def test_a_worker_alone_has_no_folder(tmp_path: Path) -> None:
    """What starts nobody else has nobody to meet."""
    command = plain_uvicorn("applications:io", free_port())
    with running(*command, folder=HERE, environment={"XDG_RUNTIME_DIR": str(tmp_path)}) as process:
        port = process.wait_listening()
        assert Session(port).open().call(port, "echo", 1) == [1]
        assert list(tmp_path.iterdir()) == []
