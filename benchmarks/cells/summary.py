"""What the rows of the cells come to: errors by class, bias, calibration, and the bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.cells.rows import CELL
from benchmarks.record import Record, Results

SIMULATED = "replayed"
"""The engine on the very arrivals, as against the predictor that it is in."""
NAMES = (SIMULATED, "simulated", "learned", "analytic")
POISSON = "poisson"
INFORMATIVE = (0.2, 0.98)
ENOUGH = {"cells": 200, "informative": 100, "bursty": 40}
BARS = {SIMULATED: 3.0, "simulated": 3.0, "learned": 4.0}
ANALYTIC = {POISSON: 6.0, "bursty": 10.0}
BINS = np.linspace(0.0, 1.0, 6)


def summary(results: Results) -> None:
    """Print what the cells so far come to; lines that were told before are not kept twice."""
    cells = [line for line in results.lines if line["kind"] == CELL]
    if not cells:
        print("no cell was run on a machine quiet enough")
        return
    told = Results(None)
    for field in ("observed_by", "predicted_by"):
        told.add({"kind": "product", field: sorted({str(one.get(field, "not said")) for one in cells})})
    classes = {"all": cells, "informative": _informative(cells)}
    classes |= {POISSON: [one for one in cells if one["process"] == POISSON]}
    classes |= {"bursty": [one for one in cells if one["process"] != POISSON]}
    for field in ("pipeline", "process"):
        classes |= {
            f"{field} {name}": _where(cells, field, name)
            for name in sorted({str(one[field]) for one in cells})
        }
    for name, here in classes.items():
        for predictor in NAMES if here else ():
            told.add({"kind": "errors", "of": name, "predictor": predictor, **_errors(here, predictor)})
    for predictor in NAMES:
        for line in _reliability(cells, predictor):
            told.add(line)
    _bars(told, classes)


def _errors(cells: Sequence[Record], predictor: str) -> Record:
    observed = _column(cells, "observed")
    misses = 100.0 * (_column(cells, predictor) - observed)
    return {
        "cells": len(cells),
        "mae": round(float(np.abs(misses).mean()), 2),
        "bias": round(float(misses.mean()), 2),
        "p90": round(float(np.quantile(np.abs(misses), 0.9)), 2),
        "mean_baseline_mae": round(100.0 * float(np.abs(observed - observed.mean()).mean()), 2),
    }


def _reliability(cells: Sequence[Record], predictor: str) -> list[Record]:
    """Return, of the cells for which about as much was predicted, how much came."""
    told, came = _column(cells, predictor), _column(cells, "observed")
    places = np.minimum(np.digitize(told, BINS) - 1, len(BINS) - 2)
    return [
        {
            "kind": "reliability",
            "predictor": predictor,
            "from": round(float(BINS[place]), 2),
            "cells": int((places == place).sum()),
            "told": round(float(told[places == place].mean()), 3),
            "came": round(float(came[places == place].mean()), 3),
        }
        for place in range(len(BINS) - 1)
        if (places == place).any()
    ]


def _bars(told: Results, classes: dict[str, Sequence[Record]]) -> None:
    for name, least in ENOUGH.items():
        told.bar(f"{name} cells", len(classes["all" if name == "cells" else name]), at_least=least)
    for predictor, most in BARS.items():
        told.bar(f"mean absolute error, {predictor}, points", _mae(classes["all"], predictor), at_most=most)
    for name, most in ANALYTIC.items():
        told.bar(
            f"mean absolute error, analytic, {name}, points", _mae(classes[name], "analytic"), at_most=most
        )


def _mae(cells: Sequence[Record], predictor: str) -> float:
    return float(str(_errors(cells, predictor)["mae"])) if cells else float("nan")


def _informative(cells: Sequence[Record]) -> list[Record]:
    return [one for one in cells if INFORMATIVE[0] <= float(str(one["observed"])) <= INFORMATIVE[1]]


def _where(cells: Sequence[Record], field: str, value: str) -> list[Record]:
    return [one for one in cells if str(one[field]) == value]


def _column(cells: Sequence[Record], field: str) -> np.ndarray:
    return np.array([float(str(one[field])) for one in cells])
