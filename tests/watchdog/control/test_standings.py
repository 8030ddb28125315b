"""What the controller makes plans of, as it learns how long the stages take."""

import math
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from regrain.plan import Plan
from regrain_watchdog.control.outlook import Expected
from regrain_watchdog.control.standings import PRESSED, Standings, Weighed
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.refine import Refined, Seen
from regrain_watchdog.policy.search.problem import Problem
from regrain_watchdog.policy.service import ServiceTime, at
from regrain_watchdog.policy.switch import Reason, Terms


@pytest.fixture
def refined(problem):
    """Return what was learned where calls of "look" take so many times what the profile says."""

    def learn(times):
        profile = problem().app.profile
        learned = Refined(profile, {"read": 4, "look": 4, "say": 4})
        for _ in range(400):
            learned.take(Seen(stage="look", share=0.3, units=1, calls=1, seconds=times * 0.05))
        return learned

    return learn


@pytest.fixture
def standings():
    def make(asked):
        return Standings(asked, Analytic(), Terms(attainment=0.95), risk=20.0, seed=0)

    return make


def test_plans_are_made_of_what_was_learned_and_of_nothing_else_that_is_new(
    problem, planned, refined, standings
):
    asked = problem(nodes=7)
    beside = [(planned(5.0), asked.app.profile)]
    asked = Problem(
        app=asked.app,
        node=asked.node,
        prices=asked.prices,
        limits=asked.limits,
        times=asked.times,
        beside=beside,
    )
    made = standings(asked)

    made.learn(refined(2.0))

    before, after = (at(one.times["look"], 1, 0.0, 0.3) for one in (asked, made.problem))
    assert after == pytest.approx(2 * before, rel=0.1)
    unchanged = [at(one.times["read"], 1, 0.0, 0.3) for one in (asked, made.problem)]
    assert unchanged[0] == unchanged[1]
    assert made.problem.beside is beside
    assert (made.problem.node, made.problem.limits) == (asked.node, asked.limits)


def test_a_stage_that_takes_as_long_as_its_profile_says_changes_nothing(problem, refined, standings):
    asked = problem()
    made = standings(asked)
    made.learn(refined(1.0))
    once = made.problem

    made.learn(refined(1.0))

    assert made.problem is once


def test_all_plans_are_sought_anew_once_stages_turn_out_to_take_longer(
    problem, arriving, planned, refined, standings
):
    """What was found before is the cheapest for times that were too short: none of it need be in time."""
    asked, load = problem(), arriving((10.0, 120.0))
    expected = Expected(load=load, rate=load.rate, peak=load.rate, dwell=600.0)
    present = planned(10.0)
    made = standings(asked)
    made.look(expected, present, living=(), now=0.0, anew=True)
    made.learn(refined(2.0))

    looks = made.look(expected, present, living=(), now=15.0, anew=False)

    fresh = standings(made.problem).look(expected, present, living=(), now=15.0, anew=True)
    assert max(one.hit_rate for one in looks) >= 0.95 > looks[0].hit_rate
    assert {one.plan for one in looks} == {one.plan for one in fresh}


@pytest.mark.parametrize(("is_fresh", "reason"), [(True, Reason.CHEAPER), (False, Reason.MARGIN)])
def test_a_plan_that_was_made_for_a_vague_rate_is_corrected_for_less(
    problem, arriving, planned, is_fresh, reason
):
    load = arriving((10.0, 120.0))
    made = Standings(problem(), Analytic(), Terms(attainment=0.95, saving=0.1), risk=20.0, seed=0)
    expected = Expected(load=load, rate=10.0, peak=10.0, dwell=1e6, is_fresh=is_fresh)
    present, other = (Weighed(plan=planned(10.0), cost=cost, hit_rate=0.99) for cost in (1.0, 0.95))

    (judged,) = made.verdicts(present, [other], expected)

    assert judged.verdict.reason is reason


