"""The analytic predictor: a law for each station from queueing theory, put together along the DAG.

It looks at a plan for less than a millisecond, which is what a search over many plans needs. What it leaves out is
written in docs/predictors.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regrain.errors import SpecError
from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.policy.batch import HASTE
from regrain_watchdog.policy.deadline import remaining
from regrain_watchdog.policy.fluid import at_once
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Station
from regrain_watchdog.policy.predict.demand import UNSURE, Demand, demand, key, pooled, streamed
from regrain_watchdog.policy.predict.mmpp import Process
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.predict.queueing import CELLS, StationLaw, station_law
from regrain_watchdog.policy.predict.sojourn import Grid, compose
from regrain_watchdog.policy.predict.traffic import Traffic, traffic

Floats = NDArray[np.float64]

BUDGETS = 40
"""Steps of the objective to which the time that may be waited at a station is rounded, so that laws are found again."""
SPAN = 3
"""How many times the grid of a law that of a whole request is, since times add up."""
SPARE = 8.0
"""How soon, as a station fills, requests that others' lines keep out are not missed there: to the power of its use."""
ROOM = 0.5
"""Share of a request's slack by which company makes a dispatch longer at most, on average: the most urgent has waited
for some of it. Where items come in bunches, the first of a bunch has not."""
NEGLIGIBLE = 0.02
"""Share of the time below which a way of the door is not looked at."""
KEPT = 4096
"""Laws that are kept for the plans to come."""


@dataclass(frozen=True, slots=True)
class Door:
    """How the front lets requests in.

    Attributes:
        share: of the time in which it does so.
        patience: seconds that may be waited in all by who is let in.
        slack: seconds that may be waited for company: a dispatch goes in time for its most urgent unit.
        refuses: whether it refuses who would be late. Where it takes a request to be late even alone, it lets everybody
            in, and sheds what is late by as much as it had.
    """

    share: float
    patience: float
    slack: float
    refuses: bool


class Analytic:
    """Predicts by queueing theory; keeps the laws of stations that it has seen under the load that it saw last."""

    name = "analytic"

    def __init__(self) -> None:
        self._load: Arrivals | None = None
        self._traffic: Traffic | None = None
        self._laws: dict[object, StationLaw] = {}
        self._demands: dict[object, Demand] = {}

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan; of no requests, that all are answered at once.

        There is no chance in it, so `seed` is not used.

        Raises:
            SpecError: the requests have no widths of the lists that the plan maps over.
        """
        del seed
        if load.widths.shape[1] != model.lists:
            raise SpecError(
                f"the plan maps over {model.lists} lists, and requests have widths of {load.widths.shape[1]}"
            )
        if not len(load):
            return Prediction(hit_rate=1.0, p50=0.0, p95=0.0, p99=0.0, busy=(0.0,) * len(model.pools))
        seen = self.seen(load)
        asked = _timely(model, self._asked(model, seen))
        return mixed(
            [
                (door.share, _judged(model, seen, self._all_laws(model, asked, seen, door), door, asked))
                for door in _doors(model, asked, seen.process)
            ]
        )

    def seen(self, load: Arrivals) -> Traffic:
        """Return a load in few numbers, and keep them until another is seen."""
        if self._traffic is None or load is not self._load or len(self._laws) > KEPT:
            self._load, self._traffic = load, traffic(load)
            self._laws.clear()
            self._demands.clear()
        return self._traffic

    def _asked(self, model: Model, seen: Traffic) -> list[Demand]:
        """Return what requests ask of each station."""
        alone = [self._demand(station, model, seen) for station in model.stations]
        asked = list(alone)
        for number, pool in enumerate(model.pools):
            members = [place for place, station in enumerate(model.stations) if station.pool == number]
            if len(members) > 1:
                own = [alone[place] for place in members]
                here = [model.stations[place] for place in members]
                within = [
                    [members.index(other) for other in station.after if other in members] for station in here
                ]
                shared = pooled(own, here, within, pool.servers, seen.process.rate)
                for place, one in zip(members, shared, strict=True):
                    asked[place] = one
        for place, station in enumerate(model.stations):
            before = [asked[other] for other in station.after if model.stations[other].scope == station.scope]
            if station.scope != PER_REQUEST and before:
                asked[place] = streamed(asked[place], before[0])
        return asked

    def _demand(self, station: Station, model: Model, seen: Traffic) -> Demand:
        pool = model.pools[station.pool]
        wanted = key(station, pool, model.sizes)
        if wanted not in self._demands:
            self._demands[wanted] = demand(station, pool, model.sizes, seen)
        return self._demands[wanted]

    def _all_laws(self, model: Model, asked: Sequence[Demand], seen: Traffic, door: Door) -> list[StationLaw]:
        """Return the stations' laws, the fullest last: the others see no more than it can do."""
        rates, stays = np.array(seen.process.rates), np.array(seen.process.stays)
        weights = np.array(seen.process.weights)
        most = [one.most for one in asked]
        windows = _windows(model, asked, door.slack, float(rates.max()))
        laws: dict[int, StationLaw] = {}
        patience = door.patience
        order = sorted(range(len(asked)), key=lambda place: (-most[place], place))
        for place in order:
            coming = rates if place == order[-1] else np.minimum(rates, min(most))
            law = laws[place] = self._law(
                _held(asked[place], windows[place]),
                coming,
                stays,
                slo=model.slo,
                door=replace(door, patience=patience),
            )
            if door.refuses:
                patience -= float(weights @ law.ahead[0] @ np.arange(CELLS)) * law.step
        return [laws[place] for place in range(len(asked))]

    def _law(self, asked: Demand, rates: Floats, stays: Floats, *, slo: float, door: Door) -> StationLaw:
        tick = slo / BUDGETS
        patience = max(0.0, float(np.floor(door.patience / tick) * tick))
        wanted = asked.mark, rates.tobytes(), patience, slo, door.refuses
        if wanted not in self._laws:
            self._laws[wanted] = station_law(
                asked, rates, stays, slo=slo, patience=patience, refuses=door.refuses
            )
        return self._laws[wanted]


