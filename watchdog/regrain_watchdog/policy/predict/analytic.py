"""The analytic predictor: a law for each station from queueing theory, put together along the DAG.

It looks at a plan for less than a millisecond, which is what a search over many plans needs. What it leaves out is
written in docs/predictors.md.
"""

from __future__ import annotations

import functools
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
from regrain_watchdog.policy.model import PER_REQUEST, Model
from regrain_watchdog.policy.predict.demand import UNSURE, Demand, Demands, pooled, streamed
from regrain_watchdog.policy.predict.mmpp import Process
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.predict.queueing import CELLS, StationLaw, station_law
from regrain_watchdog.policy.predict.sojourn import Grid, compose
from regrain_watchdog.policy.predict.traffic import Traffic, traffic

Floats = NDArray[np.float64]
After = tuple[tuple[int, ...], ...]
"""By station, those whose results it takes."""

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
        self._demands: Demands | None = None
        self._laws: dict[object, StationLaw] = {}

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
        demands = self._asking(load)
        seen = demands.load
        after = tuple([station.after for station in model.stations])
        asked = _timely(model, after, self._asked(model, demands))
        return mixed(
            [
                (door.share, _judged(model, seen, self._all_laws(model, asked, seen, door), door, asked))
                for door in _doors(model, after, asked, seen.process)
            ]
        )

    def seen(self, load: Arrivals) -> Traffic:
        """Return a load in few numbers, and keep them until another is seen."""
        return self._asking(load).load

    def _asking(self, load: Arrivals) -> Demands:
        if self._demands is None or load is not self._load or len(self._laws) > KEPT:
            self._load, self._demands = load, Demands(traffic(load))
            self._laws.clear()
        return self._demands

    def _asked(self, model: Model, demands: Demands) -> list[Demand]:
        """Return what requests ask of each station."""
        pools: dict[int, list[int]] = {}
        asked: list[Demand] = []
        for place, station in enumerate(model.stations):
            pools.setdefault(station.pool, []).append(place)
            asked.append(demands.of(station, model.pools[station.pool], model.sizes))
        for number, members in pools.items():
            if len(members) > 1:
                own = [asked[place] for place in members]
                here = [model.stations[place] for place in members]
                within = [
                    [members.index(other) for other in station.after if other in members] for station in here
                ]
                shared = pooled(own, here, within, model.pools[number].servers, demands.load.process.rate)
                for place, one in zip(members, shared, strict=True):
                    asked[place] = one
        for place, station in enumerate(model.stations):
            if station.scope != PER_REQUEST:
                before = [
                    asked[other] for other in station.after if model.stations[other].scope == station.scope
                ]
                if before:
                    asked[place] = streamed(asked[place], before[0])
        return asked

    def _all_laws(self, model: Model, asked: Sequence[Demand], seen: Traffic, door: Door) -> list[StationLaw]:
        """Return the stations' laws, the fullest last: the others see no more than it can do."""
        most = [one.most for one in asked]
        borne = np.minimum(seen.rates, min(most))
        weights = seen.process.weights
        windows = _windows(model, asked, door.slack, float(seen.rates.max()))
        laws: dict[int, StationLaw] = {}
        patience = door.patience
        order = sorted(range(len(asked)), key=lambda place: (-most[place], place))
        for place in order:
            coming = seen.rates if place == order[-1] else borne
            held = _held(asked[place], windows[place])
            law = laws[place] = self._law(
                held, coming, seen.stays, slo=model.slo, patience=patience, refuses=door.refuses
            )
            if door.refuses:
                patience -= float(weights @ (law.queued * law.ahead).sum(axis=1)) * law.step
        return [laws[place] for place in range(len(asked))]

    def _law(
        self, asked: Demand, rates: Floats, stays: Floats, *, slo: float, patience: float, refuses: bool
    ) -> StationLaw:
        tick = slo / BUDGETS
        patience = max(0.0, math.floor(patience / tick) * tick)
        wanted = asked.mark, rates.tobytes(), patience, slo, refuses
        if wanted not in self._laws:
            self._laws[wanted] = station_law(asked, rates, stays, slo=slo, patience=patience, refuses=refuses)
        return self._laws[wanted]


