"""Queue or share? How many of the jobs that wait should run side by side on a GPU, and how many one after another.

With the whole device to itself a job's compute ends sooner; side by side, jobs hide behind each other the time that
does not depend on the device's width (launches, copies, the host). The question is Paldia's; the formulas here are
derived, not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from regrain.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A kind of job: alone on the fraction s of the device it takes T(s) = compute / s + fixed seconds.

    interference: by what part each further one side by side slows all of them.

    Valid within the shares for which T was fitted, for equal jobs on equal shares of one device, and for interference
    that grows linearly with the number of co-runners, as gpulet (ATC '22) has it. Jobs that fill the memory's bandwidth
    with part of the SMs break both: T stops falling with s, and interference jumps.
    """

    compute: float
    fixed: float
    interference: float = 0.0

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        for name in ("compute", "fixed", "interference"):
            value: float = getattr(self, name)
            if not 0 <= value < math.inf:
                raise SpecError(f"{name} of a job must be 0 or more, was {value}")

    def beside(self, jobs: int) -> float:
        """Return the seconds that each of `jobs` takes when they run side by side, on 1 / jobs of the device each.

        T(1 / m) (1 + (m - 1) I) = (m compute + fixed) (1 + (m - 1) I), with m jobs and interference I.
        """
        return (jobs * self.compute + self.fixed) * (1 + (jobs - 1) * self.interference)


def waves(job: Job, jobs: int, *, most: int | None = None, within: float = math.inf) -> tuple[int, ...]:
    """Return how many of `jobs` equal ones to run side by side first, then next, and so on.

    Without `within` this is what gives the least mean time until a job has ended. The first of several waves of m keeps
    all k that wait for W(m) = `job.beside(m)`, so the least sum of times is

        F(k) = min over m of k W(m) + F(k - m),    F(0) = 0.

    For two jobs: side by side iff (2a + b)(1 + I) < 3 (a + b) / 2, with a = compute and b = fixed.

    If some would then end later than `within` seconds, it is what lets most of them end in time. j jobs take at least

        M(j) = min over m of W(m) + M(j - m),    M(0) = 0,

    so the largest j with M(j) <= within goes first, in those waves, and the rest as above. Two jobs are over sooner
    side by side than one after another iff I < b / (2a + b).

    Args:
        job: what one of them costs.
        jobs: how many wait.
        most: how many may run side by side (their memory, the least share of a device); None for all.
        within: seconds from now in which each is wanted.

    Raises:
        SpecError: `jobs` or `most` is below 1.
    """
    if jobs < 1 or (most is not None and most < 1):
        raise SpecError(f"jobs to run and most side by side must be 1 or more, were {jobs} and {most}")
    widest = jobs if most is None else most
    by_mean = _best(jobs, widest, lambda left, wave: left * job.beside(wave))
    if _end(job, by_mean) <= within:
        return by_mean
    for count in range(jobs, 0, -1):
        in_time = _best(count, widest, lambda _, wave: job.beside(wave))
        if _end(job, in_time) <= within:
            rest = jobs - count
            return (
                in_time + _best(rest, widest, lambda left, wave: left * job.beside(wave)) if rest else in_time
            )
    return by_mean


def side_by_side(job: Job, jobs: int, *, most: int | None = None, within: float = math.inf) -> int:
    """Return how many of `jobs` equal ones that wait to start now, side by side: the first of `waves`."""
    return waves(job, jobs, most=most, within=within)[0]


def _best(jobs: int, widest: int, cost: Callable[[int, int], float]) -> tuple[int, ...]:
    """Return the waves of least cost; `cost(left, wave)` is that of one when `left` jobs have not ended before it."""
    least, first = [0.0], [0]
    for left in range(1, jobs + 1):
        costs = [(cost(left, wave) + least[left - wave], wave) for wave in range(1, min(left, widest) + 1)]
        value, wave = min(costs)
        least.append(value)
        first.append(wave)
    order = []
    while jobs:
        order.append(first[jobs])
        jobs -= first[jobs]
    return tuple(order)


def _end(job: Job, order: tuple[int, ...]) -> float:
    """Return when the last of these waves has ended."""
    return [*accumulate(map(job.beside, order))][-1]
