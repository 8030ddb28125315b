"""How far the learned predictor is from runs that it never saw, beside the analytic one and the mean of them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.learned.held_out import Unseen, unseen
from benchmarks.learned.runs import hit_rate
from benchmarks.record import Record, Results
from regrain_watchdog.control.learned import CARD, MODEL, Learned
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor

BAR = 4.0
"""Points of mean absolute error, on pipelines and traces that were not trained on."""
FASTEST = 0.2
"""Milliseconds for a plan."""
INFORMATIVE = (0.2, 0.98)
"""Hit rates between which a cell tells predictors apart."""
TIMED = 40
"""Cells whose plans are timed."""
REPEATS = 5
BINS = np.linspace(0.0, 1.0, 6)
NAMES = ("learned", "analytic")


def check(results: Results, cells: int, seed: int, traces: Path | None, folder: Path) -> None:
    """Judge the model in a folder."""
    learned = Learned((folder / MODEL).read_text(encoding="utf-8"), (folder / CARD).read_bytes())
    analytic = Analytic()
    timed: list[Unseen] = []
    for number, one in enumerate(unseen(cells, seed, traces)):
        before = learned.strange
        results.add(
            {
                "kind": "cell",
                "of": one.of,
                "process": one.process,
                "stations": len(one.believed.stations),
                "observed": round(hit_rate(one.truth, seed=number), 4),
                "learned": round(learned.predict(one.believed, one.truth.load).hit_rate, 4),
                "analytic": round(analytic.predict(one.believed, one.truth.load).hit_rate, 4),
                "strange": learned.strange > before,
            }
        )
        if len(timed) < TIMED:
            timed.append(one)
    _errors(results)
    _reliability(results)
    _times(results, learned, timed)


def _errors(results: Results) -> None:
    lines = [line for line in results.lines if line["kind"] == "cell"]
    for field in ("of", "process"):
        for value in sorted({str(line[field]) for line in lines}):
            results.add(_error(value, [line for line in lines if line[field] == value]))
    whole = _error("all", lines)
    results.add(whole)
    results.bar("mean absolute error, learned, points", float(str(whole["learned_mae"])), at_most=BAR)


def _error(name: str, lines: Sequence[Record]) -> Record:
    observed = _column(lines, "observed")
    told = (INFORMATIVE[0] <= observed) & (observed <= INFORMATIVE[1])
    found: Record = {"kind": "errors", "name": name, "cells": len(lines), "informative": int(told.sum())}
    for predictor in NAMES:
        misses = 100.0 * (_column(lines, predictor) - observed)
        found[f"{predictor}_mae"] = round(float(np.abs(misses).mean()), 2)
        found[f"{predictor}_bias"] = round(float(misses.mean()), 2)
        found[f"{predictor}_informative_mae"] = (
            round(float(np.abs(misses[told]).mean()), 2) if told.any() else None
        )
    found["mean_baseline_mae"] = round(100.0 * float(np.abs(observed - observed.mean()).mean()), 2)
    found["strange"] = sum(bool(line["strange"]) for line in lines)
    return found


def _reliability(results: Results) -> None:
    """Tell, of the cells for which about as much was predicted, how much came."""
    lines = [line for line in results.lines if line["kind"] == "cell"]
    told, came = _column(lines, "learned"), _column(lines, "observed")
    places = np.minimum(np.digitize(told, BINS) - 1, len(BINS) - 2)
    for place in range(len(BINS) - 1):
        here = places == place
        if here.any():
            row = {"told": round(float(told[here].mean()), 3), "came": round(float(came[here].mean()), 3)}
            results.add(
                {"kind": "reliability", "from": round(float(BINS[place]), 2), "cells": int(here.sum()), **row}
            )


def _times(results: Results, learned: Learned, cells: Sequence[Unseen]) -> None:
    """Measure a plan, its stations known and not, on one core."""
    for name in NAMES:
        new, again = [], []
        for cell in cells:
            tries = [_tried(learned if name == "learned" else Analytic(), cell) for _ in range(REPEATS)]
            new.append(min(first for first, _ in tries))
            again.append(min(second for _, second in tries))
        results.add(
            {
                "kind": "time",
                "of": name,
                "new_ms": round(statistics.median(new), 3),
                "known_ms": round(statistics.median(again), 3),
            }
        )
        if name == "learned":
            results.bar("median milliseconds of a new plan, learned", statistics.median(new), at_most=FASTEST)
    loads = [_clocked(lambda one=one: Learned.reader(learned, one.truth.load)) for one in cells]
    results.add({"kind": "time", "of": "learned", "a_new_load_ms": round(statistics.median(loads), 2)})


def _tried(predictor: Predictor, cell: Unseen) -> tuple[float, float]:
    """Return the milliseconds of a plan none of whose stations was seen under the load, and of the same once more."""
    if isinstance(predictor, Learned):
        predictor.reader(replace(cell.truth.load, span=cell.truth.load.span))
        predictor.reader(cell.truth.load)
    elif isinstance(predictor, Analytic):
        predictor.seen(cell.truth.load)
    return _took(predictor, cell), _took(predictor, cell)


def _took(predictor: Predictor, cell: Unseen) -> float:
    return _clocked(lambda: predictor.predict(cell.believed, cell.truth.load))


def _clocked(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1000.0 * (time.perf_counter() - begin)


def _column(lines: Sequence[Record], field: str) -> np.ndarray:
    return np.array([float(str(line[field])) for line in lines])
