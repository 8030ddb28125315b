"""No decision depends on what arrives after it."""

import msgspec
import numpy as np
import pytest
from benchmarks.granularity import days, loads, steady
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World

from regrain_watchdog.policy.load import Arrivals

PROTOCOL = protocols.read()
DAY = 1000
SPAN, CUT = 50.0, 25.0


@pytest.fixture(scope="module")
def faces():
    return World(PROTOCOL, "faces", Setting.of(PROTOCOL))


def requests(world, after):
    """Return requests that are the same up to CUT, and after it come `after` times as often and are other."""
    rate = PROTOCOL.load.light * world.capacity()
    first = loads.requests(PROTOCOL, world.pipeline, "mmpp", rate, seed=1000).between(0.0, CUT)
    then = loads.requests(PROTOCOL, world.pipeline, "mmpp", after * rate, seed=int(1000 + after))
    then = then.between(0.0, SPAN - CUT)
    return Arrivals(
        np.concatenate([first.at, CUT + then.at]),
        np.concatenate([first.size, then.size]),
        np.concatenate([first.widths, then.widths]),
        SPAN,
    )


@pytest.mark.parametrize(
    "name",
    [
        "adaptive",
        "adaptive-analytic",
        "adaptive-simulated",
        "adaptive-fluid",
        "replanned-fine",
        "scaled-coarse",
        "infless",
        "esg",
    ],
)
def test_decisions_are_the_same_to_the_byte_whatever_comes_later(faces, name):
    offer = faces.offer(faces.warm_latency())
    coarse = days.Mind(offer).planned(requests(faces, 1.0), grain="+".join(offer.app.graph.stages)).plan
    policy = days.policies(faces, steady.Statics({"coarse": coarse}))[name]

    courses = []
    for after in (1.0, 8.0):
        leg = days.Leg(number=0, arrivals=requests(faces, after), slo=offer.app.slo.latency)
        courses.append(days.course_of(faces, policy, leg, coarse, DAY, refined=faces.refined()))

    one, other = (
        [msgspec.json.encode(decision) for decision in course.decisions if decision.at <= CUT]
        for course in courses
    )
    assert one == other
    assert one or name in ("scaled-coarse", "infless", "esg")
    assert any(decision.at > CUT for decision in courses[1].decisions)
