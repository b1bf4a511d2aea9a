"""Counting, and the log that says each cause once for each address."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from duplexio.errors import ConfigurationError
from duplexio.observe import REMEMBERED_CAUSES, SHOWN_CHARACTERS, Counts, Reporter, shown

from .ends import joined, serving

logger = logging.getLogger("duplexio")


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_counts() -> None:
    counts = Counts()
    counts.count("a")
    counts.count("a", 2)
    assert counts["a"] == 3
    assert counts["never"] == 0
    copy = counts.snapshot()
    counts.count("a")
    assert copy == {"a": 3}


def test_a_fault_is_a_warning_once_for_each_cause_and_address(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    reporter = Reporter(counts, logger)
    with caplog.at_level(logging.DEBUG, "duplexio"):
        for cause, address in (("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")):
            reporter.fault(cause, address, f"text of {cause}")
    assert levels(caplog) == ["WARNING", "DEBUG", "WARNING", "WARNING", "DEBUG"]
    assert caplog.records[0].getMessage() == "1: text of a (said once per cause and address)"
    assert counts.snapshot() == {"fault.a": 4, "fault.b": 1}


def test_an_address_is_cut_and_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Behind a proxy it is what the client claims, of any length."""
    reporter = Reporter(Counts(), logger)
    reporter.fault("a", "x" * 10_000, "text")
    reporter.fault("b", "1\n2", "text")
    said = "text (said once per cause and address)"
    assert [record.getMessage() for record in caplog.records] == [
        "x" * SHOWN_CHARACTERS + f": {said}",
        f"1\\n2: {said}",
    ]
    assert max(len(address) for _, address in reporter._seen) == SHOWN_CHARACTERS


def test_the_table_of_what_was_said_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(Counts(), logger)
    caplog.set_level(logging.ERROR, "duplexio")
    for number in range(REMEMBERED_CAUSES):
        reporter.fault("a", str(number), "text")
    caplog.set_level(logging.DEBUG, "duplexio")
    reporter.fault("a", "0", "text")
    assert levels(caplog) == ["DEBUG"]
    caplog.clear()
    reporter.fault("a", "new", "text")
    reporter.fault("a", "0", "text")
    reporter.fault("a", "2", "text")
    # The oldest went to make room, then the next.
    assert levels(caplog) == ["WARNING", "WARNING", "DEBUG"]
    assert len(reporter._seen) == REMEMBERED_CAUSES


def test_a_failure_is_logged_every_time_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    counts = Counts()
    reporter = Reporter(counts, logger)
    for _ in range(2):
        try:
            raise ValueError("of a user's function")
        except ValueError as error:
            reporter.failure("it raised", error)
    assert levels(caplog) == ["ERROR", "ERROR"]
    assert caplog.text.count("ValueError: of a user's function") == 2
    assert counts["handler_errors"] == 2


def test_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Reporter(Counts(), logger).warning("text")
    assert levels(caplog) == ["WARNING"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "'a'"), (b"a", "b'a'"), (None, "None"), (5, "5"), ("a\nb\x1b[0m", "'a\\nb\\x1b[0m'"), ([1], "[1]")],
)
def test_what_a_log_line_shows(value: Any, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("value", ["x" * 10_000, b"x" * 10_000, ["x"] * 10_000, "\n" * 10_000, {"k": "x" * 10_000}])
def test_what_is_long_is_cut(value: Any) -> None:
    text = shown(value)
    assert len(text) == SHOWN_CHARACTERS + 1
    assert text.endswith("…")


async def test_an_observer_of_ones_own() -> None:
    class Mine:
        def __init__(self) -> None:
            self.names: list[str] = []

        def count(self, name: str, amount: int = 1) -> None:
            self.names.append(name)

    mine = Mine()
    async with serving(observer=mine) as io:
        with pytest.raises(ConfigurationError, match="counts: ask it"):
            io.counts["connections_opened"]
        client, _ = joined(io)
        client.drop()
    assert mine.names == ["connections_opened", "connections_closed"]


async def test_names_of_counters_never_come_from_a_client() -> None:
    async with serving() as io:
        client, _ = joined(io)
        client.emit("a name of the client's")
        client.send("40/a-namespace-of-the-client,", "4garbage")
        assert isinstance(io.counts, Counts)
        assert not any("client" in name for name in io.counts.snapshot())
