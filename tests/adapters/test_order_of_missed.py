"""In which order a client gets what two servers have kept for it."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from duplexio.adapters.session_transfer import in_order
from duplexio.protocol.cluster_message import CarriedEvent


def event(sender: str, number: int, age: float) -> CarriedEvent:
    return CarriedEvent((sender, number), age, 0, b"[]", [])


def names(events: list[CarriedEvent]) -> list[str]:
    return [f"{event.origin[0]}{event.origin[1]}" for event in events if event.origin is not None]


def test_what_came_late_to_one_of_them_is_in_its_place() -> None:
    missed = [event("a", 1, 3.0), event("b", 1, 1.0)]
    unseen = [event("a", 2, 2.0), event("b", 2, 0.5)]
    assert names(in_order(missed, unseen)) == ["a1", "a2", "b1", "b2"]


def test_one_sender_s_order_is_kept_though_it_came_late_to_the_first() -> None:
    assert names(in_order([event("a", 1, 1.0)], [event("a", 2, 3.0)])) == ["a1", "a2"]


def test_what_was_stored_for_one_client_may_be_anybody_s() -> None:
    own = CarriedEvent(None, 1.0, 0, b"[]", [])
    ordered = in_order([event("b", 1, 3.0), own], [event("a", 1, 2.0), event("a", 2, 0.0)])
    assert ordered[1] == own
    assert names(ordered) == ["b1", "a1", "a2"]


@st.composite
def kept(draw: st.DrawFn) -> tuple[list[CarriedEvent], list[CarriedEvent]]:
    """Two logs: each in the order of arrival there, what the second has more of each sender being what came later.

    Their ages are about right.
    """
    numbers: defaultdict[str, int] = defaultdict(int)
    logs = []
    for _ in range(2):
        ages = sorted(draw(st.lists(st.integers(0, 20), max_size=10)), reverse=True)
        log = []
        for exact in ages:
            age = exact + draw(st.floats(-2.0, 2.0))
            sender = draw(st.sampled_from("abc"))
            numbers[sender] += 1
            log.append(event(sender, numbers[sender], age))
        logs.append(log)
    return logs[0], logs[1]


@given(kept())
def test_nothing_is_lost_and_each_sender_s_order_is_kept(logs: tuple[list[CarriedEvent], list[CarriedEvent]]) -> None:
    missed, unseen = logs
    ordered = in_order(missed, unseen)
    assert sorted(names(ordered)) == sorted(names([*missed, *unseen]))
    by_sender: defaultdict[str, list[int]] = defaultdict(list)
    for each in ordered:
        assert each.origin is not None
        by_sender[each.origin[0]].append(each.origin[1])
    for sent in by_sender.values():
        assert sent == sorted(sent)
