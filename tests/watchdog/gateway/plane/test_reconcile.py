"""Whatever runs and whatever is wanted: carrying out what is told, again and again, makes the two agree."""

from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.gateway.plane.reconcile import (
    Add,
    Have,
    Instruction,
    Remove,
    Scale,
    Update,
    Want,
    instructions,
)

keys = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "z"]))
versions = st.tuples(st.sampled_from([1.0, 2.0]), st.integers(1, 3))
wants = st.dictionaries(keys, st.builds(Want, version=versions, replicas=st.integers(0, 3)))
haves = st.dictionaries(
    keys, st.builds(Have, version=versions, replicas=st.integers(0, 3), busy=st.booleans())
)


def carried(told: list[Instruction], wanted: dict, there: dict) -> dict:
    """What is there once all that was told is done, and nothing is busy any more."""
    after = {
        key: Have(version=have.version, replicas=have.replicas)
        for key, have in there.items()
        if Remove(key) not in told
    }
    for one in told:
        match one:
            case Add(key) | Update(key):
                after[key] = Have(version=wanted[key].version, replicas=wanted[key].replicas)
            case Scale(key, replicas):
                after[key] = Have(version=after[key].version, replicas=replicas)
            case Remove():
                pass
    return after


@given(wants, haves)
def test_what_runs_becomes_what_is_wanted(wanted: dict, there: dict) -> None:
    once = carried(instructions(wanted, there), wanted, there)
    twice = carried(instructions(wanted, once), wanted, once)

    assert {key: (have.version, have.replicas) for key, have in twice.items()} == {
        key: (want.version, want.replicas) for key, want in wanted.items()
    }
    assert instructions(wanted, twice) == []


@given(wants, haves)
def test_a_function_is_told_one_thing_and_a_busy_one_only_to_go(wanted: dict, there: dict) -> None:
    told = instructions(wanted, there)

    assert len({one.key for one in told}) == len(told)
    for one in told:
        have = there.get(one.key)
        assert have is None or not have.busy or isinstance(one, Remove)


def test_a_function_that_was_removed_and_deployed_anew_is_another_version() -> None:
    key = ("a", "x")
    there = {key: Have(version=(1.0, 1), replicas=1)}

    assert instructions({key: Want(version=(2.0, 1), replicas=1)}, there) == [Update(key)]
