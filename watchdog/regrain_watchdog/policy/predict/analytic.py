"""The analytic predictor: a law for each station from queueing theory, put together along the DAG.

It looks at a plan for less than a millisecond, which is what a search over many plans needs. What it leaves out is
written in docs/predictors.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.deadline import MARGIN, remaining
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model
from regrain_watchdog.policy.predict.demand import Demand, demand, key
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.predict.queueing import CELLS, StationLaw, station_law
from regrain_watchdog.policy.predict.sojourn import Grid, compose
from regrain_watchdog.policy.predict.traffic import Traffic, traffic

Floats = NDArray[np.float64]

BUDGETS = 40
"""Steps of the objective to which the time that may be waited at a station is rounded, so that laws are found again."""
KEPT = 4096
"""Laws that are kept for the plans to come."""
DEVIATION = 0.8
"""Mean absolute deviation over standard deviation, of a normal."""


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
        asked = [self._demand(model, place, seen) for place in range(len(model.stations))]
        laws = self._all_laws(model, asked, seen)
        return _judged(model, seen, laws)

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

    def _all_laws(self, model: Model, asked: Sequence[Demand], seen: Traffic) -> list[StationLaw]:
        """Return the stations' laws, the fullest first: what it has no room for is refused at the door for all."""
        budget = _budget(model, asked)
        fullness = [one.units * one.seconds[-1] / one.max_size / one.servers for one in asked]
        rates = np.array(seen.process.rates)
        stays = np.array(seen.process.stays)
        laws: dict[int, StationLaw] = {}
        for place in sorted(range(len(asked)), key=lambda place: -fullness[place]):
            wanted = id(asked[place]), rates.tobytes(), budget, model.slo
            law = self._laws.get(wanted)
            if law is None:
                if len(self._laws) >= KEPT:
                    self._laws.clear()
                law = self._laws[wanted] = station_law(
                    asked[place], rates, stays, slo=model.slo, budget=budget
                )
            laws[place] = law
            rates = rates * (1.0 - law.lost)
        return [laws[place] for place in range(len(asked))]


def _budget(model: Model, asked: Sequence[Demand]) -> float:
    """Return the seconds that a request can wait in all and be in time for sure, rounded down."""
    costs = [
        station.hop + one.seconds[min(1, len(one.seconds) - 1)] * (1.0 + MARGIN * DEVIATION * one.cv)
        for station, one in zip(model.stations, asked, strict=True)
    ]
    after = [
        [other for other, station in enumerate(model.stations) if place in station.after]
        for place in range(len(asked))
    ]
    left = remaining(costs, after)
    needed = max(left[place] for place, station in enumerate(model.stations) if not station.after)
    tick = model.slo / BUDGETS
    return float(max(0.0, np.floor((model.slo - model.answer - needed) / tick) * tick))


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
