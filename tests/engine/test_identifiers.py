"""Identifiers: which they are, and that none is taken twice."""

from __future__ import annotations

import os
import re

import pytest

from duplexio.engine.identifiers import POOL, Identifiers


def test_none_is_taken_twice() -> None:
    identifiers = Identifiers()
    taken = [identifiers.take(length) for _ in range(POOL // 10) for length in (16, 20)]
    assert len(set(taken)) == len(taken)
    assert all(re.fullmatch("[A-Za-z0-9_-]{16}|[A-Za-z0-9_-]{20}", one) for one in taken)


def test_one_takes_as_much_as_is_drawn() -> None:
    identifiers = Identifiers()
    assert len(identifiers.take(1)) == 1
    assert len({identifiers.take(POOL) for _ in range(3)}) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_draws_its_own() -> None:
    identifiers = Identifiers()
    identifiers.take(16)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, identifiers.take(16).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read().decode() not in (identifiers.take(16), "")
