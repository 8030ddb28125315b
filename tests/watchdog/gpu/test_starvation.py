"""Wide clients among narrow ones that fill the holes before them: each keeps its weight among the wide."""

from __future__ import annotations

import heapq
import random

import pytest

from regrain.wire.lease import Ask

QUANTUM, END = 0.01, 8.0


def had(arbiter, them: dict[int, float]) -> dict[str, float]:
    """Have clients renew leases of these shares all the time; return the SM-seconds that each had."""
    for client, share in them.items():
        arbiter.wants(client, share, seconds=QUANTUM)
    now, ending, rng = 0.0, [], random.Random(0)
    while now < END:
        for client, lease in arbiter.granted(now):
            part = rng.uniform(0.5, 1.0)
            heapq.heappush(ending, (now + part * QUANTUM, client, lease))
        now, client, lease = heapq.heappop(ending)
        arbiter.renew(client, 7, lease, Ask(1, them[client], QUANTUM), now)
    return {one.name: one.sm_seconds for one in arbiter.status(now).usage}


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_a_wide_client_has_its_weight_among_wide_ones_whatever_fills_the_holes(by_hand, weight):
    arbiter = by_hand(reserve_after=0.05)
    them = {
        arbiter.join("narrow", weight=0.5): 0.5,
        arbiter.join("small", weight=0.5, floor=0.0375): 0.5,
        arbiter.join("wide", weight=weight): 1.0,
        arbiter.join("broad", weight=0.5): 0.8,
        arbiter.join("large", weight=0.5): 0.8,
        arbiter.join("whole", weight=0.5): 1.0,
    }

    found = had(arbiter, them)

    assert found["wide"] / found["broad"] == pytest.approx(weight / 0.5, rel=0.15)
    assert found["large"] / found["broad"] == pytest.approx(1.0, rel=0.15)
