import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.admit import HEADROOM, LONGEST_RETRY, admits, retry_after, wait

seconds = st.floats(0.0, 100.0)


@pytest.mark.parametrize(
    ("asked", "slack", "firm", "let_in"),
    [
        pytest.param((0.2, 0.05, 0.05), 0.3, False, True, id="in time"),
        pytest.param((0.21, 0.05, 0.05), 0.3, False, False, id="late behind the others"),
        pytest.param((0.21, 0.05, 0.05), 0.3, True, False, id="late behind the others, firm"),
        pytest.param((0.0, 0.5, 0.5), 0.3, False, True, id="late with nobody ahead"),
        pytest.param((0.0, 0.5, 0.5), 0.3, True, False, id="late with nobody ahead, firm"),
        pytest.param((5.0, 0.5, 0.5), 0.3, False, True, id="an objective out of reach"),
        pytest.param((5.0, 0.5, 0.2), 0.3, False, False, id="batches that have become too long"),
    ],
)
def test_who_is_let_in(asked, slack, firm, let_in):
    ahead, left, alone = asked
    assert admits(ahead=ahead, left=left, alone=alone, slack=slack, firm=firm) is let_in


@given(seconds, seconds, seconds, st.booleans())
def test_whoever_can_well_be_in_time_is_let_in(ahead, left, slack, firm):
    if ahead * HEADROOM + left <= slack:
        assert admits(ahead=ahead, left=left, alone=left, slack=slack, firm=firm)


@given(seconds, seconds, seconds)
def test_a_firm_deadline_lets_in_nobody_whom_a_soft_one_does_not(ahead, left, slack):
    if admits(ahead=ahead, left=left, alone=left, slack=slack, firm=True):
        assert admits(ahead=ahead, left=left, alone=left, slack=slack, firm=False)


@given(st.one_of(st.floats(0.0, 1e9), st.just(float("inf"))))
def test_a_refused_caller_is_asked_back_within_a_minute_and_never_at_once(wait):
    found = retry_after(wait)

    assert 1 <= found <= LONGEST_RETRY
    assert found >= min(wait, LONGEST_RETRY)


def test_the_wait_counts_whole_dispatches_and_half_of_those_under_way():
    assert wait(5, 2, 1, 0.1) == pytest.approx(0.35)
    assert wait(0, 4, 2, 0.1) == pytest.approx(0.05)
    assert wait(8, 4, 2, 0.1) == pytest.approx(0.15)