def _doors(model: Model, asked: Sequence[Demand], process: Process) -> list[Door]:
    """Return how the front lets requests in, and for what share of the time each."""
    batches = [(one.batch(max(process.rates) * one.units) + 1) // 2 for one in asked]
    usual = [one.usual(batch) for one, batch in zip(asked, batches, strict=True)]
    slack = max(0.0, model.slo - _longest(model, usual))
    spare = model.slo - _longest(model, [float(one.seconds[1]) for one in asked])
    unsure = max(1e-9, UNSURE * math.hypot(*(one.deviation(1) for one in asked)))
    share = 0.5 * math.erfc(spare / unsure / math.sqrt(2.0))
    ways = Door(1.0 - share, slack / HEADROOM, slack, True), Door(share, 2.0 * model.slo, 0.0, False)
    return [way for way in ways if way.share > NEGLIGIBLE]


def _timely(model: Model, asked: Sequence[Demand]) -> list[Demand]:
    """Return what is asked of stations whose batches are as large as the objective lets them be."""
    slack = model.slo - _longest(model, [one.usual(1) for one in asked])
    return [one.timely(slack if one.bunch > 1.0 else ROOM * slack) for one in asked]


def _longest(model: Model, seconds: Sequence[float]) -> float:
    """Return the seconds of the longest way through a plan, given those of each station."""
    after = [
        [other for other, station in enumerate(model.stations) if place in station.after]
        for place in range(len(seconds))
    ]
    left = remaining(seconds, after)
    return max(left[place] for place, station in enumerate(model.stations) if not station.after)


def _windows(model: Model, asked: Sequence[Demand], slack: float, rate: float) -> list[float]:
    """Return for how long a station's units wait for company at most; what one takes of the slack the next lack.

    A batch goes HASTE before its most urgent unit would be late, and company makes it longer.
    """
    windows: list[float] = []
    used: list[float] = []
    for station, one in zip(model.stations, asked, strict=True):
        before = max((used[place] for place in station.after), default=0.0)
        windows.append(one.window(slack - before - HASTE, rate))
        used.append(before + windows[-1])
    return windows


def _held(asked: Demand, window: float) -> Demand:
    if window == asked.max_wait:
        return asked
    return replace(asked, max_wait=window, mark=(asked.mark, window))


def _refused(model: Model, laws: Sequence[StationLaw], grid: Grid, patience: float) -> Floats:
    """Return (phases,) the share of requests that find lines too long in all; where nobody waits all are let in."""
    waits = list(grid.transform(np.array([law.ahead for law in laws])))
    whole = compose(grid, waits, [station.after for station in model.stations], model.last)
    passed = np.cumsum(grid.chances(whole), axis=-1)
    beyond = passed[..., -1] - passed[..., min(SPAN * CELLS - 1, int(patience / grid.step))]
    refused: Floats = np.clip(beyond[0] - beyond[1], 0.0, 1.0)
    return refused


def mixed(found: Sequence[tuple[float, Prediction]]) -> Prediction:
    """Return the mixture of predictions by the shares of the time that each holds for.

    So is a time in which replicas are cold: what is predicted with those that are warm, for as long as the others load.
    """
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


def _judged(
    model: Model, seen: Traffic, laws: Sequence[StationLaw], door: Door, asked: Sequence[Demand]
) -> Prediction:
    """Return what laws make of a plan."""
    grid = Grid(laws[0].step, SPAN * CELLS)
    here = grid.transform(np.array([law.sojourn for law in laws]))
    here *= grid.blur(np.array([law.variance for law in laws]))
    longer = np.array([law.own for law in laws]) + grid.step / 2.0
    own = here[:, :, None] * grid.shift(longer)
    whole = compose(grid, list(own), [station.after for station in model.stations], model.last)
    chances = np.maximum(grid.chances(whole * grid.shift(np.array(model.answer))), 0.0)
    let_in = np.prod([1.0 - law.lost for law in laws], axis=0)
    if door.refuses:
        full = np.minimum(1.0, np.array(seen.process.rates) / min(one.most for one in asked))
        let_in = np.minimum(let_in, 1.0 - _refused(model, laws, grid, door.patience) * (1.0 - full**SPARE))
    weights = np.array(seen.process.weights)[:, None] * seen.weights
    passed = np.cumsum(np.tensordot(weights * let_in[:, None], chances, 2))
    offered = float(weights.sum())
    hit_rate = float(np.interp(model.slo / grid.step, np.arange(len(passed)) + 0.5, passed)) / offered
    answered = float((weights * let_in[:, None]).sum())
    quantiles = [_quantile(passed, share * answered, grid.step) for share in (0.5, 0.95, 0.99)]
    busy = [0.0] * len(model.pools)
    for law, one, station in zip(laws, asked, model.stations, strict=True):
        pool = model.pools[station.pool]
        busy[station.pool] += law.busy * one.servers / at_once(pool.servers, pool.cards, station.take)
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
    return float("inf") if place >= len(passed) else place * step
