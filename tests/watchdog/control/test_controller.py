"""What the controller decides, and what it never does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from regrain.plan import Plan
from regrain_watchdog.control.controller import AGAIN, PERIOD, SHORTFALL, YOUNG, Controller, Habits
from regrain_watchdog.control.observation import living_of
from regrain_watchdog.control.outlook import SETTLING
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.resident import cast
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.switch import Reason


class Linear:
    """The hit rate falls as the load comes near to what the plan's stages can do; nothing else counts."""

    name = "linear"

    def predict(self, model, load, *, seed=0):
        busy = []
        for station in model.stations:
            each = sum(work.seconds[station.max_size, 0] for work in station.works) / station.max_size
            busy.append(load.rate * each / model.pools[station.pool].servers)
        fullest = max(busy)
        hit = float(np.clip(1.0 - 0.2 * fullest**4, 0.0, 1.0)) if fullest < 1 else max(0.0, 0.8 / fullest)
        return Prediction(hit_rate=hit, p50=0.1, p95=0.2, p99=0.3, busy=tuple(min(1.0, b) for b in busy))


class Broken:
    name = "broken"

    def predict(self, model, load, *, seed=0):
        raise ZeroDivisionError("no such luck")


def run(controller, sights, *, adopts=True):
    """Show a controller what is seen, and put what it decides in force by the next second."""
    made, plan = [], None
    for seen in sights:
        now = seen if plan is None else _under(seen, plan)
        decision = controller.observe(now)
        if decision is not None:
            made.append(decision)
            if decision.plan is not None and adopts:
                plan = decision.plan
    return made


def _under(seen, plan):
    return replace(seen, plan=plan, living=living_of(plan))


def changes(made):
    return [one for one in made if one.plan is not None]


@pytest.fixture(scope="session")
def slow(planned):
    return planned(4.0)


def test_a_load_ten_times_as_high_is_answered_at_once(problem, arriving, seeing, slow):
    load = arriving((4.0, 100.0), (40.0, 10.0))

    made = changes(run(Controller(problem(), Linear()), seeing(load, slow)))

    first, *more = [one for one in made if one.at > 100.0]
    assert first.at <= 102.0
    assert first.reason == Reason.MEETS.name
    assert first.woken.startswith("rate")
    assert all(one.woken == YOUNG for one in more)


def test_a_plan_for_a_load_that_has_just_changed_is_corrected_soon_and_no_more_than_that(
    problem, arriving, seeing, slow
):
    load = arriving((4.0, 100.0), (40.0, 60.0))

    made = run(Controller(problem(), Linear()), seeing(load, slow))

    again = [one.at for one in made if YOUNG in one.woken]
    assert again
    assert all(102.0 <= at <= 132.0 for at in again)
    assert np.diff(again).min(initial=AGAIN) >= AGAIN
    assert len(changes(made)) <= 4


def test_a_saving_that_waits_for_minutes_of_a_bursty_load_is_not_looked_at_every_few_seconds(
    problem, arriving, seeing, planned
):
    load = arriving(*[(4.0, 20.0), (24.0, 20.0)] * 7)

    made = run(Controller(problem(), Linear()), seeing(load, planned(100.0)))

    woken = [one for one in made if one.woken != PERIOD]
    assert {one.reason for one in made} >= {Reason.EARLY.name}
    assert len(made) - len(woken) <= load.span / Habits().period + SETTLING / AGAIN


@pytest.mark.parametrize("standing", [{"is_held": True}, {"is_changing": True}])
def test_nothing_is_changed_while_an_operator_holds_the_plan_or_another_change_is_under_way(
    problem, arriving, seeing, slow, standing
):
    load = arriving((4.0, 60.0), (40.0, 60.0))

    made = run(Controller(problem(), Linear()), seeing(load, slow, **standing))

    assert {one.reason for one in made} == {"HELD" if "is_held" in standing else "BUSY"}
    assert not changes(made)


