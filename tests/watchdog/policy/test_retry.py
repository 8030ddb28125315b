import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.retry import DEATHS, Progress, Verdict, progress, verdict

flags = st.booleans()
deaths = st.integers(1, 5)


@pytest.mark.parametrize(
    ("dispatch", "begun", "how_far"),
    [(3, 2, Progress.WAITED), (3, 3, Progress.RAN), (3, 4, Progress.FINISHED), (1, 0, Progress.WAITED)],
)
def test_the_last_dispatch_that_was_begun_is_the_one_that_ran(dispatch, begun, how_far):
    assert progress(dispatch, begun) is how_far


@given(deaths, flags, flags, flags)
def test_what_only_waited_goes_back_in_line(count, idempotent, shared, timed_out):
    found = verdict(Progress.WAITED, deaths=count, idempotent=idempotent, shared=shared, timed_out=timed_out)

    assert found is Verdict.AGAIN


@given(st.sampled_from([Progress.RAN, Progress.FINISHED]), deaths, flags, flags)
def test_what_must_not_run_twice_never_does(how_far, count, shared, timed_out):
    found = verdict(how_far, deaths=count, idempotent=False, shared=shared, timed_out=timed_out)

    assert found in (Verdict.ENDED, Verdict.LATE)


@given(flags, flags)
def test_a_unit_is_in_two_dead_dispatches_at_most(shared, timed_out):
    found = verdict(
        Progress.RAN, deaths=DEATHS, idempotent=True, shared=shared, timed_out=timed_out and not shared
    )

    assert found in (Verdict.POISON, Verdict.LATE)


def test_the_first_death_is_followed_by_a_try_alone():
    assert verdict(Progress.RAN, deaths=1, idempotent=True, shared=True) is Verdict.ALONE


def test_a_timeout_of_a_unit_alone_is_its_own_fault():
    found = verdict(Progress.RAN, deaths=1, idempotent=True, shared=False, timed_out=True)

    assert found is Verdict.LATE


def test_a_timeout_of_several_is_tried_alone():
    found = verdict(Progress.RAN, deaths=1, idempotent=True, shared=True, timed_out=True)

    assert found is Verdict.ALONE


def test_what_had_finished_is_run_again_as_it_was():
    assert verdict(Progress.FINISHED, deaths=0, idempotent=True, shared=True) is Verdict.AGAIN
