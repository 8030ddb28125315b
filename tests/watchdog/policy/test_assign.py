from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.assign import Wanted, assign

STAGES = "abcd"

residents = st.dictionaries(
    st.integers(1, 12), st.sets(st.sampled_from(STAGES), min_size=1).map(frozenset), max_size=8
)
groups = st.lists(
    st.tuples(st.sets(st.sampled_from(STAGES), min_size=1).map(frozenset), st.integers(1, 3)),
    min_size=1,
    max_size=4,
).map(
    lambda found: [
        Wanted(name=f"g{place}", stages=stages, replicas=replicas)
        for place, (stages, replicas) in enumerate(found)
    ]
)


@given(groups, residents)
def test_a_replica_serves_only_groups_whose_stages_it_has(wanted: list[Wanted], resident: dict) -> None:
    assignment = assign(wanted, resident)

    for group in wanted:
        assert all(group.stages <= resident[number] for number in assignment.serving[group.name])


@given(groups, residents)
def test_what_is_handed_out_and_what_is_missing_make_what_is_wanted(
    wanted: list[Wanted], resident: dict
) -> None:
    assignment = assign(wanted, resident)

    for group in wanted:
        missing = assignment.missing.get(group.name, 0)
        assert missing >= 0
        if missing < group.replicas:
            assert len(assignment.serving[group.name]) + missing == group.replicas
        else:
            assert len(assignment.serving[group.name]) <= 1  # a shared one, until its own are there


@given(groups, residents)
def test_a_group_goes_unserved_only_if_no_replica_could_serve_it(
    wanted: list[Wanted], resident: dict
) -> None:
    assignment = assign(wanted, resident)

    for group in wanted:
        able = any(group.stages <= stages for stages in resident.values())
        assert bool(assignment.serving[group.name]) == able
    assert assignment.is_free == all(assignment.serving.values())


def test_replicas_that_have_everything_make_every_grain_free() -> None:
    everything = frozenset(STAGES)

    assignment = assign(
        [Wanted(name=stage, stages=frozenset(stage), replicas=1) for stage in STAGES],
        {1: everything, 2: everything},
    )

    assert assignment.is_free
    assert assignment.used == {1, 2}
    assert sum(assignment.missing.values()) == 2


def test_specialists_are_used_before_all_rounders() -> None:
    wanted = [
        Wanted(name="a", stages=frozenset("a"), replicas=1),
        Wanted(name="bcd", stages=frozenset("bcd"), replicas=1),
    ]

    assignment = assign(wanted, {1: frozenset(STAGES), 2: frozenset("a")})

    assert assignment.serving == {"a": (2,), "bcd": (1,)}
    assert assignment.missing == {}
