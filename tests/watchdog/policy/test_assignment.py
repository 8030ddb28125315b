from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.plan import Group
from regrain_watchdog.policy.assignment import (
    Assignment,
    Standing,
    assigned,
    behind,
    follows,
    is_in_force,
    is_over,
    is_settled,
    laid_out,
    newest,
    next_epoch,
    shares,
)

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


def assignment(epoch=1, homes=None, grain="a | b"):
    homes = homes or {"a": ("1",), "b": ("2",)}
    return Assignment(epoch=epoch, version="v", grain=grain, homes=homes, replicas=dict.fromkeys(homes, 1))


def standing(epoch, oldest=0, *, ready=True, draining=False, ending=0, given=None):
    return Standing(
        version="v",
        epoch=epoch,
        oldest=oldest,
        grain="a | b",
        ready=ready,
        draining=draining,
        ending=ending,
        assignment=given,
    )


@pytest.mark.parametrize(
    ("pods", "expected"), [(6, [1, 1, 4]), (4, [1, 1, 2]), (2, [1, 1, 1]), (12, [2, 2, 8])]
)
def test_pods_are_shared_out_by_weight(pods, expected):
    assert list(shares({"a": 1.0, "b": 1.0, "c": 4.0}, pods).values()) == expected


@given(NAMES, st.integers(1, 20), st.data())
def test_every_group_has_pods_and_every_pod_works(names, count, data):
    weights = {name: data.draw(st.floats(0.1, 10.0)) for name in names}
    pods = [f"pod{number:02}" for number in range(count)]
    before = {name: data.draw(st.lists(st.sampled_from([*pods, "gone"]), unique=True)) for name in names}

    homes = assigned(weights, pods, before)

    assert set(homes) == set(names)
    assert all(found and set(found) <= set(pods) for found in homes.values())
    assert {name: len(found) for name, found in homes.items()} == shares(weights, count)
    works = [pod for found in homes.values() for pod in found]
    if count >= len(names):
        assert sorted(works) == pods
    else:
        assert max(map(works.count, pods)) - min(map(works.count, pods)) <= 1


@given(NAMES, st.integers(1, 20), st.data())
def test_nothing_moves_where_nothing_changes(names, count, data):
    weights = {name: data.draw(st.floats(0.1, 10.0)) for name in names}
    pods = [f"pod{number:02}" for number in range(count)]
    if count >= len(names):
        homes = assigned(weights, pods, {})
        assert assigned(weights, pods, homes) == homes


def test_a_pod_that_goes_moves_only_what_it_had():
    weights = dict.fromkeys("abc", 1.0)
    before = assigned(weights, ["1", "2", "3", "4"], {})
    after = assigned(weights, ["1", "2", "3"], before)
    lost = [name for name in weights if "4" in before[name]]
    assert len(lost) == 1
    assert all(set(after[name]) <= set(before[name]) for name in weights if name not in lost)


def test_groups_of_another_grain_go_where_their_stages_were():
    before = assignment(homes={"a": ("1",), "b": ("2",), "c": ("3",)}, grain="a | b | c")
    had = follows(before, "a+b | c", {"a+b": (), "c": ()})
    assert had == {"a+b": ["1", "2"], "c": ["3"]}
    assert follows(None, "a | b", {}) == {}


def test_an_epoch_is_higher_than_all_that_are_known():
    assert next_epoch([standing(3), standing(7)], assignment(5)) == 8
    assert next_epoch([standing(0)], assignment(9)) == 10
    assert next_epoch([], None) == 1


def test_who_is_told():
    standings = {
        "new": standing(0),
        "starting": standing(0, ready=False),
        "told": standing(2),
        "stops": standing(1, draining=True),
        "old": standing(1, ready=False),
    }
    assert behind(assignment(2), standings) == ["new", "old"]


def test_what_is_over_is_said_once():
    wanted = assignment(2)
    assert not is_over(wanted, {"1": standing(2, 1), "2": standing(1)})
    assert not is_over(wanted, {"1": standing(2, 1), "2": standing(2, 1, ending=1)})
    assert is_over(wanted, {"1": standing(2, 1), "2": standing(2, 2)})
    assert not is_over(wanted, {"1": standing(2, 2), "2": standing(2, 2)})


@given(NAMES, st.integers(1, 20), st.data())
def test_a_plan_is_laid_out_over_the_pods_that_it_was_made_for(names, count, data):
    counts = {name: data.draw(st.integers(1, 4)) for name in names}
    groups = [
        Group(stages=(name,), replicas=data.draw(st.integers(counts[name], 3 * counts[name])))
        for name in names
    ]
    pods = [f"pod{number:02}" for number in range(count)]
    before = {name: data.draw(st.lists(st.sampled_from([*pods, "gone"]), unique=True)) for name in names}

    homes, replicas, real = laid_out(groups, counts, pods, before)

    assert all(homes[name] and set(homes[name]) <= set(pods) for name in names)
    for planned, group in zip(groups, real, strict=True):
        assert replicas[group.name] * counts[group.name] >= planned.replicas
        assert 1 <= group.replicas <= min(planned.replicas, len(homes[group.name]) * replicas[group.name])
    if sum(counts.values()) <= count:
        assert list(real) == groups
        assert {name: len(found) for name, found in homes.items()} == counts
        works = [pod for found in homes.values() for pod in found]
        assert len(works) == len(set(works))


def test_what_pods_have_in_force_is_the_latest_of_their_version():
    old, new = assignment(3), assignment(4, grain="a+b")

    assert newest({"1": standing(3, given=old), "2": standing(4, given=new), "3": standing(0)}, "v") is new
    assert newest({"1": standing(3, given=old)}, "another") is None
    assert newest({"1": standing(0)}, "v") is None


@pytest.mark.parametrize(
    ("told", "in_force", "settled"),
    [
        ([(4, 4), (4, 4)], True, True),
        ([(4, 3), (4, 4)], True, False),
        ([(4, 3), (3, 3)], False, False),
        ([], True, True),
    ],
)
def test_a_change_is_over_once_no_pod_holds_anything_before_it(told, in_force, settled):
    standings = {str(number): standing(*epochs) for number, epochs in enumerate(told)}
    never = standing(0, ready=False)
    stops = standing(2, draining=True)

    assert is_in_force(assignment(4), {**standings, "never": never, "stops": stops}) == in_force
    assert is_settled(assignment(4), {**standings, "never": never, "stops": stops}) == settled


def test_another_shape_of_a_group_is_another_assignment():
    shaped = Assignment(
        epoch=1,
        version="v",
        grain="a",
        homes={"a": ("1",)},
        replicas={"a": 1},
        groups=(Group(stages=("a",), max_size=4),),
    )
    plain = assignment(homes={"a": ("1",)}, grain="a")

    assert not shaped.says_as(plain)
    assert plain.says_as(assignment(7, homes={"a": ("1",)}, grain="a"))
