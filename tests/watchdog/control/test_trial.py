"""How a plan in force does against what was predicted of it."""

import math

from regrain_watchdog.control.trial import BLOCK, LONG, MOST_LONG, Trial


def test_a_trial_tells_what_it_is_held_against():
    trial = Trial(None)
    before = trial.predicted
    trial.expect(0.97)

    assert math.isnan(before)
    assert trial.predicted == 0.97


def test_the_long_run_is_told_once_it_is_long_and_outlasts_what_is_forgiven():
    trial = Trial(None)
    told = []
    for _ in range(LONG):
        told.append(trial.long_run)
        trial.follow(BLOCK, 9, 1)
    trial.forgive()

    assert all(math.isnan(one) for one in told)
    assert math.isnan(trial.measured)
    assert trial.long_run == 0.9

    trial.begin()

    assert math.isnan(trial.long_run)


def test_the_long_run_forgets_what_is_old():
    trial = Trial(None)
    for hits in (0, 10):
        for _ in range(MOST_LONG):
            trial.follow(BLOCK, hits, 10 - hits)

    assert trial.long_run == 1.0


def test_a_trial_that_misses_as_was_predicted_has_misled_nobody():
    """Its plan was taken for less than comes now."""
    trial = Trial(None)
    for _ in range(LONG):
        trial.follow(BLOCK, 8, 2)

    told = []
    for predicted in (0.97, 0.8, 0.94):
        trial.expect(predicted)
        told.append(trial.misled(0.95, 0.93))

    assert told == [True, False, True]
    assert not Trial(None).misled(0.95, 0.93)


def test_a_trial_that_has_failed_is_not_forgiven_for_being_misled():
    trial = Trial(None)
    trial.expect(0.97)
    for _ in range(LONG):
        trial.follow(BLOCK, 8, 2)

    assert trial.failed
    assert not trial.misled(0.95, 0.93)
