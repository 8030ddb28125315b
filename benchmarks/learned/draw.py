"""Random plans and loads to train the learned predictor on, each from a seed and its number alone.

They are wider than what a planner would choose: too little, too much, all out of proportion; so that whatever a search
looks at lies between things that were seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.predictors.cells import phased
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.mmpp import Process
from regrain_watchdog.simulate.arrivals import OnOff

Floats = NDArray[np.float64]
Flow = list[tuple[tuple[int, ...], int]]
"""What each station takes from, and its scope."""

TRAINED = ("chain", "diamond", "map", "inner", "sizes", "fluid", "fluid map", "fluid random", "random")
UNSEEN = ("fan", "two lists", "fluid fan")
"""Shapes of pipelines that are never trained on."""
PROCESSES = ("poisson", "mmpp", "onoff", "wander", "gamma")
FEWEST, MOST = 600, 2500
"""Requests of a window."""
STRETCH = 16
"""Units of a batch at most."""
SIZES = np.array([0.5, 1.0, 2.0, 4.0])


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A plan and a load."""

    shape: str
    process: str
    model: Model
    load: Arrivals


def drawn(seed: int, number: int, shapes: tuple[str, ...] = TRAINED) -> Drawn:
    """Draw one."""
    rng = np.random.default_rng((seed, number))
    shape = shapes[number % len(shapes)]
    process = str(rng.choice(PROCESSES, p=(0.27, 0.3, 0.1, 0.27, 0.06)))
    flow = _flow(shape, rng)
    lists = 1 + max(scope for _, scope in flow)
    if shape == "inner" or (shape == "random" and rng.random() < 0.2):
        lists = max(lists, 1)
    count = round(_between(rng, FEWEST, MOST))
    widths = _widths(lists, count, rng)
    sizes = rng.lognormal(0.0, rng.uniform(0.2, 0.8), count) if shape == "sizes" else np.zeros(count)
    model = _model(shape, flow, lists, widths, rng)
    at = times(process, _use(rng) * capacity(model, widths), count, rng)
    return Drawn(shape, process, model, Arrivals(at, sizes, widths, float(at[-1])))


def capacity(model: Model, widths: NDArray[np.int32]) -> float:
    """Return the requests a second that the fullest pool can serve."""
    return 1.0 / max(_needed(model, widths))


def times(process: str, rate: float, count: int, rng: np.random.Generator) -> Floats:
    """Draw so many arrivals at a mean rate."""
    match process:
        case "poisson":
            return np.cumsum(rng.exponential(1.0, count)) / rate
        case "gamma":
            shape = _between(rng, 0.15, 5.0)
            return np.cumsum(rng.gamma(shape, 1.0 / shape, count)) / rate
        case "mmpp":
            ratio, share = _between(rng, 1.5, 10.0), rng.uniform(0.05, 0.6)
            slow = rate / (1.0 - share + share * ratio)
            cycle = _between(rng, 5.0, 0.5 * count) / rate
            stays = (cycle * (1.0 - share), cycle * share)
            return phased(Process((slow, slow * ratio), stays), count, rng)
        case "onoff":
            share, idle = rng.uniform(0.15, 0.8), rng.uniform(0.0, 0.3)
            cycle = _between(rng, 5.0, 0.3 * count) / rate
            top = rate / (share + (1.0 - share) * idle)
            law = OnOff(rate=top, on=cycle * share, off=cycle * (1.0 - share), idle=top * idle)
            return _enough(law.times(3.0 * count / rate + 2.0 * cycle, rng).at, count)
        case _:
            return _wander(rate, count, rng)


