"""Who is there, by a clock that the test moves."""

from __future__ import annotations

from duplexio.adapters.nodes import Nodes


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []
        self.nodes = Nodes(5.0, 10.0, lambda node: self.events.append((node,)), self._went)

    def _went(self, node: str, reason: str) -> None:
        assert node not in self.nodes.names, "told after it has happened"
        self.events.append((node, reason))


def test_coming_and_going() -> None:
    told = Told()
    told.nodes.heard("a", 0.0)
    told.nodes.heard("a", 1.0)
    told.nodes.heard("b", 1.0)
    told.nodes.lost("a", "closed")
    told.nodes.lost("a", "again")
    told.nodes.lost("never there", "")
    assert told.events == [("a",), ("b",), ("a", "closed")]
    assert told.nodes.names == ["b"]
    assert len(told.nodes) == 1


def test_not_heard_of() -> None:
    told = Told()
    for now in 0.0, 5.0, 10.0, 15.0:
        told.nodes.heard("a", now)
        if now == 0.0:
            told.nodes.heard("silent", now)
        told.nodes.check(now)
    assert told.events == [("a",), ("silent",), ("silent", "not heard of for 10 s")]
    told.nodes.heard("silent", 16.0)
    assert told.events[-1] == ("silent",)


def test_a_server_that_stood_still_takes_nobody_for_lost() -> None:
    told = Told()
    told.nodes.heard("a", 0.0)
    told.nodes.check(0.0)
    told.nodes.check(100.0)
    assert told.nodes.names == ["a"]
    told.nodes.heard("a", 101.0)
    told.nodes.check(105.0)
    assert told.nodes.names == ["a"]
    told.nodes.check(110.0)
    told.nodes.check(115.0)
    assert told.nodes.names == []
