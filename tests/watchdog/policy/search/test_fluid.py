"""Fluid groups: offered where allowed, chosen where they are cheaper."""

from dataclasses import replace

from msgspec import structs

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.policy.search.fluid import descend
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.packing import pack
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, Problem


def planned(app, machine, load, rough, *, fluid):
    problem = Problem.of(app, machine(cards=3), limits=Limits(fluid=fluid, replicas=16))
    return Planner(problem).plan(load, rough), problem


def is_fluid(plan):
    return any(group.fluid is not None for group in plan.groups)


def test_no_pool_is_proposed_unless_it_is_allowed(make, machine, arriving, rough):
    app = make([[], [0]], [0.02, 0.03], [0.1, 0.8], slo=0.3)

    choice, _ = planned(app, machine, arriving(10), rough, fluid=False)

    assert not any(is_fluid(candidate.plan) for candidate in choice.considered)


def test_pools_are_judged_and_never_make_the_plan_dearer(make, machine, arriving, rough):
    app = make(
        [[], [0], [1]], [0.01, 0.02, 0.01], [0.1, 0.6, 0.2], slo=0.2, gpu=[False, True, True], mapped=(2,)
    )
    load = arriving(12, lists=1, width=8)

    without, _ = planned(app, machine, load, rough, fluid=False)
    choice, problem = planned(app, machine, load, rough, fluid=True)

    pools = [candidate.plan for candidate in choice.considered if is_fluid(candidate.plan)]
    assert choice.cost <= without.cost + 1e-12
    assert {frozenset(group.stages) for plan in pools for group in plan.groups if group.fluid} <= {
        frozenset({"s0", "s1", "s2"}),
        frozenset({"s1", "s2"}),
    }
    for plan in pools:
        assert pack(plan, app.profile, problem.node) is not None
        for group in plan.groups:
            if group.fluid is not None:
                largest = max(lane.fraction for lane in group.fluid.lanes)
                assert largest <= group.fluid.share + 1e-9
                assert group.gpu.fraction == largest


def test_a_stage_without_a_gpu_leases_nothing(make, machine, arriving, rough):
    app = make(
        [[], [0], [1]], [0.01, 0.02, 0.01], [0.1, 0.6, 0.2], slo=0.2, gpu=[False, True, True], mapped=(2,)
    )

    choice, _ = planned(app, machine, arriving(12, lists=1, width=8), rough, fluid=True)

    lanes = [
        lane
        for candidate in choice.considered
        for group in candidate.plan.groups
        if group.fluid is not None
        for lane in group.fluid.lanes
    ]
    assert lanes
    assert all((lane.fraction == 0.0) == (lane.stage == "s0") for lane in lanes)


def test_a_stage_that_streams_is_in_no_pool(make, machine, arriving, rough):
    app = make([[], [0], [1]], [0.01, 0.02, 0.01], [0.1, 0.6, 0.2], slo=0.2, gpu=[True, True, False])
    specs = tuple(structs.replace(one, streams=one.name == "s2") for one in app.manifest.stages)
    app = replace(app, manifest=structs.replace(app.manifest, stages=specs))

    choice, _ = planned(app, machine, arriving(12), rough, fluid=True)

    pools = [
        group.stages
        for candidate in choice.considered
        for group in candidate.plan.groups
        if group.fluid is not None
    ]
    assert set(pools) == {("s0", "s1")}


def test_a_pool_of_the_stages_on_gpus_is_judged_where_no_plan_cuts_there(make, machine, arriving, rough):
    app = make(
        [[], [0], [1]], [0.01, 0.02, 0.01], [0.1, 0.6, 0.2], slo=0.8, gpu=[False, True, True], mapped=(2,)
    )
    problem = Problem.of(app, machine(cards=4), limits=Limits(fluid=True, grain="s0+s1+s2"))

    choice = Planner(problem).plan(arriving(20, lists=1, width=8), rough)

    assert {candidate.plan.grain for candidate in choice.considered} >= {"s0+s1+s2", "s0 | ~s1+s2"}


def test_small_steps_lead_to_no_dearer_plan_and_end(make, machine, arriving, rough):
    app = make([[], [0]], [0.02, 0.03], [0.1, 0.8], slo=0.6)
    load = arriving(10)
    problem = Problem.of(app, machine(cards=3), limits=Limits(fluid=True, replicas=16))
    judge = Judge(problem, rough, load, 0)
    space = Space(problem)
    lanes = (Lane(stage="s0", fraction=0.2, max_size=8), Lane(stage="s1", fraction=0.8, max_size=8))
    group = Group(
        stages=("s0", "s1"), replicas=9, max_size=8, gpu=GpuShare(), fluid=Fluid(share=1.6, lanes=lanes)
    )
    start = judge.judge(Plan((group,)))

    descend(space, start, judge)

    assert judge.meets(start)
    assert judge.best.cost < start.cost
    assert judge.nodes < problem.limits.nodes


def test_no_step_leads_to_a_lease_that_a_stage_was_not_measured_with(make, machine, arriving, rough):
    app = make([[], [0]], [0.02, 0.03], [0.1, 0.1], slo=0.6)
    ranges = {"s0": (0.2, 1.0), "s1": (0.1, 0.4)}
    stages = {
        name: structs.replace(
            stage, points=tuple(point for point in stage.points if least <= point.share <= most)
        )
        for (name, stage), (least, most) in zip(app.profile.stages.items(), ranges.values(), strict=True)
    }
    app = replace(app, profile=structs.replace(app.profile, stages=stages))

    choice, _ = planned(app, machine, arriving(2), rough, fluid=True)

    lanes = [
        lane
        for candidate in choice.considered
        for group in candidate.plan.groups
        if group.fluid is not None
        for lane in group.fluid.lanes
    ]
    assert {"s0", "s1"} == {lane.stage for lane in lanes}
    assert all(ranges[lane.stage][0] <= lane.fraction <= ranges[lane.stage][1] for lane in lanes)
