"""Simulated runs as rows: what the learned predictor sees of a plan and a load, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.learned.draw import Drawn
from benchmarks.record import progress
from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_reader import Reader
from regrain_watchdog.policy.model import Model
from regrain_watchdog.simulate.engine import Run

Floats = NDArray[np.float64]
DRIFT = 0.1
"""Share of its seconds by which a stage may differ from its profile."""
TOLD = 2000
"""Runs after which it is said how many there are."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs: (runs, NAMES) features, (runs,) hit rates, and the requests of all."""

    features: Floats
    hit_rates: Floats
    requests: int

    def write(self, path: Path) -> None:
        """Keep them in a file of numpy arrays."""
        with path.open("wb") as file:
            np.savez(file, features=self.features, hit_rates=self.hit_rates, requests=self.requests)

    @classmethod
    def read(cls, path: Path) -> Runs:
        """Return those that were kept."""
        with np.load(path, allow_pickle=False) as found:
            return cls(found["features"], found["hit_rates"], int(found["requests"]))


def simulated(draws: Iterable[Drawn], *, seconds: float = float("inf")) -> Runs:
    """Simulate what is drawn, until `seconds` have passed."""
    rows: list[Floats] = []
    rates: list[float] = []
    requests, begin = 0, time.monotonic()
    for number, drawn in enumerate(draws):
        if time.monotonic() - begin > seconds:
            break
        rows.append(features(drawn, np.random.default_rng((number, len(drawn.load)))))
        rates.append(hit_rate(drawn, seed=number))
        requests += len(drawn.load)
        if number % TOLD == TOLD - 1:
            progress(f"{number + 1} runs")
    return Runs(np.array(rows).reshape(-1, len(NAMES)), np.array(rates), requests)


def hit_rate(drawn: Drawn, *, seed: int) -> float:
    """Return what comes of a plan under a load."""
    run = Run(drawn.model, drawn.load, seed=seed)
    run.advance()
    return run.result().hit_rate


def features(drawn: Drawn, rng: np.random.Generator) -> Floats:
    """Return what the learned predictor sees."""
    return Reader(drawn.load).features(believed(drawn.model, rng))


def believed(model: Model, rng: np.random.Generator) -> Model:
    """Return a plan as a profile has it that is a while old: each stage is faster or slower by up to DRIFT by now."""
    stations = tuple(
        replace(
            station,
            works=tuple(
                replace(work, seconds=work.seconds * rng.uniform(1.0 - DRIFT, 1.0 + DRIFT))
                for work in station.works
            ),
        )
        for station in model.stations
    )
    return replace(model, stations=stations)
