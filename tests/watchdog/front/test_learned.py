"""What the front learns of a step, from the sample and from requests."""

from __future__ import annotations

from regrain.plan import Step
from regrain_watchdog.front.learned import Learned

STEP = Step(stages=("a",), inputs=(), outputs=())


def test_until_a_request_was_run_the_sample_stands_for_it():
    learned = Learned(STEP)

    assert learned.took(0.5, 0.25, is_asked=False)
    learned.cost.learn(0.5, now=1.0)

    assert (learned.service, learned.unit_service, learned.cost.mean) == (0.5, 0.25, 0.5)


def test_the_first_request_takes_the_place_of_the_sample_which_met_what_was_cold():
    learned = Learned(STEP)
    learned.took(3.0, 3.0, is_asked=False)
    learned.cost.learn(3.0, now=1.0)

    assert learned.took(0.02, 0.01, is_asked=True)

    assert (learned.service, learned.unit_service, learned.cost.mean) == (0.02, 0.01, 0.0)


def test_once_requests_were_run_the_sample_tells_nothing_new():
    learned = Learned(STEP)
    learned.took(0.02, 0.02, is_asked=True)

    assert not learned.took(3.0, 3.0, is_asked=False)
    assert learned.service == 0.02