def test_plans_are_old_once_time_has_passed_since_they_were_sought_or_more_comes(
    problem, arriving, planned, standings
):
    load = arriving((10.0, 120.0))
    expected = Expected(load=load, rate=10.0, peak=10.0, dwell=600.0)
    made = standings(problem())
    before = made.is_old(7.0, load.rate)

    made.look(expected, planned(10.0), living=(), now=7.0, anew=True)
    made.look(expected, planned(10.0), living=(), now=8.0, anew=False)

    again = [
        made.is_old(7.0 + seconds, more * load.rate)
        for seconds, more in ((0.0, 1.0), (PRESSED, 1.0), (0.0, 0.9), (0.0, 1.04))
    ]
    assert before
    assert again == [False, True, False, True]


def test_a_plan_that_sheds_at_the_peak_does_not_bear_it_though_it_is_not_full(
    problem, arriving, planned, standings
):
    asked, load = problem(slower=2.5), arriving((8.0, 120.0))
    made = standings(asked)
    small, large = (Weighed(plan=planned(rate, slower=2.5), cost=1.0, hit_rate=0.96) for rate in (8.0, 20.0))
    expected = Expected(load=load, rate=8.0, peak=16.0, dwell=600.0)
    model = make_model(asked.app, small.plan, asked.times)
    there = Analytic().predict(model, load.scaled(16.0))

    assert (max(there.busy) < 0.97, there.hit_rate < 0.85) == (True, True)
    assert [made.bears_peak(one, large, expected) for one in (small, large)] == [False, True]
    assert made.bears_peak(small, small, expected)


def test_the_peaks_of_a_bursty_load_do_not_count_beside_its_hit_rate(problem, arriving, planned, standings):
    load = arriving((10.0, 120.0))
    made = standings(problem())
    small, large = (Weighed(plan=planned(rate), cost=1.0, hit_rate=0.99) for rate in (4.0, 40.0))

    bears = [
        made.bears_peak(
            small, large, Expected(load=load, rate=10.0, peak=40.0, dwell=1e6, is_bursty=is_bursty)
        )
        for is_bursty in (False, True)
    ]

    assert bears == [False, True]


def test_a_guess_is_corrected_for_a_few_percent_and_what_is_known_is_not(
    problem, arriving, planned, standings
):
    """A saving that would earn back what the present plan costs in the seconds that a regret is charged at."""
    load = arriving((10.0, 120.0))
    known = Expected(load=load, rate=load.rate, peak=load.rate, dwell=300.0)
    present = Weighed(plan=planned(10.0), cost=1.0, hit_rate=0.99)
    other = Weighed(plan=planned(20.0), cost=0.95, hit_rate=0.99, charge=1.0)

    verdicts = [
        standings(problem()).verdicts(present, [other], one)[0].verdict.reason
        for one in (known, replace(known, is_fresh=True))
    ]

    assert verdicts == [Reason.CHARGE, Reason.CHEAPER]


@pytest.mark.parametrize(("off", "is_known"), [(1.0, False), (1.12, True)])
def test_calls_that_are_unlike_are_no_news_of_the_stage_and_a_stage_that_is_slower_is(
    problem, standings, *, off, is_known
):
    """What is learned of calls with a spread of 0.4 wanders by some percent for ever."""
    asked = problem()
    profile = asked.app.profile
    noisy = structs.replace(
        profile,
        stages={
            name: structs.replace(stage, points=tuple(structs.replace(one, cv=0.4) for one in stage.points))
            for name, stage in profile.stages.items()
        },
    )
    asked = replace(asked, app=replace(asked.app, profile=noisy))
    made, learned, rng = (
        standings(asked),
        Refined(noisy, {"read": 4, "look": 4, "say": 4}),
        np.random.default_rng(1),
    )
    times = ServiceTime.of("look", noisy.stages["look"])

    def call(times_slower, calls):
        found = set()
        for _ in range(calls):
            each = at(times, 1, 0.0, 0.3) * times_slower * rng.gamma(6.25, 1 / 6.25)
            learned.take(Seen(stage="look", share=0.3, units=1, calls=1, seconds=each))
            made.learn(learned)
            found.add(id(made.problem))
        return len(found)

    call(1.0, 1000)

    assert (call(off, 1000) > 1) is is_known


