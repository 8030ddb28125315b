"""Partitions: all of them, each once, each convex and in an order in which it can run."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.policy.search import partition
from regrain_watchdog.policy.search.partition import Dag, lattice, partitions


@st.composite
def dags(draw, most=6):
    count = draw(st.integers(1, most))
    parents = [draw(st.integers(0, (1 << place) - 1)) for place in range(count)]
    return Dag.made([f"s{place}" for place in range(count)], parents)


def every_partition(members):
    if not members:
        yield []
        return
    first, *rest = members
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            for further in every_partition([one for one in rest if one not in others]):
                yield [{first, *others}, *further]


def can_run(dag, groups):
    """Whether the groups can be ordered, by taking away those that wait for nobody."""
    left = [set(group) for group in groups]
    done = set()
    while left:
        ready = [
            group
            for group in left
            if all(dag.parents[stage] & ~sum(1 << one for one in group | done) == 0 for stage in group)
        ]
        if not ready:
            return False
        left.remove(ready[0])
        done |= ready[0]
    return True


@given(dags())
def test_every_partition_that_can_run_is_found_once(dag):
    found = list(partitions(dag))

    wanted = [groups for groups in every_partition(range(len(dag.stages))) if can_run(dag, groups)]
    assert len(found) == len({frozenset(groups) for groups in found}) == len(wanted)
    for groups in found:
        assert all(dag.is_convex(group) for group in groups)
        done = 0
        for group in groups:
            assert not dag.needs(group) & ~done
            done |= group
        assert done == dag.all


@given(dags())
def test_the_ways_through_the_ideals_are_the_partitions(dag):
    ways = lattice(dag)
    found = {0: {frozenset[int]()}}
    for low, high, group in ways.steps:
        found.setdefault(high, set()).update(way | {ways.groups[group]} for way in found[low])

    assert found[ways.ideals - 1] == {frozenset(groups) for groups in partitions(dag)}


def test_a_chain_of_twelve_has_two_to_the_eleventh_partitions_and_thirteen_ideals():
    dag = Dag.made([f"s{place}" for place in range(12)], [0, *(1 << place for place in range(11))])

    assert sum(1 for _ in partitions(dag)) == 2**11
    assert lattice(dag).ideals == 13
    assert lattice(dag).is_serial


def test_coarse_comes_first_and_no_more_is_made_than_is_asked_for():
    dag = Dag.made([f"s{place}" for place in range(30)], [0, *(1 << place for place in range(29))])

    assert next(partitions(dag)) == (dag.all,)


def test_a_flow_that_is_too_wide_says_what_to_do():
    dag = Dag.made([f"s{place}" for place in range(40)], [0] * 40)

    with pytest.raises(SpecError, match="name the grain that is to be kept"):
        lattice(dag)


def test_a_wide_flow_is_cut_into_connected_groups(monkeypatch):
    monkeypatch.setattr(partition, "MOST_STEPS", 30)
    dag = Dag.made(list("abcdef"), [0, 1, 1, 1, 1, 0b11110])

    with pytest.raises(SpecError):
        lattice(dag)


@given(dags(), st.integers(1, 63))
def test_a_group_is_connected_if_its_stages_reach_each_other_by_what_they_hand_over(dag, wanted):
    group = wanted & dag.all or 1
    members = set(partition.bits(group))
    reached = {min(members)}
    while True:
        wider = reached | {
            one
            for one in members
            for other in reached
            if dag.parents[one] >> other & 1 or dag.parents[other] >> one & 1
        }
        if wider == reached:
            break
        reached = wider

    assert dag.is_connected(group) == (reached == members)
