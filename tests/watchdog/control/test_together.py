"""The joint controller: it wakes as one, says why it leaves all as it is, and saves where all can bear it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from regrain_watchdog.control import together as together_module
from regrain_watchdog.control.controller import Habits
from regrain_watchdog.control.together import Mind, Together
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.search.joint import Joint
from regrain_watchdog.policy.search.problem import Candidate


@pytest.fixture
def decided(problem, arriving, seeing, planned):
    """Let two apps see a load each under a plan for some rate; return every decision as a pair."""

    def decide(seconds, *, rates=(5, 5), planned_for=(5, 5), **standing):
        minds = [Mind(problem=problem(), predictor=Analytic(), habits=Habits(period=10.0))] * 2
        together = Together(minds)
        views = [
            seeing(arriving((rate, float(seconds)), seed=seed), planned(plan), **standing)
            for seed, (rate, plan) in enumerate(zip(rates, planned_for, strict=True))
        ]
        return [made for seen in zip(*views, strict=True) if (made := together.observe(seen))]

    return decide


def test_all_are_decided_for_at_each_wake(decided) -> None:
    made = decided(35)

    assert [[one.at for one in pair] for pair in made] == [[at, at] for at in (1.0, 11.0, 21.0, 31.0)]
    numbers = [one.number for pair in made for one in pair]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("standing", "reason"), [("is_held", "HELD"), ("is_changing", "BUSY")])
def test_an_app_that_is_held_or_changes_leaves_all_as_it_is(decided, standing, reason) -> None:
    made = decided(30, **{standing: True})

    assert {(one.reason, one.plan) for pair in made for one in pair} == {(reason, None)}


def test_before_each_app_has_seen_requests_nothing_is_decided(decided) -> None:
    made = decided(30, rates=(5, 0))

    assert {one.reason for pair in made for one in pair} == {"UNKNOWN"}
    assert "too few requests" in made[-1][0].detail


def test_that_no_plans_fit_together_is_told(problem, arriving, seeing, planned) -> None:
    tiny = problem()
    tiny = replace(tiny, node=structs.replace(tiny.node, cores=1.0))
    together = Together([Mind(problem=tiny, predictor=Analytic())] * 2)
    views = [seeing(arriving((5, 40.0), seed=seed), planned(5)) for seed in (1, 2)]

    made = [pair for seen in zip(*views, strict=True) if (pair := together.observe(seen))]

    assert made[-1][0].reason == "NONE"
    assert "fit on the node together" in made[-1][0].detail


def test_plans_that_are_too_large_for_their_loads_are_made_smaller(decided) -> None:
    made = decided(90, rates=(4, 4), planned_for=(40, 40))

    saved = [one for pair in made for one in pair if one.plan is not None]
    assert saved
    assert {one.reason for one in saved} == {"CHEAPER"}
    assert all(one.candidates[0].cost < one.present.cost for one in saved)


def test_plans_that_are_too_small_are_made_larger_at_once(decided) -> None:
    made = decided(30, rates=(40, 4), planned_for=(4, 4))

    grown = [(place, one) for pair in made for place, one in enumerate(pair) if one.plan is not None]
    assert grown
    assert {(place, one.reason) for place, one in grown} == {(0, "MEETS")}


def test_plans_are_not_sought_at_each_wake_where_the_one_in_force_cannot_be_judged(
    problem, arriving, seeing, planned, monkeypatch
) -> None:
    searches, search = [], together_module.plan_together
    monkeypatch.setattr(
        together_module,
        "plan_together",
        lambda *args, **kwargs: searches.append(1) or search(*args, **kwargs),
    )
    unknown = [structs.replace(one, gpu=structs.replace(one.gpu, fraction=0.05)) for one in planned(5).groups]
    together = Together([Mind(problem=problem(), predictor=Analytic(), habits=Habits(period=10.0))] * 2)
    views = [
        seeing(arriving((5, 200.0), seed=seed), structs.replace(planned(5), groups=tuple(unknown)))
        for seed in (1, 2)
    ]

    made = [pair for seen in zip(*views, strict=True) if (pair := together.observe(seen))]

    assert {one.reason for pair in made[1:] for one in pair} == {"UNKNOWN"}
    assert len(searches) < len(made) / 2


class Told:
    """A predictor that tells of any plan as large as one what it was told, and of others another hit rate."""

    name = "told"

    def __init__(self, problem, plan, *rates):
        self._large = self._size(make_model(problem.app, plan, problem.times))
        self._rates = rates

    @staticmethod
    def _size(model):
        return sum(pool.servers for pool in model.pools)

    def predict(self, model, load, *, seed=0):
        rate = self._rates[self._size(model) == self._large]
        return Prediction(hit_rate=rate, p50=0.1, p95=0.2, p99=0.3, busy=(0.5,) * len(model.pools))


@pytest.mark.parametrize(("gain", "goes"), [(0.01, False), (0.05, True)])
def test_where_none_meets_the_objective_a_guess_of_a_little_more_is_not_gone_after(
    *, problem, arriving, seeing, planned, monkeypatch, gain, goes
) -> None:
    known, better = problem(), planned(40)
    mind = Mind(problem=known, predictor=Told(known, better, 0.8, 0.8 + gain), habits=Habits(period=10.0))
    one = Candidate(
        plan=better,
        prediction=mind.predictor.predict(make_model(known.app, better, known.times), None),
        cost=1.0,
    )
    joint = Joint(chosen=(one, one), cost=2.0, placement=(), meets=False)
    monkeypatch.setattr(together_module, "plan_together", lambda *_args, **_kwargs: joint)
    together = Together([mind] * 2)
    views = [seeing(arriving((40, 60.0), seed=seed), planned(5)) for seed in (1, 2)]

    made = [pair for seen in zip(*views, strict=True) if (pair := together.observe(seen))]

    known_of = [one for pair in made for one in pair if one.reason != "UNKNOWN"]
    assert known_of
    assert {one.reason for one in known_of} == {"HITS" if goes else "MARGIN"}
    assert all((one.plan == better) == goes for one in known_of)


class Sized:
    """A predictor to whom a plan is as good as it is large."""

    name = "sized"

    def __init__(self, **rates):
        self._rates = rates

    def predict(self, model, load, *, seed=0):
        size = sum(pool.servers for pool in model.pools)
        rate = self._rates["large" if size > self._rates["between"] else "small"]
        return Prediction(hit_rate=rate, p50=0.1, p95=0.2, p99=0.3, busy=(0.5,) * len(model.pools))


def loads_of(arriving, *phases):
    return [arriving(*one, seed=seed) for seed, one in enumerate(phases)]


@pytest.mark.parametrize(
    ("phases", "goes"),
    [
        pytest.param((((5, 200.0), (40, 20.0)), ((5, 220.0),)), False, id="for a burst"),
        pytest.param((((5, 200.0), (40, 200.0)), ((5, 400.0),)), True, id="for a load that lasts"),
        pytest.param(
            (((40, 800.0),), ((5, 200.0), *((90, 10.0), (5, 20.0)) * 20)),
            False,
            id="of what bursts beyond it",
        ),
    ],
)
def test_an_app_does_with_less_for_another_only_where_that_will_not_be_regretted(
    *, problem, arriving, seeing, planned, monkeypatch, phases, goes
) -> None:
    small, large = planned(5), planned(40)
    few, many = (sum(group.replicas for group in one.groups) for one in (small, large))
    assert few < many
    known = replace(problem(), node=structs.replace(problem().node, cards=problem().node.cards[:1]))
    mind = Mind(
        problem=known,
        predictor=Sized(small=0.5, large=0.9, between=(few + many) / 2),
        habits=Habits(period=10.0),
    )
    given = tuple(
        Candidate(
            plan=plan, prediction=Prediction(hit_rate=0.9, p50=0.1, p95=0.2, p99=0.3, busy=()), cost=1.0
        )
        for plan in (large, small)
    )
    joint = Joint(chosen=given, cost=2.0, placement=(), meets=False)
    monkeypatch.setattr(together_module, "plan_together", lambda *_args, **_kwargs: joint)
    together = Together([mind] * 2)
    views = [
        seeing(load, plan) for load, plan in zip(loads_of(arriving, *phases), (small, large), strict=True)
    ]

    made = [pair for seen in zip(*views, strict=True) if (pair := together.observe(seen))]

    late = [one for pair in made for one in pair if one.at > (600.0 if len(phases[1]) > 1 else 205.0)]
    assert any(one.plan is not None for one in late) == goes
    assert "TAKES" in {one.reason for one in late}
