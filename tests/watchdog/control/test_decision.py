"""What a decision says of plans that were not taken."""

import pytest

from regrain.plan import Plan
from regrain_watchdog.control.decision import Decision, Told


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (2.0, "would cost as much"),
        (2.001, "would cost as much"),
        (3.0, "would cost 50% more"),
        (1.0, "would cost 50% less"),
    ],
)
def test_what_another_plan_would_cost_is_told_against_the_one_in_force(cost, said):
    present, other = (Told(plan=Plan(()), grain="a | b", cost=one, hit_rate=0.9) for one in (2.0, cost))
    candidates = (
        Told(plan=other.plan, grain=other.grain, cost=other.cost, hit_rate=other.hit_rate, verdict="BEST"),
    )
    decision = Decision(
        number=1, at=0.0, woken="period", reason="BEST", sentence="", present=present, candidates=candidates
    )

    assert decision.needs == (f"a | b: {said}, with 90.0% in time",)
