"""What arrives: the same requests for every policy, by seed; calibration draws to plan on, test draws to judge by.

Seeds below the protocol's `seeds.calibration` are of calibration, and what is replayed of a trace there is its first
part; test seeds replay the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.granularity.pipelines import probabilities
from benchmarks.granularity.protocol import ArrivalKind, Pipeline, Protocol
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.simulate.arrivals import MMPP, Poisson
from regrain_watchdog.simulate.trace import Trace

AHEAD = 1.3
"""Times the seconds that so many requests should take, that are drawn before it is seen whether they are enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One setting of a day: it begins at `begin` seconds and lasts to the next; `slo` is a multiple."""

    begin: float
    load: str
    slo: float
    arrivals: str


def requests(
    protocol: Protocol,
    pipeline: Pipeline,
    kind: str,
    rate: float,
    *,
    seed: int,
    count: int = 0,
    traces: Path | None = None,
) -> Arrivals:
    """Return the requests of a steady cell: `count`, by default as many as the protocol says; of a trace, its part."""
    law = protocol.arrivals[kind]
    if law.file:
        return _replayed(protocol, pipeline, law, rate, seed=seed, traces=traces)
    rng = np.random.default_rng((seed, 11))
    count = count or protocol.cell.requests
    at = np.empty(0)
    seconds = count / rate * AHEAD
    while len(at) < count:
        at = process(law, rate).times(seconds, rng).at
        seconds *= AHEAD
    at = at[:count]
    return Arrivals(
        at, np.zeros(count), _widths(pipeline, rng.uniform(size=(count, len(pipeline.lists)))), float(at[-1])
    )


def process(law: ArrivalKind, rate: float) -> Poisson | MMPP:
    """Return a synthetic process of some mean rate."""
    if not law.factors:
        return Poisson(rate)
    mean = sum(f * d for f, d in zip(law.factors, law.dwell, strict=True)) / sum(law.dwell)
    return MMPP(tuple(rate * factor / mean for factor in law.factors), law.dwell)


def settings(protocol: Protocol, seed: int) -> tuple[Stretch, ...]:
    """Return what a day moves between: each setting evenly, for an exponential time."""
    rng = np.random.default_rng((seed, 12))
    law, found, begin = protocol.days, [], 0.0
    while begin < law.hours * 3600:
        drawn = Stretch(
            begin=begin,
            load=law.load[int(rng.integers(len(law.load)))],
            slo=law.slo[int(rng.integers(len(law.slo)))],
            arrivals=law.arrivals[int(rng.integers(len(law.arrivals)))],
        )
        found.append(drawn)
        begin += float(rng.exponential(law.dwell))
    return tuple(found)


def day(
    protocol: Protocol, pipeline: Pipeline, capacity: float, *, seed: int
) -> tuple[Arrivals, tuple[Stretch, ...]]:
    """Return the requests of a day, and its settings."""
    rng = np.random.default_rng((seed, 13))
    stretches = settings(protocol, seed)
    ends = [one.begin for one in stretches[1:]] + [protocol.days.hours * 3600]
    parts = []
    for one, end in zip(stretches, ends, strict=True):
        rate = protocol.load.part(one.load) * capacity
        drawn = process(protocol.arrivals[one.arrivals], rate).times(end - one.begin, rng)
        parts.append(one.begin + drawn.at)
    at = np.concatenate(parts)
    widths = _widths(pipeline, rng.uniform(size=(len(at), len(pipeline.lists))))
    return Arrivals(at, np.zeros(len(at)), widths, ends[-1]), stretches


def _widths(pipeline: Pipeline, levels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the items of lists at quantile levels in [0, 1), (requests, lists) of each."""
    found = np.zeros(levels.shape, np.int32)
    for place, law in enumerate(pipeline.lists.values()):
        found[:, place] = np.searchsorted(np.cumsum(probabilities(law))[:-1], levels[:, place], side="right")
    return found


def _replayed(
    protocol: Protocol, pipeline: Pipeline, law: ArrivalKind, rate: float, *, seed: int, traces: Path | None
) -> Arrivals:
    """Return a part of a trace, stretched until its mean rate is asked for; widths follow a column's ranks.

    There is one trace: all test seeds replay the same part of it, and differ by the jitter of calls alone.
    """
    if traces is None:
        raise FileNotFoundError(f"{law.file}: give the folder of traces by --traces")
    read = Trace(file=str(traces / law.file), sort=True).read()
    at = read.known
    if at is None:
        raise ValueError(f"{law.file} has no times")
    border = protocol.traces.calibration * read.span
    inside = at < border if seed < protocol.seeds.calibration else at >= border
    begin = 0.0 if seed < protocol.seeds.calibration else border
    span = border if seed < protocol.seeds.calibration else read.span - border
    picked = at[inside] - begin
    tokens = read.columns[law.width.split()[0]]
    ranks = (np.argsort(np.argsort(tokens, kind="stable"), kind="stable") + 0.5) / len(tokens)
    found = Arrivals(
        picked,
        np.zeros(len(picked)),
        _widths(pipeline, np.repeat(ranks[inside][:, None], len(pipeline.lists), axis=1)),
        span,
    )
    return found.scaled(rate)
