"""Leases that a fluid group begins with: they fill what is reserved, and bear the load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.search.demand import LEVELS, Demand, calls
from regrain_watchdog.policy.search.leases import Leases, leases
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.problem import Limits, Problem

SMALL, MANY = 0.1, 16
LEVEL = LEVELS.index(0.95)


@pytest.fixture
def begun(make, machine, arriving):
    """Return the leases for three stages under a load: one on the CPU, one as fast on a tenth of a GPU."""

    def begin(rate, *, slo=2.0, replicas=MANY):
        app = make(
            [[], [0], [1]],
            [0.01, 0.02, 0.01],
            [0.1, SMALL, 1.0],
            slo=slo,
            gpu=[False, True, True],
            mapped=(2,),
        )
        space = Space(Problem.of(app, machine(cards=3), limits=Limits(replicas=replicas)))
        tables = calls(space)
        demand = Demand.of(arriving(rate, lists=1, width=8), space, tables[0])
        return list(leases(space, space.dag.all, tables[0], demand, LEVEL))

    return begin


def test_leases_are_of_one_size_but_for_stages_that_are_no_faster_for_it(begun):
    found = begun(5)

    assert [one.size for one in found] == sorted({one.size for one in found})
    for one in found:
        cpu, small, large = one.lanes
        assert cpu.fraction == 0.0
        assert large.fraction == one.size
        assert small.fraction == min(one.size, SMALL)


def test_more_load_takes_no_fewer_leases(begun):
    few, many = ({one.size: one.count for one in begun(rate)} for rate in (2, 8))

    assert set(many) <= set(few)
    assert all(many[size] >= few[size] for size in many)
    assert any(many[size] > few[size] for size in many)


def test_as_many_leases_as_bear_the_load_are_the_fewest(begun):
    assert all(1 <= one.fewest <= one.count <= one.replicas for one in begun(5))


def test_no_leases_are_proposed_that_take_more_replicas_than_there_may_be(begun):
    assert max(one.count for one in begun(8)) > 2
    assert all(one.count <= 2 for one in begun(8, replicas=2))


def test_no_leases_are_proposed_under_which_a_heavy_request_is_late_even_alone(begun):
    tight = {one.size for one in begun(1, slo=0.4)}
    loose = {one.size for one in begun(1, slo=4.0)}

    assert tight < loose
    assert min(tight) > min(loose)


@given(size=st.sampled_from((0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0)), count=st.integers(1, 40))
def test_what_is_reserved_holds_all_leases_and_none_spans_gpus(size, count):
    share = Leases((), size, count=count, fewest=1, beside=0.0).share

    whole, rest = divmod(share + 1e-9, 1.0)
    each = int(1 / size + 1e-9)
    assert whole * each + int(rest / size + 1e-9) == count