def test_an_app_that_was_never_profiled_goes_on_learning(problem, standings):
    """Its profile has points that nobody measured, which what was learned does not tell of."""
    asked = problem()
    stages = asked.app.profile.stages
    bare = structs.replace(
        asked.app.profile, stages={name: structs.replace(one, points=()) for name, one in stages.items()}
    )
    learned = Refined(bare, dict.fromkeys(stages, 4))

    def serve(times_slower):
        for name in stages:
            for units in (1, 2, 4):
                each = 0.01 * units * times_slower
                learned.take(Seen(stage=name, share=0.3, units=40 * units, calls=40, seconds=40 * each))

    serve(1.0)
    made = standings(replace(asked, app=replace(asked.app, profile=learned.profile())))
    made.learn(learned)
    before = made.problem
    made.learn(learned)
    assert made.problem is before

    serve(2.0)
    made.learn(learned)

    assert made.problem is not before
    assert len(learned.known()) == len(learned.errors())


def test_one_point_that_was_measured_badly_bars_no_stage_from_being_learned(problem, standings):
    asked = problem()
    profile = asked.app.profile
    odd = structs.replace(
        profile,
        stages={
            name: structs.replace(one, points=(structs.replace(one.points[0], cv=1.5), *one.points[1:]))
            for name, one in profile.stages.items()
        },
    )
    made = standings(replace(asked, app=replace(asked.app, profile=odd)))
    learned = Refined(odd, dict.fromkeys(odd.stages, 4))
    made.learn(learned)
    before = made.problem
    look = ServiceTime.of("look", odd.stages["look"])

    for _ in range(400):
        seconds = 1.13 * at(look, 1, 0.0, 0.3)
        learned.take(Seen(stage="look", share=0.3, units=1, calls=1, seconds=seconds))
    made.learn(learned)

    assert made.problem is not before


def test_a_plan_that_was_not_looked_at_is_judged_where_there_is_room_for_it(
    problem, standings, arriving, planned
):
    asked, plan = problem(), planned(20.0)
    load = arriving((20.0, 60.0))

    assert standings(asked).judged(plan, [], load, ()).plan == plan
    full = replace(asked, beside=((planned(30.0), asked.app.profile),) * 3)
    assert standings(full).judged(plan, [], load, ()) is None


def test_nothing_is_said_of_a_plan_that_was_never_measured_alike(problem, standings, arriving, planned):
    plan, load = planned(20.0), arriving((20.0, 60.0))
    odd = Plan(
        tuple(structs.replace(group, gpu=structs.replace(group.gpu, fraction=0.05)) for group in plan.groups)
    )
    made = standings(problem())

    assert math.isnan(made.hits(odd, load))
    assert made.bears(Weighed(plan=odd, cost=1.0, hit_rate=0.99), load) is None
    assert made.bears(Weighed(plan=plan, cost=1.0, hit_rate=0.99), load) >= load.rate


def test_an_app_that_was_never_profiled_is_planned_with_the_shares_that_become_known(problem, standings):
    """The rule that stands in for measurements reaches one step beyond what was seen."""
    asked = problem(shares=(0.2, 0.4, 0.8))
    stages = asked.app.profile.stages
    bare = structs.replace(
        asked.app.profile, stages={name: structs.replace(one, points=()) for name, one in stages.items()}
    )
    learned = Refined(bare, dict.fromkeys(stages, 4))

    def serve(share):
        for name in stages:
            learned.take(Seen(stage=name, share=share, units=40, calls=40, seconds=0.4))

    serve(0.4)
    made = standings(replace(asked, app=replace(asked.app, profile=learned.profile())))
    made.learn(learned)
    before = made.problem.limits.shares

    serve(0.2)
    made.learn(learned)

    assert before == (0.2, 0.4, 0.8)
    assert made.problem.limits.shares == (0.1, 0.2, 0.4, 0.8)


def test_what_is_measured_of_stages_leaves_the_shares_as_they_were_limited(problem, standings, refined):
    made = standings(problem(shares=(0.3, 1.0)))

    made.learn(refined(2.0))

    assert made.problem.limits.shares == (0.3, 1.0)
