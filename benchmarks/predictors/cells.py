"""Random plans and loads, each from a seed and its number alone: chains, diamonds, maps, sizes and fluid groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.mmpp import Process

Floats = NDArray[np.float64]

REQUESTS = 4000
"""Of each cell's window: the hit rate of so many independent ones has a standard error of at most 0.8 points."""
SHAPES = ("chain", "diamond", "map", "inner map", "sizes", "fluid")
PROCESSES = ("poisson", "bursty")
HOP = 0.0003
"""Seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A plan and a load.

    Attributes:
        number: by which it can be drawn again.
        shape: of the plan, one of SHAPES.
        process: one of PROCESSES.
        use: offered load over the most that the fullest station bears.
        model: the plan.
        load: the window.
    """

    number: int
    shape: str
    process: str
    use: float
    model: Model
    load: Arrivals


def cells(count: int, seed: int) -> Iterator[Cell]:
    """Draw plans and loads, all shapes and processes in turn."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        shape = SHAPES[number % len(SHAPES)]
        process = PROCESSES[number // len(SHAPES) % 2]
        use = float(rng.uniform(0.1, 1.2))
        widths = _widths(shape, rng)
        sizes = rng.lognormal(0.0, 0.5, REQUESTS) if shape == "sizes" else np.zeros(REQUESTS)
        model = _model(shape, rng)
        at = _times(process, use * _capacity(model, widths), rng)
        yield Cell(number, shape, process, use, model, Arrivals(at, sizes, widths, float(at[-1])))


def _widths(shape: str, rng: np.random.Generator) -> NDArray[np.int32]:
    if shape not in {"map", "inner map"}:
        return np.zeros((REQUESTS, 0), dtype=np.int32)
    mean = rng.uniform(1.5, 6.0)
    geometric = rng.geometric(1.0 / mean, REQUESTS)
    even = rng.integers(1, 2 * int(mean) + 1, REQUESTS)
    return np.minimum(geometric if rng.random() < 0.5 else even, 40).astype(np.int32)[:, None]


def _model(shape: str, rng: np.random.Generator) -> Model:
    sizes = np.array([0.5, 1.0, 2.0, 4.0]) if shape == "sizes" else np.zeros(1)
    stations = tuple(
        _station(place, after, scope, shape=shape, sizes=sizes, rng=rng)
        for place, (after, scope) in enumerate(_flow(shape, rng))
    )
    alone = sum(float(work.seconds[1, 0]) for station in stations for work in station.works)
    pools = tuple(_pool(rng) for _ in stations)
    if shape == "fluid":
        stations = tuple(replace(one, pool=0, take=float(rng.choice([0.2, 0.3, 0.5]))) for one in stations)
        servers = int(rng.integers(2, 7))
        pools = (Pool(servers=servers, cards=(1.0,) * int(rng.integers(1, 3)), lease=0.0002),)
    return Model(
        stations=stations,
        pools=pools,
        sizes=sizes,
        lists=int(shape in {"map", "inner map"}),
        slo=alone * float(np.exp(rng.uniform(np.log(1.3), np.log(6.0)))) + 4 * HOP,
        attainment=0.95,
        answer=HOP,
    )


def _flow(shape: str, rng: np.random.Generator) -> list[tuple[tuple[int, ...], int]]:
    """Return what each station takes from, and its scope."""
    if shape == "diamond":
        return [((), PER_REQUEST), ((0,), PER_REQUEST), ((0,), PER_REQUEST), ((1, 2), PER_REQUEST)]
    many = int(rng.integers(2 if shape in {"map", "fluid"} else 1, 5))
    items = range(1, 1 + int(rng.integers(1, many))) if shape == "map" else range(0)
    return [((place - 1,) if place else (), 0 if place in items else PER_REQUEST) for place in range(many)]


def _station(
    place: int, after: tuple[int, ...], scope: int, *, shape: str, sizes: Floats, rng: np.random.Generator
) -> Station:
    max_size = int(rng.choice([1, 1, 2, 4, 8]))
    works = []
    for part in range(int(rng.integers(1, 3))):
        inner = 0 if shape == "inner map" and part == 1 else scope
        seconds = float(np.exp(rng.uniform(np.log(0.004), np.log(0.05))))
        chunk = 8 if inner != scope else max_size
        slope = float(rng.uniform(0.05, 0.8))
        rows = np.array([0.0, *(seconds * (1.0 + slope * more) for more in range(chunk))])
        by_size = 0.3 + 0.7 * sizes if len(sizes) > 1 else np.ones(1)
        works.append(
            Work(
                stage=2 * place + part,
                scope=inner,
                seconds=rows[:, None] * by_size,
                cv=float(rng.uniform(0.0, 0.2)),
            )
        )
    return Station(
        stages=(f"s{place}",),
        after=after,
        scope=scope,
        works=tuple(works),
        max_size=max_size,
        max_wait=float(rng.choice([0.0, 0.0, 0.005, 0.02])) if max_size > 1 else 0.0,
        pool=place,
        take=1.0,
        hop=HOP,
    )


def _pool(rng: np.random.Generator) -> Pool:
    servers = int(rng.choice([1, 1, 2, 3, 5]))
    return Pool(servers=servers, cards=(float(servers),))


def _capacity(model: Model, widths: NDArray[np.int32]) -> float:
    """Return the requests a second that the fullest pool can serve."""
    mean = float(widths.mean()) if widths.size else 1.0
    column = min(1, len(model.sizes) - 1)
    needed = [0.0] * len(model.pools)
    for station in model.stations:
        full = station.max_size
        inner = [work.scope not in {PER_REQUEST, station.scope} for work in station.works]
        seconds = sum(
            work.total(round(full * mean) if more else full, column)
            for work, more in zip(station.works, inner, strict=True)
        )
        pool = model.pools[station.pool]
        servers = min(pool.servers, sum(int(card / station.take + 1e-9) for card in pool.cards))
        needed[station.pool] += seconds / full / servers * (mean if station.scope != PER_REQUEST else 1.0)
    return 1.0 / max(needed)


def _times(process: str, rate: float, rng: np.random.Generator) -> Floats:
    if process == "poisson":
        return np.cumsum(rng.exponential(1.0, REQUESTS)) / rate
    ratio, share = float(rng.uniform(2.0, 6.0)), float(rng.uniform(0.1, 0.5))
    cycle = float(np.exp(rng.uniform(np.log(0.5), np.log(20.0))))
    slow = rate / (1.0 - share + share * ratio)
    return phased(Process((slow, slow * ratio), (cycle * (1.0 - share), cycle * share)), REQUESTS, rng)


def phased(process: Process, count: int, rng: np.random.Generator) -> Floats:
    """Draw the first `count` arrivals of a process of two phases."""
    found: list[Floats] = []
    now, phase, have = 0.0, 0, 0
    while have < count:
        end = now + float(rng.exponential(process.stays[phase]))
        at = np.sort(rng.uniform(now, end, rng.poisson(process.rates[phase] * (end - now))))
        found.append(at)
        now, phase, have = end, 1 - phase, have + len(at)
    return np.concatenate(found)[:count]
