"""What is asked of an app while it is loaded."""

import msgspec
import pytest

from regrain.plan import Plan
from regrain_watchdog.cli.admin import GroupStatus, Replica, Status
from regrain_watchdog.cli.course import Course
from regrain_watchdog.cli.loading import look
from regrain_watchdog.cli.why import Why
from regrain_watchdog.control.decision import Decision, Told
from regrain_watchdog.load.client import Target
from regrain_watchdog.load.spend import Meter
from regrain_watchdog.policy.cost import HOUR, Prices

STATUS = msgspec.json.encode(Status(app="app", state="ready", grain="a"))


@pytest.fixture
def admin(stub):
    """The admin API of an app, which tells its status."""
    admin = stub()
    admin.answers["/status"] = (200, {}, STATUS)
    return admin


def decided(number):
    present = Told(plan=Plan(()), grain="a", cost=1.0)
    told = Decision(number=number, at=0.0, woken="period", reason="BEST", sentence="", present=present)
    return 200, {}, msgspec.json.encode(Why(decision=told))


def course(base):
    return Course(
        name="app",
        target=Target.of("http://127.0.0.1:1/"),
        base=base,
        times=[],
        contents=[],
        slo=None,
        meter=Meter(Prices(), None, None),
    )


def test_an_app_that_cannot_say_for_once_is_asked_again(admin):
    loaded = course(admin.url)

    for answer in (decided(5), (503, {}, b"busy"), decided(6), (500, {}, b""), decided(7)):
        admin.answers["/why"] = answer
        look(loaded, 0.0)

    assert loaded.is_asked
    assert loaded.decided.so_far().made == 2


def test_an_app_that_does_not_adapt_is_asked_once(admin):
    loaded = course(admin.url)

    for answer in ((404, {}, b'{"detail": "nobody but operators changes the plan"}'), decided(5)):
        admin.answers["/why"] = answer
        look(loaded, 0.0)

    assert [path for path, _ in admin.asked] == ["/status", "/why", "/status"]
    assert loaded.decided.so_far() is None


def group(name, cpu, *replicas):
    told = [Replica(pid=abs(pid), state="ready", guest=pid < 0) for pid in replicas]
    return GroupStatus(name=name, stages=name.split("+"), replicas=told, cpu=cpu)


def test_both_plans_of_a_change_cost_and_each_replica_once(admin):
    """Of the new plan are 1 and 2, which served the old one too; 3 of that stands in, and 4, whose own plan is gone."""
    new = [group("a", 1.0, 1, 2), group("b", 2.0, -3, -4), group("c", 4.0, -4)]
    old = [group("a+b", 8.0, -2, 3)]
    changing = Status(app="app", state="ready", grain="a | b | c", groups=new, beside=old)
    admin.answers |= {"/status": (200, {}, msgspec.json.encode(changing)), "/why": (404, {}, b"")}
    loaded = course(admin.url)
    loaded.meter.prices = Prices(core=HOUR, memory=0.0)

    look(loaded, 0.0)

    assert loaded.meter.spending is not None
    assert loaded.meter.spending.rate == [pytest.approx(2 * 1.0 + 2.0 + 8.0)]
