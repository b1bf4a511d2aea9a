"""What duplexio encodes, JavaScript clients read as the same values."""

from __future__ import annotations

from pathlib import Path

import pytest

from .batch import COUNT, SEED
from .encoders import ROUTES, expected, generate_sent
from .node import there


@pytest.mark.parametrize("name", ROUTES)
def test_clients_read_what_is_sent(name: str, tmp_path: Path) -> None:
    route = ROUTES[name]
    sent = [generate_sent(SEED, number) for number in range(COUNT // 10)]
    cases = [(route.client, route.messages(packets)) for packets in sent]
    with there(cases, tmp_path) as outcomes:
        wrong = [
            f"{messages}: {outcome} instead of {wanted}"
            for (_, messages), packets, outcome in zip(cases, sent, outcomes, strict=True)
            if outcome.packets != (wanted := expected(route, packets))
        ]
    assert not wrong, f"seed {SEED}: {len(wrong)} of {len(cases)}\n" + "\n".join(wrong[:20])
