import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.fluid import NOBODY, at_once, card_for, next_up, switching

shares = st.floats(0.0, 1.0)


def test_the_worked_example_holds():
    assert next_up((3.0, 1.0), (0.2, 0.6), (0.5,), passes=False) == (-1, -1)
    assert next_up((3.0, 1.0), (0.0, 0.6), (0.5,), passes=False) == (0, 0)


@pytest.mark.parametrize(
    ("take", "free", "card"),
    [
        pytest.param(0.3, (1.0, 0.4), 1, id="where least is left over"),
        pytest.param(0.6, (0.5, 0.5), -1, id="never on two"),
        pytest.param(0.3, (0.1 + 0.2 - 1e-12,), 0, id="rounding is forgiven"),
        pytest.param(0.0, (0.0,), 0, id="nothing fits anywhere"),
    ],
)
def test_a_lease_lies_on_one_card(take, free, card):
    assert card_for(take, free) == card


def test_the_most_urgent_goes_first_and_of_equals_the_last_stage():
    assert next_up((2.0, 1.0, 3.0), (0.1, 0.1, 0.1), (1.0,), passes=False) == (1, 0)
    assert next_up((1.0, 1.0), (0.1, 0.1), (1.0,), passes=False) == (1, 0)
    assert next_up((NOBODY, NOBODY), (0.1, 0.1), (1.0,), passes=False) == (-1, -1)


def test_whatever_fits_passes_one_that_waits_for_share_where_it_may():
    assert next_up((3.0, 1.0), (0.2, 0.6), (0.5,), passes=True) == (0, 0)
    assert next_up((3.0, 2.0, 1.0), (0.2, 0.2, 0.6), (0.5,), passes=True) == (1, 0)
    assert next_up((3.0, 1.0), (0.2, 0.6), (0.7,), passes=True) == (1, 0)


def test_what_needs_no_share_passes_one_that_waits_for_it():
    assert next_up((5.0, 1.0), (0.0, 0.6), (0.5,), passes=False) == (0, 0)


@given(
    st.lists(st.tuples(st.floats(0.0, 9.0) | st.just(NOBODY), shares), min_size=1, max_size=6),
    st.lists(shares, min_size=1, max_size=3),
    st.booleans(),
)
def test_what_goes_fits_and_nobody_more_urgent_could_have_gone(stages, free, passes):
    urgency, takes = [one[0] for one in stages], [one[1] for one in stages]

    found, card = next_up(urgency, takes, free, passes=passes)

    first = max(place for place, when in enumerate(urgency) if when == min(urgency))
    able = [
        place
        for place, (when, take) in enumerate(stages)
        if when < NOBODY and card_for(take, free) >= 0 and (passes or take <= 0.0 or place == first)
    ]
    assert (found >= 0) == bool(able)
    if able:
        assert takes[found] <= free[card] + 1e-9
        assert urgency[found] <= min(urgency[place] for place in able)


@pytest.mark.parametrize(
    ("take", "before", "continues", "others", "seconds"),
    [
        pytest.param(0.5, 0.5, True, False, 0.0, id="goes on in place"),
        pytest.param(0.5, 0.5, True, True, 0.001, id="others wait"),
        pytest.param(0.5, 0.2, True, False, 0.001, id="another size"),
        pytest.param(0.5, 0.5, False, False, 0.001, id="another request"),
        pytest.param(0.0, 0.5, False, True, 0.0, id="needs none"),
    ],
)
def test_a_change_of_lease_costs(take, before, continues, others, seconds):
    assert switching(0.001, take=take, before=before, continues=continues, others=others) == seconds


def test_as_many_run_at_once_as_fit_on_the_cards():
    assert at_once(9, (1.0, 0.5), 0.3) == 4
    assert at_once(2, (1.0, 0.5), 0.3) == 2
    assert at_once(3, (1.0,), 0.0) == 3
    assert at_once(3, (0.5,), 0.9) == 1
