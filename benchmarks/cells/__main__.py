"""How far predictors and the simulator are from live runs, over many cells; it can be ended and gone on with.

A cell is an app on emulated GPUs under a plan and a load, at least 1,500 requests; the last twenty are the real OCR
app. Predictors get the profile that `regrain profile` measured before and the requests as they came; what the GPUs do
beside that (a drift of each stage, and jitter) they do not see. A row for each cell is kept; `--budget` says for how
long to go on. The apps and their profiles are kept in `--folder`; 200 cells take some four hours. A cell that was
observed while the machine was busy with other things (rows.py: more than 1.2 cores of work that does not yield, but for
the real app's, or the load generator late) tells of the machine: it is kept as disturbed, and run again the next
time. Rows are read by that rule, too, whatever they were written down as.
`--judge` predicts the recorded cells anew with the predictors as they are now. A picture lies beside the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.cells import ocr
from benchmarks.cells.draw import REQUESTS, Cell, cell, pipeline_of
from benchmarks.cells.judge import Predictors, judged
from benchmarks.cells.live import module, observed, profile
from benchmarks.cells.picture import picture
from benchmarks.cells.pipelines import write
from benchmarks.cells.rows import CELL, classified
from benchmarks.cells.summary import summary
from benchmarks.record import RESULTS, Record, Results, compare, progress
from regrain.manifest import Manifest
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.load.report import AppReport

CELLS = 200
FOLDER = Path("build/cells")


def main() -> int:
    options = _options()
    path = options.out or RESULTS / "cells.jsonl"
    results = Results(path)
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        results.lines = [classified(json.loads(line)) for line in lines]
        for line in results.lines:
            if line["kind"] == "machine" and not options.judge:
                compare(path, line, {"seed": options.seed})
    if options.judge:
        results.lines = judged(results.lines, options.folder)
        draft = path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(line) + "\n" for line in results.lines), encoding="utf-8")
        draft.replace(path)
    else:
        _run(results, options)
    summary(results)
    path.with_suffix(".svg").write_text(picture(results.lines), encoding="utf-8")
    return 0


def _run(results: Results, options: argparse.Namespace) -> None:
    """Run the cells that there are no rows of, as long as the budget lasts."""
    begin = time.monotonic()
    manifests: dict[str, Manifest] = {}
    predictors = Predictors()
    for number in range(options.cells):
        if results.has(kind=CELL, number=number):
            continue
        if time.monotonic() - begin > options.budget:
            progress(f"the budget of {options.budget:g} s is spent; run it again to go on")
            break
        if not results.has(kind="machine", at=(here := _here(results, options.seed))["at"]):
            results.add(here)
        drawn = _drawn(number, options, manifests)
        before, since = machine.busy_seconds(), time.monotonic()
        row = _row(drawn, observed(drawn), predictors)
        passed = time.monotonic() - since
        cores = [
            round((now - then) / passed, 2) for now, then in zip(machine.busy_seconds(), before, strict=True)
        ]
        results.add(classified({**row, "busy_cores": cores[0], "yielding_cores": cores[1]}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cells", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--cells", type=int, default=CELLS, help=f"default {CELLS}")
    parser.add_argument(
        "--budget", type=float, default=3600.0, help="seconds after which no cell is begun, default 3600"
    )
    parser.add_argument("--seed", type=int, default=5, help="of cells and loads, default 5")
    parser.add_argument("--trace", type=Path, help="a trace of timestamps, for every fifth load")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of apps and profiles, default {FOLDER}")
    parser.add_argument(
        "--out", type=Path, help="JSON lines, default benchmarks/results/cells.jsonl; it is gone on with"
    )
    parser.add_argument(
        "--judge",
        action="store_true",
        help="run nothing: predict the recorded cells anew, from the scenarios in --folder",
    )
    return parser.parse_args()


def _here(results: Results, seed: int) -> Record:
    """Return the line of the machine, with the seed of cells: one for each time that the benchmark is run."""
    last = [line for line in results.lines if line["kind"] == "machine"]
    if last and last[-1].get("run") == _RUN:
        return last[-1]
    return {"kind": "machine", "benchmark": "cells", "run": _RUN, "seed": seed, **machine.describe()}


_RUN = time.time()


def _drawn(number: int, options: argparse.Namespace, manifests: dict[str, Manifest]) -> Cell:
    """Return a cell, its app written and profiled."""
    pipeline = pipeline_of(number)
    folder = (options.folder / pipeline.name).resolve()
    if pipeline.name not in manifests:
        if pipeline.stages:
            write(pipeline, folder)
        else:
            ocr.write(folder)
        manifests[pipeline.name] = describe(str(module(pipeline, folder)))
        if not (folder / "profile.json").exists():
            progress(f"profiling {pipeline.name}")
            profile(pipeline, folder)
    trace = options.trace.resolve() if options.trace else None
    return cell(number, options.seed, folder, manifests[pipeline.name], pipeline=pipeline, trace=trace)


def _row(one: Cell, report: AppReport, predictors: Predictors) -> Record:
    load = one.static.arrivals
    if len(load) < REQUESTS or report.hit_rate is None:
        raise RuntimeError(f"cell {one.number} had {len(load)} requests, of which nothing was observed")
    late = 1000.0 * report.lateness.p99 if report.lateness else 0.0
    return {
        "kind": CELL,
        "number": one.number,
        "pipeline": one.pipeline.name,
        "process": one.process,
        "grain": one.grain,
        "replicas": one.replicas,
        "shares": one.shares,
        "slo_ms": round(1000.0 * one.slo, 1),
        "use": round(one.use, 3),
        "rate": round(load.rate, 2),
        "requests": len(load),
        "observed": round(report.hit_rate, 4),
        "observed_by": predictors.made,
        **predictors.told(one.number, one.static),
        "outcomes": report.outcomes,
        "observed_p50_ms": round(1000.0 * report.latency.get("p50", float("nan")), 2),
        "late_p99_ms": round(late, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
