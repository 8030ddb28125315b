"""Measure how fast the simulator replays: events a second with the real policies, and the time of one prediction.

One core. Beside it the shortest loop that numba can run of a queue with four servers (M/M/4): no policies, no stations,
no items, two events a customer. An event is an arrival, units coming to a station, a dispatch, its end, or a batch that
comes due.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from numba import njit

from benchmarks.record import Results, arguments
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.simulate.engine import Run
from regrain_watchdog.simulate.predictor import Simulated

FEWEST_EVENTS = 2e6
LONGEST_PREDICTION = 0.02
RATE, WINDOW = 100.0, 30.0
"""Requests a second and seconds of the window that is predicted from."""
WIDEST = 8
SERVERS = 4


def main() -> None:
    options = arguments("simulate", __doc__ or "", rounds=7, seconds=1.0).parse_args()
    results = Results.open("simulate", options)
    count = 50_000 if options.short else 500_000
    _bare(np.ones(8), np.ones(8))
    for turn in range(options.rounds):
        if not results.has(kind="bare", round=turn):
            results.add(
                {"kind": "bare", "round": turn, "events_per_second": _bare_speed(count, options.seed)}
            )
        for name, (model, rate) in _plans().items():
            load = _load(rate, count / rate, options.seed + turn)
            if not results.has(kind="replay", round=turn, plan=name):
                results.add({"kind": "replay", "round": turn, "plan": name, **_replay(model, load)})
            if not results.has(kind="prediction", round=turn, plan=name):
                window = load.scaled(RATE).between(0.0, WINDOW)
                results.add({"kind": "prediction", "round": turn, "plan": name, **_prediction(model, window)})
    for name in _plans():
        speed = results.median("events_per_second", kind="replay", plan=name)
        results.bar(f"million events/s, {name}", speed / 1e6, at_least=FEWEST_EVENTS / 1e6)
        seconds = results.median("seconds", kind="prediction", plan=name)
        results.bar(f"seconds of a prediction, {name}", seconds, at_most=LONGEST_PREDICTION)
        bare = results.median("events_per_second", kind="bare")
        results.add({"kind": "ratio", "plan": name, "of_bare": round(speed / bare, 3)})


def _replay(model: Model, load: Arrivals) -> dict[str, object]:
    Run(model, load).advance(1.0)
    run = Run(model, load)
    begin = time.perf_counter()
    run.advance()
    seconds = time.perf_counter() - begin
    result = run.result()
    events = sum(result.events.values())
    return {"events_per_second": events / seconds, "events": events, "hit_rate": round(result.hit_rate, 4)}


def _prediction(model: Model, window: Arrivals) -> dict[str, object]:
    predictor = Simulated()
    taken = []
    for seed in range(20):
        begin = time.perf_counter()
        found = predictor.predict(model, window, seed=seed)
        taken.append(time.perf_counter() - begin)
    return {
        "seconds": statistics.median(taken),
        "requests": len(window),
        "hit_rate": round(found.hit_rate, 4),
    }


def _load(rate: float, seconds: float, seed: int) -> Arrivals:
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    widths = rng.integers(1, WIDEST + 1, (len(at), 1)).astype(np.int32)
    return Arrivals(at, rng.uniform(0.0, 1.0, len(at)), widths, float(at[-1]))


def _plans() -> dict[str, tuple[Model, float]]:
    """Plans with the requests a second that they get: one station, a split and a fused map, fluid, too much load."""
    decode = _work(0, 0.004, 1, PER_REQUEST)
    detect, read = _work(1, 0.010, 4, PER_REQUEST), _work(2, 0.003, 8, 0)
    join = _work(3, 0.002, 1, PER_REQUEST)
    split = (
        _station(0, (decode,), ()),
        _station(1, (detect,), (0,), max_size=4),
        _station(2, (read,), (1,), scope=0, max_size=8, max_wait=0.005),
        _station(3, (join,), (2,)),
    )
    servers = (2, 3, 4, 1)
    fused = (_station(0, (decode, detect, read, join), ()),)
    takes = (0.1, 0.4, 0.2, 0.1)
    fluid = tuple(
        _station(
            place, one.works, one.after, scope=one.scope, max_size=one.max_size, pool=0, take=takes[place]
        )
        for place, one in enumerate(split)
    )
    return {
        "one station": (
            _model((_station(0, (_work(0, 0.02, 1, PER_REQUEST),), ()),), (_own(SERVERS),)),
            160.0,
        ),
        "split map": (_model(split, tuple(map(_own, servers))), 150.0),
        "fused map": (_model(fused, (_own(6),)), 130.0),
        "fluid": (_model(fluid, (Pool(servers=8, cards=(1.0, 1.0), lease=0.0002),)), 150.0),
        "overloaded": (_model(split, tuple(map(_own, servers))), 400.0),
    }


def _own(servers: int) -> Pool:
    return Pool(servers=servers, cards=(float(servers),))


def _work(stage: int, seconds: float, chunk: int, scope: int) -> Work:
    rows = [
        [seconds * (units > 0) * (0.6 + 0.4 * units) * (1 + size) for size in range(2)]
        for units in range(chunk + 1)
    ]
    return Work(stage, scope, np.array(rows), 0.1)


def _station(
    place: int,
    works: tuple[Work, ...],
    after: tuple[int, ...],
    *,
    scope: int = PER_REQUEST,
    max_size: int = 1,
    max_wait: float = 0.0,
    pool: int | None = None,
    take: float = 1.0,
) -> Station:
    return Station(
        stages=(f"stage{place}",),
        after=after,
        scope=scope,
        works=works,
        max_size=max_size,
        max_wait=max_wait,
        pool=place if pool is None else pool,
        take=take,
        hop=0.0002,
    )


def _model(stations: tuple[Station, ...], pools: tuple[Pool, ...]) -> Model:
    return Model(
        stations=stations,
        pools=pools,
        sizes=np.array([0.0, 1.0]),
        lists=1,
        slo=0.2,
        attainment=0.95,
        answer=0.0002,
    )


def _bare_speed(count: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / 3.2, count))
    service = rng.exponential(1.0, count)
    begin = time.perf_counter()
    _bare(at, service)
    return 2 * count / (time.perf_counter() - begin)


@njit
def _bare(at: np.ndarray, service: np.ndarray) -> float:
    """Return the mean wait of customers who take the server that is free first."""
    free = np.zeros(SERVERS)
    waited = 0.0
    for customer in range(len(at)):
        first = free.argmin()
        begin = max(at[customer], free[first])
        waited += begin - at[customer]
        free[first] = begin + service[customer]
    return waited / len(at)


if __name__ == "__main__":
    main()
