"""The analytic predictor: a law for each station from queueing theory, put together along the DAG.

It looks at a plan for less than a millisecond, which is what a search over many plans needs. What it leaves out is
written in docs/predictors.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.policy.deadline import remaining
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model
from regrain_watchdog.policy.predict.demand import Demand, demand, key, streamed
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.predict.queueing import CELLS, StationLaw, station_law
from regrain_watchdog.policy.predict.sojourn import Grid, compose
from regrain_watchdog.policy.predict.traffic import Traffic, traffic

Floats = NDArray[np.float64]

BUDGETS = 40
"""Steps of the objective to which the time that may be waited at a station is rounded, so that laws are found again."""
NEGLIGIBLE = 0.02
"""Share of the time below which a way of the door is not looked at."""
KEPT = 4096
"""Laws that are kept for the plans to come."""


class Analytic:
    """Predicts by queueing theory; keeps the laws of stations that it has seen under the load that it saw last."""

    name = "analytic"

    def __init__(self) -> None:
        self._load: Arrivals | None = None
        self._traffic: Traffic | None = None
        self._laws: dict[object, StationLaw] = {}
        self._demands: dict[object, Demand] = {}

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan; there is no chance in it, so `seed` is not used."""
        del seed
        seen = self._seen(load)
        asked = self._asked(model, seen)
        patience, open_share = _door(model, asked, np.array(seen.process.rates))
        found = [
            (share, _judged(model, seen, self._all_laws(model, asked, seen, limit)))
            for share, limit in ((1.0 - open_share, patience), (open_share, 2.0 * model.slo))
            if share > NEGLIGIBLE
        ]
        return _mixed(found)

    def _seen(self, load: Arrivals) -> Traffic:
        if self._traffic is None or load is not self._load:
            self._load, self._traffic = load, traffic(load)
            self._laws.clear()
            self._demands.clear()
        return self._traffic

    def _demand(self, model: Model, place: int, seen: Traffic) -> Demand:
        station = model.stations[place]
        pool = model.pools[station.pool]
        wanted = key(station), pool.servers, pool.cards, model.sizes.tobytes()
        if wanted not in self._demands:
            if len(self._demands) >= KEPT:
                self._demands.clear()
            self._demands[wanted] = demand(station, pool.servers, model.sizes, seen)
        return self._demands[wanted]

    def _asked(self, model: Model, seen: Traffic) -> list[Demand]:
        """Return what requests ask of each station."""
        asked: list[Demand] = []
        for place, station in enumerate(model.stations):
            one = self._demand(model, place, seen)
            before = [asked[other] for other in station.after if model.stations[other].scope == station.scope]
            if station.scope != PER_REQUEST and before:
                one = self._streamed(one, max(before, key=lambda other: float(other.drain.max())))
            asked.append(one)
        return asked

    def _streamed(self, asked: Demand, before: Demand) -> Demand:
        wanted = id(asked), id(before)
        if wanted not in self._demands:
            self._demands[wanted] = streamed(asked, before)
        return self._demands[wanted]

    def _all_laws(
        self, model: Model, asked: Sequence[Demand], seen: Traffic, patience: float
    ) -> list[StationLaw]:
        """Return the stations' laws, the fullest last: the others see no more than it can do."""
        rates, stays = np.array(seen.process.rates), np.array(seen.process.stays)
        most = [one.servers * one.max_size / max(1e-12, one.units * one.seconds[-1]) for one in asked]
        order = sorted(range(len(asked)), key=lambda place: (-most[place], place))
        weights = np.array(seen.process.weights)
        laws: dict[int, StationLaw] = {}
        for place in order:
            bound = min((most[other] for other in order if other != place), default=float("inf"))
            left = patience - sum(float(weights @ law.ahead) for law in laws.values())
            coming = np.minimum(rates, bound)
            laws[place] = self._law(asked[place], coming, stays, slo=model.slo, patience=left)
        return [laws[place] for place in range(len(asked))]

    def _law(self, asked: Demand, rates: Floats, stays: Floats, *, slo: float, patience: float) -> StationLaw:
        tick = slo / BUDGETS
        patience = max(0.0, float(np.floor(patience / tick) * tick))
        wanted = id(asked), rates.tobytes(), patience, slo
        if wanted not in self._laws:
            if len(self._laws) >= KEPT:
                self._laws.clear()
            self._laws[wanted] = station_law(asked, rates, stays, slo=slo, patience=patience)
        return self._laws[wanted]


