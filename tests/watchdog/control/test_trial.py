"""How a plan in force does against what was predicted of it."""

import math

from regrain_watchdog.control.trial import Trial


def test_a_trial_tells_what_it_is_held_against():
    trial = Trial(None)
    before = trial.predicted
    trial.expect(0.97)

    assert math.isnan(before)
    assert trial.predicted == 0.97
