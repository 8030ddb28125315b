"""What the live page is told of decisions."""

import msgspec

from regrain.plan import Group, Plan
from regrain_watchdog.front.adapting.course import Course

PRESENT = {"plan": Plan((Group(stages=("a",)),))}


def test_a_decision_is_another_one_also_where_it_has_the_number_of_the_one_before():
    """Whoever decides is a new process after an update, or where pods come or go, and counts from 1."""
    course = Course()
    for count in (1, 2):
        course.add(msgspec.json.encode({"decision": {"number": 1, "present": PRESENT}, "needs": []}), 0.0)
        assert (course.number, course.heard) == (1, count)


def test_what_is_predicted_is_of_the_plan_that_rules():
    course = Course()
    assert course.predicted is None

    chosen = {"plan": Plan((Group(stages=("a",), replicas=2),)), "hit_rate": 0.9}
    decision = {"number": 1, "present": {**PRESENT, "hit_rate": 0.5}}
    course.add(msgspec.json.encode({"decision": decision}), 0.0)
    assert course.predicted == 0.5

    course.add(
        msgspec.json.encode({"decision": {**decision, "plan": chosen["plan"], "candidates": [chosen]}}), 1.0
    )
    assert course.predicted == 0.9
