"""Switches: free among resident stages, else what loading costs."""

import pytest

from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.policy.cost import GIB, group_rate
from regrain_watchdog.policy.resident import Living
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.policy.search.switching import switch


def group(*stages, replicas=1, share=0.2):
    return Group(stages=stages, replicas=replicas, gpu=GpuShare(fraction=share, floor=share))


@pytest.fixture
def problem(make, machine):
    def build(weights=GIB):
        return Problem.of(
            make([[], [0]], [0.02, 0.03], [0.4, 0.8], slo=0.5, weights=weights), machine(cards=1)
        )

    return build


def test_a_fuse_among_resident_stages_is_free(problem):
    living = [Living(0, "s0", frozenset({"s0", "s1"})), Living(1, "s1", frozenset({"s0", "s1"}))]

    found = switch(living, Plan((group("s0", "s1", replicas=2),)), problem())

    assert found.is_free
    assert (found.seconds, found.dollars) == (0.0, 0.0)


def test_what_is_missing_is_reserved_while_it_loads(problem):
    living = [Living(0, "s0", frozenset({"s0"}))]
    asked = problem()

    found = switch(living, Plan((group("s0"), group("s1", replicas=2))), asked)

    assert dict(found.missing) == {"s1": 2}
    assert found.seconds == pytest.approx(0.05 + 0.5)
    rate = group_rate(group("s1", replicas=2), asked.app.profile, asked.prices, asked.card)
    assert found.dollars == pytest.approx(rate * found.seconds)


def test_another_share_is_free_but_where_a_replica_keeps_what_it_began_with(problem):
    asked, larger = problem(), Plan((group("s0", share=0.4),))

    moved, anew = (
        switch([Living(0, "s0", frozenset({"s0"}), share)], larger, asked) for share in (None, 0.2)
    )

    assert moved.is_free
    assert (dict(anew.missing), anew.dollars > 0) == ({"s0": 1}, True)
