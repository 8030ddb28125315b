"""Queue or share: held against every way to run the jobs there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.gpu.sharing import Job, side_by_side, waves

jobs_of = st.builds(
    Job,
    compute=st.integers(0, 40).map(float),
    fixed=st.integers(1, 40).map(float),
    interference=st.sampled_from([0.0, 0.0625, 0.25, 0.5, 2.0]),
)


def ways(jobs: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every order of waves that runs so many jobs."""
    if not jobs:
        yield ()
    for first in range(1, min(jobs, most) + 1):
        for rest in ways(jobs - first, most):
            yield (first, *rest)


def ends(job: Job, order: tuple[int, ...]) -> list[float]:
    """When each job ends."""
    times = accumulate(map(job.beside, order))
    return [time for time, wave in zip(times, order, strict=True) for _ in range(wave)]


@given(jobs_of, st.integers(1, 8), st.integers(1, 9))
@settings(deadline=None)
def test_the_mean_is_the_least_of_all_ways(job, jobs, most):
    order = waves(job, jobs, most=most)

    assert sum(order) == jobs
    assert max(order) <= most
    assert math.isclose(sum(ends(job, order)), min(sum(ends(job, way)) for way in ways(jobs, most)))


@given(jobs_of, st.integers(1, 8), st.integers(1, 9), st.integers(1, 400))
@settings(deadline=None)
def test_no_way_lets_more_of_them_end_in_time(job, jobs, most, within):
    order = waves(job, jobs, most=most, within=float(within))

    def in_time(way: tuple[int, ...]) -> int:
        return sum(end <= within for end in ends(job, way))

    assert sum(order) == jobs
    assert in_time(order) == max(in_time(way) for way in ways(jobs, most))


@given(jobs_of)
@settings(deadline=None)
def test_two_share_for_their_mean_as_the_formula_says(job):
    a, b, i = job.compute, job.fixed, job.interference

    assert (side_by_side(job, 2) == 2) == ((2 * a + b) * (1 + i) < 3 * (a + b) / 2)


@given(jobs_of, st.integers(2, 30))
@settings(deadline=None)
def test_all_side_by_side_are_over_sooner_as_the_formula_says(job, jobs):
    a, b = job.compute, job.fixed
    whole = (jobs - 1) * job.interference

    assert (job.beside(jobs) < jobs * job.beside(1)) == (whole * (jobs * a + b) < (jobs - 1) * b)


def test_compute_is_queued_and_launches_are_shared():
    assert waves(Job(compute=10.0, fixed=0.1), 4) == (1, 1, 1, 1)
    assert waves(Job(compute=0.1, fixed=10.0), 4) == (4,)
    assert waves(Job(compute=0.1, fixed=10.0), 4, most=3) == (3, 1)


def test_a_deadline_makes_those_share_that_would_rather_queue():
    job = Job(compute=1.0, fixed=0.8)

    assert side_by_side(job, 2) == 1
    assert side_by_side(job, 2, within=3.0) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: Job(compute=-1.0, fixed=1.0), r"compute .* was -1\.0", id="time"),
        pytest.param(lambda: Job(compute=1.0, fixed=math.nan), "fixed .* was nan", id="nan"),
        pytest.param(lambda: waves(Job(compute=1.0, fixed=1.0), 0), "were 0 and None", id="no job"),
        pytest.param(lambda: waves(Job(compute=1.0, fixed=1.0), 1, most=0), "were 1 and 0", id="no room"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()
