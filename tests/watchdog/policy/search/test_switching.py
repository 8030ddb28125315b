"""Switches: free among resident stages, else what loading costs; and which second plan can be kept ready."""

import pytest

from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.policy.cost import GIB, group_rate
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.resident import Living
from regrain_watchdog.policy.search.problem import Candidate, Problem
from regrain_watchdog.policy.search.switching import Switch, spare, switch


def group(*stages, replicas=1, share=0.2):
    return Group(stages=stages, replicas=replicas, gpu=GpuShare(fraction=share, floor=share))


def candidate(plan, problem, hit=0.99):
    prediction = Prediction(hit_rate=hit, p50=0.1, p95=0.1, p99=0.1, busy=(0.5,) * len(plan.groups))
    return Candidate(plan=plan, prediction=prediction, cost=problem.cost(plan))


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


@pytest.mark.parametrize(
    ("saving", "dwell", "pays"),
    [
        pytest.param(1.0, 20.0, True, id="long enough"),
        pytest.param(1.0, 14.0, False, id="too short"),
        pytest.param(0.0, 1e9, False, id="nothing to save"),
        pytest.param(9.0, 4.0, False, id="over before it serves"),
    ],
)
def test_a_switch_pays_if_it_earns_itself_back(saving, dwell, pays):
    assert Switch(missing={"s1": 1}, seconds=5.0, dollars=10.0).pays(saving, dwell) is pays


def test_a_second_grain_is_kept_ready_where_memory_allows(problem):
    asked = problem()
    split = Plan((group("s0"), group("s1")))
    fused = candidate(Plan((group("s0", "s1", replicas=2),)), asked)

    found = spare(split, [fused], asked)

    assert found is not None
    assert found.candidate is fused
    living = [
        Living(place, one.name, frozenset(found.resident[one.name])) for place, one in enumerate(split.groups)
    ]
    assert switch(living, Plan((group("s0", "s1"),)), asked).is_free


def test_no_second_grain_is_kept_beyond_memory_or_below_the_objective(problem):
    fused = Plan((group("s0", "s1"),))
    split = Plan((group("s0"), group("s1")))

    small = problem(weights=6 * GIB)
    assert spare(split, [candidate(fused, small)], small) is None
    roomy = problem()
    assert spare(fused, [candidate(split, roomy, hit=0.5)], roomy) is None
    assert spare(fused, [candidate(fused, roomy)], roomy) is None