def _enough(at: Floats, count: int) -> Floats:
    return at[: max(FEWEST // 2, min(count, len(at)))]


def _wander(rate: float, count: int, rng: np.random.Generator) -> Floats:
    """Draw arrivals whose rate is the exponential of a random walk that returns, as recorded traces look."""
    step = _between(rng, 2.0, 0.05 * count) / rate
    steps = math.ceil(2.0 * count / (rate * step)) + 1
    memory, spread = rng.uniform(0.0, 0.97), rng.uniform(0.2, 1.0)
    noise = rng.normal(0.0, spread * math.sqrt(1.0 - memory**2), steps)
    level = np.empty(steps)
    level[0] = rng.normal(0.0, spread)
    for place in range(1, steps):
        level[place] = memory * level[place - 1] + noise[place]
    per_step = rate * step * np.exp(level - spread**2 / 2.0)
    counts = rng.poisson(per_step * count / max(1.0, per_step[: math.ceil(count / (rate * step))].sum()))
    at = np.sort((np.repeat(np.arange(steps), counts) + rng.uniform(size=int(counts.sum()))) * step)
    found = at[:count]
    return found if len(found) >= FEWEST // 2 else np.cumsum(rng.exponential(1.0, count)) / rate


def _use(rng: np.random.Generator) -> float:
    """Draw the load over what the plan bears: mostly where that decides."""
    draw = rng.random()
    if draw < 0.7:
        return float(rng.uniform(0.3, 1.25))
    return _between(rng, 0.003, 0.3) if draw < 0.85 else _between(rng, 1.25, 6.0)


def _looseness(rng: np.random.Generator) -> float:
    """Draw the objective over what a usual request takes alone: mostly where that decides."""
    return _between(rng, 0.9, 4.0) if rng.random() < 0.75 else _between(rng, 0.4, 40.0)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _flow(shape: str, rng: np.random.Generator) -> Flow:
    one = PER_REQUEST
    if shape == "diamond":
        return [((), one), ((0,), one), ((0,), one), ((1, 2), one)]
    if shape in {"fan", "fluid fan"}:
        arms = tuple(range(1, 4 + int(rng.integers(2))))
        return [((), one), *(((0,), one) for _ in arms), (arms, one)]
    if shape == "two lists":
        return [((), one), ((0,), 0), ((1,), one), ((2,), 1), ((3,), one)]
    if shape in {"random", "fluid random"}:
        return _dag(int(rng.integers(3, 13 if shape == "random" else 7)), rng)
    mapped = shape in {"map", "fluid map"}
    many = int(rng.integers(2 if mapped or shape == "fluid" else 1, 7))
    first = int(rng.integers(0, 2)) if mapped else 0
    items = range(first, first + 1 + int(rng.integers(0, many - first))) if mapped else range(0)
    return [((place - 1,) if place else (), 0 if place in items else one) for place in range(many)]


def _dag(many: int, rng: np.random.Generator) -> Flow:
    """Return stations that each take from one or two of the last few before, some of them item by item."""
    mapped = rng.random() < 0.4
    flow: Flow = [((), PER_REQUEST)]
    for place in range(1, many):
        near = range(max(0, place - 3), place)
        parents = rng.choice(near, size=min(len(near), 1 + int(rng.random() < 0.25)), replace=False)
        scope = 0 if mapped and rng.random() < 0.3 else PER_REQUEST
        flow.append((tuple(sorted(int(one) for one in parents)), scope))
    return flow


def _widths(lists: int, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    found = np.zeros((count, lists), dtype=np.int32)
    for place in range(lists):
        mean = _between(rng, 1.5, 20.0)
        draw = rng.random()
        if draw < 0.45:
            found[:, place] = np.minimum(rng.geometric(1.0 / mean, count), 4 * mean + 8)
        elif draw < 0.8:
            found[:, place] = rng.integers(int(rng.integers(0, 2)), 2 * int(mean) + 1, count)
        elif draw < 0.9:
            found[:, place] = round(mean)
        else:
            found[:, place] = np.where(rng.random(count) < 0.8, max(1, round(mean / 3)), round(3 * mean))
    return found


def _model(shape: str, flow: Flow, lists: int, widths: NDArray[np.int32], rng: np.random.Generator) -> Model:
    sizes = SIZES if shape == "sizes" else np.zeros(1)
    hop = _between(rng, 0.0001, 0.003)
    scale = _between(rng, 0.002, 0.15)
    stations = tuple(
        _station(place, *one, shape=shape, lists=lists, sizes=sizes, scale=scale, hop=hop, rng=rng)
        for place, one in enumerate(flow)
    )
    pools = tuple(_pool(1) for _ in stations)
    if shape.startswith("fluid"):
        stations = tuple(replace(one, pool=0, take=_take(rng)) for one in stations)
        servers = int(_between(rng, 1.0, 12.0))
        cards = (1.0,) * int(rng.integers(1, 4)) + ((0.5,) if rng.random() < 0.3 else ())
        pools = (Pool(servers=servers, cards=cards, lease=_between(rng, 0.0001, 0.002)),)
    model = Model(
        stations=stations, pools=pools, sizes=sizes, lists=lists, slo=1.0, attainment=0.95, answer=hop
    )
    if not shape.startswith("fluid"):
        model = replace(model, pools=_staffed(model, widths, rng))
    return replace(model, slo=_alone(model, widths) * _looseness(rng))


def _staffed(model: Model, widths: NDArray[np.int32], rng: np.random.Generator) -> tuple[Pool, ...]:
    """Return replicas: in half of the plans as many as make the pools about equally full, else any."""
    if rng.random() < 0.4:
        return tuple(_pool(int(_between(rng, 1.0, 8.0))) for _ in model.pools)
    needed = _needed(model, widths)
    most = _between(rng, 1.0, 24.0)
    spare = rng.uniform(0.8, 1.7, len(needed))
    return tuple(
        _pool(max(1, min(32, round(most * one / max(needed) * more))))
        for one, more in zip(needed, spare, strict=True)
    )


def _station(
    place: int,
    after: tuple[int, ...],
    scope: int,
    *,
    shape: str,
    lists: int,
    sizes: Floats,
    scale: float,
    hop: float,
    rng: np.random.Generator,
) -> Station:
    max_size = int(rng.choice([1, 1, 2, 4, 8, STRETCH], p=[0.25, 0.15, 0.18, 0.2, 0.17, 0.05]))
    works = []
    for part in range(
        1 if shape.startswith("fluid") else int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1]))
    ):
        inside = shape == "inner" and (part == 1 or rng.random() < 0.2)
        inside = inside or (lists > 0 and scope == PER_REQUEST and part > 0 and rng.random() < 0.3)
        inner = int(rng.integers(lists)) if inside else scope
        chunk = int(rng.choice([1, 4, 8])) if inner != scope else int(rng.choice([1, max_size]))
        seconds = scale * _between(rng, 0.15, 6.0) / (4.0 if inner != PER_REQUEST else 1.0)
        units = np.arange(chunk + 1, dtype=np.float64)
        slope, bend = rng.uniform(0.03, 1.0), rng.uniform(0.8, 1.0)
        rows = np.where(units > 0, seconds * (1.0 + slope * np.maximum(units - 1.0, 0.0) ** bend), 0.0)
        by_size = 1.0 - (mix := rng.uniform(0.0, 1.0)) + mix * sizes if len(sizes) > 1 else np.ones(1)
        works.append(Work(4 * place + part, inner, rows[:, None] * by_size, float(rng.uniform(0.0, 0.25))))
    return Station(
        stages=(f"s{place}",),
        after=after,
        scope=scope,
        works=tuple(works),
        max_size=max_size,
        max_wait=float(rng.choice([0.0, 0.0, 0.005, 0.02])) if max_size > 1 else 0.0,
        pool=place,
        take=1.0,
        hop=hop,
    )


