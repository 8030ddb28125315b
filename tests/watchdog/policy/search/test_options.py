"""What a group may be configured as."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from msgspec import structs

from regrain_watchdog.policy.cost import gpu_memory, gpu_weights
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.policy.search.options import Option, Space, configurations, pareto
from regrain_watchdog.policy.search.problem import Limits, NoPlanError, Problem
from regrain_watchdog.policy.search.room import check_room


@given(
    arrays.arrays(
        float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 4).map(float)
    )
)
def test_what_is_kept_is_beaten_by_nothing_and_beats_what_is_not(values):
    kept = pareto(values)

    for row in range(len(values)):
        better = [other for other in kept if other != row and np.all(values[other] <= values[row])]
        assert (row in kept) == (not better)


def test_a_group_on_a_gpu_has_shares_and_one_without_has_cores(make, machine):
    app = make([[], [0], [1]], [0.01] * 3, [0.2] * 3, slo=1.0, gpu=[False, True, True], mapped=(2,))
    space = Space(Problem.of(app, machine(), limits=Limits(shares=(0.02, 0.05, 0.5))))

    alone, together, items = space.kind(0b001), space.kind(0b011), space.kind(0b100)

    assert (alone.on_gpu, alone.levels, alone.sizes) == (False, (1.0,), (1,))
    assert (together.on_gpu, together.levels, together.sizes) == (True, (0.05, 0.5), (1, 2, 4, 8))
    assert (together.scope, items.scope) == (PER_REQUEST, 0)


def test_a_group_holds_the_memory_of_its_stages_and_reserves_its_share(make, machine):
    app = make([[], [0]], [0.01] * 2, [0.2] * 2, slo=1.0)
    space = Space(Problem.of(app, machine()))

    group = space.group(0b11, Option(0.25, 4, 0.0, 3))

    assert (group.stages, group.replicas, group.max_size, group.gpu.floor) == (("s0", "s1"), 3, 4, 0.25)
    assert group.gpu.memory == gpu_memory(group, app.profile) + gpu_weights(group, app.profile)
    assert space.option(group) == (0b11, Option(0.25, 4, 0.0, 3))


def test_without_a_gpu_there_is_no_group_of_stages_that_need_one(make, machine):
    space = Space(Problem.of(make([[]], [0.01], [0.2], slo=1.0), machine(cards=0)))

    assert space.kind(1) is None


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        pytest.param(Limits(shares=(0.5,), sizes=(1,)), 1, id="one"),
        pytest.param(
            Limits(shares=(0.5,), sizes=(1, 4), waits=(0.0, 0.01)), 3, id="who does not batch does not wait"
        ),
        pytest.param(Limits(shares=(0.2, 0.5), sizes=(1, 4, 32)), 4, id="no more than the stages declare"),
    ],
)
def test_every_configuration_is_listed_once(limits, count, make, machine):
    kind = Space(Problem.of(make([[]], [0.01], [0.2], slo=1.0), machine(), limits=limits)).kind(1)

    found = list(configurations(kind, range(1, 4)))

    assert len(found) == len(set(found)) == 3 * count


def test_a_group_has_the_most_cores_that_a_stage_of_it_declares_and_each_was_measured_on_its_own(
    make, machine
):
    app = make([[], [0]], [0.01] * 2, [0.2] * 2, slo=1.0, gpu=[False, False])
    space = Space(Problem.of(declaring(app, [1.0, 2.0], measured=[(1.0,), (2.0,)]), machine()))

    kinds = [space.kind(mask) for mask in (0b01, 0b10, 0b11)]

    assert [(kind.levels, kind.cpu) for kind in kinds] == [((1.0,), 1.0), ((2.0,), 2.0), ((2.0,), 2.0)]
    check_room(space)


@pytest.mark.parametrize("gpu", [[False, False], [False, True]], ids=["alone", "beside a stage on a GPU"])
def test_a_stage_that_was_not_measured_on_the_cores_it_declares_is_named(gpu, make, machine):
    app = make([[], [0]], [0.01] * 2, [0.2] * 2, slo=1.0, gpu=gpu)
    space = Space(Problem.of(declaring(app, [1.0, 1.0], measured=[(2.0, 8.0), None]), machine()))

    assert (space.kind(0b01), space.kind(0b11)) == (None, None)
    with pytest.raises(NoPlanError, match="stage s0 was measured with 2 to 8 cores; it declares 1"):
        check_room(space)


def declaring(app, cores, measured):
    """Return an app whose stages declare these cores, and were measured on those; None leaves a stage's points."""
    stages = tuple(structs.replace(one, cpu=own) for one, own in zip(app.manifest.stages, cores, strict=True))
    profiles = {
        name: stage
        if on is None
        else structs.replace(
            stage,
            points=tuple(structs.replace(point, share=share) for share in on for point in stage.points),
        )
        for (name, stage), on in zip(app.profile.stages.items(), measured, strict=True)
    }
    return replace(
        app,
        manifest=structs.replace(app.manifest, stages=stages),
        profile=structs.replace(app.profile, stages=profiles),
    )
