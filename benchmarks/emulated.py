"""Measure how exactly an emulated GPU keeps its time: holds against what was asked, and against the profile.

Three things take turns within a round. Holds of fixed lengths, with the spin at the end and without it. The
shipped models over shares and batches, jitter on: each hold against what the truth said, and what it took
against the measured point it stands for (jitter has a mean of one, so the middle of all is the bias). And a
crowd: several processes hold at once, with the cores otherwise idle or kept busy by CPU work.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import Record, Results, arguments, table
from regrain.cards import CARDS
from regrain_runtime.emulated.hold import SPIN, hold
from regrain_runtime.emulated.models import shipped
from regrain_runtime.emulated.scenario import Scenario, Standing
from regrain_runtime.emulated.truth import Truth

LENGTHS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)  # seconds
SHARES = (0.05, 0.25, 0.5, 1.0)
BATCHES = (1, 8)
LONG = 0.005  # seconds; the bar is on holds of this and more
LONG_ONES, SHORT_ONES = "5 ms and more", "below 5 ms"
CELL = 0.03  # seconds; a model, share and batch that is faster is held more than once
CROWDS = (1, 2, 4, 8)
CROWD_LENGTHS = (0.005, 0.02)
BUSY = "while True: pass"
BAR = 2.0  # per cent


def main() -> None:
    options = arguments("emulated", __doc__ or "", rounds=5, seconds=0.5).parse_args()
    results = Results.open("emulated", options)
    for turn in range(options.rounds):
        if not results.has(kind="crowd", round=turn):
            _lengths(turn, options.seconds, results)
            _models(turn, options.seed, results)
            _crowds(turn, options.seconds, results)
    print(_summary(results))
    _bars(results)


def _lengths(turn: int, seconds: float, results: Results) -> None:
    for length in LENGTHS:
        for spin in (SPIN, 0.0):
            missed, cpu = _holds([length] * max(5, round(seconds / length)), spin)
            line = {"kind": "hold", "round": turn, "ms": length * 1e3, "spin_ms": spin * 1e3}
            results.add({**line, **_percent(missed), "cpu_percent": cpu})


def _models(turn: int, seed: int, results: Results) -> None:
    """Hold for each model, share and batch, with jitter of its own; short ones several times."""
    stages = {model.name: Standing(model=model.name) for model in shipped().models}
    truth = Truth(Scenario(stages=stages, seed=seed), CARDS["v100"])
    found: dict[str, list[tuple[float, float]]] = {LONG_ONES: [], SHORT_ONES: []}
    for model in shipped().models:
        for share, batch in itertools.product(SHARES, BATCHES):
            measured = model.time(batch, share)
            key = f"{turn}/{share}/{batch}"
            for call in range(max(1, round(CELL / measured))):
                held = hold(truth.seconds(model.name, batch, share, key=key, call=call))
                which = LONG_ONES if measured >= LONG else SHORT_ONES
                found[which].append((abs(held.error), held.took / measured - 1))
    for which, pairs in found.items():
        errors, off = np.array(pairs).T * 100
        off_by = {"off_median_percent": float(np.median(off)), "off_mean_percent": float(off.mean())}
        line = {"kind": "model", "round": turn, "times": which, **_percent(errors / 100)}
        results.add({**line, "mean_percent": float(errors.mean()), **off_by})


def _crowds(turn: int, seconds: float, results: Results) -> None:
    for cores in ("idle", "busy"):
        with _busy(cores == "busy"):
            for many in CROWDS:
                for length in CROWD_LENGTHS:
                    missed = _crowd(many, [length] * max(5, round(seconds / length)))
                    line = {"kind": "crowd", "round": turn, "cores": cores, "holders": many}
                    results.add({**line, "ms": length * 1e3, **_percent(missed)})


def _crowd(many: int, lengths: Sequence[float]) -> list[float]:
    """Hold in so many processes at once; the errors of all."""
    with ProcessPoolExecutor(many, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_holds, [[0.001]] * many))  # all have started
        return [error for missed, _ in pool.map(_holds, [lengths] * many) for error in missed]


def _holds(lengths: Sequence[float], spin: float = SPIN) -> tuple[list[float], float]:
    """Return the relative error of each hold, and the CPU time of all as per cent of what was asked."""
    before = process_time()
    missed = [hold(length, spin=spin).error for length in lengths]
    return missed, (process_time() - before) / sum(lengths) * 100


@contextlib.contextmanager
def _busy(really: bool) -> Iterator[None]:
    """Keep two cores busy meanwhile, as stages on the CPU would."""
    burners = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2 * really)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _percent(missed: Sequence[float] | NDArray[np.float64]) -> Record:
    median, tail = np.quantile(np.abs(missed), [0.5, 0.95]) * 100
    return {"median_percent": float(median), "p95_percent": float(tail), "holds": len(missed)}


def _summary(results: Results) -> str:
    rows = []
    for length in LENGTHS:
        cells: list[object] = []
        for spin in (SPIN, 0.0):
            key = {"kind": "hold", "ms": length * 1e3, "spin_ms": spin * 1e3}
            cells += [
                results.median(field, **key) for field in ("median_percent", "p95_percent", "cpu_percent")
            ]
        rows.append([f"{length * 1e3:g}", *cells])
    head = ["hold, ms", "error %", "p95 %", "CPU %", "error %, no spin", "p95 %, no spin", "CPU %, no spin"]
    crowd = []
    for cores in ("idle", "busy"):
        for many in CROWDS:
            cells = [
                results.median(field, kind="crowd", cores=cores, holders=many, ms=length * 1e3)
                for length in CROWD_LENGTHS
                for field in ("median_percent", "p95_percent")
            ]
            crowd.append([cores, many, *cells])
    figures = (
        "holds",
        "median_percent",
        "p95_percent",
        "mean_percent",
        "off_median_percent",
        "off_mean_percent",
    )
    models = [
        [which, *(results.median(field, kind="model", times=which) for field in figures)]
        for which in (LONG_ONES, SHORT_ONES)
    ]
    heads = [f"{length * 1e3:g} ms {what}" for length in CROWD_LENGTHS for what in ("error %", "p95 %")]
    parts = (
        table(head, rows),
        table(["models' times", *figures], models),
        table(["other cores", "holders", *heads], crowd),
    )
    return "\n\n".join(parts)


def _bars(results: Results) -> None:
    """Judge the long holds. What took longer by a stall of the machine moves a mean, not a median."""
    for field, name in (("median_percent", "error of a hold"), ("off_median_percent", "off the profile")):
        off = results.median(field, kind="model", times=LONG_ONES)
        results.bar(f"models of {LONG_ONES}: {name}, median, %", abs(off), at_most=BAR)
    for length in LENGTHS:
        if length >= LONG:
            off = results.median("median_percent", kind="hold", ms=length * 1e3, spin_ms=SPIN * 1e3)
            results.bar(f"holds of {length * 1e3:g} ms: median error, %", off, at_most=BAR)


if __name__ == "__main__":
    main()
