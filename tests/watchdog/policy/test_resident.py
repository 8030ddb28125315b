"""Handing living replicas over to the groups of the next plan, held against trying every way."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain.plan import GpuShare, Group
from regrain_watchdog.policy.resident import Living, cast, check, kept

STAGES = ("a", "b", "c", "d")


def chain(cuts, replicas):
    """Groups of a chain of four stages, cut where `cuts` says."""
    edges = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(STAGES)]
    return [
        Group(stages=STAGES[start:end], replicas=count)
        for (start, end), count in zip(itertools.pairwise(edges), replicas, strict=False)
    ]


groups = st.builds(
    chain, st.tuples(*[st.booleans()] * 3), st.lists(st.integers(1, 3), min_size=4, max_size=4)
)
residents = st.lists(st.frozensets(st.sampled_from(STAGES)), max_size=6)


def alive(found, before=()):
    names = itertools.chain((group.name for group in before), itertools.repeat(""))
    return [
        Living(number, name, resident)
        for number, (resident, name) in enumerate(zip(found, names, strict=False))
    ]


def best(living, groups):
    """The most groups with one of their own, and the most replicas used beside that, by trying everything."""
    choices = [
        [None, *(group.name for group in groups if one.resident.issuperset(group.stages))] for one in living
    ]
    found = (0, 0)
    for choice in itertools.product(*choices):
        taken = [name for name in choice if name]
        if all(taken.count(group.name) <= group.replicas for group in groups):
            found = max(found, (len(set(taken)), len(taken)))
    return found


@given(residents, groups, groups)
def test_as_many_groups_and_replicas_as_can_be_are_matched(found, before, wanted):
    living = alive(found, before)

    got = cast(living, wanted)

    by_number = {one.number: one for one in living}
    by_name = {group.name: group for group in wanted}
    for number, name in got.homes.items():
        assert by_number[number].resident.issuperset(by_name[name].stages)
    taken = list(got.homes.values())
    assert (len(set(taken)), len(taken)) == best(living, wanted)
    for group in wanted:
        assert taken.count(group.name) + got.missing.get(group.name, 0) == group.replicas


@given(residents, groups)
def test_a_group_without_a_replica_of_its_own_has_all_that_can_serve_it_as_guests(found, wanted):
    living = alive(found)

    got = cast(living, wanted)

    for group in wanted:
        able = tuple(one.number for one in living if one.resident.issuperset(group.stages))
        homeless = group.name not in got.homes.values()
        assert got.guests.get(group.name) == (able if homeless else None)
    assert got.is_covered == all(
        any(one.resident.issuperset(group.stages) for one in living) for group in wanted
    )


@given(groups, st.booleans())
def test_who_serves_a_group_stays_with_it(wanted, has_all):
    living = [
        Living(number, group.name, frozenset(STAGES if has_all else group.stages))
        for number, group in enumerate(group for group in wanted for _ in range(group.replicas))
    ]

    got = cast(living, wanted)

    assert got.homes == {one.number: one.group for one in living}
    assert got.is_free(regroups=False)


def test_a_split_is_free_before_its_processes_are_there_and_more_replicas_are_not():
    living = [Living(1, "a+b", frozenset("ab"))]

    split = cast(living, [Group(stages=("a",)), Group(stages=("b",))])
    scaled = cast(living, [Group(stages=("a", "b"), replicas=2)])
    fused = cast([Living(1, "a", frozenset("a")), Living(2, "b", frozenset("b"))], [Group(stages=("a", "b"))])

    assert split.is_free(regroups=True)
    assert (dict(split.missing), dict(split.guests)) == ({"b": 1}, {"b": (1,)})
    assert not scaled.is_free(regroups=False)
    assert not fused.is_free(regroups=True)


@pytest.mark.parametrize(
    ("setting", "keeps"), [("plan", ("b",)), ("all", STAGES), ("a", ("a", "b")), ("d, a", ("a", "b", "d"))]
)
def test_what_is_kept_comes_in_the_order_of_the_app(setting, keeps):
    check(setting, STAGES)

    assert kept(setting, ("b",), STAGES) == keeps


@pytest.mark.parametrize("setting", ["", "x", "a,x", "ALL", ","])
def test_a_setting_that_names_no_stage_of_the_app_says_what_is_allowed(setting):
    with pytest.raises(SpecError, match=r"allowed are 'all', 'plan', or stages .*: a, b, c, d"):
        check(setting, STAGES)


def test_a_group_that_is_served_elsewhere_gets_nobody():
    groups = [Group(stages=("a",), replicas=1), Group(stages=("b",), replicas=0)]
    living = [Living(1, "a+b", frozenset("ab")), Living(2, "b", frozenset("b"))]

    found = cast(living, groups)

    assert (found.homes, found.guests, found.missing) == ({1: "a"}, {}, {})


def test_a_replica_whose_share_is_fixed_has_its_home_in_a_group_of_that_share_and_is_a_guest_of_any():
    living = [Living(number, "a", frozenset("ab"), share) for number, share in enumerate((0.2, None, 0.4))]
    wanted = [
        Group(stages=("a",), replicas=2, gpu=GpuShare(fraction=0.4)),
        Group(stages=("b",), gpu=GpuShare(fraction=0.6)),
    ]

    found = cast(living[:1], wanted)
    assert (found.homes, found.guests, found.missing) == ({}, {"a": (0,), "b": (0,)}, {"a": 2, "b": 1})
    assert cast(living, wanted).homes == {1: "b", 2: "a"}
    assert cast(living[:1], [Group(stages=("a",))]).homes == {0: "a"}
