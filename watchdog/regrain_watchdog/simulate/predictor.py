"""Predict by replay: the requests go through the very policies that are in force, on a virtual clock.

The end of the window goes first and is not counted, so that the queues are about as long as the load has them. A window
of few requests is followed by others of the same kind: blocks of it drawn at random, as in the circular block bootstrap
(Politis and Romano 1992), so that bursts stay whole. Of a window of many, pieces stand for all of it, so that a
prediction takes no longer than is known beforehand: at even distances in their order by how fast requests came, so that
bursts and lulls have the share that they have in the window (stratified sampling; Cochran 1977, chapter 5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.simulate.engine import IN_TIME, Result, Run

WARM_UP = 0.1
"""Share of the window that goes first and is not counted."""
PIECES = 20
"""Of a window that is too long to be replayed in whole."""
BATCHES = 20
"""Of requests in succession, whose hit rates tell the standard error (method of batch means)."""


class Simulated:
    """The predictor that replays the load.

    Attributes:
        least: requests that are replayed at least, a window of fewer being extended.
        most: requests of a window that are replayed at most.
    """

    name = "simulated"

    def __init__(self, least: int = 1000, most: int = 10_000) -> None:
        self.least, self.most = least, max(least, most)

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan; of no requests, that all are answered at once."""
        if not len(load):
            return Prediction(hit_rate=1.0, p50=0.0, p95=0.0, p99=0.0, busy=(0.0,) * len(model.pools))
        replayed, uncounted = replay_of(sample_of(load, self.most), self.least, seed)
        run = Run(model, replayed, seed=seed)
        run.advance()
        return _prediction(model, run.result(), uncounted, replayed.span)


def smallest() -> tuple[Model, Arrivals]:
    """Return a plan of one station and a load of one request, for a predictor to compile by what it needs."""
    work = Work(stage=0, scope=PER_REQUEST, seconds=np.array([[0.0], [1.0]]), cv=0.0)
    station = Station(
        stages=("",),
        after=(),
        scope=PER_REQUEST,
        works=(work,),
        max_size=1,
        max_wait=0.0,
        pool=0,
        take=1.0,
        hop=0.0,
    )
    pools = (Pool(servers=1, cards=(1.0,)),)
    model = Model(
        stations=(station,), pools=pools, sizes=np.zeros(1), lists=0, slo=1.0, attainment=1.0, answer=0.0
    )
    return model, Arrivals(np.zeros(1), np.zeros(1), np.zeros((1, 0), np.int32), 1.0)


def replay_of(load: Arrivals, least: int, seed: int) -> tuple[Arrivals, int]:
    """Return the requests to replay, and how many of them, at the begin, are not to be counted."""
    count = len(load)
    uncounted = int(WARM_UP * count)
    gaps = np.diff(load.at, append=load.span + load.at[0])  # from each to the next, the window being a circle
    order = np.arange(count - uncounted, 2 * count) % count
    if count < least:
        order = np.concatenate([order, _blocks(count, least - count, np.random.default_rng(seed))])
    at = np.concatenate([[0.0], np.cumsum(gaps[order])])
    return Arrivals(at[:-1], load.size[order], load.widths[order], float(at[-1])), uncounted


def sample_of(load: Arrivals, most: int) -> Arrivals:
    """Return a window of at most so many requests, at the same rate: pieces of it, one after the other."""
    if len(load) <= most:
        return load
    length = max(1, most // PIECES)
    gaps = np.diff(load.at, append=load.span)
    pieces = len(load) // length
    by_speed = np.argsort(gaps[: pieces * length].reshape(pieces, length).sum(axis=1), kind="stable")
    chosen = np.sort(by_speed[((np.arange(PIECES) + 0.5) * pieces / PIECES).astype(int)])
    places = (chosen[:, None] * length + np.arange(length)).ravel()
    at = np.concatenate([[0.0], np.cumsum(gaps[places])])
    return Arrivals(at[:-1], load.size[places], load.widths[places], float(at[-1])).scaled(load.rate)


def _blocks(count: int, more: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return places of a window of `count` requests in blocks of its square root, so many in all."""
    length = max(1, round(count**0.5))
    begins = rng.integers(0, count, -(-more // length))
    places: NDArray[np.int64] = ((begins[:, None] + np.arange(length)) % count).ravel()[:more]
    return places


def _prediction(model: Model, result: Result, uncounted: int, span: float) -> Prediction:
    hits = result.outcome[uncounted:] == IN_TIME
    latency = result.latency[uncounted:]
    latency = latency[~np.isnan(latency)]
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)).tolist() if len(latency) else (float("inf"),) * 3
    lasted = max(span, float(np.nanmax(result.finish)))
    return Prediction(
        hit_rate=float(hits.mean()),
        p50=p50,
        p95=p95,
        p99=p99,
        busy=tuple(
            min(1.0, seconds / (pool.servers * lasted))
            for seconds, pool in zip(result.busy, model.pools, strict=True)
        ),
        spread=_standard_error(hits),
    )


def _standard_error(hits: NDArray[np.bool_]) -> float:
    """Return the standard error of the mean of what comes in succession, by the means of batches."""
    batches = min(BATCHES, len(hits))
    if batches < 2:
        return 0.0
    length = len(hits) // batches
    means = hits[: batches * length].reshape(batches, length).mean(axis=1)
    return float(means.std(ddof=1) / batches**0.5)
