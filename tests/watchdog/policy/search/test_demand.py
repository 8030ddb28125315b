"""What a load asks of stages."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from regrain_watchdog.policy.search.demand import Demand, calls, stage_demand
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.problem import Problem

MAPPED = 1


@pytest.fixture
def space(make, machine):
    """An app whose second stage is mapped over a list, and was measured with shares up to `most` of a GPU."""

    def build(most=1.0):
        app = make([[], [0]], [0.01, 0.02], [0.2, 0.4], slo=0.3, mapped=(MAPPED,))
        listed = app.profile.stages["s1"]
        points = tuple(point for point in listed.points if point.share <= most)
        stages = {**app.profile.stages, "s1": structs.replace(listed, points=points)}
        return Space(Problem.of(replace(app, profile=structs.replace(app.profile, stages=stages)), machine()))

    return build


@pytest.fixture
def asked(space, arriving):
    """Return what is asked of the mapped stage where lists have these widths one after the other."""

    def ask(*widths, most=1.0):
        made, load = space(most), arriving(10, lists=1)
        widths = np.resize(np.array(widths, np.int32), (len(load), 1))
        return made, Demand.of(replace(load, widths=widths), made, calls(made)[0])

    return ask


def test_requests_are_ranked_by_weight_also_where_a_stage_was_not_measured_on_a_whole_gpu(asked):
    falling = np.arange(300, 0, -1)

    for most in (1.0, 0.4):
        widths = asked(*falling, most=most)[1].widths[:, 0]
        assert np.all(np.diff(widths) >= 0), most
        assert widths[-1] > widths[0]


@pytest.mark.parametrize("often", [2, 5, 20])
def test_a_batch_of_lists_that_are_mostly_empty_takes_no_longer_than_its_requests_alone(asked, often):
    made, demand = asked(1, *[0] * (often - 1))
    sizes = made.problem.limits.sizes

    of_lists = stage_demand(calls(made)[0][MAPPED], made.scope(MAPPED), demand, sizes)

    single = of_lists.batch[:, sizes.index(1)]
    for place, count in enumerate(sizes):
        assert np.all(of_lists.batch[:, place] <= 1.01 * count * single), count
        assert np.all(of_lists.batch[:, place] > 0)


def test_a_batch_of_lists_takes_what_their_items_take_together(asked):
    made, demand = asked(4)
    table, sizes = calls(made)[0][MAPPED], made.problem.limits.sizes

    of_lists = stage_demand(table, made.scope(MAPPED), demand, sizes)

    of_items = table.total(4 * np.array(sizes), np.zeros(len(sizes)))
    assert of_lists.batch == pytest.approx(of_items)
