"""The controller in closed loop: what it decides depends on nothing that comes later, and it pays."""

import msgspec
import numpy as np
import pytest

from regrain_watchdog.control.closed import World, drive, foreseeing
from regrain_watchdog.control.controller import Controller
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.simulate.predictor import Simulated


def decisions(course, until):
    return [msgspec.json.encode(one) for one in course.decisions if one.at <= until]


@pytest.mark.parametrize("predictor", [Analytic, lambda: Simulated(200)])
def test_nothing_that_comes_later_changes_a_decision_by_a_byte(problem, arriving, planned, predictor):
    early = arriving((4.0, 60.0), (25.0, 41.0))
    late = arriving((80.0, 40.0), seed=5)
    one = Arrivals(early.at[early.at <= 75.0], *(np.zeros(0), np.zeros((0, 0), np.int32)), 75.0)
    size = np.zeros(len(one.at) + len(late.at))
    at = np.concatenate([one.at, 75.5 + late.at])
    other = Arrivals(at, size, np.zeros((len(at), 0), np.int32), 116.0)
    world = World(problem=problem())

    first, second = (
        drive(Controller(problem(nodes=30), predictor()), world, load, planned(4.0))
        for load in (early, other)
    )

    told = decisions(first, 75.0)
    assert told == decisions(second, 75.0)
    assert any(one.plan is not None for one in first.decisions if one.at <= 75.0)
    assert decisions(first, 101.0) != decisions(second, 101.0)


def test_a_load_that_rises_is_served_by_another_plan_and_costs_less_than_serving_the_peak_all_the_time(
    problem, arriving, planned
):
    load = arriving((4.0, 120.0), (40.0, 120.0), (4.0, 240.0))
    world = World(problem=problem())

    adapted = drive(Controller(problem(), Analytic()), world, load, planned(4.0))
    kept = drive(None, world, load, planned(4.0))
    peak = drive(None, world, load, planned(42.0))

    assert adapted.switches
    assert adapted.hit_rate > kept.hit_rate + 0.2
    assert adapted.dollars < peak.dollars


def test_both_plans_and_what_loads_are_paid_for_during_a_change(problem, arriving, planned):
    load = arriving((4.0, 60.0), (40.0, 40.0))
    true = problem(load=5.0)

    course = drive(Controller(problem(), Analytic()), World(problem=true, period=10.0), load, planned(4.0))

    first = course.switches[0]
    assert first.at - first.decided == pytest.approx(
        true.app.profile.start + 5.0 * len(first.new.groups[0].stages)
    )
    ends = [*(one.at for one in course.switches), load.span]
    begins = [0.0, *ends[:-1]]
    plans = [first.old, *(one.new for one in course.switches)]
    alone = sum(true.cost(plan) * (end - begin) for plan, begin, end in zip(plans, begins, ends, strict=True))
    assert course.dollars > alone + true.prices.request * len(load)
    assert sum(period.offered for period in course.periods) == len(load)
    assert sum(period.hits for period in course.periods) == int((course.outcome == 1).sum())


def test_a_frozen_grain_is_never_changed(problem, arriving, planned):
    load = arriving((4.0, 60.0), (40.0, 90.0))
    first = planned(4.0, grain="fine")

    course = drive(Controller(problem(grain="fine"), Analytic()), World(problem=problem()), load, first)

    assert course.switches
    assert {one.new.grain for one in course.switches} == {first.grain}


def test_an_oracle_is_ready_before_the_load_comes(problem, arriving, planned):
    load = arriving((4.0, 60.0), (40.0, 60.0))
    oracle = Controller(problem(), Analytic(), foresight=foreseeing(load, 60.0))

    course = drive(oracle, World(problem=problem()), load, planned(4.0))

    assert course.switches[0].at < 60.0


def test_stages_that_are_slower_than_believed_lead_to_a_plan_with_more_room(problem, arriving, planned):
    load = arriving((20.0, 1800.0))  # a plan that failed is tried again after five minutes, then after ten
    world = World(problem=problem(slower=1.6))
    late = len(load) * 2 // 3

    kept = drive(None, world, load, planned(20.0))
    course = drive(Controller(problem(), Analytic()), world, load, planned(20.0))

    assert (kept.outcome[late:] == 1).mean() < 0.9
    assert (course.outcome[late:] == 1).mean() > 0.94


def test_a_controller_that_refines_its_profile_learns_what_stages_take_in_truth(problem, arriving, planned):
    believed = problem()
    stages = believed.app.manifest.stages
    refined = Refined(believed.app.profile, {stage.name: stage.max_size for stage in stages})
    controller = Controller(believed, Analytic(), refined=refined)

    drive(controller, World(problem=problem(slower=1.3)), arriving((20.0, 120.0)), planned(20.0))

    assert [refined.factor(stage.name) for stage in stages] == pytest.approx([1.3] * len(stages), rel=0.03)


def test_calls_that_end_while_nothing_comes_are_of_requests_as_large_as_those_that_came_last(
    problem, planned
):
    class Listening:
        def __init__(self):
            self.seen = []

        def observe(self, seen):
            self.seen += seen.seen

    listening = Listening()
    load = Arrivals(np.array([0.5]), np.array([1e6]), np.zeros((1, 0), np.int32), 4.0)

    drive(listening, World(problem=problem()), load, planned(4.0))

    assert listening.seen
    assert {one.size for one in listening.seen} == {1e6}