@given(
    rates=st.lists(st.sampled_from((2.0, 5.0, 20.0, 60.0)), min_size=4, max_size=10),
    held=st.sets(st.integers(0, 9)),
    missing=st.sampled_from((0.0, 0.05, 0.4)),
)
@settings(max_examples=8, deadline=None)
def test_changes_are_few_whatever_the_load_does(problem, arriving, seeing, slow, *, rates, held, missing):
    """As many as an empty bucket allows: those in reserve, and one for each of its seconds."""
    load = arriving(*((rate, 40.0) for rate in rates))
    habits = Habits(urgent_burst=3, urgent_an_hour=36.0, burst=2, an_hour=18.0)

    def sights():
        for seen in seeing(load, slow, missing=missing):
            yield replace(seen, is_held=int(seen.now // 40) in held)

    made = run(Controller(problem(), Linear(), habits=habits), sights())

    assert len(changes(made)) <= 5 + load.span / 3600.0 * 54.0
    assert not [one for one in changes(made) if int(one.at // 40) in held]
    assert [one.at for one in made] == sorted(one.at for one in made)


def test_a_load_that_swings_is_followed_down_less_and_less(problem, arriving, seeing, slow):
    load = arriving(*[(4.0, 45.0), (40.0, 45.0)] * 20)

    made = changes(run(Controller(problem(), Linear()), seeing(load, slow)))

    down = [one for one in made if one.reason == Reason.CHEAPER.name]
    early = [one for one in down if one.at < load.span / 2]
    assert len(down) <= Habits().burst + Habits().an_hour * load.span / 3600.0
    assert len(down) - len(early) < len(early)


def test_a_steady_load_is_left_alone(problem, arriving, seeing, planned):
    for seed in range(3):
        load = arriving((20.0, 1200.0), seed=seed)
        made = changes(run(Controller(problem(), Analytic()), seeing(load, planned(20.0))))
        assert len(made) <= 1


def test_a_plan_that_does_worse_than_predicted_is_taken_back_and_not_taken_again_soon(
    problem, arriving, seeing, planned
):
    load = arriving((20.0, 400.0))
    start = planned(42.0)
    controller = Controller(problem(), Linear())
    made, plan = [], start
    for seen in seeing(load, start):
        missed = 0 if plan == start else int(0.5 * len(seen.at))
        decision = controller.observe(_under(replace(seen, hits=len(seen.at) - missed, misses=missed), plan))
        if decision is not None and decision.plan is not None:
            made.append(decision)
            plan = decision.plan

    assert [one.reason for one in made[:2]] == [Reason.CHEAPER.name, Reason.ROLLBACK.name]
    assert made[1].plan == start
    assert made[1].measured == pytest.approx(0.5, abs=0.05)
    assert all(one.candidates[0].plan == one.plan for one in made)
    assert not [one for one in made[2:] if one.plan == made[0].plan and one.at < made[1].at + 300.0]


def test_a_plan_that_falls_short_and_misses_for_certain_is_held_to_what_was_measured_of_it(
    problem, arriving, seeing, planned
):
    plan = planned(20.0)
    sights = seeing(arriving((20.0, 120.0)), plan, missing=0.15)

    made = run(Controller(problem(), Linear(), habits=Habits(period=120.0)), sights)

    short = next(one for one in made if SHORTFALL in one.woken)
    assert short.present.hit_rate == pytest.approx(short.measured)
    assert short.measured < 0.9
    assert short.reason == Reason.MEETS.name


def test_a_plan_that_was_never_measured_alike_is_held_to_what_came_of_it(problem, arriving, seeing, slow):
    """An operator's, with a share that is in no profile."""
    odd = structs.replace(slow.groups[0], gpu=structs.replace(slow.groups[0].gpu, fraction=0.05))
    plan = Plan((odd, *slow.groups[1:]))

    good, bad = (
        run(Controller(problem(), Linear()), seeing(arriving((4.0, 200.0)), plan, missing=missing))
        for missing in (0.0, 0.3)
    )

    assert Reason.UNKNOWN.name not in {one.reason for one in (*good, *bad) if one.at > 60.0}
    assert changes(bad)


def test_a_plan_that_does_not_come_into_force_is_not_asked_for_again_soon(problem, arriving, seeing, slow):
    load = arriving((4.0, 60.0), (40.0, 60.0))

    made = changes(run(Controller(problem(), Linear()), seeing(load, slow), adopts=False))

    assert len(made) > 1
    assert len({one.plan for one in made}) == len(made)


def test_a_predictor_that_raises_leaves_the_plan_and_is_counted(problem, arriving, seeing, slow):
    load = arriving((4.0, 100.0))

    made = run(Controller(problem(), Broken()), seeing(load, slow))

    assert not changes(made)
    failed = [one for one in made if one.reason == Reason.FAILED.name]
    assert [one.failures for one in failed] == list(range(1, len(failed) + 1))
    assert failed[0].detail == "ZeroDivisionError: no such luck"


def test_a_node_that_holds_no_plan_is_told_of(problem, arriving, seeing, slow):
    load = arriving((4.0, 60.0))
    small = problem()
    small = replace(small, node=structs.replace(small.node, memory=1))

    made = run(Controller(small, Linear()), seeing(load, slow))

    assert made[-1].reason == Reason.NONE.name
    assert "memory" in made[-1].detail


def test_it_is_said_what_it_would_take_to_change_the_plan(problem, arriving, seeing, planned):
    load = arriving((4.0, 100.0))
    dear = planned(42.0)

    made = run(
        Controller(problem(), Linear(), habits=Habits(an_hour=0.001, burst=1)),
        seeing(load, dear),
        adopts=False,
    )

    last = made[-1]
    assert last.present.cost > last.candidates[0].cost
    assert last.needs[0].startswith("for one that bears more: the load would have to exceed ")
    assert isinstance(dear, Plan)


def test_a_bursty_load_is_planned_for_once_and_left_alone(problem, arriving, seeing, slow):
    rng = np.random.default_rng(3)
    phases = [
        phase for _ in range(24) for phase in ((8.0, rng.exponential(40.0)), (48.0, rng.exponential(10.0)))
    ]

    made = changes(run(Controller(problem(), Analytic()), seeing(arriving(*phases), slow)))

    assert made
    assert not [one for one in made if one.at > 400.0]
    assert len(made) <= 5


class Brink(Linear):
    """No plan that has to do more than so many times what it can does well."""

    def __init__(self, most):
        self.most = most

    def predict(self, model, load, *, seed=0):
        told = super().predict(model, load, seed=seed)
        return replace(told, hit_rate=0.99 if max(told.busy) <= self.most else 0.9)


@pytest.mark.parametrize(
    ("brink", "missing", "stays"), [(19.9, 0.0, True), (19.9, 0.2, False), (15.0, 0.0, False)]
)
def test_a_plan_is_not_left_for_what_may_be_noise_of_the_rate_but_for_misses_and_for_what_is_sure(
    problem, arriving, seeing, planned, *, brink, missing, stays
):
    """At 20 requests a second; the plan in force is predicted to keep up with fewer than the brink."""
    asked, near = problem(), planned(20.0)
    model = make_model(asked.app, near, asked.times)
    most = Linear().predict(model, arriving((20.0, 60.0)).scaled(brink)).busy
    mind = Controller(asked, Brink(max(most)))

    made = run(mind, seeing(arriving((20.0, 300.0)), near, missing=missing))

    assert (not changes(made)) is stays


def without_room(problem, sights, believed):
    """Put a plan in force only if what it lacks fits beside the one in force; return all plans asked for, and these.

    believed: what the controller has been told of the node.
    """
    controller, asked, taken, plan = Controller(believed, Linear()), [], [], None
    for seen in sights:
        plan = plan or seen.plan
        decision = controller.observe(_under(seen, plan))
        if decision is None or decision.plan is None:
            continue
        asked.append(decision.plan)
        missing = cast(living_of(plan), decision.plan.groups).missing
        more = Plan(
            tuple(
                structs.replace(group, replicas=missing[group.name])
                for group in decision.plan.groups
                if group.name in missing
            )
        )
        if pack_together([(one, problem.app.profile) for one in (plan, more)], problem.node) is not None:
            plan = decision.plan
            taken.append(plan)
    return asked, taken


@pytest.mark.parametrize("cards", [1, 2])
def test_plans_that_were_refused_for_want_of_room_are_followed_by_some_that_find_it(
    problem, arriving, seeing, cards
):
    """There is one GPU; the controller knows that, or believes in two."""
    believed = problem()
    node = believed.node
    small = replace(believed, node=structs.replace(node, cards=node.cards[:1]))
    believed = replace(believed, node=structs.replace(node, cards=node.cards[:cards]))
    whole = replace(small, limits=replace(small.limits, grain="read+look+say"))
    start = Planner(whole).plan(arriving((6.0, 60.0)), Linear()).plan

    asked, taken = without_room(small, seeing(arriving((6.0, 60.0), (60.0, 60.0)), start), believed)

    assert len(asked) - len(taken) <= 4
    assert taken


class Counting(Linear):
    """Counts the plans that it was asked about."""

    asked = 0

    def predict(self, model, load, *, seed=0):
        self.asked += 1
        return super().predict(model, load, seed=seed)


def test_where_nothing_meets_the_objective_the_best_hit_rate_is_taken_and_little_is_sought(
    problem, arriving, seeing, slow
):
    mind = Counting()
    load = arriving((4.0, 60.0), (400.0, 900.0))

    made = run(Controller(problem(), mind), seeing(load, slow, missing=0.5))

    late = [one for one in made if one.at > 120.0]
    assert {one.reason for one in changes(made)} <= {Reason.HITS.name, Reason.ROLLBACK.name}
    assert max(one.planned for one in late) < 1.15 * 400.0
    assert len(changes(late)) <= 4
    assert mind.asked <= 12 * problem().limits.nodes


def test_a_saving_that_waits_for_the_rate_is_looked_at_again_soon(problem, arriving, seeing, planned):
    """A fall is found within seconds, and saved on only once it is known how far it goes."""
    load = arriving((40.0, 120.0), (4.0, 40.0))

    made = run(Controller(problem(), Linear()), seeing(load, planned(42.0)))

    early = [place for place, one in enumerate(made) if one.reason == Reason.EARLY.name]
    waits = [made[place + 1].at - made[place].at for place in early]
    assert early
    assert max(waits) <= AGAIN + 1.0
    assert made[early[-1] + 1].reason == Reason.CHEAPER.name
