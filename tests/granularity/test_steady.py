from dataclasses import replace

import pytest
from benchmarks.granularity import cells, judge, policies, predictors, steady
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.settle import Settling

PROTOCOL = protocols.read()


@pytest.fixture(scope="module")
def place():
    """The judge and the mind of a light cell."""
    world = World(PROTOCOL, "faces", Setting.of(PROTOCOL))
    cell = next(
        one
        for one in cells.cells(PROTOCOL, "core", ("faces",))
        if (one.slo, one.load, one.arrivals) == (1.5, "light", "poisson")
    )
    found = judge.Judge(world, cell, (1000, 1001))
    return found, Settling(found).begun()


def test_a_cell_that_is_resumed_makes_what_it_lacks_and_nothing_else(place):
    found, mind = place
    every = set(steady.policies(found, Settling(found), mind, steady.Statics({})))

    rows = list(
        steady.rows(found, steady.Statics({}), (every | {steady.ORACLE}) - {"infless", "replanned-fine"})
    )

    assert [row["policy"] for row in rows] == ["replanned-fine", "infless"]
    for row in rows:
        assert row["pipeline"] == "faces"
        assert len(row["hit_rate"]) == len(row["cost"]) == 2
        assert all(0 <= hit <= 1 for hit in row["hit_rate"])


def test_the_bound_of_a_cell_that_is_resumed_is_over_the_plans_of_all_policies(place):
    found, mind = place
    makers = steady.policies(found, Settling(found), mind, steady.Statics({}))
    makers = {name: makers[name] for name in ("replanned-coarse", "infless", "esg")}
    rows = {row["policy"]: row for row in steady.lacking(found, mind, makers, set())}

    alone = list(steady.lacking(found, mind, makers, rows.keys() - {steady.ORACLE}))
    with_one = list(steady.lacking(found, mind, makers, rows.keys() - {steady.ORACLE, "esg"}))

    assert alone == [rows[steady.ORACLE]]
    assert with_one == [rows["esg"], rows[steady.ORACLE]]
    assert min(rows[steady.ORACLE]["cost"]) > 0


def test_a_cell_that_no_policy_has_a_plan_for_has_no_bound(place):
    found, mind = place

    row = steady._oracle(found, mind, [], [])

    assert row["infeasible"]
    assert "cost" not in row


def test_a_plan_has_the_same_score_whoever_made_it(place):
    found, mind = place
    made = mind.planned(found.calibration, grain=mind.grains()[1])

    other = judge.Judge(found.world, found.cell, found.seeds)

    assert found.scores(made.plan) == other.scores(made.plan)


def test_the_oracle_is_never_dearer_than_a_plan_that_meets_the_objective(place):
    found, mind = place
    plans = [mind.planned(found.calibration, grain=grain).plan for grain in mind.grains()]

    row = steady._oracle(found, mind, plans, [])

    for number, seed in enumerate(found.seeds):
        met = [found.score(plan, seed) for plan in plans if found.score(plan, seed).hit_rate >= 0.95]
        if met:
            assert row["hit_rate"][number] >= 0.95
            assert row["cost"][number] <= min(1e6 * one.cost for one in met) * 1.001


def test_a_static_plan_is_scaled_to_the_load(place):
    found, mind = place
    static = mind.planned(found.calibration, grain=mind.grains()[0]).plan
    heavier = found.calibration.scaled(4 * found.calibration.rate)

    light, heavy = mind.scaled(found.calibration, static), mind.scaled(heavier, static)

    assert sum(group.replicas for group in heavy.plan.groups) > sum(
        group.replicas for group in light.plan.groups
    )
    assert {group.max_size for group in heavy.plan.groups} == {group.max_size for group in static.groups}


def test_the_planner_misses_no_cheaper_plan_of_a_grain_whose_plans_can_be_counted():
    world = World(PROTOCOL, "depth-recognition", Setting.of(PROTOCOL))
    mind = policies.Mind(world.offer(1.2 * world.warm_latency()))
    load = judge.planning(world, "mmpp", PROTOCOL.load.light * world.capacity())

    any_grain, coarse = mind.planned(load), mind.planned(load, grain=mind.grains()[0])

    assert any_grain.expected >= 0.95
    assert mind.cost(any_grain.plan) <= mind.cost(coarse.plan)


def test_what_was_learned_is_nearer_to_the_truth_than_what_was_profiled(place):
    found, mind = place
    profiled = policies.Mind(found.world.offer(found.slo))
    served = profiled.planned(found.calibration, grain=profiled.grains()[0], by=predictors.ANALYTIC).plan
    share, true = served.groups[0].gpu.fraction, found._times
    usual = {"find": 1, "embed": 8, "match": 1}

    def off(times):
        return [
            abs(times[name].call(n, share)[0] / true[name].call(n, share)[0] - 1) for name, n in usual.items()
        ]

    assert max(off(mind.problem.times)) < 0.02 < max(off(profiled.problem.times))


def test_a_drift_is_that_of_a_cell_and_not_of_its_seeds(place):
    found, _ = place
    other = judge.Judge(found.world, replace(found.cell, load="normal"), found.seeds)

    assert judge.Judge(found.world, found.cell, (1005,))._times["find"].seconds == pytest.approx(
        found._times["find"].seconds
    )
    assert (other._times["find"].seconds != found._times["find"].seconds).all()


def test_of_a_trace_blocks_are_told_with_all_seeds_in_them():
    scores = [judge.Score(0.75, 2e-6, (2, 2), (1, 2)), judge.Score(0.5, 4e-6, (2, 2), (1, 1))]

    row = steady.figures(scores)

    assert (row["offered"], row["missed"]) == ([4, 4], [2, 1])
    assert (row["hit_rate"], row["cost"]) == (0.625, 3.0)
    assert row["dollars"] == [12.0, 12.0]