def _door(model: Model, asked: Sequence[Demand], rates: Floats) -> tuple[float, float]:
    """Return the seconds that may be waited in all by those who are let in, and how often everybody is let in.

    The front refuses who would be late behind what waits. While it takes a request to be late even alone, batches as
    large as the load makes them, it lets everybody in, and sheds what is late by as much as it had.
    """
    peak = float(np.max(rates))
    usual = [one.usual(peak * one.units) for one in asked]
    costs = [station.hop + seconds for station, (seconds, _) in zip(model.stations, usual, strict=True)]
    after = [
        [other for other, station in enumerate(model.stations) if place in station.after]
        for place in range(len(asked))
    ]
    left = remaining(costs, after)
    slack = model.slo - max(left[place] for place, station in enumerate(model.stations) if not station.after)
    unsure = max(1e-9, math.hypot(*(one for _, one in usual)))
    return max(0.0, slack) / HEADROOM, 0.5 * math.erfc(slack / unsure / math.sqrt(2.0))


def _mixed(found: Sequence[tuple[float, Prediction]]) -> Prediction:
    """Return the mixture of predictions by their shares."""
    whole = sum(share for share, _ in found)
    if len(found) == 1:
        return found[0][1]

    def mean(values: Sequence[float]) -> float:
        return sum(share / whole * value for (share, _), value in zip(found, values, strict=True))

    return Prediction(
        hit_rate=mean([one.hit_rate for _, one in found]),
        p50=mean([one.p50 for _, one in found]),
        p95=mean([one.p95 for _, one in found]),
        p99=mean([one.p99 for _, one in found]),
        busy=tuple(mean(values) for values in zip(*(one.busy for _, one in found), strict=True)),
    )


def _judged(model: Model, seen: Traffic, laws: Sequence[StationLaw]) -> Prediction:
    """Return what laws make of a plan."""
    grid = Grid(laws[0].step, 2 * CELLS)
    own = [
        (grid.transform(law.sojourn) * grid.blur(law.variance))[:, None]
        * grid.shift(law.own + (station.hop - law.step / 2.0))
        for law, station in zip(laws, model.stations, strict=True)
    ]
    whole = compose(grid, own, [station.after for station in model.stations], model.last)
    chances = np.maximum(grid.chances(whole * grid.shift(np.array(model.answer))), 0.0)
    let_in = np.prod([1.0 - law.lost for law in laws], axis=0)
    weights = np.array(seen.process.weights)[:, None] * seen.weights
    passed = np.cumsum(np.tensordot(weights * let_in[:, None], chances, 2))
    offered = float(weights.sum())
    hit_rate = float(np.interp(model.slo / grid.step, np.arange(1, len(passed) + 1), passed)) / offered
    answered = float((weights * let_in[:, None]).sum())
    quantiles = [_quantile(passed, share * answered, grid.step) for share in (0.5, 0.95, 0.99)]
    busy = [0.0] * len(model.pools)
    for law, station in zip(laws, model.stations, strict=True):
        busy[station.pool] += law.busy
    p50, p95, p99 = quantiles
    return Prediction(
        hit_rate=min(1.0, max(0.0, hit_rate)),
        p50=p50,
        p95=p95,
        p99=p99,
        busy=tuple(min(1.0, one) for one in busy),
    )


def _quantile(passed: Floats, mass: float, step: float) -> float:
    place = int(np.searchsorted(passed, mass * (1.0 - 1e-9)))
    return float("inf") if place >= len(passed) else (place + 1) * step
