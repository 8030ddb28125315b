import pytest
from benchmarks.controller_bars import judge
from benchmarks.record import Results

LATE = "step, poisson, up: in force beyond the slowest load, worst of 1"
STEP = {
    "kind": "step",
    "arrivals": "poisson",
    "way": "up",
    "decided": 1.0,
    "shown": 0.5,
    "loads": 30.0,
    "settled_cost": 0.0,
    "settled_points": 0.0,
    "steady_cost": 0.0,
    "steady_points": 0.0,
    "true_cost": 0.0,
    "true_points": 0.0,
    "unanswered": 0,
}


def judged(row):
    results = Results(None)
    results.add(row)
    judge(results)
    return {one["name"]: one for one in results.lines if one["kind"] == "bar"}


def test_a_change_that_takes_longer_than_the_slowest_load_is_late():
    bar = judged({**STEP, "in_force": 31.0, "slowest": 2.0})[LATE]

    assert bar["value"] == 29.0
    assert not bar["met"]


@pytest.mark.parametrize("slowest", [{"slowest": 30.0}, {}], ids=["told", "of before"])
def test_a_change_that_takes_as_long_as_the_slowest_load_is_not(slowest):
    bar = judged({**STEP, "in_force": 31.0, **slowest})[LATE]

    assert bar["value"] == 1.0
    assert bar["met"]


def test_a_step_that_nobody_answered_is_late():
    nothing = {"decided": None, "in_force": None, "loads": None, "slowest": None}

    assert not judged({**STEP, **nothing})[LATE]["met"]
