"""The way to a plan never takes more memory than there is, whatever the plans."""

from hypothesis import given
from hypothesis import strategies as st

from regrain.plan import Group, Plan
from regrain_watchdog.policy.staged import Leg, path

SIZES = {"a": 3, "b": 5}


def needs(plan):
    return sum(group.replicas * sum(SIZES[stage] for stage in group.stages) for group in plan.groups)


counts = st.integers(1, 4)
plans = st.one_of(
    st.builds(lambda n: Plan((Group(stages=("a", "b"), replicas=n),)), counts),
    st.builds(
        lambda n, m: Plan((Group(stages=("a",), replicas=n), Group(stages=("b",), replicas=m))),
        counts,
        counts,
    ),
)


def way(old, new, free, missing=None):
    wanted = needs(new) if missing is None else missing
    room = free + needs(old)
    return path(
        old,
        new,
        fits=wanted <= free,
        beside=lambda one, other: needs(one) + needs(other) <= room,
        alone=lambda one: needs(one) <= room,
    )


@given(plans, plans, st.integers(0, 80))
def test_every_plan_on_the_way_fits_beside_the_one_before_it(old, new, free):
    legs = way(old, new, free)

    total, before = free + needs(old), old
    for leg in legs:
        beside = 0 if leg.plan.grain == before.grain else needs(before)
        assert beside + needs(leg.plan) <= total or leg == Leg(new, is_new=True)
        before = leg.plan
    if legs:
        assert legs[-1] == Leg(new, is_new=True)
        assert needs(new) <= total
        assert [leg.is_new for leg in legs] == sorted(leg.is_new for leg in legs)


@given(plans, plans, st.integers(0, 80))
def test_nothing_is_staged_that_fits_at_once(old, new, free):
    if needs(new) <= free:
        assert way(old, new, free) == [Leg(new, is_new=True)]
    assert way(old, new, 0, missing=0) == [Leg(new, is_new=True)]


def test_what_other_pods_run_gets_nothing_here_on_the_way():
    old = Plan((Group(stages=("a",), replicas=2), Group(stages=("b",), replicas=0)))
    new = Plan((Group(stages=("a",), replicas=0), Group(stages=("b",), replicas=1)))
    small_old = Plan((Group(stages=("a",)), Group(stages=("b",), replicas=0)))

    assert way(old, new, 2) == [Leg(small_old, is_new=False), Leg(new, is_new=True)]


def test_a_plan_that_fits_only_once_the_old_one_has_shrunk_goes_over_two_smaller_ones():
    old = Plan((Group(stages=("a", "b"), replicas=3),))
    new = Plan((Group(stages=("a",), replicas=2), Group(stages=("b",), replicas=2)))
    small_old = Plan((Group(stages=("a", "b")),))
    small_new = Plan((Group(stages=("a",)), Group(stages=("b",))))

    assert way(old, new, 0) == [
        Leg(small_old, is_new=False),
        Leg(small_new, is_new=True),
        Leg(new, is_new=True),
    ]
    assert way(small_old, small_new, 7) == []
    assert way(small_old, small_new, 8) == [Leg(small_new, is_new=True)]