def _doors(model: Model, after: After, asked: Sequence[Demand], process: Process) -> list[Door]:
    """Return how the front lets requests in, and for what share of the time each."""
    batches = [(one.batch(max(process.rates) * one.units) + 1) // 2 for one in asked]
    usual = [one.usual(batch) for one, batch in zip(asked, batches, strict=True)]
    slack = max(0.0, model.slo - _longest(after, usual))
    spare = model.slo - _longest(after, [float(one.seconds[1]) for one in asked])
    unsure = max(1e-9, UNSURE * math.hypot(*(one.deviation(1) for one in asked)))
    share = 0.5 * math.erfc(spare / unsure / math.sqrt(2.0))
    ways = Door(1.0 - share, slack / HEADROOM, slack, True), Door(share, 2.0 * model.slo, 0.0, False)
    return [way for way in ways if way.share > NEGLIGIBLE]


def _timely(model: Model, after: After, asked: Sequence[Demand]) -> list[Demand]:
    """Return what is asked of stations whose batches are as large as the objective lets them be."""
    slack = model.slo - _longest(after, [one.usual(1) for one in asked])
    return [one.timely(slack if one.bunch > 1.0 else ROOM * slack) for one in asked]


def _longest(after: After, seconds: Sequence[float]) -> float:
    """Return the seconds of the longest way through stations, given those of each, and what each takes from."""
    left = remaining(seconds, _following(after))
    return max([left[place] for place, before in enumerate(after) if not before])


@functools.lru_cache(1024)
def _following(after: After) -> list[list[int]]:
    """Return the stations that take each one's results."""
    return [[other for other, before in enumerate(after) if place in before] for place in range(len(after))]


def _windows(model: Model, asked: Sequence[Demand], slack: float, rate: float) -> list[float]:
    """Return for how long a station's units wait for company at most; what one takes of the slack the next lack.

    A batch goes HASTE before its most urgent unit would be late, and company makes it longer.
    """
    windows = [0.0] * len(asked)
    if not any(one.max_wait > 0.0 for one in asked):
        return windows
    used: list[float] = []
    for place, (station, one) in enumerate(zip(model.stations, asked, strict=True)):
        before = max([used[other] for other in station.after], default=0.0)
        windows[place] = one.window(slack - before - HASTE, rate)
        used.append(before + windows[place])
    return windows


def _held(asked: Demand, window: float) -> Demand:
    if window == asked.max_wait:
        return asked
    return replace(asked, max_wait=window, mark=(asked.mark, window))


def _refused(model: Model, laws: Sequence[StationLaw], grid: Grid, patience: float) -> Floats:
    """Return (phases,) the share of requests that find lines too long in all; where nobody waits all are let in."""
    waits = list(grid.transform(_waits(laws)))
    whole = compose(grid, waits, [station.after for station in model.stations], model.last)
    beyond = grid.chances(whole)[..., int(patience / grid.step) + 1 :].sum(axis=-1)
    refused: Floats = np.minimum(np.maximum(beyond[0] - beyond[1], 0.0), 1.0)
    return refused


def _waits(laws: Sequence[StationLaw]) -> Floats:
    """Return (stations, 2, phases, CELLS) chances of the wait for a server; first of all, then of those in no line."""
    stations, phases = len(laws), len(laws[0].lost)
    rows = np.arange(stations * phases).reshape(stations, phases, 1)
    places = np.concatenate([(law.ahead + row).ravel() for law, row in zip(laws, rows * CELLS, strict=True)])
    chances = np.concatenate([law.queued.ravel() for law in laws])
    found = np.zeros((stations, 2, phases, CELLS))
    found[:, 0] = np.bincount(places, chances, rows.size * CELLS).reshape(stations, phases, CELLS)
    nobody = np.array([law.ahead[:, 0] for law in laws])
    found[np.arange(stations)[:, None], 1, np.arange(phases), nobody] = [law.queued[:, 0] for law in laws]
    found[..., 0] += np.array([1.0 - law.queued.sum(axis=1) for law in laws])[:, None]
    return found


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
    grid = _grid(laws[0].step)
    here = grid.transform(np.array([law.sojourn for law in laws]))
    here *= grid.blur(np.array([law.variance for law in laws]))
    longer = np.array([law.own for law in laws]) + grid.step / 2.0
    own = here[:, :, None] * grid.shift(longer)
    whole = compose(grid, list(own), [station.after for station in model.stations], model.last)
    chances = np.maximum(grid.chances(whole * grid.shift(np.array(model.answer))), 0.0)
    let_in = np.prod(1.0 - np.array([law.lost for law in laws]), axis=0)
    if door.refuses:
        full = np.minimum(1.0, seen.rates / min([one.most for one in asked]))
        let_in = np.minimum(let_in, 1.0 - _refused(model, laws, grid, door.patience) * (1.0 - full**SPARE))
    answering = seen.shares * let_in[:, None]
    passed = (answering.ravel() @ chances.reshape(-1, grid.cells)).cumsum()
    offered, answered = float(seen.shares.sum()), float(answering.sum())
    hit_rate = float(np.interp(model.slo / grid.step, np.arange(grid.cells) + 0.5, passed)) / offered
    p50, p95, p99 = _quantiles(passed, (0.5 * answered, 0.95 * answered, 0.99 * answered), grid.step)
    busy = [0.0] * len(model.pools)
    for law, one, station in zip(laws, asked, model.stations, strict=True):
        pool = model.pools[station.pool]
        busy[station.pool] += law.busy * one.servers / at_once(pool.servers, pool.cards, station.take)
    return Prediction(
        hit_rate=min(1.0, max(0.0, hit_rate)),
        p50=p50,
        p95=p95,
        p99=p99,
        busy=tuple(min(1.0, one) for one in busy),
    )


def _quantiles(passed: Floats, masses: Sequence[float], step: float) -> list[float]:
    places = np.searchsorted(passed, np.array(masses) * (1.0 - 1e-9)).tolist()
    return [float("inf") if place >= len(passed) else place * step for place in places]


@functools.lru_cache(64)
def _grid(step: float) -> Grid:
    return Grid(step, SPAN * CELLS)
