"""What waits for a connection: within both bounds, in order, and accounted for."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from duplexio.hub.send_buffer import SendBuffer

Step = tuple[bytes, int | None] | int | None
#: Adding a packet with or without an acknowledgement; forgetting one; taking all.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.binary(max_size=30), st.booleans()),
        st.integers(0, 20),
        st.none(),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 6), st.integers(0, 80), st.sampled_from(["drop_oldest", "drop_newest"]))
def test_against_a_list(
    steps: list[tuple[bytes, bool] | int | None], packets: int, size: int, policy: Literal["drop_oldest", "drop_newest"]
) -> None:
    buffer = SendBuffer(packets, size, policy)
    model: list[tuple[bytes, int | None]] = []
    number = 0
    for step in steps:
        if isinstance(step, tuple):
            number += 1
            held = (step[0], number if step[1] else None)
            model.append(held)
            expected = []
            while len(model) > packets or sum(len(packet) for packet, _ in model) > size:
                expected.append(model.pop(0 if policy == "drop_oldest" else -1))
            assert buffer.add(*held) == expected
        elif step is None:
            assert list(buffer.take()) == [packet for packet, _ in model]
            model.clear()
        else:
            buffer.forget(step)
            model = [held for held in model if held[1] != step]
        assert len(buffer) == len(model)
        assert buffer.numbers == {acknowledged for _, acknowledged in model if acknowledged is not None}
    assert list(buffer.take()) == [packet for packet, _ in model]
    assert len(buffer) == 0
