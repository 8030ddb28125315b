"""How far predictors are from the engine, hit rate for hit rate, on random plans and loads.

The engine replays the very policies in force, so what is measured here is what a predictor leaves out of them. How far
the engine is from the live system is measured elsewhere. `analytic` is given the arrivals that it is judged by; beside
it, `unseen`, each predictor has the first half of a window alone and is judged by the hit rate of the second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks import machine
from benchmarks.predictors.cells import PROCESSES, SHAPES, Cell, cells
from benchmarks.record import RESULTS, Record, Results, progress
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.simulate.engine import IN_TIME, Run
from regrain_watchdog.simulate.predictor import Simulated

BARS = {"poisson": 6.0, "bursty": 10.0}
"""Points of mean absolute error."""
REPEATS = 5
"""Of each prediction, for its time; none finds what the ones before it kept."""
FASTEST = 1.0
"""Milliseconds for a plan of four stations none of which was seen before."""
INFORMATIVE = (0.2, 0.98)
"""Hit rates between which a cell tells predictors apart."""


def main() -> int:
    options = _options()
    path = None if options.short else RESULTS / "predictors.jsonl"
    if path:
        path.unlink(missing_ok=True)
    results = Results(path)
    count = 60 if options.short else options.cells
    results.add({"kind": "machine", "benchmark": "predictors", "seed": options.seed, **machine.describe()})
    for cell in cells(count, options.seed):
        results.add(_measured(cell, options.seed))
        if cell.number % 50 == 49:
            progress(f"{cell.number + 1} of {count} cells")
    _summary(results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.predictors", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--cells", type=int, default=600, help="plans and loads, default 600")
    parser.add_argument(
        "--seed", type=int, default=3, help="of all of them, default 3; the constants were chosen on 1"
    )
    parser.add_argument("--short", action="store_true", help="60 cells, not recorded")
    return parser.parse_args()


def _measured(cell: Cell, seed: int) -> Record:
    run = Run(cell.model, cell.load, seed=seed)
    run.advance()
    observed = run.result()
    half = len(cell.load) // 2
    first = cell.load.between(0.0, float(cell.load.at[half]))
    spent = []
    for _ in range(REPEATS):
        predictor = Analytic()
        predictor.seen(cell.load)
        begin = time.perf_counter()
        predicted = predictor.predict(cell.model, cell.load)
        spent.append(1000.0 * (time.perf_counter() - begin))
    return {
        "kind": "cell",
        "number": cell.number,
        "shape": cell.shape,
        "process": cell.process,
        "use": round(cell.use, 3),
        "stations": len(cell.model.stations),
        "observed": round(observed.hit_rate, 4),
        "analytic": round(predicted.hit_rate, 4),
        "second_half": round(float((observed.outcome[half:] == IN_TIME).mean()), 4),
        "unseen_analytic": round(Analytic().predict(cell.model, first).hit_rate, 4),
        "unseen_simulated": round(Simulated().predict(cell.model, first, seed=seed + 1).hit_rate, 4),
        "milliseconds": round(statistics.median(spent), 3),
    }


def _summary(results: Results) -> None:
    found = [line for line in results.lines if line["kind"] == "cell"]
    for process in PROCESSES:
        here = [line for line in found if line["process"] == process]
        _errors(results, process, here)
        for shape in SHAPES:
            _errors(results, f"{process}, {shape}", [line for line in here if line["shape"] == shape])
        for told in ("unseen_analytic", "unseen_simulated"):
            _errors(results, f"{process}, {told}", here, told=told, observed="second_half")
        error = statistics.fmean(abs(one) for one in _misses(here, "analytic", "observed"))
        results.bar(f"mean absolute error, {process}, points", error, at_most=BARS[process])
    four = [float(str(line["milliseconds"])) for line in found if line["stations"] == 4]
    results.bar("median milliseconds, four stations", statistics.median(four), at_most=FASTEST)


def _errors(
    results: Results,
    name: str,
    lines: Sequence[Record],
    *,
    told: str = "analytic",
    observed: str = "observed",
) -> None:
    misses = _misses(lines, told, observed)
    seen = np.array([float(str(line[observed])) for line in lines])
    telling = (INFORMATIVE[0] <= seen) & (seen <= INFORMATIVE[1])
    results.add(
        {
            "kind": "errors",
            "of": name,
            "cells": len(lines),
            "mae": round(float(np.abs(misses).mean()), 2),
            "bias": round(float(misses.mean()), 2),
            "p90": round(float(np.quantile(np.abs(misses), 0.9)), 2),
            "informative": int(telling.sum()),
            "informative_mae": round(float(np.abs(misses[telling]).mean()), 2) if telling.any() else None,
            "mean_baseline_mae": round(float(100.0 * np.abs(seen - seen.mean()).mean()), 2),
        }
    )


def _misses(lines: Sequence[Record], told: str, observed: str) -> np.ndarray:
    """Return (lines,) predicted less observed, in points."""
    return np.array([100.0 * (float(str(line[told])) - float(str(line[observed]))) for line in lines])


if __name__ == "__main__":
    sys.exit(main())
