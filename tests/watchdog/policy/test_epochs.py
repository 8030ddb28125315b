from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.policy.epochs import LAST, Epochs, StaleError


def test_the_epoch_before_is_held_until_it_is_released():
    epochs = Epochs().assigned(1).assigned(2)
    assert (epochs.holds(0), epochs.holds(1), epochs.holds(2)) == (False, True, True)
    assert not epochs.released(2).holds(1)


def test_one_that_was_not_heard_of_yet_is_served():
    assert Epochs(3, 3).holds(4)


def test_an_older_assignment_is_refused_and_the_same_one_changes_nothing():
    epochs = Epochs().assigned(5)
    assert epochs.assigned(5) == epochs
    with pytest.raises(StaleError, match="5 is in force"):
        epochs.assigned(4)


def test_one_that_has_no_place_in_a_request_is_refused():
    assert Epochs().assigned(LAST).current == LAST
    with pytest.raises(SpecError, match=f"at most {LAST}"):
        Epochs().assigned(LAST + 1)


@given(st.lists(st.tuples(st.sampled_from(["assign", "release"]), st.integers(0, 12))))
def test_what_rules_is_held_and_nothing_ever_goes_back(events):
    epochs = Epochs()
    for kind, epoch in events:
        before = epochs
        if kind == "release":
            epochs = epochs.released(epoch)
        elif epoch >= epochs.current:
            epochs = epochs.assigned(epoch)
        else:
            with pytest.raises(StaleError):
                epochs.assigned(epoch)
        assert epochs.holds(epochs.current)
        assert epochs.current >= before.current
        assert epochs.oldest >= before.oldest
