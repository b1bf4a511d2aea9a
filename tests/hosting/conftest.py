"""What the tests of hosting share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from .hosts import Host, fast, plain


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """A server chains itself before the handlers of signals; none stays behind for the next test."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(params=[fast, plain])
def host(request: pytest.FixtureRequest) -> Host:
    """Each way to serve an application in the loop of the test."""
    return request.param  # type: ignore[no-any-return]
