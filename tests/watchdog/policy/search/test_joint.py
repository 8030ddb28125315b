"""Apps on one node: together at the least cost, as brute force over their plans has it."""

from dataclasses import replace
from itertools import product

import pytest

from regrain_watchdog.policy.search.joint import plan_each, plan_together
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.packing import pack_together
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, NoPlanError, Problem
from regrain_watchdog.policy.search.reference import every_plan


def apps(make, node, works, *, slo=0.25):
    limits = Limits(shares=(0.2, 0.4, 0.8), sizes=(1, 4), replicas=2)
    return [Problem.of(make([[], [0]], work, [0.4, 0.8], slo=slo), node, limits=limits) for work in works]


def meeting(problem, load, predictor):
    everything = Problem.of(problem.app, problem.node, limits=Limits(nodes=10**9))
    judge = Judge(everything, predictor, load, 0)
    for plan in every_plan(Space(problem)):
        judge.judge(plan)
    return [one for one in judge.considered if judge.meets(one)]


@pytest.mark.parametrize("cores", [3, 4, 6])
def test_two_apps_share_a_node_at_the_least_cost(cores, make, machine, arriving, rough):
    problems = apps(make, machine(cards=2, cores=cores), [(0.02, 0.03), (0.03, 0.01)])
    loads = [arriving(8), arriving(12, seed=2)]

    joint = plan_together(problems, loads, rough)

    fitting = [
        sum(one.cost for one in pair)
        for pair in product(*(meeting(*both, rough) for both in zip(problems, loads, strict=True)))
        if pack_together([(one.plan, problems[0].app.profile) for one in pair], problems[0].node) is not None
    ]
    assert joint.meets == bool(fitting)
    if fitting:
        assert joint.cost <= 1.05 * min(fitting)


def test_each_plans_as_if_alone_where_there_is_room(make, machine, arriving, rough):
    problems = apps(make, machine(cards=8, cores=64), [(0.02, 0.03), (0.03, 0.01)])
    loads = [arriving(8), arriving(12, seed=2)]

    joint = plan_together(problems, loads, rough)

    alone = [Planner(problem).plan(load, rough) for problem, load in zip(problems, loads, strict=True)]
    assert joint.cost == pytest.approx(sum(one.cost for one in alone))


@pytest.mark.parametrize("cores", [3, 4, 6])
@pytest.mark.parametrize("rates", [(8, 12), (2, 20), (20, 2)])
def test_together_they_cost_no_more_than_where_each_plans_for_what_others_leave(
    cores, rates, *, make, machine, arriving, rough
):
    problems = apps(make, machine(cards=2, cores=cores), [(0.02, 0.03), (0.03, 0.01)])
    loads = [arriving(rates[0]), arriving(rates[1], seed=2)]

    each, joint = (plan(problems, loads, rough) for plan in (plan_each, plan_together))

    taken = [(one.plan, problems[0].app.profile) for one in each.chosen]
    assert pack_together(taken, problems[0].node) == each.placement
    assert joint.meets >= each.meets
    if joint.meets and each.meets:
        assert joint.cost <= each.cost


def test_a_plan_leaves_the_others_the_room_that_they_take(make, machine, arriving, rough):
    (problem,) = apps(make, machine(cards=1, cores=8), [(0.02, 0.03)])
    alone = Planner(problem).plan(arriving(30), rough)
    beside = replace(problem, beside=((alone.plan, problem.app.profile),))

    found = Planner(beside).plan(arriving(30), rough)

    assert len(found.placement) == len(found.plan.groups)
    assert pack_together([(found.plan, problem.app.profile), *beside.beside], problem.node) is not None
    assert pack_together([(alone.plan, problem.app.profile), *beside.beside], problem.node) is None


def test_where_not_all_objectives_can_be_met_most_requests_are(make, machine, arriving, rough):
    problems = apps(make, machine(cards=1, cores=2), [(0.02, 0.03), (0.03, 0.01)], slo=0.08)
    loads = [arriving(15), arriving(15, seed=2)]

    joint = plan_together(problems, loads, rough)

    assert not joint.meets
    assert len(joint.chosen) == 2


def test_apps_that_do_not_fit_together_are_named(make, machine, arriving, rough):
    problems = apps(make, machine(cards=1, cores=1), [(0.02, 0.03), (0.03, 0.01)])

    with pytest.raises(NoPlanError, match="no plans of made, made were found that fit on the node together"):
        plan_together(problems, [arriving(1), arriving(1)], rough)
