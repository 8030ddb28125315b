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