def _take(rng: np.random.Generator) -> float:
    """Draw what a dispatch of a fluid group holds of a card."""
    return (
        0.0
        if rng.random() < 0.2
        else float(rng.choice([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0]))
    )


def _pool(servers: int) -> Pool:
    return Pool(servers=servers, cards=(float(servers),))


def _needed(model: Model, widths: NDArray[np.int32]) -> list[float]:
    """Return by pool the seconds of all its servers that a request takes, in full batches."""
    found = [0.0] * len(model.pools)
    column = min(1, len(model.sizes) - 1)
    means = [float(one) for one in widths.mean(axis=0)]
    for station in model.stations:
        units = means[station.scope] if station.scope != PER_REQUEST else 1.0
        pool = model.pools[station.pool]
        fits = sum(int(card / station.take + 1e-9) for card in pool.cards) if station.take else pool.servers
        seconds = 0.0
        for work in station.works:
            inner = work.scope not in {PER_REQUEST, station.scope}
            count = station.max_size * (means[work.scope] if inner else 1.0)
            seconds += work.total(round(count), column)
        found[station.pool] += max(units, 0.05) * seconds / station.max_size / max(1, min(pool.servers, fits))
    return found


def _alone(model: Model, widths: NDArray[np.int32]) -> float:
    """Return the seconds of a usual request alone."""
    means = [max(1, round(float(one))) for one in np.quantile(widths, 0.7, axis=0)] if widths.size else []
    column = min(1, len(model.sizes) - 1)
    ends: list[float] = []
    for station in model.stations:
        width = means[station.scope] if station.scope != PER_REQUEST else 1
        together = min(width, station.max_size)
        rounds = math.ceil(math.ceil(width / together) / model.pools[station.pool].servers)
        seconds = sum(
            work.total(
                together * (means[work.scope] if work.scope not in {PER_REQUEST, station.scope} else 1),
                column,
            )
            for work in station.works
        )
        ends.append(
            max((ends[other] for other in station.after), default=0.0) + station.hop + rounds * seconds
        )
    return max(ends) + model.answer
