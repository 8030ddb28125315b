"""What a load asks of each stage: seconds of a request, of a batch, and of a request that is heavier than most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, lists
from regrain_watchdog.policy.profile import OutOfRangeError
from regrain_watchdog.policy.search.options import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVELS = (0.5, 0.8, 0.95)
"""Quantiles of the latency that P1 is solved at; which of them suits, P2 finds out."""
SAMPLE = 41
"""Requests that stand for all: the lightest, the heaviest, and those at even steps of weight between them."""
SEEN = 400
"""Requests of a window of which these are taken."""
LEAST_RATE = 1e-9
"""Requests a second that stand for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """One stage: (levels, chunk + 1, sizes) seconds of a call at shares of a GPU or cores; NaN where not measured."""

    seconds: Floats
    sizes: Floats
    cv: float

    @property
    def largest(self) -> int:
        """Place of the largest level that was measured; the last where none was."""
        measured = np.flatnonzero(np.isfinite(self.seconds[:, 0, 0]))
        return int(measured[-1]) if len(measured) else len(self.seconds) - 1

    def total(self, units: Ints, size: Floats) -> Floats:
        """Return (levels, n) seconds of n dispatches of so many units, each in as many calls as that takes."""
        chunk = self.seconds.shape[1] - 1
        full, rest = np.divmod(units, chunk)
        at = np.interp(size, self.sizes, np.arange(len(self.sizes)))
        low = np.floor(at).astype(np.intp)
        high = np.minimum(low + 1, len(self.sizes) - 1)
        part = at - low

        def one(calls: Ints) -> Floats:
            return (1 - part) * self.seconds[:, calls, low] + part * self.seconds[:, calls, high]

        found: Floats = full * one(np.full_like(units, chunk)) + one(rest)
        return found


def calls(space: Space) -> tuple[list[Calls], list[Calls]]:
    """Return the stages' calls in groups on a GPU (by share) and without (by cores); the same under any load.

    One without a GPU runs on the cores that it declares, whatever its group has.
    """
    problem = space.problem
    beside: list[Calls] = []
    alone: list[Calls] = []
    for stage, name in enumerate(space.dag.stages):
        spec = space.spec(stage)
        chunk = spec.max_size if spec.batched else 1
        shares = problem.limits.shares
        shares = shares if space.on_gpu(stage) else (spec.cpu,) * len(shares)

        def table(levels: tuple[float, ...], name: str = name, chunk: int = chunk) -> Calls:
            time = problem.times[name]
            rows = [[_call(space, name, units, level) for units in range(chunk + 1)] for level in levels]
            return Calls(np.array(rows), time.sizes, time.cv)

        beside.append(table(shares))
        alone.append(table((spec.cpu,) * len(problem.cores)))
    return beside, alone


def _call(space: Space, name: str, units: int, level: float) -> Floats:
    time = space.problem.times[name]
    if not time.shares[0] * (1 - 1e-9) <= level <= time.shares[-1] * (1 + 1e-9):
        return np.full(len(time.sizes), np.nan)
    try:
        return time.call(units, level)
    except OutOfRangeError as error:
        limit = (
            f"stage {name} declares calls of up to {space.spec(space.dag.stages.index(name)).max_size} units"
        )
        raise OutOfRangeError(f"{limit}: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What a load asks of an app.

    Attributes:
        rate: requests a second.
        burst: variance over mean of the requests in a stretch of time; 1 for Poisson.
        widths: (SAMPLE, lists + 1) items of each list, of requests from the lightest to the heaviest; the last column,
            which PER_REQUEST finds, is 1.
        sizes: (SAMPLE,) of them.
    """

    rate: float
    burst: float
    widths: Ints
    sizes: Floats

    @classmethod
    def of(cls, load: Arrivals, space: Space, tables: list[Calls]) -> Demand:
        """Take it from a window of requests; one without any asks for next to nothing."""
        count = len(lists(space.problem.app.graph))
        if not len(load):
            return cls(LEAST_RATE, 1.0, np.ones((SAMPLE, count + 1), np.int64), np.zeros(SAMPLE))
        seen = np.linspace(0, len(load) - 1, min(SEEN, len(load))).astype(np.intp)
        widths = np.column_stack([load.widths[seen].astype(np.int64), np.ones(len(seen), np.int64)])
        weight = sum(
            table.total(widths[:, space.scope(stage)], load.size[seen])[table.largest]
            for stage, table in enumerate(tables)
        )
        order = np.argsort(weight, kind="stable")
        taken = order[np.linspace(0, len(seen) - 1, SAMPLE).astype(np.intp)]
        slo = space.problem.app.slo.latency
        return cls(max(load.rate, LEAST_RATE), burstiness(load, slo), widths[taken], load.size[seen][taken])

    def width(self, scope: int) -> float:
        """Return the mean number of items of a list; 1 for PER_REQUEST."""
        return float(self.widths[:, scope].mean())

    def at(self, level: float) -> int:
        """Return the place of the request that is heavier than a share `level` of all."""
        return min(SAMPLE - 1, int(level * SAMPLE))


def burstiness(load: Arrivals, latency: float) -> float:
    """Return the variance over the mean of the requests in stretches of 4 latencies: what a queue must ride out.

    Where the window has fewer than 8 of them, that of the gaps between requests (their squared coefficient of
    variation), which is the same for renewal arrivals in the long run.
    """
    stretches = int(load.span / (4 * latency))
    if stretches >= 8 and len(load) >= stretches:
        counts = np.histogram(load.at, bins=stretches, range=(0.0, load.span))[0]
        return float(max(counts.var() / counts.mean(), 0.1))
    gaps = np.diff(load.at)
    if len(gaps) < 2 or gaps.mean() <= 0:
        return 1.0
    return float(max(gaps.var() / gaps.mean() ** 2, 0.1))


@dataclass(frozen=True, slots=True, eq=False)
class StageDemand:
    """What a stage takes, as features that add up over the stages of a group.

    Attributes:
        batch: (levels, batch sizes) mean seconds of a dispatch of so many requests.
        spread: (levels,) standard deviation of a single request's.
        quantile: (levels, LEVELS) seconds of the request that is heavier than so many.
        items: (levels, largest batch + 1) mean seconds of a dispatch of so many items.
    """

    batch: Floats
    spread: Floats
    quantile: Floats
    items: Floats


def stage_demand(table: Calls, scope: int, demand: Demand, sizes: tuple[int, ...]) -> StageDemand:
    """Return what a load asks of a stage, for each level of its table and each batch size."""
    widths, request = demand.widths[:, scope], demand.sizes
    single = table.total(widths, request)
    size = np.full(len(sizes), request.mean())
    together = np.array(sizes) * float(widths.mean())
    if widths.mean() >= 1:
        together = np.rint(together)
    whole = np.floor(together).astype(np.int64)
    part = together - whole  # of lists that are mostly empty; rounded, they would come to none or all
    batch = (1 - part) * table.total(whole, size) + part * table.total(whole + 1, size)
    batch[:, np.array(sizes) == 1] = single.mean(axis=1, keepdims=True)
    jitter = table.cv * single.mean(axis=1)
    most = np.arange(max(sizes) + 1)
    return StageDemand(
        batch=batch,
        spread=np.hypot(single.std(axis=1), jitter),
        quantile=single[:, [demand.at(level) for level in LEVELS]],
        items=table.total(most, np.full(len(most), request.mean())),
    )


__all__ = ["LEVELS", "PER_REQUEST", "Calls", "Demand", "StageDemand", "burstiness", "calls", "stage_demand"]
