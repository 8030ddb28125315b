"""How well measured points foretell each other."""

import math

import numpy as np
import pytest

from regrain_watchdog.policy.profile import Point, Profile, StageProfile
from regrain_watchdog.profile.fit import fit, warnings


def stage(seconds, shares=(0.125, 0.25, 0.5, 1.0), batches=(1, 2, 4, 8), cv=0.0):
    points = [
        Point(batch, 1.0, share, seconds(batch, share), cv, 10) for share in shares for batch in batches
    ]
    return StageProfile(digest="", on_gpu=True, points=tuple(points))


def test_times_that_follow_the_law_between_points_are_foretold():
    found = fit("read", stage(lambda batch, share: 0.001 + 0.002 * batch / share))

    assert found.points > 8
    assert found.median == pytest.approx(0.0, abs=0.08)
    assert not found.poor


@pytest.mark.parametrize(("is_whole", "advice"), [(False, "give more --time"), (True, "by --fresh")])
def test_a_poor_fit_is_warned_of_by_name_with_what_would_help(is_whole, advice):
    rng = np.random.default_rng(1)
    wild = stage(lambda batch, share: float(rng.lognormal(-4, 1.0)))
    calm = stage(lambda batch, share: 0.002 * batch / share)

    told = warnings(Profile(app="a", stages={"wild": wild, "calm": calm}), is_whole=is_whole)

    assert len(told) == 1
    assert told[0].startswith("wild: ")
    assert advice in told[0]


def test_points_that_have_nobody_to_ask_are_no_fit_and_no_poor_one():
    found = fit("read", stage(lambda batch, share: 0.01, shares=(1.0,), batches=(1,)))

    assert (found.points, found.poor) == (0, False)
    assert math.isnan(found.median)
