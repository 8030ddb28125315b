"""What a decision says of plans that were not taken, and of the load."""

import msgspec
import numpy as np
import pytest

from regrain.plan import Plan
from regrain_watchdog.control.decision import Decision, Shape, Told
from regrain_watchdog.policy.load import Arrivals


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


def test_what_requests_are_like_is_told_as_far_as_the_window_goes_and_survives_json():
    at = np.array([10 * cycle + i / 10 for cycle in range(9) for i in range(20)])  # 2 s on, 8 s off
    load = Arrivals(at, np.full(len(at), 300.0), np.arange(len(at), dtype=np.int32)[:, None] % 4, 90.0)

    told = Shape.of(load)

    assert list(told.bursts) == [1.0, 10.0]  # one count of 60 s tells nothing
    assert told.bursts[1.0] > 5
    assert told.bursts[10.0] == 0.0
    assert set(told.size.values()) == {300.0}
    assert told.widths[0][0.5] == 1.5
    assert msgspec.json.decode(msgspec.json.encode(told), type=Shape) == told


def test_of_no_requests_nothing_is_told():
    nothing = Arrivals(np.empty(0), np.empty(0), np.empty((0, 1), dtype=np.int32), 90.0)

    assert (Shape.of(nothing).bursts, Shape.of(nothing).size, Shape.of(nothing).widths) == (
        {},
        {},
        ({},),
    )
